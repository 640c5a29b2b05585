// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/admin/keys`: everybody's keys.

use askama::Template;
use axum::response::Response;
use rusqlite::Transaction;
use serde::Deserialize;

use super::{Tab, tabs};
use crate::api::Id;
use crate::auth::accounts::Name;
use crate::auth::keys::{self, Key, NewKey, RATE_LIMIT};
use crate::auth::{Role, audit};
use crate::error::{Error, Result};
use crate::pages::rows::KeyRow;
use crate::pages::visit::{Sent, read, to};
use crate::pages::{self, Frame, Place, Visit, sentence};
use crate::secret::Secret;

/// The page.
#[derive(Template)]
#[template(path = "admin/keys.html")]
struct Page {
    frame: Frame,
    tabs: [Tab; 6],
    keys: Vec<KeyRow>,
    new_key: Option<Secret>,
    typed: Fields,
    problem: Option<String>,
}

/// A key to be made, as it was typed.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Fields {
    name: String,
    role: String,
    limit: String,
}

impl Default for Fields {
    fn default() -> Self {
        Self { name: String::new(), role: "user".into(), limit: RATE_LIMIT.to_string() }
    }
}

/// `GET /admin/keys`.
pub async fn show(visit: Visit) -> Response {
    render(&visit, Fields::default(), None, None).await
}

/// `POST /admin/keys`: a key with an account of its own, shown this once.
pub async fn create(visit: Visit, form: Sent<Fields>) -> Response {
    let fields = match read(form) {
        Ok(fields) => fields,
        Err(error) => return render(&visit, Fields::default(), None, Some(error)).await,
    };
    match make(&visit, &fields).await {
        Ok(key) => render(&visit, Fields::default(), Some(key.secret), None).await,
        Err(error) => render(&visit, fields, None, Some(error)).await,
    }
}

async fn make(visit: &Visit, fields: &Fields) -> Result<NewKey> {
    let (name, role) = (Name::parse("name", &fields.name)?, Role::admin_if(fields.role == "admin"));
    let limit = fields.limit.trim().parse().ok().filter(|limit| *limit > 0);
    let limit = limit.ok_or_else(|| Error::invalid("limit", "must be a number from 1"))?;
    let (author, now) = (visit.author(), visit.app.clock.now());
    let act = move |transaction: &Transaction<'_>| {
        let key = keys::create_with_account(transaction, &name, role, limit, now)?;
        audit::note(transaction, &author, "key.create", &format!("{} {name}", key.id), now)?;
        Ok(key)
    };
    visit.app.database.write(act).await
}

/// `POST /admin/keys/{id}/revoke`.
pub async fn revoke(visit: Visit, Id(id): Id) -> Response {
    change(&visit, "key.revoke", id, keys::revoke).await
}

/// `POST /admin/keys/{id}/delete`.
pub async fn delete(visit: Visit, Id(id): Id) -> Response {
    change(&visit, "key.delete", id, keys::delete).await
}

async fn change(
    visit: &Visit,
    act: &'static str,
    id: String,
    work: fn(&Transaction<'_>, &str) -> Result<()>,
) -> Response {
    let done = visit.act(act, move |transaction, _now| {
        let Key { id, name, .. } = keys::find(transaction, &id, None)?;
        work(transaction, &id)?;
        Ok(format!("{id} {name}"))
    });
    match done.await {
        Ok(()) => to("/admin/keys"),
        Err(error) => render(visit, Fields::default(), None, Some(error)).await,
    }
}

async fn render(visit: &Visit, typed: Fields, new_key: Option<Secret>, problem: Option<Error>) -> Response {
    let keys = visit.app.database.read(|connection| keys::all(connection, None)).await;
    visit.answer(keys.map(|keys| {
        let page = Page {
            frame: visit.frame().at(Place::Admin),
            tabs: tabs("/admin/keys"),
            keys: keys.into_iter().rev().map(|key| KeyRow::new(visit, key)).collect(),
            new_key,
            typed,
            problem: problem.as_ref().map(sentence),
        };
        pages::page_about(problem.as_ref(), &page)
    }))
}
