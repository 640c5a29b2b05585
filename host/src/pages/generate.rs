// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/`: the form that asks for pictures. What comes of it has a page of its own.

use askama::Template;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::form::{Ask, Fields, Sheet};
use super::visit::to;
use super::{Frame, Place, jobs, sentence};
use crate::app::App;
use crate::auth::Actor;
use crate::error::{Error, Result};
use crate::guard::InHand;
use crate::jobs::{Leave, Wish, ask};

/// Most pictures of one form.
pub(super) const MAX_COUNT: u32 = 4;
/// Our names of parameters, and what the form calls them.
const NAMES: &[(&str, &str)] = &[
    ("num_images", "number of pictures"),
    ("image", "picture"),
    ("larger", "second painting"),
    ("hires", "second painting"),
    ("hires.scale", "scale of the second painting"),
];

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
pub async fn submit(
    State(app): State<App>,
    actor: Actor,
    headers: HeaderMap,
    _in_hand: InHand,
    body: Bytes,
) -> Response {
    let sheet = match Sheet::read(&headers, body, &app.config.limits).await {
        Ok(sheet) => sheet,
        Err(error) => return render(&app, &actor, Fields::default(), Some(&error)),
    };
    let fields = sheet.fields.clone();
    match begin(&app, &actor, sheet).await {
        Ok(address) => to(&address),
        Err(error) => render(&app, &actor, fields, Some(&error)),
    }
}

/// The address of the page of what the form asks for.
async fn begin(app: &App, actor: &Actor, sheet: Sheet) -> Result<String> {
    let chosen = sheet.fields.chosen();
    // Whoever closes the page finds the picture later.
    let wish = Wish::plain(Leave::GoOn);
    let asked = async { ask(app, actor, sheet.into_draft(app, actor).await?, MAX_COUNT, wish).await };
    let job = asked.await.map_err(|error| error.renamed(NAMES))?;
    Ok(jobs::address(&job.id, &chosen))
}

/// The page of the account's latest job that is not over. People without an account are not told: whom the
/// server takes for one caller may be several, and a job's address is the secret of the one who asked.
fn present(app: &App, actor: &Actor) -> Option<String> {
    let account = actor.account()?;
    let job = app.jobs.present().into_iter().rfind(|job| job.account == Some(account))?;
    Some(jobs::address(&job.id, &jobs::Chosen::default()))
}

fn render(app: &App, actor: &Actor, fields: Fields, problem: Option<&Error>) -> Response {
    let page = Page {
        frame: Frame::new(app, Some(actor)).at(Place::Create),
        ask: Ask::first(app, fields, problem.map(sentence)),
        present: present(app, actor),
    };
    super::page_about(problem, &page)
}
