// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `GET /v1/auth/audit`: what was done to accounts, keys and sessions, the latest first.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::{List, Seconds};
use crate::app::App;
use crate::auth::audit::{self, Entry};
use crate::error::Alice;

/// How many acts the list holds.
const LATEST: u32 = 500;

/// One act.
#[derive(Debug, Serialize)]
pub struct AuditEntry {
    at: Seconds,
    actor: String,
    act: String,
    object: String,
    address: String,
}

impl From<Entry> for AuditEntry {
    fn from(entry: Entry) -> Self {
        let Entry { at, actor, act, object, address } = entry;
        Self { at: at.into(), actor, act, object, address }
    }
}

/// The latest acts.
pub async fn list(State(app): State<App>) -> Result<Json<List<AuditEntry>>, Alice> {
    let entries = app.database.read(|connection| audit::latest(connection, LATEST)).await?;
    Ok(Json(List::of(entries.into_iter().map(AuditEntry::from))))
}
