// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/v1/jobs`: what became of requests for pictures. Every answer to such a request names its job in the header
//! `x-alice-job`.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::Id;
use crate::app::App;
use crate::auth::Actor;
use crate::draft::whole;
use crate::error::{Error, OpenAi, Result};
use crate::jobs::store::{self, Record, Whose};
use crate::jobs::{self, Caller};

pub mod events;
mod object;

use object::{JobObject, Live};

/// Jobs of a list whose query names no number, and the most it may name.
const DEFAULT_LIMIT: u32 = 20;
const MAX_LIMIT: u32 = 100;
/// How long a cancelled job is waited for, which ends at once unless the disk is slow.
const ENDING: Duration = Duration::from_secs(5);

/// Which jobs to list.
#[derive(Debug, Deserialize)]
pub struct ListQuery {
    limit: Option<i64>,
    /// The id of a job: only those that were accepted before it.
    before: Option<String>,
    /// Everybody's.
    #[serde(default)]
    all: bool,
}

/// A list of jobs.
#[derive(Debug, Serialize)]
pub struct JobList {
    object: &'static str,
    data: Vec<JobObject>,
    has_more: bool,
}

/// The caller's jobs or, for administrators who ask for it, everybody's; the newest first.
pub async fn list(
    State(app): State<App>,
    actor: Actor,
    headers: HeaderMap,
    query: std::result::Result<Query<ListQuery>, QueryRejection>,
) -> std::result::Result<Json<JobList>, OpenAi> {
    let Query(query) = query.map_err(|rejection| Error::Malformed(rejection.body_text()))?;
    let limit = whole("limit", query.limit, 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let whose = match (query.all, actor.is_admin()) {
        (false, _) => Whose::Of(Caller::of(&actor)),
        (true, true) => Whose::All,
        (true, false) => return Err(Error::Forbidden("this needs an administrator").into()),
    };
    let before = match &query.before {
        None => None,
        Some(id) => Some(find(&app, &actor, id).await.map_err(no_such_before)?.number),
    };
    let live: Vec<_> = app.jobs.present().iter().map(Live::of).collect();
    // One more tells whether there are any further ones.
    let list = app.database.read(move |connection| store::list(connection, &whose, before, limit + 1));
    let mut records = list.await?;
    let has_more = records.len() > limit as usize;
    records.truncate(limit as usize);
    let jobs = object::of(&app, &actor, &headers, records, &live).await?;
    let data = jobs.into_iter().map(JobObject::in_list).collect();
    Ok(Json(JobList { object: "list", data, has_more }))
}

/// One job. 404 when it is not there, or somebody else's.
pub async fn show(
    State(app): State<App>,
    actor: Actor,
    headers: HeaderMap,
    Id(id): Id,
) -> std::result::Result<Json<JobObject>, OpenAi> {
    Ok(Json(present(&app, &actor, &headers, &id).await?))
}

/// Cancels a job: one that waits at once, one that runs between two steps. One that is over stays as it is.
pub async fn cancel(
    State(app): State<App>,
    actor: Actor,
    headers: HeaderMap,
    Id(id): Id,
) -> std::result::Result<Json<JobObject>, OpenAi> {
    find(&app, &actor, &id).await?;
    if let Some(job) = app.jobs.arrived(&id).await
        && !job.progress().is_end()
    {
        jobs::cancel(&app, &job);
        // How it ended is in the answer; one that takes its time is said to run still.
        drop(timeout(ENDING, job.outcome()).await);
    }
    Ok(Json(present(&app, &actor, &headers, &id).await?))
}

/// The job `id` as it stands.
async fn present(app: &App, actor: &Actor, headers: &HeaderMap, id: &str) -> Result<JobObject> {
    // Before the database is asked: what this says about an end is written down there by then.
    let live: Vec<_> = app.jobs.get(id).iter().map(Live::of).collect();
    let record = find(app, actor, id).await?;
    let mut objects = object::of(app, actor, headers, vec![record], &live).await?;
    objects.pop().ok_or(Error::NotFound)
}

/// The job `id` on disk.
///
/// # Errors
/// [`Error::NotFound`] for one that `actor` may not see, as if it were not there.
async fn find(app: &App, actor: &Actor, id: &str) -> Result<Record> {
    let id = id.to_owned();
    let record = app.database.read(move |connection| store::find(connection, &id)).await?;
    let record = record.ok_or(Error::NotFound)?;
    jobs::permit(actor, record.account)?;
    Ok(record)
}

fn no_such_before(error: Error) -> Error {
    match error {
        Error::NotFound => Error::invalid("before", "must be the id of a job"),
        other => other,
    }
}
