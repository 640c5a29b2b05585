// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/`: the form that asks for pictures. What comes of it has a page of its own.

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;

use super::form::{Ask, Fields};
use super::visit::{Sent, read, to};
use super::{Frame, jobs, sentence};
use crate::app::App;
use crate::auth::Actor;
use crate::error::{Error, Result};
use crate::jobs::{Leave, Wish, submit as accept};

/// The page.
#[derive(Template)]
#[template(path = "generate.html")]
struct Page {
    frame: Frame,
    ask: Ask,
    /// The page of a job of the same account that is not over.
    present: Option<String>,
}

/// The form, filled in from the address.
pub async fn show(
    State(app): State<App>,
    actor: Actor,
    query: std::result::Result<Query<Fields>, QueryRejection>,
) -> Response {
    render(&app, &actor, query.map(|Query(fields)| fields).unwrap_or_default(), None)
}

/// Accepts what the form asks for, and leads to the page where one can look on. A problem is said at once, and
/// nothing typed is lost.
pub async fn submit(State(app): State<App>, actor: Actor, form: Sent<Fields>) -> Response {
    let fields = match read(form) {
        Ok(fields) => fields,
        Err(error) => return render(&app, &actor, Fields::default(), Some(&error)),
    };
    match begin(&app, &actor, &fields).await {
        Ok(address) => to(&address),
        Err(error) => render(&app, &actor, fields, Some(&error)),
    }
}

/// The address of the page of what the form asks for.
async fn begin(app: &App, actor: &Actor, fields: &Fields) -> Result<String> {
    let request = fields.to_request(app).await?;
    // Whoever closes the page finds the picture later.
    let job = accept(app, actor, request, Wish::plain(Leave::GoOn)).await?;
    Ok(jobs::address(&job.id, fields.seed()))
}

/// The page of the account's latest job that is not over. People without an account are not told: whom the
/// server takes for one caller may be several, and a job's address is the secret of the one who asked.
fn present(app: &App, actor: &Actor) -> Option<String> {
    let account = actor.account()?;
    let job = app.jobs.present().into_iter().rfind(|job| job.account == Some(account))?;
    Some(jobs::address(&job.id, None))
}

fn render(app: &App, actor: &Actor, fields: Fields, problem: Option<&Error>) -> Response {
    let page = Page {
        frame: Frame::new(app, Some(actor)),
        ask: Ask::first(app, fields, problem.map(sentence)),
        present: present(app, actor),
    };
    super::page_about(problem, &page)
}
