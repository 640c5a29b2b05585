// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Who waits for a job, and what becomes of it when nobody does any more.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Fingerprint, Job};
use crate::app::App;
use crate::pictures::Publicity;

/// How a request wants its job treated.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// What becomes of the job when its client goes away.
    pub leave: Leave,
    /// Marks the request, so that a repetition of it is known as one.
    pub fingerprint: Option<Fingerprint>,
    /// The client says that this is a repetition.
    pub repeats: bool,
    /// How many partial pictures of each picture the client wants.
    pub partials: u32,
    /// Who is to see the pictures. What is asked for says it.
    pub publicity: Publicity,
}

impl Wish {
    /// A job of which nothing is wanted but its end.
    pub fn plain(leave: Leave) -> Self {
        Self { leave, fingerprint: None, repeats: false, partials: 0, publicity: Publicity::default() }
    }
}

/// What becomes of a job when nobody waits for it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It ends between two steps.
    Cancel,
    /// It ends so after `limits.retry_wait_seconds`: the client comes back by itself.
    CancelLater,
    /// It goes on, and its pictures are kept.
    GoOn,
}

/// Somebody who waits for a job, which ends by its [`Leave`] when the last of them is dropped.
#[derive(Debug)]
pub struct Attendance {
    app: App,
    job: Arc<Job>,
    leave: Leave,
}

impl Attendance {
    pub(super) fn new(app: &App, job: Arc<Job>, leave: Leave) -> Self {
        job.waiters.fetch_add(1, Ordering::Relaxed);
        if leave == Leave::GoOn {
            job.kept_going.store(true, Ordering::Relaxed);
        }
        Self { app: app.clone(), job, leave }
    }

    /// The job.
    pub fn job(&self) -> &Arc<Job> {
        &self.job
    }
}

impl Deref for Attendance {
    type Target = Job;

    fn deref(&self) -> &Job {
        &self.job
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let job = &self.job;
        let others = job.waiters.fetch_sub(1, Ordering::Relaxed) > 1;
        let departure = job.departures.fetch_add(1, Ordering::Relaxed) + 1;
        if !others && job.progress().is_end() {
            job.forget_partials();
        }
        let goes_on = job.kept_going.load(Ordering::Relaxed) || self.app.jobs.are_ending();
        if others || goes_on || job.progress().is_end() {
            return;
        }
        match self.leave {
            Leave::Cancel => super::cancel(&self.app, job),
            Leave::CancelLater => {
                let patience = Duration::from_secs(self.app.config.limits.retry_wait_seconds.into());
                let (app, job) = (self.app.clone(), Arc::clone(job));
                tokio::spawn(async move {
                    tokio::time::sleep(patience).await;
                    // Whoever came back and left again has a patience of its own.
                    let last = job.departures.load(Ordering::Relaxed) == departure;
                    let nobody = job.waiters.load(Ordering::Relaxed) == 0;
                    if last && nobody && !job.kept_going.load(Ordering::Relaxed) {
                        super::cancel(&app, &job);
                    }
                });
            }
            Leave::GoOn => {}
        }
    }
}
