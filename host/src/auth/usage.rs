// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! When keys and sessions were last used: noted here with each request, written down every now and then.
//! A write for each request would cost more than most requests do.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use rusqlite::{Transaction, params};

use super::Proof;
use crate::clock::Timestamp;
use crate::error::Result;

/// What was used since it was last written down. It holds no more than there are keys and sessions.
#[derive(Debug, Default)]
pub struct Usage(Mutex<Seen>);

/// When each id was last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    keys: HashMap<String, Timestamp>,
    sessions: HashMap<String, Timestamp>,
}

impl Usage {
    /// Notes that a key or session was used.
    pub fn saw(&self, proof: &Proof, now: Timestamp) {
        let mut seen = self.seen();
        match proof {
            Proof::Key { key, .. } => seen.keys.insert(key.id.clone(), now),
            Proof::Session { id, .. } => seen.sessions.insert(id.clone(), now),
        };
    }

    /// When a session was used since it was last written down.
    pub fn session(&self, id: &str) -> Option<Timestamp> {
        self.seen().sessions.get(id).copied()
    }

    /// When a key was used since it was last written down.
    pub fn key(&self, id: &str) -> Option<Timestamp> {
        self.seen().keys.get(id).copied()
    }

    /// What there is to write down, if anything.
    pub fn pending(&self) -> Option<Seen> {
        let seen = self.seen();
        (!seen.keys.is_empty() || !seen.sessions.is_empty()).then(|| seen.clone())
    }

    /// Forgets what `written` holds, but for what was used again since.
    pub fn wrote(&self, written: &Seen) {
        let mut seen = self.seen();
        seen.keys.retain(|id, at| written.keys.get(id) != Some(at));
        seen.sessions.retain(|id, at| written.sessions.get(id) != Some(at));
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // The lock guards plain maps: they are whole even if another holder panicked.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Seen {
    /// Writes it down.
    ///
    /// # Errors
    /// When the database fails.
    pub fn write(&self, transaction: &Transaction<'_>) -> Result<()> {
        for (table, seen) in [("keys", &self.keys), ("sessions", &self.sessions)] {
            let sql = format!("UPDATE {table} SET last_used = max(coalesce(last_used, 0), ?2) WHERE id = ?1");
            let mut statement = transaction.prepare_cached(&sql)?;
            for (id, at) in seen {
                statement.execute(params![id, at])?;
            }
        }
        Ok(())
    }
}
