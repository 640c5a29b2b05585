// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! One job as a line of the queue.

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::gallery::Kept;
use crate::jobs::store::{Record, State};
use crate::jobs::stored::Stored;
use crate::jobs::{Job, Progress};
use crate::pages::jobs::{Now, shows};
use crate::pages::moment::Moment;
use crate::pages::{Visit, capitalized, thumbnail};

/// For whom the lines are made.
pub(super) struct Shown<'a> {
    pub(super) visit: &'a Visit,
    /// The names of all accounts, where everyone's jobs are shown.
    pub(super) names: Option<&'a HashMap<i64, String>>,
}

/// One job.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: String,
    /// What its pictures show.
    pub(super) shows: String,
    /// Model or upscaler, number of pictures and their size.
    pub(super) what: String,
    /// Whose it is, where everyone's are shown.
    pub(super) owner: Option<String>,
    pub(super) when: Moment,
    /// Where it stands, and when it should be done.
    pub(super) doing: String,
    pub(super) left: String,
    pub(super) steps: Option<(u32, u32)>,
    /// A small picture: the preview, or the first that was finished.
    pub(super) picture: Option<String>,
    /// How it ended, if not with its pictures.
    pub(super) problem: bool,
}

impl Row {
    pub(super) fn running(shown: &Shown<'_>, job: &Job) -> Self {
        let progress = job.progress();
        let step = if let Progress::Running { step, .. } = progress { step } else { 0 };
        // The number of the step makes it another address, of which a browser keeps no older picture.
        let picture = job
            .preview()
            .map(|preview| format!("/jobs/{}/preview?place={}&step={step}", job.id, preview.place));
        let now = Now::running(&progress, shown.visit.app.jobs.remaining_s(job));
        Self { picture, ..Self::present(shown, job, now) }
    }

    pub(super) fn waiting(shown: &Shown<'_>, job: &Job) -> Self {
        Self::present(shown, job, Now::waiting(shown.visit.app.jobs.place(job)))
    }

    fn present(shown: &Shown<'_>, job: &Job, now: Now) -> Self {
        let stored = Stored::of(&job.task);
        let mut row = Self::new(shown, &job.id, &stored, job.account, job.accepted_at);
        (row.doing, row.left, row.steps) = (now.doing, now.left, now.steps);
        row
    }

    pub(super) fn ended(shown: &Shown<'_>, record: &Record, pictures: &[(u32, Kept)]) -> Result<Self> {
        let stored: Stored = serde_json::from_str(&record.request).map_err(anyhow::Error::from)?;
        let at = record.ended_at.unwrap_or(record.accepted_at);
        let mut row = Self::new(shown, &record.id, &stored, record.account, at);
        row.picture = pictures.first().map(|(_, kept)| thumbnail(kept));
        row.problem = record.state == State::Failed;
        row.doing = match record.state {
            State::Done => {
                record.took_ms.map_or_else(|| "Done".to_owned(), |took| format!("Done in {}", took_s(took)))
            }
            State::Failed => "Failed".to_owned(),
            State::Cancelled => "Cancelled".to_owned(),
            State::Accepted => "Waiting".to_owned(),
        };
        row.left = record.error.as_ref().map(|(_, sentence)| capitalized(sentence)).unwrap_or_default();
        Ok(row)
    }

    fn new(shown: &Shown<'_>, id: &str, stored: &Stored, account: Option<i64>, when: Timestamp) -> Self {
        let (width, height) = stored.size();
        let means = stored.means();
        let means = means.split_once('/').map_or(means, |(_, name)| name);
        let count = match stored.count() {
            1 => "1 picture".to_owned(),
            count => format!("{count} pictures"),
        };
        let name = |names: &HashMap<i64, String>| match account {
            None => "somebody without an account".to_owned(),
            Some(account) => {
                names.get(&account).cloned().unwrap_or_else(|| "an account that is gone".to_owned())
            }
        };
        Self {
            id: id.to_owned(),
            shows: shows(stored),
            what: format!("{means} · {count} · {width} × {height}"),
            owner: shown.names.map(name),
            when: shown.visit.moment(when),
            doing: String::new(),
            left: String::new(),
            steps: None,
            picture: None,
            problem: false,
        }
    }
}

/// A length of time that is over.
fn took_s(ms: i64) -> String {
    let seconds = ms as f64 / 1000.0;
    if seconds < 100.0 { format!("{seconds:.1} s") } else { format!("{:.0} minutes", seconds / 60.0) }
}
