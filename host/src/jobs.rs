// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Jobs: every request for pictures becomes one. A job is on the disk before its client hears that it was
//! accepted, waits in a bounded line, runs, and is finished or honestly failed, also across the daemon's death.
//!
//! Here are those that run, wait, or ended a short while ago; older ones are in the database only
//! (`jobs/store.rs`). `jobs/run.rs` moves them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::auth::Actor;
use crate::config::Config;
use crate::error::{Error, Result};

mod attend;
mod caller;
mod job;
mod line;
mod pace;
mod promise;
mod run;
pub mod store;
pub mod stored;
pub mod throughput;

pub use attend::{Attendance, Leave, Wish};
pub use caller::Caller;
pub use job::{Job, Look, Partial, Preview, Progress};
pub use run::{ask, ask_to_enlarge, cancel, recover};

use line::{Bounds, Full, Line};
use pace::{Pace, step_work};
use promise::Promise;

/// The longest time after which a client is told to come back, in seconds.
const LONGEST_RETRY_S: u64 = 300;
/// Seconds that a job takes, as long as nothing was measured.
const UNMEASURED_S: f64 = 1.0;

/// What marks two requests as the same: a hash of who asked, where, and for what.
pub type Fingerprint = [u8; 32];

/// The jobs in memory.
#[derive(Debug)]
pub struct Jobs {
    inner: Arc<Mutex<Inner>>,
    /// Changes whenever somebody's place in line may have, or what can be told of it.
    moved: watch::Sender<()>,
    keep: Duration,
    /// The daemon ends: clients do not leave, they are sent away, and jobs stop where they are.
    ending: watch::Sender<bool>,
}

#[derive(Debug)]
struct Inner {
    line: Line,
    jobs: HashMap<i64, Arc<Job>>,
    numbers: HashMap<String, i64>,
    /// The ids of jobs that are being written down: they may be found on the disk before they are in line.
    coming: HashSet<String>,
    repeatable: HashMap<Fingerprint, i64>,
    ended: Vec<(Instant, i64)>,
    pace: Pace,
}

/// Where a waiting job stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// How many jobs begin before it.
    pub ahead: usize,
    /// Seconds until it is done, if that can be told.
    pub eta_s: Option<f64>,
}

impl Jobs {
    /// An empty line.
    pub fn new(config: &Config) -> Self {
        let bounds = Bounds {
            running: config.generation.max_concurrent.jobs(),
            running_per_caller: config.generation.max_concurrent.jobs_of_one_caller(),
            waiting: config.limits.waiting,
            waiting_per_caller: config.limits.waiting_per_caller,
        };
        let inner = Inner {
            line: Line::new(bounds),
            jobs: HashMap::new(),
            numbers: HashMap::new(),
            coming: HashSet::new(),
            repeatable: HashMap::new(),
            ended: Vec::new(),
            pace: Pace::default(),
        };
        let keep = Duration::from_secs(config.limits.retry_keep_seconds.into());
        Self {
            inner: Arc::new(Mutex::new(inner)),
            moved: watch::Sender::new(()),
            keep,
            ending: watch::Sender::new(false),
        }
    }

    /// The daemon ends: no job begins any more, those that run stop where they are, and none is cancelled because
    /// its client is gone. The daemon's next life takes them up.
    pub fn stop(&self) {
        self.ending.send_replace(true);
    }

    fn are_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// Resolves when the daemon ends.
    async fn are_stopped(&self) {
        // The sender lives as long as `self`.
        let mut ending = self.ending.subscribe();
        drop(ending.wait_for(|ending| *ending).await);
    }

    /// The job `id`, if it is in memory.
    pub fn get(&self, id: &str) -> Option<Arc<Job>> {
        let inner = self.lock();
        inner.numbers.get(id).and_then(|number| inner.jobs.get(number)).cloned()
    }

    /// The job `id`, if it is in memory; waits for one that is just being written down.
    pub async fn arrived(&self, id: &str) -> Option<Arc<Job>> {
        let mut moves = self.moves();
        while self.lock().coming.contains(id) {
            // The sender lives as long as `self`.
            drop(moves.changed().await);
        }
        self.get(id)
    }

