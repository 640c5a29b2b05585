// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/v1/auth/keys`: administrators make keys, see them, and take them out of use.

use axum::Json;
use axum::extract::State;
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};

use super::{List, Seconds, Shown};
use crate::api::{Id, json};
use crate::app::App;
use crate::auth::accounts::Name;
use crate::auth::audit::{self, Author};
use crate::auth::keys::{self, Key, RATE_LIMIT};
use crate::auth::usage::Usage;
use crate::auth::{Actor, Role};
use crate::error::{Alice, Error, Result};

/// What a client asks for.
#[derive(Debug, Deserialize)]
pub struct KeyRequest {
    name: String,
    #[serde(default, alias = "isAdmin")]
    is_admin: bool,
    #[serde(alias = "accessLevel")]
    access_level: Option<String>,
    #[serde(alias = "rateLimit")]
    rate_limit: Option<u32>,
}

/// A new key, shown this once.
#[derive(Debug, Serialize)]
pub struct KeyResponse {
    key: Shown,
    info: KeyInfo,
}

/// What there is to know of a key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyInfo {
    id: String,
    name: String,
    created_at: Seconds,
    last_used: Option<Seconds>,
    is_admin: bool,
    access_level: &'static str,
    rate_limit: u32,
    enabled: bool,
    /// The account that the key belongs to.
    account: String,
}

impl KeyInfo {
    /// `key`, with a use that is not written down yet.
    pub fn new(key: Key, usage: &Usage) -> Self {
        Self {
            last_used: usage.key(&key.id).max(key.last_used).map(Seconds::from),
            id: key.id,
            name: key.name,
            created_at: key.created_at.into(),
            is_admin: key.role == Role::Admin,
            access_level: key.role.as_str(),
            rate_limit: key.rate_limit,
            enabled: key.enabled,
            account: key.account_name,
        }
    }
}

/// What became of a key.
#[derive(Debug, Serialize)]
pub struct KeyStatus {
    status: &'static str,
    key_id: String,
}

impl KeyRequest {
    fn role(&self) -> Result<Role> {
        match self.access_level.as_deref() {
            None | Some("user") => Ok(Role::admin_if(self.is_admin)),
            Some("admin") => Ok(Role::Admin),
            Some(_) => Err(Error::invalid("access_level", "must be `user` or `admin`")),
        }
    }
}

/// `POST /v1/auth/keys/generate`: a new key with an account of its own, which gets the key's name.
pub async fn generate(
    State(app): State<App>,
    actor: Actor,
    body: json::Body,
) -> std::result::Result<Json<KeyResponse>, Alice> {
    let wire: KeyRequest = json::parse(&body)?;
    let (name, role) = (Name::parse("name", &wire.name)?, wire.role()?);
    let rate_limit = wire.rate_limit.unwrap_or(RATE_LIMIT);
    if rate_limit == 0 {
        return Err(Error::out_of_range("rate_limit", "at least 1").into());
    }
    let (author, now) = (Author::from(&actor), app.clock.now());
    let (secret, key) = app
        .database
        .write(move |transaction| {
            let new = keys::create_with_account(transaction, &name, role, rate_limit, now)?;
            audit::note(transaction, &author, "key.create", &format!("{} {name}", new.id), now)?;
            Ok((new.secret, keys::find(transaction, &new.id, None)?))
        })
        .await?;
    Ok(Json(KeyResponse { key: secret.into(), info: KeyInfo::new(key, &app.usage) }))
}

/// `GET /v1/auth/keys`: all keys, but for themselves.
pub async fn list(State(app): State<App>) -> std::result::Result<Json<List<KeyInfo>>, Alice> {
    let keys = app.database.read(|connection| keys::all(connection, None)).await?;
    Ok(Json(List::of(keys.into_iter().map(|key| KeyInfo::new(key, &app.usage)))))
}

/// `POST /v1/auth/keys/{id}/revoke`: the key is refused from now on, and stays in the list.
pub async fn revoke(
    State(app): State<App>,
    actor: Actor,
    Id(id): Id,
) -> std::result::Result<Json<KeyStatus>, Alice> {
    take_away(&app, &actor, &id, "key.revoke", keys::revoke).await?;
    Ok(Json(KeyStatus { status: "revoked", key_id: id }))
}

/// `DELETE /v1/auth/keys/{id}`: the key is gone.
pub async fn delete(
    State(app): State<App>,
    actor: Actor,
    Id(id): Id,
) -> std::result::Result<Json<KeyStatus>, Alice> {
    take_away(&app, &actor, &id, "key.delete", keys::delete).await?;
    Ok(Json(KeyStatus { status: "deleted", key_id: id }))
}

async fn take_away(
    app: &App,
    actor: &Actor,
    id: &str,
    act: &'static str,
    how: fn(&Transaction<'_>, &str) -> Result<()>,
) -> Result<()> {
    let (author, now, id) = (Author::from(actor), app.clock.now(), id.to_owned());
    let work = move |transaction: &Transaction<'_>| {
        let key = keys::find(transaction, &id, None)?;
        how(transaction, &id)?;
        audit::note(transaction, &author, act, &format!("{id} {}", key.name), now)
    };
    app.database.write(work).await
}
