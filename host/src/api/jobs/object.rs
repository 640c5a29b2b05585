// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A job as clients see it: what is on disk about it and, while it is not over, how far it has come.

use std::sync::Arc;

use axum::http::HeaderMap;
use serde::Serialize;

use crate::adapters::Unmatched;
use crate::api::files;
use crate::app::App;
use crate::auth::Actor;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::jobs::store::{self, Record, State};
use crate::jobs::stored::Stored;
use crate::jobs::{Job, Progress};

/// A job.
#[derive(Debug, Serialize)]
pub struct JobObject {
    id: String,
    object: &'static str,
    status: Status,
    /// Seconds since 1970.
    created_at: Timestamp,
    /// `paint` or `upscale`.
    task: &'static str,
    /// The id of the model, or of the upscaler (`lanczos` without one).
    model: String,
    /// Of a picture that was sent to be made larger none is known.
    prompt: String,
    num_images: u32,
    /// How many jobs begin before it, while it waits.
    position: Option<usize>,
    /// Seconds until it is done, as far as that can be told.
    eta_s: Option<f64>,
    /// Steps done, of all its pictures together.
    step: u32,
    /// Steps in all.
    steps: u32,
    /// Those that are kept.
    images: Vec<Image>,
    error: Option<Failure>,
    /// What the client should know of its request.
    warnings: Vec<String>,
    /// The parts of its LoRAs that do not suit the model. Not in lists, which it would make long.
    #[serde(skip_serializing_if = "Option::is_none")]
    unmatched: Option<Unmatched>,
    /// Seconds from its beginning to its last picture.
    took_s: Option<f64>,
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Queued,
    Running,
    Done,
    Failed,
    Cancelled,
}

#[derive(Debug, Serialize)]
struct Image {
    url: String,
    /// Of a picture that is painted.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Failure {
    message: String,
    code: String,
}

/// A job in memory, and how far it had come when it was looked at.
#[derive(Debug)]
pub(super) struct Live {
    job: Arc<Job>,
    progress: Progress,
}

impl Live {
    /// How `job` stands now.
    pub(super) fn of(job: &Arc<Job>) -> Self {
        Self { job: Arc::clone(job), progress: job.progress() }
    }

    fn status(&self) -> Status {
        match self.progress {
            Progress::Queued => Status::Queued,
            Progress::Running { .. } => Status::Running,
            Progress::Done(_) => Status::Done,
            Progress::Failed(_) => Status::Failed,
            Progress::Cancelled => Status::Cancelled,
        }
    }

    fn failure(&self) -> Option<Failure> {
        match &self.progress {
            Progress::Failed(cause) => {
                Some(Failure { message: cause.to_string(), code: cause.code().to_owned() })
            }
            _ => None,
        }
    }
}

impl Status {
    /// The word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl JobObject {
    /// How it stands.
    pub(super) fn status(&self) -> Status {
        self.status
    }

    /// The same as an entry of a list.
    pub(super) fn in_list(self) -> Self {
        Self { unmatched: None, ..self }
    }
}

/// The jobs of `records`. `live`, of those in memory, was looked at before the records were read: what it says
/// about an end is written down by then.
///
/// # Errors
/// When the database fails.
pub(super) async fn of(
    app: &App,
    actor: &Actor,
    headers: &HeaderMap,
    records: Vec<Record>,
    live: &[Live],
) -> Result<Vec<JobObject>> {
    let numbers: Vec<_> = records.iter().map(|record| record.number).collect();
    let read = app.database.read(move |connection| {
        numbers.into_iter().map(|number| store::pictures(connection, number)).collect::<Result<Vec<_>>>()
    });
    let pictures = read.await?;
    let kept = pictures.iter().flatten().map(|(_, kept)| kept);
    let mut urls = files::urls(app, actor, headers, kept).await?.into_iter();
    let objects = records.into_iter().zip(&pictures).map(|(record, pictures)| {
        let places = pictures.iter().map(|(place, _)| *place);
        let images = places.zip(urls.by_ref()).collect();
        let live = live.iter().find(|live| live.job.number == record.number);
        object(app, record, images, live)
    });
    objects.collect()
}

/// The job of `record` with the places and addresses of its pictures.
fn object(app: &App, record: Record, pictures: Vec<(u32, String)>, live: Option<&Live>) -> Result<JobObject> {
    let stored: Stored = serde_json::from_str(&record.request).map_err(anyhow::Error::from)?;
    let count = stored.count();
    let status = match record.state {
        State::Accepted => live.map_or(Status::Queued, Live::status),
        State::Done => Status::Done,
        State::Failed => Status::Failed,
        State::Cancelled => Status::Cancelled,
    };
    let place = live.filter(|_| status == Status::Queued).and_then(|live| app.jobs.place(&live.job));
    let eta_s = match live {
        Some(live) if status == Status::Running => app.jobs.remaining_s(&live.job),
        _ => place.and_then(|place| place.eta_s),
    };
    let steps_taken = stored.steps();
    let steps = steps_taken.saturating_mul(count);
    let kept = steps_taken.saturating_mul(u32::try_from(pictures.len()).unwrap_or(u32::MAX));
    let (warnings, unmatched) = match stored.painting() {
        Some(painting) => (painting.warnings.clone(), painting.unmatched.clone()),
        None => (Vec::new(), Unmatched::new()),
    };
    let image = |(place, url)| Image { url, seed: stored.seed(place) };
    let written = record.error.map(|(code, message)| Failure { message, code });
    Ok(JobObject {
        id: record.id,
        object: "job",
        status,
        created_at: record.accepted_at,
        task: match stored {
            Stored::Paint(_) => "paint",
            Stored::Enlarge { .. } => "upscale",
        },
        model: stored.means().to_owned(),
        prompt: stored.painted().map(|(_, parameters)| parameters.prompt.clone()).unwrap_or_default(),
        num_images: count,
        position: place.map(|place| place.ahead),
        eta_s: eta_s.map(rounded),
        // Of a job that is no longer in memory, only the steps of its kept pictures are known.
        step: live.map_or(kept, |live| live.job.steps_done().max(kept)),
        steps: live.map_or(steps, |live| live.job.steps()),
        images: pictures.into_iter().map(image).collect(),
        error: written.or_else(|| live.and_then(Live::failure)),
        warnings,
        unmatched: Some(unmatched),
        took_s: record.took_ms.filter(|_| status == Status::Done).map(|took| took as f64 / 1000.0),
    })
}

/// Seconds with one digit: nobody can tell more about the future.
pub(super) fn rounded(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}
