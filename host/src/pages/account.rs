// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/account`: what people do with their own keys, logins and password. Nobody gives themselves more here than
//! they came with.

use askama::Template;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use rusqlite::Connection;
use serde::Deserialize;

use super::rows::{KeyRow, LoginRow};
use super::{Frame, Place, Visit, sentence};
use crate::auth::{self, Caller, Role, accounts, sessions};
use crate::error::{Error, Result};
use crate::secret::Secret;

pub mod keys;
pub mod logins;
pub mod password;

/// The page.
#[derive(Template)]
#[template(path = "account.html")]
struct Page {
    frame: Frame,
    name: String,
    /// Whether whoever looks may administer, and so make keys that do.
    administers: bool,
    /// Whether the account is the configuration's, which nobody changes here.
    configured: bool,
    /// Whether whoever looks may change keys and logins.
    may_change: bool,
    has_password: bool,
    keys: Vec<KeyRow>,
    new_key: Option<Secret>,
    logins: Vec<LoginRow>,
    /// The name of a key as it was typed.
    typed: String,
    password_is_set: bool,
    about_keys: Option<String>,
    about_logins: Option<String>,
    about_password: Option<String>,
}

/// What the page says beside what is always there.
#[derive(Default)]
struct Said {
    new_key: Option<Secret>,
    typed: String,
    password_is_set: bool,
    problem: Option<(Part, Error)>,
}

/// The parts of the page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Keys,
    Logins,
    Password,
}

impl Said {
    fn problem(part: Part, error: Error) -> Self {
        Self { problem: Some((part, error)), ..Self::default() }
    }
}

/// What the page's address holds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Address {
    done: String,
}

/// `GET /account`.
pub async fn show(
    visit: Visit,
    caller: Caller,
    address: std::result::Result<Query<Address>, QueryRejection>,
) -> Response {
    let password_is_set = address.is_ok_and(|Query(address)| address.done == "password");
    render(&visit, &caller, Said { password_is_set, ..Said::default() }).await
}

/// Refuses changes of the account of `server.api_key`, whose holders are many and may make pictures only.
fn refuse_configured(connection: &Connection, account: i64) -> Result<()> {
    match auth::keys::find(connection, auth::keys::CONFIGURED, Some(account)) {
        Ok(_) => Err(Error::Forbidden("this account is managed in the server's configuration")),
        Err(Error::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Refuses whoever has only shown a key: it may be lent, and its holder must not take the account over.
fn need_password(caller: &Caller) -> Result<()> {
    caller
        .proved_password()
        .then_some(())
        .ok_or(Error::Forbidden("log in with the account's password to do this"))
}

async fn render(visit: &Visit, caller: &Caller, said: Said) -> Response {
    let (id, app) = (caller.account, visit.app.clone());
    let found = visit.app.database.read(move |connection| {
        let account = accounts::find(connection, id)?;
        let sessions = sessions::all(connection, Some(id), app.session_terms())?;
        Ok((account, auth::keys::all(connection, Some(id))?, sessions))
    });
    visit.answer(found.await.map(|(account, keys, sessions)| {
        let configured = keys.iter().any(|key| key.id == auth::keys::CONFIGURED);
        let keys: Vec<_> = keys.into_iter().map(|key| KeyRow::new(visit, key)).collect();
        let logins = sessions.into_iter().map(|session| LoginRow::new(visit, session, &keys)).collect();
        let about =
            |part| said.problem.as_ref().filter(|(at, _)| *at == part).map(|(_, error)| sentence(error));
        let page = Page {
            frame: visit.frame().at(Place::Account),
            name: account.name,
            administers: caller.role == Role::Admin,
            configured,
            may_change: caller.proved_password(),
            has_password: account.has_password,
            logins,
            keys,
            new_key: said.new_key,
            typed: said.typed,
            password_is_set: said.password_is_set,
            about_keys: about(Part::Keys),
            about_logins: about(Part::Logins),
            about_password: about(Part::Password),
        };
        super::page_about(said.problem.as_ref().map(|(_, error)| error), &page)
    }))
}
