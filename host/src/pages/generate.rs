// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/`: the form that asks for pictures. What comes of it has a page of its own.

use askama::Template;
use axum::body::Bytes;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::form::{Ask, Fields, Sheet};
use super::gallery::{settings_of, shows};
use super::visit::to;
use super::{Frame, Place, Visit, jobs, sentence, thumbnail};
use crate::app::App;
use crate::auth::Actor;
use crate::error::{Error, Result};
use crate::guard::InHand;
use crate::infotext;
use crate::jobs::{Leave, Wish, ask};
use crate::pictures::{self, Picture, Viewer};

/// Most pictures of one form.
const MAX_COUNT: u32 = 16;
/// Our names of parameters, and what the form calls them.
const NAMES: &[(&str, &str)] = &[
    ("num_images", "number of pictures"),
    ("image", "picture"),
    ("larger", "second painting"),
    ("hires", "second painting"),
    ("expiration_hours", "hours for everybody"),
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
    /// There is no model.
    is_empty: bool,
    models_directory: String,
    /// The visitor has no picture yet, and the built-in model is there.
    is_first: bool,
    /// The visitor's latest pictures, at the place of the one to come.
    latest: Vec<Latest>,
    starters: &'static [Starter],
}

/// A picture that the visitor has made.
struct Latest {
    /// Its page in the gallery.
    page: String,
    thumbnail: String,
    shows: String,
}

/// How many of them are shown.
const LATEST: u32 = 6;

/// A picture to begin with.
struct Starter {
    prompt: &'static str,
    /// The name of its example in the guide.
    picture: &'static str,
}

const STARTERS: &[Starter] = &[
    Starter { prompt: "a red apple", picture: "apple" },
    Starter { prompt: "a fox", picture: "fox" },
    Starter { prompt: "a birthday cake", picture: "cake" },
    Starter { prompt: "flat emoji of a rocket", picture: "rocket" },
];
/// The model that knows them.
const BUILT_IN: &str = "sd/alice-emoji";

/// Where else the form may be filled in from.
#[derive(Debug, Default, Deserialize)]
pub struct From {
    /// The id of a picture of the gallery.
    from: Option<String>,
}

/// The form, filled in from the address, or with what made a picture that the address names.
pub async fn show(
    visit: Visit,
    query: std::result::Result<Query<Fields>, QueryRejection>,
    from: std::result::Result<Query<From>, QueryRejection>,
) -> Response {
    let fields = query.map(|Query(fields)| fields).unwrap_or_default();
    let From { from } = from.map(|Query(from)| from).unwrap_or_default();
    let Some(id) = from else {
        return render(&visit, Ask::first(&visit.app, &visit.actor, fields, None), None).await;
    };
    match settings_of(&visit, id).await {
        Ok((known, notes)) => {
            let ask = Ask::again(&visit.app, &visit.actor, known.beginning_like(&fields)).with_notes(notes);
            render(&visit, ask, None).await
        }
        Err(error) => visit.answer(Err(error)),
    }
}

/// `POST /restore`: the form as the chosen picture's own text fills it in.
pub async fn restore(visit: Visit, headers: HeaderMap, _in_hand: InHand, body: Bytes) -> Response {
    let (app, actor) = (&visit.app, &visit.actor);
    let sheet = match Sheet::read(&headers, body, &app.config.limits).await {
        Ok(sheet) => sheet,
        Err(error) => return refuse(&visit, Fields::default(), &error).await,
    };
    let typed = sheet.fields.clone();
    match sheet.carried(app, actor).await {
        Ok(text) => {
            let (fields, mut notes) = Fields::restored(&infotext::read(&text), app);
            notes.insert(0, "The picture's settings are in the form.".to_owned());
            render(&visit, Ask::again(app, actor, fields).with_notes(notes), None).await
        }
        Err(error) => refuse(&visit, typed, &error.renamed(NAMES)).await,
    }
}

/// Accepts what the form asks for, and leads to the page where one can look on. A problem is said at once, and
/// nothing typed is lost.
pub async fn submit(visit: Visit, headers: HeaderMap, _in_hand: InHand, body: Bytes) -> Response {
    let sheet = match Sheet::read(&headers, body, &visit.app.config.limits).await {
        Ok(sheet) => sheet,
        Err(error) => return refuse(&visit, Fields::default(), &error).await,
    };
    let fields = sheet.fields.clone();
    match begin(&visit.app, &visit.actor, sheet).await {
        Ok(address) => to(&address),
        Err(error) => refuse(&visit, fields, &error).await,
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

/// The form again, with what is wrong with it.
async fn refuse(visit: &Visit, fields: Fields, problem: &Error) -> Response {
    let ask = Ask::first(&visit.app, &visit.actor, fields, Some(sentence(problem)));
    render(visit, ask, Some(problem)).await
}

async fn render(visit: &Visit, ask: Ask, problem: Option<&Error>) -> Response {
    let (app, actor) = (&visit.app, &visit.actor);
    let latest = match latest(app, actor).await {
        Ok(latest) => latest,
        Err(error) => return visit.answer(Err(error)),
    };
    let present = present(app, actor);
    let page = Page {
        frame: visit.frame().at(Place::Create),
        is_empty: app.models.all().is_empty(),
        models_directory: app.config.models.directory.display().to_string(),
        is_first: latest.is_empty() && present.is_none() && app.models.exactly(BUILT_IN).is_some(),
        latest,
        starters: STARTERS,
        ask,
        present,
    };
    super::page_about(problem, &page)
}

/// The latest pictures that the visitor has made: of those without an account, everybody's.
async fn latest(app: &App, actor: &Actor) -> Result<Vec<Latest>> {
    let viewer = Viewer::of(actor, &app.clock);
    let query = pictures::Query { limit: Some(LATEST), ..pictures::Query::default() };
    let found = app.database.read(move |connection| pictures::page(connection, &viewer, &query)).await?;
    let latest = |picture: Picture| Latest {
        page: format!("/gallery/{}", picture.id),
        thumbnail: thumbnail(&picture.kept()),
        shows: shows(&picture.details.prompt),
    };
    Ok(found.pictures.into_iter().map(latest).collect())
}
