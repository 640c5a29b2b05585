// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! OpenAI's events of a picture in the making: `stream: true` with `partial_images`.

use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use super::request::Kind;
use crate::adapters::Unmatched;
use crate::api::filled::Filled;
use crate::api::sse::{self, Events};
use crate::api::{JOB, now_s};
use crate::app::App;
use crate::error::{Error, OpenAi, Result};
use crate::inputs::MaskPolarity;
use crate::jobs::{Attendance, Partial};
use crate::task::Task;

/// What events are called.
#[derive(Clone, Copy, Debug)]
struct Names {
    partial: &'static str,
    completed: &'static str,
}

impl Names {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Generation => {
                Self { partial: "image_generation.partial_image", completed: "image_generation.completed" }
            }
            // OpenAI does not stream variations.
            Kind::Edit | Kind::Variation => {
                Self { partial: "image_edit.partial_image", completed: "image_edit.completed" }
            }
        }
    }
}

/// A picture, finished or not. `seed`, `image_index` and `x_alice` are ALICE's own.
#[derive(Debug, Serialize)]
struct ImageEvent {
    r#type: &'static str,
    /// Of a finished picture, until it is sent, the name of its file.
    b64_json: String,
    created_at: u64,
    size: String,
    /// There is one quality here.
    quality: &'static str,
    background: &'static str,
    output_format: &'static str,
    /// Which of the request's pictures this is, from 0.
    image_index: u32,
    /// Of a picture that is painted.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(flatten)]
    state: State,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum State {
    Partial {
        partial_image_index: u32,
    },
    Completed {
        usage: Usage,
        #[serde(skip_serializing_if = "Option::is_none")]
        x_alice: Option<Notes>,
    },
}

/// What the client should know of its request.
#[derive(Debug, Serialize)]
struct Notes {
    warnings: Vec<String>,
    unmatched: Unmatched,
    /// Which pixels of its mask were painted anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    mask_polarity: Option<MaskPolarity>,
}

impl Notes {
    /// `None` when there is nothing to know.
    fn of(task: &Task) -> Option<Self> {
        let (warnings, unmatched) = (task.warnings(), task.unmatched());
        let start = task.painting().and_then(|request| request.parameters.inputs.start.as_ref());
        let mask = start.and_then(|start| start.mask.as_ref());
        let some = !warnings.is_empty() || !unmatched.is_empty() || mask.is_some();
        some.then(|| Self {
            warnings: warnings.to_vec(),
            unmatched: unmatched.clone(),
            mask_polarity: mask.map(|mask| mask.polarity),
        })
    }
}

/// Pictures have no tokens.
#[derive(Debug, Default, Serialize)]
struct Usage {
    total_tokens: u32,
    input_tokens: u32,
    output_tokens: u32,
    input_tokens_details: TokensDetails,
}

#[derive(Debug, Default, Serialize)]
struct TokensDetails {
    text_tokens: u32,
    image_tokens: u32,
}

/// The pictures of `job` as they come. It is attended until all is told or nobody listens any more.
pub(super) fn answer(app: App, job: Attendance, kind: Kind) -> Response {
    let names = Names::of(kind);
    let id = [(JOB, job.id.clone())];
    let told = sse::answer(|mut events| async move {
        if let Err(error) = tell(&app, &job, names, &mut events).await {
            // The status was sent long ago; OpenAI's SDKs raise this all the same.
            drop(events.tell("error", OpenAi(error).told()).await);
        }
    });
    (id, told).into_response()
}

async fn tell(app: &App, job: &Attendance, names: Names, events: &mut Events) -> Result<()> {
    let mut progress = job.watch();
    let mut partials_told = 0;
    let mut told = Vec::new();
    loop {
        // Before what there is is looked at: of a job that has ended everything is there.
        let over = progress.borrow_and_update().is_end();
        // Before the partial pictures: those of a finished picture are all there.
        let kept = job.kept(told.len());
        for partial in job.partials(partials_told) {
            events.tell(names.partial, partial_event(job, names, &partial)).await?;
            partials_told += 1;
        }
        for place in kept {
            events.tell_filled(names.completed, completed_event(app, job, names, place).await?).await?;
            told.push(place);
        }
        if over {
            let outcome = job.outcome().await?;
            // One may have been kept just when the job was to end.
            let places = (0_u32..).zip(&outcome.kept).map(|(place, _)| place);
            for place in places.filter(|place| !told.contains(place)) {
                events.tell_filled(names.completed, completed_event(app, job, names, place).await?).await?;
            }
            return Ok(());
        }
        drop(progress.changed().await);
    }
}

async fn completed_event(app: &App, job: &Attendance, names: Names, place: u32) -> Result<Filled> {
    let kept = job.planned.get(place as usize).ok_or(Error::NotFound)?;
    let state = State::Completed { usage: Usage::default(), x_alice: Notes::of(&job.task) };
    let event = event(job, names.completed, place, kept.file.clone(), state);
    Filled::new(&app.gallery, &event, vec![kept.clone()]).await
}

fn partial_event(job: &Attendance, names: Names, partial: &Partial) -> ImageEvent {
    let state = State::Partial { partial_image_index: partial.index };
    event(job, names.partial, partial.place, BASE64_STANDARD.encode(&partial.png), state)
}

fn event(job: &Attendance, r#type: &'static str, place: u32, b64_json: String, state: State) -> ImageEvent {
    let (width, height) = job.task.size();
    ImageEvent {
        r#type,
        b64_json,
        created_at: now_s(),
        size: format!("{width}x{height}"),
        quality: "auto",
        background: "opaque",
        output_format: "png",
        image_index: place,
        seed: job.task.seed(place),
        state,
    }
}
