// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! One job while it is in memory: what it is to do, how far it has come, and who waits for it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, watch};

use super::Caller;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gallery::Kept;
use crate::generate::Outcome;
use crate::task::Task;

/// A job from its acceptance until some time after its end.
#[derive(Debug)]
pub struct Job {
    /// 32 hexadecimal digits that cannot be guessed.
    pub id: String,
    /// The order of acceptance.
    pub number: i64,
    /// Whose turn it takes.
    pub caller: Caller,
    /// The account whose pictures these are.
    pub account: Option<i64>,
    /// What to do.
    pub task: Task,
    /// The names of its pictures, by their places.
    pub planned: Vec<Kept>,
    /// The places of those that an earlier life of the daemon has kept.
    pub made: Vec<u32>,
    /// It runs with no other beside it: the daemon died while it and others ran.
    pub(super) apart: bool,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it was accepted or, after a restart of the daemon, taken up again.
    pub entered: Instant,
    /// How many partial pictures of each picture its client wants to see.
    pub partials_wanted: u32,
    /// When it began.
    pub(super) began: OnceLock<Instant>,
    pub(super) progress: watch::Sender<Progress>,
    /// Who waits for the end alone is not woken with every step.
    ended: watch::Sender<bool>,
    /// Steps done, of all pictures together.
    steps_done: AtomicU32,
    partials: Mutex<Vec<Partial>>,
    /// The places of the pictures that are kept, in the order in which they came.
    kept: Mutex<Vec<u32>>,
    preview: Mutex<Option<Arc<Preview>>>,
    /// How many look on and would like to see unfinished pictures.
    lookers: AtomicUsize,
    cancelled: AtomicBool,
    cancel: Notify,
    pub(super) waiters: AtomicUsize,
    /// How often somebody has ceased to wait.
    pub(super) departures: AtomicUsize,
    /// It goes on although nobody waits for it.
    pub(super) kept_going: AtomicBool,
}

/// How far a job has come.
#[derive(Clone, Debug)]
pub enum Progress {
    /// It waits for its turn.
    Queued,
    /// It is being worked on.
    Running {
        /// Steps done, of all its pictures together.
        step: u32,
        /// Steps in all.
        steps: u32,
    },
    /// Its pictures are kept.
    Done(Arc<Outcome>),
    /// It ended without all of its pictures.
    Failed(Arc<Error>),
    /// Somebody did not want it any more.
    Cancelled,
}

impl Progress {
    /// Whether nothing will come after this.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Failed(_) | Self::Cancelled)
    }
}

/// An unfinished picture that the job's client asked for.
#[derive(Clone, Debug)]
pub struct Partial {
    /// Which of the job's pictures, from 0.
    pub place: u32,
    /// Which of this picture's partial ones, from 0.
    pub index: u32,
    /// The file, of the size of the finished picture.
    pub png: Arc<[u8]>,
}

/// A small unfinished picture for whoever looks on.
#[derive(Debug)]
pub struct Preview {
    /// Which of the job's pictures, from 0.
    pub place: u32,
    /// After which of the picture's steps.
    pub step: u32,
    /// The file.
    pub png: Vec<u8>,
}

/// What a job is, before anything has happened to it.
#[derive(Debug)]
pub(super) struct New {
    pub(super) id: String,
    pub(super) number: i64,
    pub(super) caller: Caller,
    pub(super) account: Option<i64>,
    pub(super) task: Task,
    pub(super) planned: Vec<Kept>,
    pub(super) made: Vec<u32>,
    pub(super) apart: bool,
    pub(super) accepted_at: Timestamp,
    pub(super) partials_wanted: u32,
    pub(super) kept_going: bool,
}

impl From<New> for Job {
    fn from(new: New) -> Self {
        let made = u32::try_from(new.made.len()).unwrap_or(u32::MAX);
        let kept = Mutex::new(new.made.clone());
        let steps_done = made.saturating_mul(new.task.steps());
        Self {
            id: new.id,
            number: new.number,
            caller: new.caller,
            account: new.account,
            task: new.task,
            planned: new.planned,
            made: new.made,
            apart: new.apart,
            accepted_at: new.accepted_at,
            entered: Instant::now(),
            partials_wanted: new.partials_wanted,
            began: OnceLock::new(),
            progress: watch::Sender::new(Progress::Queued),
            ended: watch::Sender::new(false),
            steps_done: AtomicU32::new(steps_done),
            partials: Mutex::default(),
            kept,
            preview: Mutex::default(),
            lookers: AtomicUsize::new(0),
            cancelled: AtomicBool::new(false),
            cancel: Notify::new(),
            waiters: AtomicUsize::new(0),
            departures: AtomicUsize::new(0),
            kept_going: AtomicBool::new(new.kept_going),
        }
    }
}

