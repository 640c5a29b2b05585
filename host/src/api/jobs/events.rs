// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `GET /v1/jobs/{id}/events`: a job's way through the line and the sampler, told as it happens. Whoever looks on
//! neither keeps the job alive nor ends it by going away.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use tracing::debug;

use super::object::{Status, rounded};
use super::{find, present};
use crate::api::Id;
use crate::api::sse::{self, Events};
use crate::app::App;
use crate::auth::Actor;
use crate::error::{Error, OpenAi, Result};
use crate::jobs::{Caller, Job, Place, Preview, Progress};
use crate::tally::Counted;

/// What to tell.
#[derive(Debug, Deserialize)]
pub struct EventsQuery {
    /// Whether unfinished pictures are wanted, which cost the device a little.
    #[serde(default = "yes")]
    previews: bool,
}

fn yes() -> bool {
    true
}

/// It waits.
#[derive(Debug, PartialEq, Serialize)]
struct Queued {
    position: usize,
    eta_s: Option<f64>,
}

/// It is being worked on.
#[derive(Debug, Serialize)]
struct Running {
    step: u32,
    steps: u32,
    eta_s: Option<f64>,
}

/// A small unfinished picture.
#[derive(Debug, Serialize)]
struct Shown {
    /// After which of its own steps.
    step: u32,
    /// Which of the job's pictures, from 0.
    image: u32,
    b64_json: String,
    output_format: &'static str,
}

/// Events until the job is over: how it stands at once, then every change. 404 when it is not there or somebody
/// else's, 429 when the caller looks on at as many jobs as one may.
pub async fn follow(
    State(app): State<App>,
    actor: Actor,
    headers: HeaderMap,
    Id(id): Id,
    query: std::result::Result<Query<EventsQuery>, QueryRejection>,
) -> std::result::Result<Response, OpenAi> {
    let Query(query) = query.map_err(|rejection| Error::Malformed(rejection.body_text()))?;
    find(&app, &actor, &id).await?;
    let place = admit(&app, &actor)?;
    Ok(sse::answer(|mut events| async move {
        let _place = place;
        let told = match app.jobs.arrived(&id).await {
            Some(job) => watch(&app, &job, query.previews, &mut events).await,
            None => Ok(()),
        };
        let told = match told {
            Ok(()) => end(&app, &actor, &headers, &id, &mut events).await,
            error => error,
        };
        if let Err(cause) = told {
            debug!(job.id = %id, "The events of job `{id}` end early: {cause}");
        }
    }))
}

/// One more stream of this caller. Callers without an account on this machine itself cannot be told apart and
/// have no limit.
fn admit(app: &App, actor: &Actor) -> Result<Counted<Caller>> {
    let caller = Caller::of(actor);
    let limit = app.config.limits.event_streams_per_caller;
    let most = if caller.is_this_machine() { usize::MAX } else { limit };
    app.event_streams.count(caller, most).ok_or(Error::TooManyStreams { limit })
}

/// Tells what happens to `job` before its end.
async fn watch(app: &App, job: &Arc<Job>, previews: bool, events: &mut Events) -> Result<()> {
    let _look = previews.then(|| job.look());
    let (mut progress, mut moves) = (job.watch(), app.jobs.moves());
    let (mut place, mut step) = (None, None);
    let mut preview: Option<Arc<Preview>> = None;
    loop {
        moves.mark_unchanged();
        let now = progress.borrow_and_update().clone();
        let waits = matches!(now, Progress::Queued);
        match now {
            Progress::Queued => {
                let new = app.jobs.place(job).map(Queued::from);
                if let Some(queued) = &new
                    && new != place
                {
                    events.tell(Status::Queued.as_str(), queued).await?;
                    place = new;
                }
            }
            Progress::Running { step: new, steps } => {
                if step.replace(new) != Some(new) {
                    let eta_s = app.jobs.remaining_s(job).map(rounded);
                    events.tell(Status::Running.as_str(), Running { step: new, steps, eta_s }).await?;
                }
            }
            Progress::Done(_) | Progress::Failed(_) | Progress::Cancelled => return Ok(()),
        }
        let latest = job.preview().filter(|_| previews);
        if let Some(latest) = latest
            && !preview.as_ref().is_some_and(|last| Arc::ptr_eq(last, &latest))
        {
            events.tell("preview", Shown::from(&*latest)).await?;
            preview = Some(latest);
        }
        tokio::select! {
            // Neither can fail: the job and the line hold the other ends.
            _ = progress.changed() => {}
            _ = moves.changed(), if waits => {}
        }
    }
}

/// Tells how the job ended: with all that there is to say about it.
async fn end(app: &App, actor: &Actor, headers: &HeaderMap, id: &str, events: &mut Events) -> Result<()> {
    let job = present(app, actor, headers, id).await?;
    events.tell(job.status().as_str(), &job).await
}

impl From<Place> for Queued {
    fn from(place: Place) -> Self {
        Self { position: place.ahead, eta_s: place.eta_s.map(rounded) }
    }
}

impl From<&Preview> for Shown {
    fn from(preview: &Preview) -> Self {
        Self {
            step: preview.step,
            image: preview.place,
            b64_json: BASE64_STANDARD.encode(&preview.png),
            output_format: "png",
        }
    }
}
