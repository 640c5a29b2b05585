// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/admin`: who asks for an account, and who has one.

use std::collections::HashMap;

use askama::Template;
use axum::response::Response;
use rusqlite::Transaction;

use super::{Tab, tabs};
use crate::api::Id;
use crate::auth::accounts::{self, Account};
use crate::auth::pending::{self, Request, Status};
use crate::auth::{Role, keys, sessions};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::pages::moment::Moment;
use crate::pages::visit::to;
use crate::pages::{self, Frame, Place, Visit, sentence};
use crate::secret::Secret;

/// The page.
#[derive(Template)]
#[template(path = "admin/accounts.html")]
struct Page {
    frame: Frame,
    tabs: [Tab; 6],
    requests: Vec<RequestRow>,
    approved: Option<Approved>,
    accounts: Vec<AccountRow>,
    problem: Option<String>,
}

/// Somebody who asks for an account.
struct RequestRow {
    id: String,
    name: String,
    made: Moment,
}

/// Somebody who has just got an account, with the key that it begins with.
struct Approved {
    name: String,
    key: Secret,
}

/// Somebody who has an account.
struct AccountRow {
    id: i64,
    name: String,
    administers: bool,
    enabled: bool,
    made: Moment,
    /// When one of its keys or present logins was last used.
    seen: Option<Moment>,
}

/// `GET /admin`.
pub async fn show(visit: Visit) -> Response {
    render(&visit, None, None).await
}

/// `POST /admin/requests/{id}/approve`: an account, with a key that is shown this once.
pub async fn approve(visit: Visit, Id(id): Id) -> Response {
    let (author, now) = (visit.author(), visit.app.clock.now());
    let act = move |transaction: &Transaction<'_>| {
        let approved = pending::approve(transaction, &author, &id, now)?;
        let name = accounts::find(transaction, approved.account)?.name;
        Ok(Approved { name, key: approved.key.secret })
    };
    match visit.app.database.write(act).await {
        Ok(approved) => render(&visit, Some(approved), None).await,
        Err(error) => render(&visit, None, Some(error)).await,
    }
}

/// `POST /admin/requests/{id}/reject`.
pub async fn reject(visit: Visit, Id(id): Id) -> Response {
    let (author, now) = (visit.author(), visit.app.clock.now());
    let act = move |transaction: &Transaction<'_>| pending::reject(transaction, &author, &id, now);
    match visit.app.database.write(act).await {
        Ok(()) => to("/admin"),
        Err(error) => render(&visit, None, Some(error)).await,
    }
}

async fn render(visit: &Visit, approved: Option<Approved>, problem: Option<Error>) -> Response {
    let app = visit.app.clone();
    let found = visit.app.database.read(move |connection| {
        let requests = pending::all(connection, Some(Status::Pending))?;
        let keys = keys::all(connection, None)?;
        let logins = sessions::all(connection, None, app.session_terms())?;
        let uses = keys
            .into_iter()
            .filter_map(|key| Some((key.account, app.usage.key(&key.id).max(key.last_used)?)));
        let uses = uses.chain(logins.into_iter().map(|login| (login.account, login.last_used)));
        Ok((requests, accounts::all(connection)?, latest(uses)))
    });
    visit.answer(found.await.map(|(requests, accounts, seen)| {
        let page = Page {
            frame: visit.frame().at(Place::Admin),
            tabs: tabs("/admin"),
            requests: requests.into_iter().map(|request| RequestRow::new(visit, request)).collect(),
            approved,
            accounts: accounts.into_iter().map(|account| AccountRow::new(visit, account, &seen)).collect(),
            problem: problem.as_ref().map(sentence),
        };
        pages::page_about(problem.as_ref(), &page)
    }))
}

/// The latest use of each account.
fn latest(uses: impl Iterator<Item = (i64, Timestamp)>) -> HashMap<i64, Timestamp> {
    let mut latest = HashMap::new();
    for (account, at) in uses {
        let seen = latest.entry(account).or_insert(at);
        *seen = at.max(*seen);
    }
    latest
}

impl RequestRow {
    fn new(visit: &Visit, request: Request) -> Self {
        Self { id: request.id, name: request.name, made: visit.moment(request.created_at) }
    }
}

impl AccountRow {
    fn new(visit: &Visit, account: Account, seen: &HashMap<i64, Timestamp>) -> Self {
        Self {
            id: account.id,
            name: account.name,
            administers: account.role == Role::Admin,
            enabled: account.enabled,
            made: visit.moment(account.created_at),
            seen: seen.get(&account.id).map(|at| visit.moment(*at)),
        }
    }
}
