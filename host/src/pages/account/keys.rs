// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The keys of one's own account.

use axum::response::Response;
use rusqlite::Transaction;
use serde::Deserialize;

use super::{Part, Said, need_password, refuse_configured, render};
use crate::api::Id;
use crate::auth::accounts::Name;
use crate::auth::keys::{self, NewKey, RATE_LIMIT};
use crate::auth::{Caller, Role, audit};
use crate::error::{Error, Result};
use crate::pages::Visit;
use crate::pages::visit::{Sent, read, to};

/// Keys that people make for themselves: each has a limit of its own, so there must be few.
const MOST_KEYS: usize = 20;

/// A key to be made.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    name: String,
    role: String,
}

/// `POST /account/keys`: a new key, shown this once.
pub async fn create(visit: Visit, caller: Caller, form: Sent<Fields>) -> Response {
    let fields = match read(form) {
        Ok(fields) => fields,
        Err(error) => return render(&visit, &caller, Said::problem(Part::Keys, error)).await,
    };
    let said = match make(&visit, &caller, &fields).await {
        Ok(key) => Said { new_key: Some(key.secret), ..Said::default() },
        Err(error) => Said { typed: fields.name, ..Said::problem(Part::Keys, error) },
    };
    render(&visit, &caller, said).await
}

async fn make(visit: &Visit, caller: &Caller, fields: &Fields) -> Result<NewKey> {
    need_password(caller)?;
    let name = Name::parse("name", &fields.name)?;
    let role = Role::admin_if(fields.role == "admin").min(caller.role);
    let (account, limit) = (caller.account, RATE_LIMIT.min(visit.app.config.limits.requests_per_minute));
    let (author, now) = (visit.author(), visit.app.clock.now());
    let act = move |transaction: &Transaction<'_>| {
        refuse_configured(transaction, account)?;
        if keys::all(transaction, Some(account))?.iter().filter(|key| key.enabled).count() >= MOST_KEYS {
            return Err(Error::Conflict(format!("an account has at most {MOST_KEYS} keys")));
        }
        let key = keys::create(transaction, account, &name, role, limit, now)?;
        audit::note(transaction, &author, "key.create", &format!("{} {name}", key.id), now)?;
        Ok(key)
    };
    visit.app.database.write(act).await
}

/// `POST /account/keys/{id}/revoke`.
pub async fn revoke(visit: Visit, caller: Caller, Id(id): Id) -> Response {
    let account = caller.account;
    let revoke = move |transaction: &Transaction<'_>, _now| {
        let key = keys::find(transaction, &id, Some(account))?;
        refuse_configured(transaction, account)?;
        keys::revoke(transaction, &key.id)?;
        Ok(format!("{} {}", key.id, key.name))
    };
    let revoked = match need_password(&caller) {
        Ok(()) => visit.act("key.revoke", revoke).await,
        Err(error) => Err(error),
    };
    match revoked {
        Ok(()) => to("/account"),
        Err(error) => render(&visit, &caller, Said::problem(Part::Keys, error)).await,
    }
}
