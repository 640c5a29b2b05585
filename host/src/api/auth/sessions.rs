// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/v1/auth/sessions`: a program may trade its key for a login; administrators see all logins and end them.

use axum::Json;
use axum::extract::State;
use rusqlite::Transaction;
use serde::Serialize;

use super::{List, Seconds, Shown};
use crate::api::Id;
use crate::app::App;
use crate::auth::audit::{self, Author};
use crate::auth::sessions::{self, Session};
use crate::auth::{Actor, Caller, Proof};
use crate::error::{Alice, Error};

/// A login that just began.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionResponse {
    session_id: String,
    /// Shown this once; it goes where keys go.
    token: Shown,
    expires_at: Seconds,
}

/// What there is to know of a login.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionInfo {
    id: String,
    api_key_id: Option<String>,
    created_at: Seconds,
    last_accessed: Seconds,
    expires_at: Seconds,
    metadata: SessionMetadata,
}

/// Whose it is.
#[derive(Debug, Serialize)]
pub struct SessionMetadata {
    account: String,
}

/// What became of a login.
#[derive(Debug, Serialize)]
pub struct SessionStatus {
    status: &'static str,
    session_id: String,
}

impl SessionInfo {
    fn new(session: Session, timeout: u32) -> Self {
        Self {
            expires_at: session.ends(timeout).into(),
            id: session.id,
            api_key_id: session.key,
            created_at: session.created_at.into(),
            last_accessed: session.last_used.into(),
            metadata: SessionMetadata { account: session.account_name },
        }
    }
}

/// `POST /v1/auth/sessions`: a login in exchange for the caller's key, with which it ends. A login is none for
/// another one, or it would never have to end.
pub async fn create(
    State(app): State<App>,
    actor: Actor,
    caller: Caller,
) -> Result<Json<SessionResponse>, Alice> {
    let Proof::Key { key, .. } = caller.proof else {
        return Err(
            Error::Forbidden("a login begins with a key or a password, not with another login").into()
        );
    };
    let (author, now) = (Author::from(&actor), app.clock.now());
    let begin = move |transaction: &Transaction<'_>| {
        let session = sessions::begin(transaction, caller.account, Some(&key.id), now)?;
        audit::note(transaction, &author, "login", &session.id, now)?;
        Ok(session)
    };
    let session = app.database.write(begin).await?;
    Ok(Json(SessionResponse {
        session_id: session.id,
        token: session.token.into(),
        expires_at: now.saturating_add(app.config.server.session_timeout_seconds.into()).into(),
    }))
}

/// `GET /v1/auth/sessions`: the logins that have not ended.
pub async fn list(State(app): State<App>) -> Result<Json<List<SessionInfo>>, Alice> {
    let (shared, timeout) = (app.clone(), app.config.server.session_timeout_seconds);
    let all =
        app.database.read(move |connection| sessions::all(connection, None, shared.session_terms())).await?;
    Ok(Json(List::of(all.into_iter().map(|session| SessionInfo::new(session, timeout)))))
}

/// `DELETE /v1/auth/sessions/{id}`: that login ends now.
pub async fn delete(State(app): State<App>, actor: Actor, Id(id): Id) -> Result<Json<SessionStatus>, Alice> {
    let (author, now, session) = (Author::from(&actor), app.clock.now(), id.clone());
    app.database
        .write(move |transaction| {
            sessions::end(transaction, &session, None)?;
            audit::note(transaction, &author, "session.end", &session, now)
        })
        .await?;
    Ok(Json(SessionStatus { status: "deleted", session_id: id }))
}
