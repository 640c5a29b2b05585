// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `GET /v1/auth/me`: what the server makes of the caller. It never refuses.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::app::App;
use crate::auth::{Actor, Caller, Proof, Who};

/// The caller as the server sees them.
#[derive(Debug, Serialize)]
pub struct Me {
    authenticated: bool,
    access_level: &'static str,
    is_admin: bool,
    session_timeout_seconds: u32,
    inactivity_timeout_seconds: u32,
    #[serde(flatten)]
    known: Option<Known>,
}

/// What only the holder of an account has.
#[derive(Debug, Serialize)]
struct Known {
    /// The id of the key behind the request; nothing for a login by password.
    key_id: Option<String>,
    /// The key's name, else the account's.
    name: String,
    account: String,
}

/// Who is asking.
pub async fn show(State(app): State<App>, actor: Actor) -> Json<Me> {
    let timeout = app.config.server.session_timeout_seconds;
    Json(Me {
        authenticated: actor.caller().is_some(),
        access_level: match &actor.who {
            Who::Nobody => "anonymous",
            // Without accounts everyone is a user, as the predecessor has it.
            Who::Anonymous => "user",
            Who::Known(caller) => caller.role.as_str(),
        },
        is_admin: actor.is_admin(),
        session_timeout_seconds: timeout,
        inactivity_timeout_seconds: timeout,
        known: actor.caller().map(Known::new),
    })
}

impl Known {
    fn new(caller: &Caller) -> Self {
        let name = match &caller.proof {
            Proof::Key { name, .. } => name.clone(),
            Proof::Session { .. } => caller.name.clone(),
        };
        Self { key_id: caller.key().map(|key| key.id.clone()), name, account: caller.name.clone() }
    }
}