    /// A job of this id is being written down.
    fn announce(&self, id: &str) {
        self.lock().coming.insert(id.to_owned());
    }

    /// It could not be written down.
    fn renounce(&self, id: &str) {
        self.lock().coming.remove(id);
        self.moved.send_replace(());
    }

    /// Those that wait or run, the oldest first.
    pub fn present(&self) -> Vec<Arc<Job>> {
        let mut jobs: Vec<_> =
            self.lock().jobs.values().filter(|job| !job.progress().is_end()).cloned().collect();
        jobs.sort_unstable_by_key(|job| job.number);
        jobs
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.lock().line.waiting()
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.lock().line.running()
    }

    /// How many are not over, with those that are just being written down.
    pub fn unfinished(&self) -> usize {
        self.lock().line.present()
    }

    /// Where `job` stands in line; `None` if it does not wait.
    pub fn place(&self, job: &Job) -> Option<Place> {
        let inner = self.lock();
        let ahead = inner.line.ahead(&job.caller, job.number)?;
        let running =
            inner.jobs.values().filter(|other| matches!(other.progress(), Progress::Running { .. }));
        let waiting = ahead.iter().filter_map(|number| inner.jobs.get(number));
        let work: f64 = running.chain(waiting).map(|other| work_left(other)).sum();
        Some(Place { ahead: ahead.len(), eta_s: inner.pace.seconds_for(work + work_left(job)) })
    }

    /// Seconds until a running job is done, if that can be told: all that run share the device.
    pub fn remaining_s(&self, job: &Job) -> Option<f64> {
        let inner = self.lock();
        let own = work_left(job);
        let others = inner.jobs.values().filter(|other| {
            other.number != job.number && matches!(other.progress(), Progress::Running { .. })
        });
        // Each of the others takes no more turns than this one needs.
        let work: f64 = others.map(|other| work_left(other).min(own)).sum();
        inner.pace.seconds_for(own + work)
    }

