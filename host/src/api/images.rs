// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! OpenAI's image API: `POST /v1/images/generations` (from text), `/v1/images/edits` (from a picture, as a text says)
//! and `/v1/images/variations` (from a picture alone), with ALICE's parameters beside OpenAI's. Beside them ALICE's own
//! `/v1/images/upscale`.

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::filled::Filled;
use super::multipart::{self, Form};
use super::told::Told;
use super::{early, files, json, now_s, wish};
use crate::adapters::Unmatched;
use crate::app::App;
use crate::auth::Actor;
use crate::error::{OpenAi, Result};
use crate::gallery::Kept;
use crate::guard::InHand;
use crate::jobs::{self, Attendance, Leave, Wish};
use crate::task::Task;

mod form;
mod request;
mod stream;
mod upscale;

pub use upscale::upscale;

use request::{ImageRequest, Kind, ResponseFormat};

/// Most pictures of one request in this API.
const MAX_COUNT: u32 = 10;

/// What clients get back.
#[derive(Debug, Serialize)]
pub struct ImageResponse {
    created: u64,
    data: Vec<ImageData>,
    background: &'static str,
    output_format: &'static str,
    size: String,
    /// What the pictures were really made with.
    x_alice: Effective,
}

#[derive(Debug, Serialize)]
struct ImageData {
    /// Until it is sent the name of the picture's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    b64_json: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Of a picture that was painted.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
}

/// The parameters in use, with everything that was filled in or changed.
#[derive(Debug, Serialize)]
struct Effective {
    #[serde(flatten)]
    told: Told,
    /// What its client should know of the request.
    warnings: Vec<String>,
    /// The parts of its LoRAs that do not suit the model.
    unmatched: Unmatched,
    took_s: f64,
}

/// Who asks, and how.
#[derive(Debug)]
struct Call {
    app: App,
    actor: Actor,
    uri: Uri,
    headers: HeaderMap,
    in_hand: InHand,
}

/// Text in, pictures out: when all of them are there, or as a stream of events.
///
/// Waits for its turn. 400 names the bad field, 404 an unknown model, 429 that the caller and 503 that everybody
/// has as many jobs waiting as may wait. Dropping the request cancels the work, unless it is to go on.
pub async fn create(
    State(app): State<App>,
    actor: Actor,
    uri: Uri,
    headers: HeaderMap,
    in_hand: InHand,
    body: json::Body,
) -> std::result::Result<Response, OpenAi> {
    Ok(Call { app, actor, uri, headers, in_hand }.read_and_answer(body, Kind::Generation).await?)
}

/// A picture and a text in, pictures out, as [`create`] does.
pub async fn edit(
    State(app): State<App>,
    actor: Actor,
    uri: Uri,
    headers: HeaderMap,
    in_hand: InHand,
    body: json::Body,
) -> std::result::Result<Response, OpenAi> {
    Ok(Call { app, actor, uri, headers, in_hand }.read_and_answer(body, Kind::Edit).await?)
}

/// A picture in, pictures like it out, as [`create`] does.
pub async fn vary(
    State(app): State<App>,
    actor: Actor,
    uri: Uri,
    headers: HeaderMap,
    in_hand: InHand,
    body: json::Body,
) -> std::result::Result<Response, OpenAi> {
    Ok(Call { app, actor, uri, headers, in_hand }.read_and_answer(body, Kind::Variation).await?)
}

impl Call {
    /// Reads a body of JSON, or a form with files, and answers it.
    async fn read_and_answer(self, body: json::Body, kind: Kind) -> Result<Response> {
        match multipart::boundary(&self.headers)? {
            Some(boundary) => {
                let form = Form::read(body, &boundary, &self.app.config.limits).await?;
                let mark = form.mark();
                self.answer(form::request(form)?, &mark, kind).await
            }
            None => {
                let (wire, mark) = read(body, ImageRequest::read)?;
                self.answer(wire, &mark, kind).await
            }
        }
    }

    /// Has done what `wire` asks for. `mark` is what a repetition of the request has in common with it.
    async fn answer(self, wire: ImageRequest, mark: &[u8], kind: Kind) -> Result<Response> {
        let Self { app, actor, uri, headers, in_hand } = self;
        let format = wire.response_format.unwrap_or_default();
        let partials = wire.partials()?;
        let mut wish = wish::of(&actor, &uri, &headers, mark, wire.detach == Some(true));
        if let Some(partials) = partials {
            wish = streamed(wish, partials);
        }
        let names = wire.names();
        let asked = async { jobs::ask(&app, &actor, wire.into_draft(kind)?, MAX_COUNT, wish).await };
        let job = asked.await.map_err(|error| error.renamed(&names))?;
        drop(in_hand);
        if partials.is_some() {
            return Ok(stream::answer(app, job, kind));
        }
        Ok(finished(app, actor, headers, job, format).await)
    }
}

/// What a body of JSON asks for, and what a repetition of it has in common with it. The body itself is dropped: its job may
/// wait long, and the pictures in it are there twice until then.
fn read<T>(body: json::Body, parse: impl FnOnce(&json::Body) -> Result<T>) -> Result<(T, [u8; 32])> {
    Ok((parse(&body)?, Sha256::digest(&body).into()))
}

/// The wish of a request that is answered by a stream with so many unfinished pictures of each.
fn streamed(wish: Wish, partials: u32) -> Wish {
    // No client tries again by itself once a stream has begun.
    let leave = if wish.leave == Leave::CancelLater { Leave::Cancel } else { wish.leave };
    Wish { leave, partials, ..wish }
}

/// The answer when all pictures of `job` are there.
async fn finished(
    app: App,
    actor: Actor,
    headers: HeaderMap,
    job: Attendance,
    format: ResponseFormat,
) -> Response {
    let shared = app.clone();
    let finish = |job: Attendance| async move { pictures(&shared, &actor, &headers, &job, format).await };
    early::answer::<OpenAi, _, _>(&app, job, finish).await
}

/// What comes of `job`, in the form in which its client wants the pictures.
async fn pictures(
    app: &App,
    actor: &Actor,
    headers: &HeaderMap,
    job: &Attendance,
    format: ResponseFormat,
) -> Result<Filled> {
    let outcome = job.outcome().await?;
    let (files, urls) = match format {
        ResponseFormat::Url => (Vec::new(), files::urls(app, actor, headers, &outcome.kept).await?),
        ResponseFormat::B64Json => (outcome.kept.clone(), Vec::new()),
    };
    let answer = ImageResponse::new(&job.task, outcome.took_s, &files, urls);
    Filled::new(&app.gallery, &answer, files).await
}

impl ImageResponse {
    /// The answer with the addresses of the pictures that `task` has led to, or without any with the places of
    /// the `files`.
    fn new(task: &Task, took_s: f64, files: &[Kept], urls: Vec<String>) -> Self {
        let (width, height) = task.size();
        let mut urls = urls.into_iter();
        let mut files = files.iter();
        let data = (0..task.count()).map(|place| {
            let url = urls.next();
            let b64_json = files.next().map(|kept| kept.file.clone());
            ImageData { b64_json, url, seed: task.seed(place) }
        });
        Self {
            created: now_s(),
            data: data.collect(),
            background: "opaque",
            output_format: "png",
            size: format!("{width}x{height}"),
            x_alice: Effective {
                told: Told::of(task),
                warnings: task.warnings().to_vec(),
                unmatched: task.unmatched().clone(),
                took_s,
            },
        }
    }
}
