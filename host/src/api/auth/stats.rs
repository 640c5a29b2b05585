// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `GET /v1/auth/stats`: keys and sessions in numbers.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::app::App;
use crate::auth::{Role, keys, sessions};
use crate::error::Alice;

/// The numbers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    total_keys: usize,
    active_keys: usize,
    admin_keys: usize,
    total_sessions: u32,
    active_sessions: usize,
}

/// Counts them.
pub async fn show(State(app): State<App>) -> Result<Json<Stats>, Alice> {
    let shared = app.clone();
    let stats = app.database.read(move |connection| {
        let keys = keys::all(connection, None)?;
        Ok(Stats {
            total_keys: keys.len(),
            active_keys: keys.iter().filter(|key| key.enabled).count(),
            admin_keys: keys.iter().filter(|key| key.role == Role::Admin).count(),
            total_sessions: connection.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0))?,
            active_sessions: sessions::all(connection, None, shared.session_terms())?.len(),
        })
    });
    Ok(Json(stats.await?))
}
