// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The life of a job: accepted, begun, ended, and taken up again after a restart of the daemon.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use futures::FutureExt;
use rusqlite::Connection;
use tracing::{debug, error, info, warn};

use super::job::New;
use super::promise::Promise;
use super::store::{self, Record, State};
use super::stored::Stored;
use super::{Attendance, Caller, Job, Progress, Wish};
use crate::app::App;
use crate::auth::{Actor, token};
use crate::clock::Timestamp;
use crate::draft::{Draft, EnlargementWish};
use crate::engine::errands;
use crate::error::{Error, Result};
use crate::gallery::Kept;
use crate::generate::{self, Outcome};
use crate::metrics::Ended;
use crate::pictures;
use crate::task::Task;

/// How often the daemon may die of a job alone before the job is given up: a power cut may hit
/// one by chance.
const STRIKES: u32 = 3;

/// Accepts what a draft asks for: when this returns, the job is on the disk and in line. A repetition joins the job that
/// it repeats before its pictures are looked at, and a line that is full costs no look at them either.
///
/// # Errors
/// Those of [`Draft::settle`]; [`Error::Busy`] and [`Error::TooManyJobs`] at once when the line is full; LoRAs that do
/// not suit the model; whatever the disk says.
pub async fn ask(app: &App, actor: &Actor, draft: Draft, max_count: u32, wish: Wish) -> Result<Attendance> {
    if let Some(job) = repeated(app, &wish) {
        return Ok(job);
    }
    // Kept while they are read: a line that is full costs no look at a picture, and whoever has waited for that is not
    // refused afterwards.
    let promise = if draft.has_pictures() { Some(promise(app, actor)?) } else { None };
    let wish = Wish { publicity: draft.privacy.settle(&app.config.storage)?, ..wish };
    let request = draft.settle(app, max_count).await?;
    submit(app, actor, request.into(), wish, promise).await
}

/// As [`ask`], for a picture that is to be made larger.
///
/// # Errors
/// Those of [`EnlargementWish::settle`], and as [`ask`].
pub async fn ask_to_enlarge(
    app: &App,
    actor: &Actor,
    asked: EnlargementWish,
    wish: Wish,
) -> Result<Attendance> {
    if let Some(job) = repeated(app, &wish) {
        return Ok(job);
    }
    let promise = promise(app, actor)?;
    let wish = Wish { publicity: asked.privacy.settle(&app.config.storage)?, ..wish };
    let enlargement = asked.settle(app).await?;
    submit(app, actor, enlargement.into(), wish, Some(promise)).await
}

/// A place in line for a job of `actor`.
fn promise(app: &App, actor: &Actor) -> Result<Promise> {
    app.jobs.admit(&Caller::of(actor)).inspect_err(|_| app.metrics.refused())
}

/// The job that the request of this wish repeats.
fn repeated(app: &App, wish: &Wish) -> Option<Attendance> {
    let fingerprint = wish.fingerprint.filter(|_| wish.repeats)?;
    app.jobs.repeated(&fingerprint).map(|job| Attendance::new(app, job, wish.leave))
}

/// Accepts a task in the place that was promised for it, or in one that is asked for now.
async fn submit(
    app: &App,
    actor: &Actor,
    task: Task,
    wish: Wish,
    promised: Option<Promise>,
) -> Result<Attendance> {
    if let Some(job) = repeated(app, &wish) {
        return Ok(job);
    }
    let (caller, account) = (Caller::of(actor), actor.account());
    if let Some(account) = account {
        let shared = app.clone();
        let has_room =
            move |connection: &Connection| pictures::refuse_over_quota(connection, &shared.config, account);
        app.database.read(has_room).await?;
    }
    let promise = promised.map_or_else(|| promise(app, actor), Ok)?;
    let accepted = accept(app.clone(), promise, caller, account, task, wish);
    // In a task of its own: also when its client goes away meanwhile, the job is either nowhere or in line.
    tokio::spawn(accepted).await.map_err(|error| Error::Internal(error.into()))?
}

