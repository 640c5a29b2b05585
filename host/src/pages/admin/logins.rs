// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/admin/logins`: who is logged in.

use askama::Template;
use axum::response::Response;

use super::{Tab, tabs};
use crate::api::Id;
use crate::auth::{keys, sessions};
use crate::error::Error;
use crate::pages::rows::{KeyRow, LoginRow};
use crate::pages::visit::to;
use crate::pages::{self, Frame, Place, Visit, sentence};

/// The page.
#[derive(Template)]
#[template(path = "admin/logins.html")]
struct Page {
    frame: Frame,
    tabs: [Tab; 6],
    logins: Vec<LoginRow>,
    problem: Option<String>,
}

/// `GET /admin/logins`.
pub async fn show(visit: Visit) -> Response {
    render(&visit, None).await
}

/// `POST /admin/logins/{id}/end`.
pub async fn end(visit: Visit, Id(id): Id) -> Response {
    let ended = visit.act("session.end", move |transaction, _now| {
        sessions::end(transaction, &id, None)?;
        Ok(id)
    });
    match ended.await {
        Ok(()) => to("/admin/logins"),
        Err(error) => render(&visit, Some(error)).await,
    }
}

async fn render(visit: &Visit, problem: Option<Error>) -> Response {
    let app = visit.app.clone();
    let found = visit.app.database.read(move |connection| {
        Ok((sessions::all(connection, None, app.session_terms())?, keys::all(connection, None)?))
    });
    visit.answer(found.await.map(|(sessions, keys)| {
        let keys: Vec<_> = keys.into_iter().map(|key| KeyRow::new(visit, key)).collect();
        let page = Page {
            frame: visit.frame().at(Place::Admin),
            tabs: tabs("/admin/logins"),
            logins: sessions.into_iter().map(|session| LoginRow::new(visit, session, &keys)).collect(),
            problem: problem.as_ref().map(sentence),
        };
        pages::page_about(problem.as_ref(), &page)
    }))
}
