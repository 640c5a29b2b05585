// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/setup`: whoever can read the daemon's terminal makes the first administrator.

use askama::Template;
use axum::response::Response;
use rusqlite::Transaction;
use serde::Deserialize;

use super::visit::{Sent, read, to};
use super::{Frame, Visit, login, sentence};
use crate::auth::accounts::Name;
use crate::auth::sessions::NewSession;
use crate::auth::setup;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// The page.
#[derive(Template)]
#[template(path = "setup.html")]
struct Page {
    frame: Frame,
    name: String,
    problem: Option<String>,
}

/// What somebody typed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    token: Secret,
    name: String,
    password: Secret,
}

/// `GET /setup`.
pub async fn show(visit: Visit) -> Response {
    render(&visit, String::new(), None)
}

/// `POST /setup`: to the administration, logged in as its first administrator.
pub async fn submit(visit: Visit, form: Sent<Fields>) -> Response {
    let fields = match read(form) {
        Ok(fields) => fields,
        Err(error) => return render(&visit, String::new(), Some(error)),
    };
    match set_up(&visit, &fields).await {
        Ok(session) => visit.with_login(&session, to("/admin")),
        Err(error) => render(&visit, fields.name, Some(error)),
    }
}

async fn set_up(visit: &Visit, fields: &Fields) -> Result<NewSession> {
    let name = Name::parse("name", &fields.name)?;
    let (app, password) = (&visit.app, Some(fields.password.clone()));
    let made = setup::create_administrator(app, &visit.actor, &fields.token, name, password, false).await?;
    let (actor, now) = (visit.actor.clone(), app.clock.now());
    let begin =
        move |transaction: &Transaction<'_>| login::enter(transaction, &actor, made.account, None, now);
    app.database.write(begin).await
}

fn render(visit: &Visit, name: String, problem: Option<Error>) -> Response {
    let said = problem.as_ref().map(sentence);
    super::page_about(problem.as_ref(), &Page { frame: visit.frame(), name, problem: said })
}
