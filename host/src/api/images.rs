// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `POST /v1/images/generations`: OpenAI's image API, with ALICE's parameters beside OpenAI's.

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::{early, files, json, now_s, wish};
use crate::adapters::{LoraWish, Unmatched};
use crate::app::App;
use crate::auth::Actor;
use crate::draft::{Draft, Parameters, whole};
use crate::error::{Error, OpenAi, Result};
use crate::generate::Outcome;
use crate::jobs::{self, Attendance, Leave, Wish};

mod stream;

/// Most pictures of one request in this API.
const MAX_COUNT: u32 = 10;
/// Most unfinished pictures of each picture that can be asked for.
const MAX_PARTIALS: u32 = 3;

/// What clients send. Fields that are not named here are ignored, as OpenAI ignores `user`.
#[derive(Debug, Deserialize)]
pub struct ImageRequest {
    prompt: String,
    model: Option<String>,
    n: Option<i64>,
    size: Option<String>,
    response_format: Option<ResponseFormat>,
    output_format: Option<String>,
    background: Option<String>,
    stream: Option<bool>,
    partial_images: Option<i64>,
    // ALICE's own parameters, as in the chat form.
    negative_prompt: Option<String>,
    steps: Option<i64>,
    guidance_scale: Option<f64>,
    scheduler: Option<String>,
    clip_skip: Option<i64>,
    guidance_rescale: Option<f64>,
    guidance_interval: Option<[f64; 2]>,
    width: Option<i64>,
    height: Option<i64>,
    seed: Option<i128>,
    loras: Option<Vec<LoraWish>>,
    /// The job goes on when its client hangs up.
    detach: Option<bool>,
}

/// How pictures come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ResponseFormat {
    /// In the answer itself: the default, because many clients cannot fetch a URL of this server.
    #[default]
    B64Json,
    /// As an address on this server.
    Url,
}

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
    #[serde(skip_serializing_if = "Option::is_none")]
    b64_json: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    seed: u64,
}

/// The parameters in use, with everything that was filled in or changed.
#[derive(Debug, Serialize)]
struct Effective {
    #[serde(flatten)]
    parameters: Parameters,
    /// The picture was rendered smaller and enlarged to the size asked for.
    enlarged: bool,
    /// What its client should know of the request.
    warnings: Vec<String>,
    /// The parts of its LoRAs that do not suit the model.
    unmatched: Unmatched,
    took_s: f64,
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
    body: json::Body,
) -> std::result::Result<Response, OpenAi> {
    let wire: ImageRequest = json::parse(&body)?;
    let format = wire.response_format.unwrap_or_default();
    let partials = wire.partials()?;
    let wish = wish::of(&actor, &uri, &headers, &body, wire.detach == Some(true));
    let names = wire.names();
    let request = wire.into_draft()?.resolve(&app.models, &app.config, MAX_COUNT);
    let request = request.map_err(|error| error.renamed(names))?;
    if let Some(partials) = partials {
        // No client tries again by itself once a stream has begun.
        let leave = if wish.leave == Leave::CancelLater { Leave::Cancel } else { wish.leave };
        let job = jobs::submit(&app, &actor, request, Wish { leave, partials, ..wish }).await?;
        return Ok(stream::answer(app, job));
    }
    let job = jobs::submit(&app, &actor, request, wish).await?;
    let shared = app.clone();
    let finish = |job: Attendance| async move { pictures(&shared, &actor, &headers, &job, format).await };
    Ok(early::answer::<OpenAi, _, _>(&app, job, finish).await)
}

/// What comes of `job`, in the form in which its client wants the pictures.
async fn pictures(
    app: &App,
    actor: &Actor,
    headers: &HeaderMap,
    job: &Attendance,
    format: ResponseFormat,
) -> Result<ImageResponse> {
    let outcome = job.outcome().await?;
    let kept = outcome.pictures.iter().map(|picture| &picture.kept);
    let (mut files, mut urls) = (Vec::new(), Vec::new());
    match format {
        ResponseFormat::Url => urls = files::urls(app, actor, headers, kept).await?,
        ResponseFormat::B64Json => {
            for kept in kept {
                files.push(files::read(app, kept).await?);
            }
        }
    }
    Ok(ImageResponse::new(&outcome, &files, urls))
}

impl ImageRequest {
    /// Our names of parameters, and what this request calls them.
    fn names(&self) -> &'static [(&'static str, &'static str)] {
        match self.size {
            Some(_) => &[("num_images", "n"), ("width", "size"), ("height", "size")],
            None => &[("num_images", "n")],
        }
    }

    /// For a stream, the number of unfinished pictures that it brings of each picture; what is said about
    /// those without a stream is only checked.
    fn partials(&self) -> Result<Option<u32>> {
        let partials = whole("partial_images", self.partial_images, 0..=MAX_PARTIALS)?.unwrap_or(0);
        let stream = self.stream == Some(true);
        let url = self.response_format == Some(ResponseFormat::Url);
        refuse(stream && url, "response_format", "must be `b64_json` in a stream")?;
        Ok(stream.then_some(partials))
    }

    /// The same in ALICE's words.
    fn into_draft(self) -> Result<Draft> {
        let png = self.output_format.as_deref().is_none_or(|format| format == "png");
        refuse(!png, "output_format", "must be `png`: this version writes no other")?;
        let transparent = self.background.as_deref() == Some("transparent");
        refuse(transparent, "background", "cannot be `transparent`: the models paint a background")?;
        let (width, height) = match self.size.as_deref() {
            None | Some("auto" | "") => (self.width, self.height),
            Some(size) => {
                let (width, height) = sides(size)?;
                (self.width.or(Some(width)), self.height.or(Some(height)))
            }
        };
        Ok(Draft {
            model: self.model,
            prompt: self.prompt,
            negative_prompt: self.negative_prompt,
            steps: self.steps,
            guidance_scale: self.guidance_scale,
            scheduler: self.scheduler,
            clip_skip: self.clip_skip,
            guidance_rescale: self.guidance_rescale,
            guidance_interval: self.guidance_interval,
            width,
            height,
            seed: self.seed,
            count: self.n,
            loras: self.loras.unwrap_or_default(),
        })
    }
}

fn refuse(bad: bool, param: &str, problem: &str) -> Result<()> {
    if bad { Err(Error::invalid(param, problem)) } else { Ok(()) }
}

/// Width and height of `WxH`.
fn sides(size: &str) -> Result<(i64, i64)> {
    let sides =
        size.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    sides.ok_or_else(|| Error::invalid("size", "must be `auto` or `<width>x<height>` in pixels"))
}

impl ImageResponse {
    /// The answer with the addresses of the pictures, or without any with the pictures themselves.
    fn new(outcome: &Outcome, files: &[Vec<u8>], urls: Vec<String>) -> Self {
        let Outcome { pictures, warnings, unmatched, took_s } = outcome;
        let parameters = pictures[0].parameters.clone();
        let mut urls = urls.into_iter();
        let mut files = files.iter();
        let data = pictures.iter().map(|picture| {
            let url = urls.next();
            let b64_json = files.next().map(|png| BASE64_STANDARD.encode(png));
            ImageData { b64_json, url, seed: picture.parameters.seed }
        });
        Self {
            created: now_s(),
            data: data.collect(),
            background: "opaque",
            output_format: "png",
            size: format!("{}x{}", parameters.width, parameters.height),
            x_alice: Effective {
                enlarged: parameters.enlarged(),
                parameters,
                warnings: warnings.clone(),
                unmatched: unmatched.clone(),
                took_s: *took_s,
            },
        }
    }
}
