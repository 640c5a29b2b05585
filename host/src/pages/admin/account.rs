// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/admin/accounts/{id}`: one account, and everything that an administrator may do to it.

use askama::Template;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use rusqlite::Transaction;
use serde::Deserialize;

use super::{Tab, tabs};
use crate::api::Id;
use crate::auth::{Role, accounts, keys, passwords, sessions};
use crate::error::{Error, Result};
use crate::pages::moment::Moment;
use crate::pages::rows::{KeyRow, LoginRow};
use crate::pages::visit::{Sent, read, to};
use crate::pages::{self, Frame, Place, Visit, sentence};
use crate::secret::Secret;

/// The page.
#[derive(Template)]
#[template(path = "admin/account.html")]
struct Page {
    frame: Frame,
    tabs: [Tab; 6],
    id: i64,
    name: String,
    administers: bool,
    enabled: bool,
    has_password: bool,
    made: Moment,
    /// Whether it is the one that looks.
    own: bool,
    keys: Vec<KeyRow>,
    logins: Vec<LoginRow>,
    password_is_set: bool,
    about_password: Option<String>,
    problem: Option<String>,
}

/// What the page says beside what is always there.
enum Said {
    Nothing,
    PasswordIsSet,
    AboutPassword(Error),
    About(Error),
}

/// What the page's address holds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Address {
    done: String,
}

/// `GET /admin/accounts/{id}`.
pub async fn show(
    visit: Visit,
    Id(id): Id,
    address: std::result::Result<Query<Address>, QueryRejection>,
) -> Response {
    let password_is_set = address.is_ok_and(|Query(address)| address.done == "password");
    let said = if password_is_set { Said::PasswordIsSet } else { Said::Nothing };
    render(&visit, number(&id), said).await
}

/// What an account may do from now on.
#[derive(Debug, Deserialize)]
pub struct RoleFields {
    role: Role,
}

/// `POST /admin/accounts/{id}/role`.
pub async fn set_role(visit: Visit, Id(id): Id, form: Sent<RoleFields>) -> Response {
    let role = match read(form) {
        Ok(fields) => fields.role,
        Err(error) => return render(&visit, number(&id), Said::About(error)).await,
    };
    let work = move |transaction: &Transaction<'_>, id| {
        accounts::set_role(transaction, id, role)?;
        Ok(format!(": {}", role.as_str()))
    };
    change(&visit, &id, "account.role", page_of, work).await
}

/// `POST /admin/accounts/{id}/enable`.
pub async fn enable(visit: Visit, Id(id): Id) -> Response {
    set_enabled(&visit, &id, "account.enable", true).await
}

/// `POST /admin/accounts/{id}/disable`.
pub async fn disable(visit: Visit, Id(id): Id) -> Response {
    set_enabled(&visit, &id, "account.disable", false).await
}

async fn set_enabled(visit: &Visit, id: &str, act: &'static str, enabled: bool) -> Response {
    let work = move |transaction: &Transaction<'_>, id| {
        accounts::set_enabled(transaction, id, enabled)?;
        Ok(String::new())
    };
    change(visit, id, act, page_of, work).await
}

/// A password to be set.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PasswordFields {
    password: Secret,
}

/// `POST /admin/accounts/{id}/password`.
pub async fn set_password(visit: Visit, Id(id): Id, form: Sent<PasswordFields>) -> Response {
    match hashed(&visit, form).await {
        Ok(hash) => {
            let work = move |transaction: &Transaction<'_>, id| {
                accounts::set_password(transaction, id, &hash)?;
                Ok(String::new())
            };
            change(&visit, &id, "account.password", |id| page_of(id) + "?done=password", work).await
        }
        Err(error) => render(&visit, number(&id), Said::AboutPassword(error)).await,
    }
}

async fn hashed(visit: &Visit, form: Sent<PasswordFields>) -> Result<String> {
    let PasswordFields { password } = read(form)?;
    passwords::check("password", &password)?;
    visit.app.passwords.hash(password).await
}

/// `POST /admin/accounts/{id}/delete`.
pub async fn delete(visit: Visit, Id(id): Id) -> Response {
    let work = |transaction: &Transaction<'_>, id| {
        accounts::delete(transaction, id)?;
        Ok(String::new())
    };
    change(&visit, &id, "account.delete", |_gone| "/admin".to_owned(), work).await
}

/// Does `work` to an account, notes it as `act` with the details that `work` gives, and goes to the page
/// `after` that.
async fn change(
    visit: &Visit,
    id: &str,
    act: &'static str,
    after: fn(i64) -> String,
    work: impl FnOnce(&Transaction<'_>, i64) -> Result<String> + Send + 'static,
) -> Response {
    let id = number(id);
    let done = visit.act(act, move |transaction, _now| {
        let name = accounts::find(transaction, id)?.name;
        Ok(format!("{id} {name}{}", work(transaction, id)?))
    });
    match done.await {
        Ok(()) => to(&after(id)),
        Err(error) => render(visit, id, Said::About(error)).await,
    }
}

/// The address of an account's page.
fn page_of(id: i64) -> String {
    format!("/admin/accounts/{id}")
}

/// An account's number in an address. No account has the number 0.
fn number(text: &str) -> i64 {
    text.parse().unwrap_or(0)
}

async fn render(visit: &Visit, id: i64, said: Said) -> Response {
    let app = visit.app.clone();
    let found = visit.app.database.read(move |connection| {
        let sessions = sessions::all(connection, Some(id), app.session_terms())?;
        Ok((accounts::find(connection, id)?, keys::all(connection, Some(id))?, sessions))
    });
    visit.answer(found.await.map(|(account, keys, sessions)| {
        let keys: Vec<_> = keys.into_iter().map(|key| KeyRow::new(visit, key)).collect();
        let page = Page {
            frame: visit.frame().at(Place::Admin),
            tabs: tabs("/admin"),
            id,
            name: account.name,
            administers: account.role == Role::Admin,
            enabled: account.enabled,
            has_password: account.has_password,
            made: visit.moment(account.created_at),
            own: visit.actor.account() == Some(id),
            logins: sessions.into_iter().map(|session| LoginRow::new(visit, session, &keys)).collect(),
            keys,
            password_is_set: matches!(said, Said::PasswordIsSet),
            about_password: if let Said::AboutPassword(error) = &said { Some(sentence(error)) } else { None },
            problem: if let Said::About(error) = &said { Some(sentence(error)) } else { None },
        };
        let problem = match &said {
            Said::AboutPassword(error) | Said::About(error) => Some(error),
            Said::Nothing | Said::PasswordIsSet => None,
        };
        pages::page_about(problem, &page)
    }))
}