impl Job {
    /// How far it has come, now and whenever that changes.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Why it failed; [`Error::Cancelled`].
    pub async fn outcome(&self) -> Result<Arc<Outcome>> {
        let gone = |_| Error::Internal(anyhow::anyhow!("a job went away without an end"));
        self.ended.subscribe().wait_for(|ended| *ended).await.map_err(gone)?;
        match self.progress() {
            Progress::Done(outcome) => Ok(outcome),
            Progress::Failed(error) => Err(Error::Job(error)),
            _ => Err(Error::Cancelled),
        }
    }

    /// It is over, and so it ended.
    pub(super) fn close(&self, end: Progress) {
        self.progress.send_replace(end);
        self.ended.send_replace(true);
    }

    /// Steps of all its pictures together.
    pub fn steps(&self) -> u32 {
        self.task.steps().saturating_mul(self.task.count())
    }

    /// Steps that are done.
    pub fn steps_done(&self) -> u32 {
        self.steps_done.load(Ordering::Relaxed)
    }

    /// One more step is done.
    pub(crate) fn stepped(&self) {
        let step = self.steps_done.fetch_add(1, Ordering::Relaxed) + 1;
        let running = Progress::Running { step, steps: self.steps() };
        self.progress.send_if_modified(|progress| {
            let goes_on = !progress.is_end();
            if goes_on {
                *progress = running;
            }
            goes_on
        });
    }

    /// The partial pictures so far, from number `from` on, in the order in which they came.
    pub fn partials(&self, from: usize) -> Vec<Partial> {
        lock(&self.partials).get(from..).unwrap_or_default().to_vec()
    }

    pub(crate) fn add_partial(&self, partial: Partial) {
        lock(&self.partials).push(partial);
        self.progress.send_modify(|_| {});
    }

    /// The places of the pictures that are kept so far, from number `from` on, in the order in which they came.
    pub fn kept(&self, from: usize) -> Vec<u32> {
        lock(&self.kept).get(from..).unwrap_or_default().to_vec()
    }

    pub(crate) fn add_kept(&self, place: u32) {
        lock(&self.kept).push(place);
        self.progress.send_modify(|_| {});
    }

    /// Nobody is left who would want them.
    pub(super) fn forget_partials(&self) {
        lock(&self.partials).clear();
    }

    /// Whether it is to end.
    pub(super) fn is_given_up(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// The latest preview, if anybody looked on.
    pub fn preview(&self) -> Option<Arc<Preview>> {
        lock(&self.preview).clone()
    }

    pub(crate) fn show_preview(&self, preview: Preview) {
        *lock(&self.preview) = Some(Arc::new(preview));
        self.progress.send_modify(|_| {});
    }

    /// Whether anybody would look at a preview.
    pub(crate) fn is_looked_at(&self) -> bool {
        self.lookers.load(Ordering::Relaxed) > 0
    }

    /// Looks on: while the answer lives, previews are made.
    pub fn look(self: &Arc<Self>) -> Look {
        self.lookers.fetch_add(1, Ordering::Relaxed);
        Look(Arc::clone(self))
    }

    /// Ends the job between two steps. One that has ended stays as it is.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        // One permit is kept for a runner that does not wait yet.
        self.cancel.notify_one();
    }

    /// Resolves when the job is to end.
    pub(super) async fn is_cancelled(&self) {
        while !self.cancelled.load(Ordering::Relaxed) {
            self.cancel.notified().await;
        }
    }
}

/// Somebody looks on.
#[derive(Debug)]
pub struct Look(Arc<Job>);

impl Drop for Look {
    fn drop(&mut self) {
        self.0.lookers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The locks guard plain values: they are whole even if another holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