async fn accept(
    app: App,
    promise: Promise,
    caller: Caller,
    account: Option<i64>,
    task: Task,
    wish: Wish,
) -> Result<Attendance> {
    // After the promise of a place: a line that is full costs no look into files.
    let task = task.checked().await?;
    let id = HEXLOWER.encode(&token::random::<16>()?);
    let now = app.clock.now();
    app.jobs.announce(&id);
    // Before the row is there: whatever happens meanwhile, no row is without its file.
    task.keep_pictures(true);
    let written = write_down(&app, &caller, account, &task, &wish, &id, now).await;
    let (number, planned) = written.inspect_err(|_| {
        task.keep_pictures(false);
        app.jobs.renounce(&id);
    })?;
    let job = Job::from(New {
        id,
        number,
        caller,
        account,
        task,
        planned,
        made: Vec::new(),
        apart: false,
        accepted_at: now,
        partials_wanted: wish.partials,
        kept_going: false,
    });
    let job = app.jobs.enter(job, wish.fingerprint, Some(promise));
    // Who deletes a model takes it off the list and then looks for jobs that need it: one of the two sees the other.
    if let Err(gone) = job.task.still_stands(&app.models) {
        cancel(&app, &job);
        return Err(gone);
    }
    let attendance = Attendance::new(&app, job, wish.leave);
    advance(&app);
    Ok(attendance)
}

async fn write_down(
    app: &App,
    caller: &Caller,
    account: Option<i64>,
    task: &Task,
    wish: &Wish,
    id: &str,
    now: Timestamp,
) -> Result<(i64, Vec<Kept>)> {
    let planned = (0..task.count()).map(|_| Kept::random()).collect::<Result<Vec<_>>>()?;
    let new = store::New {
        id: id.to_owned(),
        account,
        caller: caller.clone(),
        task: Stored::of(task),
        planned: planned.clone(),
        fingerprint: wish.fingerprint,
        publicity: wish.publicity,
        now,
    };
    let number = app.database.write(move |transaction| store::insert(transaction, &new)).await?;
    Ok((number, planned))
}

/// Ends a job that is not over: at once if it waits, else between two steps.
pub fn cancel(app: &App, job: &Arc<Job>) {
    if !app.jobs.withdraw(job) {
        return job.cancel();
    }
    let (app, job) = (app.clone(), Arc::clone(job));
    tokio::spawn(async move {
        let end = end(&app, &job, Err(Error::Cancelled)).await;
        close(&app, &job, Duration::ZERO, end);
    });
}

/// Begins every job that may begin.
fn advance(app: &App) {
    while let Some(job) = app.jobs.begin() {
        errands::spawn(run(app.clone(), job));
    }
}

/// Runs a job to its end, and lets the next ones begin.
async fn run(app: App, job: Arc<Job>) {
    let began = *job.began.get_or_init(Instant::now);
    app.metrics.waited(began - job.entered);
    let number = job.number;
    app.database.post(move |transaction| store::begin(transaction, number));
    job.progress.send_replace(Progress::Running { step: 0, steps: job.steps() });
    let work = AssertUnwindSafe(generate::run(&app, &job)).catch_unwind();
    let result = tokio::select! {
        result = work => result.unwrap_or_else(|_| Err(Error::Internal(anyhow::anyhow!("a job panicked")))),
        () = job.is_cancelled() => Err(Error::Cancelled),
        // On the disk it stays as it is, and the daemon's next life takes it up.
        () = app.jobs.are_stopped() => return,
    };
    let end = end(&app, &job, result).await;
    close(&app, &job, began.elapsed(), end);
    advance(&app);
}

/// Tells everybody that a job has ended.
fn close(app: &App, job: &Job, took: Duration, end: Progress) {
    let (how, pictures) = match &end {
        Progress::Done(outcome) => (Ended::Done, outcome.kept.len() as u64),
        Progress::Cancelled => (Ended::Cancelled, 0),
        _ => (Ended::Failed, 0),
    };
    app.metrics.ended(how, took, pictures);
    app.jobs.leave(job);
    job.close(end);
}

