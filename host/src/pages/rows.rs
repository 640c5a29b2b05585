// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Keys and logins as lines of a list.

use super::Visit;
use super::moment::Moment;
use crate::auth::keys::Key;
use crate::auth::sessions::Session;
use crate::auth::{Caller, Proof, Role};

/// A key in a list.
#[derive(Debug)]
pub(super) struct KeyRow {
    pub(super) id: String,
    pub(super) name: String,
    /// The account that it belongs to.
    pub(super) account: i64,
    pub(super) account_name: String,
    pub(super) administers: bool,
    /// Requests a minute.
    pub(super) limit: u32,
    pub(super) enabled: bool,
    pub(super) made: Moment,
    pub(super) used: Option<Moment>,
}

impl KeyRow {
    pub(super) fn new(visit: &Visit, key: Key) -> Self {
        let used = visit.app.usage.key(&key.id).max(key.last_used);
        Self {
            account: key.account,
            account_name: key.account_name,
            administers: key.role == Role::Admin,
            limit: key.rate_limit,
            enabled: key.enabled,
            made: visit.moment(key.created_at),
            used: used.map(|at| visit.moment(at)),
            id: key.id,
            name: key.name,
        }
    }
}

/// A login in a list.
#[derive(Debug)]
pub(super) struct LoginRow {
    pub(super) id: String,
    pub(super) account: i64,
    pub(super) account_name: String,
    /// The name of the key that was used to log in, or its id if it has none in the list.
    pub(super) key: Option<String>,
    pub(super) began: Moment,
    pub(super) used: Moment,
    /// Whether it is the one that looks at the list.
    pub(super) here: bool,
}

impl LoginRow {
    /// `keys`: those that logins may have been made with.
    pub(super) fn new(visit: &Visit, session: Session, keys: &[KeyRow]) -> Self {
        let named = |id: String| keys.iter().find(|key| key.id == id).map_or(id, |key| key.name.clone());
        Self {
            here: login(visit.actor.caller()) == Some(session.id.as_str()),
            id: session.id,
            account: session.account,
            account_name: session.account_name,
            key: session.key.map(named),
            began: visit.moment(session.created_at),
            used: visit.moment(session.last_used),
        }
    }
}

/// The id of the login that `caller` has shown, if it was one.
pub(super) fn login(caller: Option<&Caller>) -> Option<&str> {
    match &caller?.proof {
        Proof::Session { id, .. } => Some(id),
        Proof::Key { .. } => None,
    }
}