    /// Resolves whenever somebody's place in line may have changed, or what can be told of it.
    pub fn moves(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    /// The job that an earlier request of this fingerprint has led to, unless it has failed.
    fn repeated(&self, fingerprint: &Fingerprint) -> Option<Arc<Job>> {
        let inner = self.lock();
        let job = inner.repeatable.get(fingerprint).and_then(|number| inner.jobs.get(number))?;
        let over = matches!(job.progress(), Progress::Failed(_) | Progress::Cancelled);
        (!over && !job.is_given_up()).then(|| Arc::clone(job))
    }

    /// A promise of a place for one more job of `caller`.
    fn admit(&self, caller: &Caller) -> Result<Promise> {
        let mut inner = self.lock();
        inner.line.promise(caller).map_err(|full| {
            let retry_after_s = inner.retry_after_s(match full {
                Full::Line => None,
                Full::Caller => Some(caller),
            });
            match full {
                Full::Line => Error::Busy { retry_after_s },
                Full::Caller => Error::TooManyJobs { retry_after_s },
            }
        })?;
        Ok(Promise::of(Arc::clone(&self.inner), caller.clone()))
    }

    /// Puts a job into the line, which from here on may be found. One that was in line before the daemon went down needs
    /// no promise.
    fn enter(&self, job: Job, fingerprint: Option<Fingerprint>, promise: Option<Promise>) -> Arc<Job> {
        let job = Arc::new(job);
        let mut inner = self.lock();
        if let Some(promise) = promise {
            promise.redeem(&mut inner);
        }
        inner.line.enter(&job.caller, job.number);
        if job.apart {
            inner.line.set_apart(job.number);
        }
        inner.know(&job, fingerprint);
        drop(inner);
        self.moved.send_replace(());
        job
    }

    /// Knows of a job that was done in the daemon's earlier life, so that a repetition of its request finds it.
    fn remember(&self, job: Job, fingerprint: Option<Fingerprint>) {
        let mut inner = self.lock();
        inner.ended.push((Instant::now(), job.number));
        inner.know(&Arc::new(job), fingerprint);
    }

    /// The job that begins now, if one may.
    fn begin(&self) -> Option<Arc<Job>> {
        if self.are_ending() {
            return None;
        }
        let mut inner = self.lock();
        if inner.line.running() == 0 {
            inner.pace.begin(Instant::now());
        }
        let number = inner.line.begin()?;
        let job = inner.jobs.get(&number).cloned();
        drop(inner);
        self.moved.send_replace(());
        job
    }

    /// A step of a picture of `job` is done.
    pub(crate) fn stepped(&self, job: &Job) {
        let work = step_work(&job.task);
        let mut inner = self.lock();
        let known = inner.pace.seconds_for(work).is_some();
        inner.pace.add(work, Instant::now());
        let first = !known && inner.pace.seconds_for(work).is_some();
        drop(inner);
        if first {
            // Those that wait can be told a time from here on.
            self.moved.send_replace(());
        }
        job.stepped();
    }

    /// Takes a job out of the line if it waits there.
    fn withdraw(&self, job: &Job) -> bool {
        let mut inner = self.lock();
        let waits = inner.line.waits(&job.caller, job.number);
        if waits {
            inner.line.leave(&job.caller, job.number);
        }
        waits
    }

    /// A job is over: it leaves the line, and memory some time later.
    fn leave(&self, job: &Job) {
        let mut inner = self.lock();
        inner.line.leave(&job.caller, job.number);
        inner.ended.push((Instant::now(), job.number));
        if inner.line.running() == 0 {
            inner.pace.rest();
        }
        drop(inner);
        self.moved.send_replace(());
    }

    /// Forgets the jobs that ended a while ago.
    pub fn tidy(&self) {
        let mut inner = self.lock();
        let Inner { ended, jobs, numbers, repeatable, .. } = &mut *inner;
        ended.retain(|(at, number)| {
            let stays = at.elapsed() < self.keep;
            if !stays && let Some(job) = jobs.remove(number) {
                numbers.remove(&job.id);
                repeatable.retain(|_, other| other != number);
            }
            stays
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while it is held would be a fault of plain arithmetic; the daemon goes on.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// From here on the job may be found.
    fn know(&mut self, job: &Arc<Job>, fingerprint: Option<Fingerprint>) {
        self.coming.remove(&job.id);
        self.numbers.insert(job.id.clone(), job.number);
        self.jobs.insert(job.number, Arc::clone(job));
        if let Some(fingerprint) = fingerprint {
            self.repeatable.insert(fingerprint, job.number);
        }
    }

    /// Seconds until one more job (of `caller`, or of anyone) should find a place: the average of what is
    /// left to do, as one place is free when one of these is done.
    fn retry_after_s(&self, caller: Option<&Caller>) -> u64 {
        let present = self.jobs.values().filter(|job| !job.progress().is_end());
        let (mut work, mut count) = (0.0, 0_u32);
        for job in present {
            work += work_left(job);
            count += u32::from(caller.is_none_or(|caller| job.caller == *caller));
        }
        let seconds = self.pace.seconds_for(work / f64::from(count.max(1))).unwrap_or(UNMEASURED_S);
        (seconds.ceil() as u64).clamp(1, LONGEST_RETRY_S)
    }
}

/// Lets `actor` see and cancel a job of `account`: it is that account's and the administrators'. One that was
/// asked for without an account is for whoever may use the server and knows its id.
///
/// # Errors
/// [`Error::NotFound`] for others, as if it were not there.
pub fn permit(actor: &Actor, account: Option<i64>) -> Result<()> {
    let may = account.is_none() || account == actor.account() || actor.is_admin();
    if may { Ok(()) } else { Err(Error::NotFound) }
}

/// The work that is left of a job.
fn work_left(job: &Job) -> f64 {
    f64::from(job.steps().saturating_sub(job.steps_done())) * step_work(&job.task)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn whoever_asks_for_a_job_that_is_being_written_down_waits_until_it_is_in_line() {
        let jobs = Jobs::new(&Config::default());
        jobs.announce("a");
        assert!(jobs.arrived("b").now_or_never().unwrap().is_none(), "others are not there");
        let mut found = std::pin::pin!(jobs.arrived("a"));
        assert!(found.as_mut().now_or_never().is_none());
        jobs.announce("c");
        jobs.renounce("c");
        assert!(found.as_mut().now_or_never().is_none());
        jobs.renounce("a");
        assert!(found.await.is_none(), "it could not be written down");
    }
}
