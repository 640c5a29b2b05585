// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/register`: an account for somebody new, in the way that the operator chose.

use askama::Template;
use axum::response::Response;
use rusqlite::Transaction;
use serde::Deserialize;

use super::visit::{Sent, read};
use super::{Frame, Visit, login, sentence};
use crate::auth::accounts::Name;
use crate::auth::registration::{self, Application, Registered};
use crate::config::RegistrationMode;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// The page with the form, or why there is none.
#[derive(Template)]
#[template(path = "register.html")]
struct Page {
    frame: Frame,
    /// Whether it needs an invite.
    invited: bool,
    /// Whether an administrator decides.
    decided: bool,
    name: String,
    problem: Option<String>,
}

/// What follows: the new account's key, or that somebody decides.
#[derive(Template)]
#[template(path = "registered.html")]
struct Done {
    frame: Frame,
    name: String,
    key: Option<Secret>,
}

/// What somebody typed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    name: String,
    password: Secret,
    invite_code: Secret,
}

/// `GET /register`.
pub async fn show(visit: Visit) -> Response {
    render(&visit, String::new(), None)
}

/// `POST /register`.
pub async fn submit(visit: Visit, form: Sent<Fields>) -> Response {
    let fields = match read(form) {
        Ok(fields) => fields,
        Err(error) => return render(&visit, String::new(), Some(error)),
    };
    match register(&visit, &fields).await {
        Ok(answer) => answer,
        Err(error) => render(&visit, fields.name, Some(error)),
    }
}

async fn register(visit: &Visit, fields: &Fields) -> Result<Response> {
    let name = Name::parse("name", &fields.name)?;
    let application = Application {
        name: name.clone(),
        password: Some(fields.password.clone()),
        invite: Some(fields.invite_code.clone()),
    };
    let registered = registration::register(&visit.app, &visit.actor, application).await?;
    let (account, key) = match registered {
        Registered::Created { account, key } => (account, key.secret),
        Registered::Pending { .. } => {
            let done = Done { frame: visit.frame(), name: name.into(), key: None };
            return Ok(super::page_about(None, &done));
        }
    };
    let (actor, now) = (visit.actor.clone(), visit.app.clock.now());
    let begin = move |transaction: &Transaction<'_>| login::enter(transaction, &actor, account, None, now);
    let session = visit.app.database.write(begin).await?;
    let name = String::from(name);
    let frame = Frame { viewer: Some(name.clone()), is_admin: false, ..visit.frame() };
    Ok(visit.with_login(&session, super::page_about(None, &Done { frame, name, key: Some(key) })))
}

fn render(visit: &Visit, name: String, problem: Option<Error>) -> Response {
    let mode = visit.app.config.server.registration_mode;
    let page = Page {
        frame: visit.frame(),
        invited: mode == RegistrationMode::Invite,
        decided: mode == RegistrationMode::Approval,
        name,
        problem: problem.as_ref().map(sentence),
    };
    super::page_about(problem.as_ref(), &page)
}
