// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/login` and `/logout`: with a name and a password, or with a key, to a login that a cookie shows.

use askama::Template;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use rusqlite::Transaction;
use serde::Deserialize;

use super::visit::{Sent, read, to};
use super::{Frame, Visit, rows, sentence};
use crate::auth::audit::{self, Author};
use crate::auth::sessions::{self, NewSession};
use crate::auth::{Actor, Caller, Proof, accounts, keys, passwords};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// The page.
#[derive(Template)]
#[template(path = "login.html")]
struct Page {
    frame: Frame,
    name: String,
    /// The page to go to afterwards.
    after: String,
    by_password: Option<String>,
    by_key: Option<String>,
}

/// What the page's address holds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Address {
    r#return: String,
}

/// What somebody typed into one of the two forms.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    name: String,
    password: Secret,
    key: Secret,
    r#return: String,
}

/// `GET /login`.
pub async fn show(visit: Visit, address: std::result::Result<Query<Address>, QueryRejection>) -> Response {
    let Address { r#return } = address.map(|Query(address)| address).unwrap_or_default();
    render(&visit, Fields { r#return, ..Fields::default() }, None)
}

/// `POST /login`: to the page that was wanted, with a fresh login in the place of an earlier one.
pub async fn submit(visit: Visit, form: Sent<Fields>) -> Response {
    let fields = match read(form) {
        Ok(fields) => fields,
        Err(error) => return render(&visit, Fields::default(), Some(error)),
    };
    let entered = if fields.key.is_empty() {
        by_password(&visit, &fields).await
    } else {
        by_key(&visit, &fields).await
    };
    match entered {
        Ok(session) => visit.with_login(&session, to(own_page(&fields.r#return))),
        Err(error) => render(&visit, fields, Some(error)),
    }
}

async fn by_password(visit: &Visit, fields: &Fields) -> Result<NewSession> {
    let (actor, now) = (visit.actor.clone(), visit.app.clock.now());
    let then = move |transaction: &Transaction<'_>, account| enter(transaction, &actor, account, None, now);
    passwords::login(&visit.app, &fields.name, fields.password.clone(), then).await
}

async fn by_key(visit: &Visit, fields: &Fields) -> Result<NewSession> {
    let (actor, now, key) = (visit.actor.clone(), visit.app.clock.now(), fields.key.clone());
    let act = move |transaction: &Transaction<'_>| {
        let holder = keys::holder(transaction, key.expose().trim())?;
        match holder {
            Some(Caller { account, proof: Proof::Key { key, .. }, .. }) => {
                enter(transaction, &actor, account, Some(&key.id), now)
            }
            _ => Err(Error::Unauthorized(keys::UNKNOWN)),
        }
    };
    visit.app.database.write(act).await
}

/// Begins a login to `account`, by `key` if one was shown, and ends the one that `actor` had: a browser has
/// one.
///
/// # Errors
/// When the database fails.
pub(super) fn enter(
    transaction: &Transaction<'_>,
    actor: &Actor,
    account: i64,
    key: Option<&str>,
    now: Timestamp,
) -> Result<NewSession> {
    leave(transaction, actor)?;
    let session = sessions::begin(transaction, account, key, now)?;
    let author = Author::proved(accounts::find(transaction, account)?.name, actor);
    audit::note(transaction, &author, "login", &session.id, now)?;
    Ok(session)
}

/// Ends the login that `actor` has shown. Gives its id if there was one.
fn leave(transaction: &Transaction<'_>, actor: &Actor) -> Result<Option<String>> {
    let Some(id) = rows::login(actor.caller()) else { return Ok(None) };
    match sessions::end(transaction, id, None) {
        Ok(()) => Ok(Some(id.to_owned())),
        // Another request of the same browser was faster.
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `POST /logout`: the login ends here and in the browser.
pub async fn end(visit: Visit) -> Response {
    let (actor, author, now) = (visit.actor.clone(), visit.author(), visit.app.clock.now());
    let act = move |transaction: &Transaction<'_>| match leave(transaction, &actor)? {
        Some(id) => audit::note(transaction, &author, "logout", &id, now),
        None => Ok(()),
    };
    let ended = visit.app.database.write(act).await;
    visit.answer(ended.map(|()| visit.without_login(to("/login"))))
}

/// `path` if a browser takes it for a page of this server and nothing else, or the start page.
fn own_page(path: &str) -> &str {
    let elsewhere = path.starts_with("//") || path.starts_with("/\\");
    // A page's address has no other characters; some browsers would skip them and see another address.
    let strange = path.bytes().any(|byte| !byte.is_ascii_graphic());
    if path.starts_with('/') && !elsewhere && !strange { path } else { "/" }
}

fn render(visit: &Visit, fields: Fields, problem: Option<Error>) -> Response {
    let said = problem.as_ref().map(sentence);
    let (by_password, by_key) = if fields.key.is_empty() { (said, None) } else { (None, said) };
    let after = own_page(&fields.r#return).to_owned();
    let page = Page { frame: visit.frame(), name: fields.name, after, by_password, by_key };
    super::page_about(problem.as_ref(), &page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_server_are_gone_to_after_a_login() {
        for own in ["/", "/admin/keys", "/?prompt=a+fox&seed=7", "/a//b", "/login"] {
            assert_eq!(own_page(own), own);
        }
        for other in [
            "",
            "admin",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            " /admin",
            "/\u{2028}/evil.example",
        ] {
            assert_eq!(own_page(other), "/", "{other:?}");
        }
    }
}