/// Writes down how a job ended. One that is done was written down with its last picture, also if it was to end
/// otherwise just then.
async fn end(app: &App, job: &Job, result: Result<Outcome>) -> Progress {
    let progress = match result {
        Ok(outcome) => {
            tell_done(job, &outcome);
            app.inputs.remove(&job.task.pictures()).await;
            return Progress::Done(Arc::new(outcome));
        }
        Err(Error::Cancelled) => {
            info!(job.id = %job.id, "Job `{}` was cancelled", job.id);
            Progress::Cancelled
        }
        Err(cause) => {
            cause.log_of_job(&job.id);
            Progress::Failed(Arc::new(cause))
        }
    };
    let (number, now) = (job.number, app.clock.now());
    let (state, error) = match &progress {
        Progress::Failed(cause) => (State::Failed, Some((cause.code(), cause.to_string()))),
        _ => (State::Cancelled, None),
    };
    let written = app
        .database
        .write(move |transaction| {
            let error = error.as_ref().map(|(code, message)| (*code, message.as_str()));
            store::end(transaction, number, state, error, now)
        })
        .await;
    if written.is_ok() {
        app.inputs.remove(&job.task.pictures()).await;
    }
    match written {
        Ok(true) => progress,
        Ok(false) => {
            let began = job.began.get();
            let took_s = began.map_or(0.0, |began| began.elapsed().as_secs_f64());
            Progress::Done(Arc::new(Outcome { kept: job.planned.clone(), took_s }))
        }
        Err(cause) => {
            error!(
                job.id = %job.id,
                "The end of job `{}` is not on the disk; it runs again after a restart: {}", job.id, cause.cause(),
            );
            progress
        }
    }
}

/// Says in the log what a job has made.
fn tell_done(job: &Job, Outcome { kept, took_s }: &Outcome) {
    match &job.task {
        Task::Paint(request) => {
            let parameters = &request.parameters;
            info!(
                job.id = %job.id, model = %request.model.id, steps = parameters.steps,
                scheduler = %parameters.scheduler, width = parameters.rendered_width,
                height = parameters.rendered_height, took_s,
                "Pictures made by job `{}` with `{}`: {}", job.id, request.model.id, kept.len(),
            );
        }
        Task::Enlarge(enlargement) => info!(
            job.id = %job.id, upscaler = %enlargement.means(), width = enlargement.width,
            height = enlargement.height, took_s,
            "A picture was made larger by job `{}` with `{}`", job.id, enlargement.means(),
        ),
    }
}

/// Takes up the jobs of the daemon's earlier life, and removes what is left of pictures that will never be.
///
/// # Errors
/// When database or disk fail.
pub async fn recover(app: &App) -> Result<()> {
    let keep = i64::from(app.config.limits.retry_keep_seconds);
    let since = app.clock.now().saturating_sub(keep);
    let (done, jobs) = app
        .database
        .read(move |connection| Ok((store::repeatable(connection, since)?, store::unfinished(connection)?)))
        .await?;
    let begun: Vec<_> = jobs.iter().filter(|job| job.begun).map(|job| job.number).collect();
    // Whoever ran alone when the daemon died is suspect of it; of several nobody knows, so they run apart now.
    let alone = if let [alone] = begun[..] { Some(alone) } else { None };
    app.database
        .write(move |transaction| {
            alone.map_or(Ok(()), |alone| store::strike(transaction, alone))?;
            store::none_runs(transaction)
        })
        .await?;
    let count = jobs.len();
    for mut record in jobs {
        record.strikes += u32::from(alone == Some(record.number));
        if let Err(cause) = take_up(app, record).await {
            error!("A job of the daemon's earlier life could not be taken up: {}", cause.cause());
        }
    }
    // Also of those that could not be taken up.
    let left_over = app.database.read(|connection| store::left_over(connection, Timestamp::MAX)).await?;
    let gallery = app.gallery.clone();
    let removed = tokio::task::spawn_blocking(move || gallery.remove_remains(&left_over)).await;
    removed.map_err(anyhow::Error::from)??;
    let needed = app.database.read(store::inputs).await?;
    let inputs = app.inputs.clone();
    let removed = tokio::task::spawn_blocking(move || inputs.remove_remains(&needed)).await;
    removed.map_err(anyhow::Error::from)??;
    app.database.write(|transaction| store::forget_left_over(transaction, Timestamp::MAX)).await?;
    for record in done {
        // One that cannot be understood any more is made anew if it is asked for again.
        if let Err(cause) = remember(app, record).await {
            debug!("A finished job cannot be found by its request: {}", cause.cause());
        }
    }
    if count > 0 {
        info!(count, "Jobs taken up again from the daemon's earlier life: {count}");
    }
    advance(app);
    Ok(())
}

