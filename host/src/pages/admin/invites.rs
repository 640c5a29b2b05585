// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/admin/invites`: codes with which people make accounts of their own.

use askama::Template;
use axum::response::Response;
use rusqlite::Transaction;
use serde::Deserialize;

use super::{Tab, tabs};
use crate::api::Id;
use crate::auth::invites::{self, Invite, NewInvite, Terms};
use crate::config::RegistrationMode;
use crate::error::{Error, Result};
use crate::pages::moment::Moment;
use crate::pages::visit::{Sent, read, to};
use crate::pages::{self, Frame, Place, Visit, sentence};
use crate::secret::Secret;

/// The page.
#[derive(Template)]
#[template(path = "admin/invites.html")]
struct Page {
    frame: Frame,
    tabs: [Tab; 6],
    /// Whether the server takes invites at all.
    taken: bool,
    invites: Vec<Row>,
    code: Option<Secret>,
    typed: Fields,
    problem: Option<String>,
}

/// An invite in the list.
struct Row {
    id: String,
    created_by: String,
    made: Moment,
    expires: Option<Moment>,
    /// How often it can still be used; `None` for ever.
    left: Option<i64>,
    used: usize,
    valid: bool,
}

/// An invite to be made, as it was typed.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Fields {
    uses: String,
    hours: String,
}

impl Default for Fields {
    fn default() -> Self {
        Self { uses: "1".into(), hours: "72".into() }
    }
}

/// `GET /admin/invites`.
pub async fn show(visit: Visit) -> Response {
    render(&visit, Fields::default(), None, None).await
}

/// `POST /admin/invites`: an invite, its code shown this once.
pub async fn create(visit: Visit, form: Sent<Fields>) -> Response {
    let fields = match read(form) {
        Ok(fields) => fields,
        Err(error) => return render(&visit, Fields::default(), None, Some(error)).await,
    };
    match make(&visit, &fields).await {
        Ok(invite) => render(&visit, Fields::default(), Some(invite.code), None).await,
        Err(error) => render(&visit, fields, None, Some(error)).await,
    }
}

async fn make(visit: &Visit, fields: &Fields) -> Result<NewInvite> {
    let number =
        |param: &str, text: &str| text.trim().parse().map_err(|_| Error::invalid(param, "must be a number"));
    let hours = Some(&fields.hours).filter(|hours| !hours.trim().is_empty());
    let hours = hours.map(|hours| number("hours", hours)).transpose()?;
    let terms = Terms::new(number("uses", &fields.uses)?, hours);
    let terms = terms.map_err(|error| error.renamed(&[("expires_hours", "hours")]))?;
    let (author, now) = (visit.author(), visit.app.clock.now());
    let act = move |transaction: &Transaction<'_>| invites::create(transaction, &author, terms, now);
    visit.app.database.write(act).await
}

/// `POST /admin/invites/{id}/delete`.
pub async fn delete(visit: Visit, Id(id): Id) -> Response {
    let (author, now) = (visit.author(), visit.app.clock.now());
    let act = move |transaction: &Transaction<'_>| invites::delete(transaction, &author, &id, now);
    match visit.app.database.write(act).await {
        Ok(_id) => to("/admin/invites"),
        Err(error) => render(&visit, Fields::default(), None, Some(error)).await,
    }
}

async fn render(visit: &Visit, typed: Fields, code: Option<Secret>, problem: Option<Error>) -> Response {
    let invites = visit.app.database.read(invites::all).await;
    visit.answer(invites.map(|invites| {
        let page = Page {
            frame: visit.frame().at(Place::Admin),
            tabs: tabs("/admin/invites"),
            taken: visit.app.config.server.registration_mode == RegistrationMode::Invite,
            invites: invites.into_iter().map(|invite| Row::new(visit, invite)).collect(),
            code,
            typed,
            problem: problem.as_ref().map(sentence),
        };
        pages::page_about(problem.as_ref(), &page)
    }))
}

impl Row {
    fn new(visit: &Visit, invite: Invite) -> Self {
        Self {
            valid: invite.is_valid(&visit.app.clock),
            made: visit.moment(invite.created_at),
            expires: invite.expires_at.map(|at| visit.moment(at)),
            left: Some(invite.uses_remaining).filter(|uses| *uses >= 0),
            used: invite.used_by.len(),
            id: invite.id,
            created_by: invite.created_by,
        }
    }
}