/// Puts one job into the line again, or fails it with the reason why not.
async fn take_up(app: &App, record: Record) -> Result<()> {
    let (number, id) = (record.number, record.id.clone());
    let fingerprint = record.fingerprint;
    let again = again(app, record).await;
    match again.and_then(|job| app.inputs.still_there(&job.task.pictures()).map(|()| job)) {
        Ok(job) => {
            app.jobs.enter(job, fingerprint, None);
            Ok(())
        }
        // What is wrong with the daemon or its disk may be well after the next start.
        Err(cause @ Error::Internal(_)) => Err(cause),
        Err(cause) => {
            warn!(job.id = %id, "Job `{id}` cannot be taken up again: {cause}");
            let (code, message, now) = (cause.code(), cause.to_string(), app.clock.now());
            app.database
                .write(move |transaction| {
                    store::end(transaction, number, State::Failed, Some((code, &message)), now).map(drop)
                })
                .await
        }
    }
}

/// Lets a client that asks again for a job which was done find it.
async fn remember(app: &App, record: Record) -> Result<()> {
    let fingerprint = record.fingerprint;
    let took_s = record.took_ms.unwrap_or(0) as f64 / 1000.0;
    let job = again(app, record).await?;
    job.close(Progress::Done(Arc::new(Outcome { kept: job.planned.clone(), took_s })));
    app.jobs.remember(job, fingerprint);
    Ok(())
}

async fn again(app: &App, record: Record) -> Result<Job> {
    if record.strikes >= STRIKES {
        return Err(Error::Interrupted { strikes: record.strikes });
    }
    let stored: Stored = serde_json::from_str(&record.request).map_err(anyhow::Error::from)?;
    let task = stored.restore(&app.models)?;
    let number = record.number;
    let (kept, planned) = app
        .database
        .read(move |connection| {
            Ok((store::pictures(connection, number)?, store::planned(connection, number)?))
        })
        .await?;
    let made = kept.iter().map(|(place, _)| *place).collect();
    let mut all = [kept, planned].concat();
    all.sort_unstable_by_key(|(place, _)| *place);
    if all.len() != task.count() as usize {
        return Err(Error::Internal(anyhow::anyhow!("the names of the job's pictures are not complete")));
    }
    Ok(Job::from(New {
        id: record.id,
        number,
        caller: record.caller.parse()?,
        account: record.account,
        task,
        planned: all.into_iter().map(|(_, kept)| kept).collect(),
        made,
        apart: record.begun,
        accepted_at: record.accepted_at,
        partials_wanted: 0,
        kept_going: true,
    }))
}

impl Job {
    /// What is written down with a picture that is kept now.
    pub(crate) fn finish(&self, now: Timestamp) -> store::Finish {
        let took = self.began.get().map_or(0, |began| began.elapsed().as_millis());
        store::Finish { now, took_ms: i64::try_from(took).unwrap_or(i64::MAX) }
    }
}
