// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the daemon counts of itself while it works, for whoever watches over it.
//!
//! Counts and durations only: nothing here tells who asked, for what, or of which model.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub mod histogram;
pub mod process;
pub mod prometheus;
pub mod snapshot;

use self::histogram::{Histogram, Reading};
use self::snapshot::Counted;

/// A part of the work on a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Bringing a model onto the device.
    Load,
    /// Giving a model other LoRAs.
    Adapt,
    /// Encoding a prompt.
    EncodeText,
    /// Encoding a picture that pictures are made from.
    EncodeImage,
    /// Encoding a picture that guides others.
    EncodeHint,
    /// One forward pass of the denoiser.
    Denoise,
    /// Decoding a finished latent.
    Decode,
    /// Decoding an unfinished one, to be looked at meanwhile.
    Preview,
    /// Making a picture larger.
    Upscale,
    /// Compressing and keeping a finished picture.
    Keep,
}

impl Stage {
    /// All of them, in their order.
    pub const ALL: [Self; 10] = [
        Self::Load,
        Self::Adapt,
        Self::EncodeText,
        Self::EncodeImage,
        Self::EncodeHint,
        Self::Denoise,
        Self::Decode,
        Self::Preview,
        Self::Upscale,
        Self::Keep,
    ];

    /// Its name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Adapt => "adapt",
            Self::EncodeText => "encode_text",
            Self::EncodeImage => "encode_image",
            Self::EncodeHint => "encode_hint",
            Self::Denoise => "denoise",
            Self::Decode => "decode",
            Self::Preview => "preview",
            Self::Upscale => "upscale",
            Self::Keep => "keep",
        }
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Ended {
    Done,
    Failed,
    Cancelled,
}

impl Ended {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::Cancelled];

    /// Its name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Counters of everything since the daemon started. Every method is cheap and never waits.
#[derive(Debug)]
pub struct Metrics {
    waits: Histogram,
    /// In the order of [`Ended::ALL`].
    jobs: [Histogram; 3],
    /// In the order of [`Stage::ALL`].
    stages: [Histogram; Stage::ALL.len()],
    rows: Histogram,
    pictures: AtomicU64,
    steps: AtomicU64,
    evictions: AtomicU64,
    restarts: AtomicU64,
    out_of_memory: AtomicU64,
    refusals: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            waits: Histogram::of_seconds(),
            jobs: std::array::from_fn(|_| Histogram::of_seconds()),
            stages: std::array::from_fn(|_| Histogram::of_seconds()),
            rows: Histogram::of_rows(),
            pictures: AtomicU64::new(0),
            steps: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            out_of_memory: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// A job began after it had waited so long.
    pub fn waited(&self, took: Duration) {
        self.waits.record_time(took);
    }

    /// A job ended, so long after it began, with so many pictures.
    pub fn ended(&self, how: Ended, took: Duration, pictures: u64) {
        self.jobs[how as usize].record_time(took);
        add(&self.pictures, pictures);
    }

    /// A part of the work was done.
    pub fn stage(&self, stage: Stage, took: Duration) {
        self.stages[stage as usize].record_time(took);
    }

    /// One forward pass held so many rows.
    pub fn batch(&self, rows: usize) {
        self.rows.record(rows as u64);
    }

    /// A picture moved on by so many steps of its sampler.
    pub fn stepped(&self, steps: u64) {
        add(&self.steps, steps);
    }

    /// A model made room for another one, or was idle for too long.
    pub fn evicted(&self) {
        add(&self.evictions, 1);
    }

    /// A backend that had died was started anew.
    pub fn restarted(&self) {
        add(&self.restarts, 1);
    }

    /// The device had not enough memory for a call.
    pub fn out_of_memory(&self) {
        add(&self.out_of_memory, 1);
    }

    /// A job found the line full.
    pub fn refused(&self) {
        add(&self.refusals, 1);
    }

    /// Everything that was counted so far. Each number is right by itself; two of them may be a moment apart.
    pub fn read(&self) -> Counted {
        let read = |histogram: &Histogram| histogram.read();
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            waits: read(&self.waits),
            jobs: named(Ended::ALL, &self.jobs),
            stages: named(Stage::ALL, &self.stages),
            rows: read(&self.rows),
            pictures: value(&self.pictures),
            steps: value(&self.steps),
            evictions: value(&self.evictions),
            restarts: value(&self.restarts),
            out_of_memory: value(&self.out_of_memory),
            refusals: value(&self.refusals),
        }
    }
}

/// What each histogram has counted, beside what it is about.
fn named<T: Copy, const N: usize>(names: [T; N], histograms: &[Histogram; N]) -> [(T, Reading); N] {
    std::array::from_fn(|i| (names[i], histograms[i].read()))
}

fn add(counter: &AtomicU64, value: u64) {
    counter.fetch_add(value, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_read_under_its_own_name() {
        let metrics = Metrics::default();
        for (times, stage) in Stage::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| metrics.stage(stage, Duration::from_millis(20)));
        }
        metrics.ended(Ended::Done, Duration::from_secs(2), 4);
        metrics.ended(Ended::Failed, Duration::from_secs(1), 0);
        metrics.waited(Duration::from_secs(5));
        metrics.batch(3);
        metrics.stepped(20);
        metrics.evicted();
        metrics.restarted();
        metrics.out_of_memory();
        metrics.refused();
        let counted = metrics.read();
        for (times, (stage, reading)) in counted.stages.iter().enumerate() {
            assert_eq!(reading.count(), times as u64, "{stage:?}");
        }
        let jobs: Vec<_> = counted.jobs.iter().map(|(how, reading)| (*how, reading.count())).collect();
        assert_eq!(jobs, [(Ended::Done, 1), (Ended::Failed, 1), (Ended::Cancelled, 0)]);
        assert_eq!((counted.pictures, counted.steps), (4, 20));
        assert_eq!((counted.waits.sum, counted.rows.sum), (5.0, 3.0));
        let rare = [counted.evictions, counted.restarts, counted.out_of_memory, counted.refusals];
        assert_eq!(rare, [1; 4]);
    }

    #[test]
    fn no_count_is_lost_between_threads() {
        let metrics = Metrics::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| metrics.batch(2)));
            }
        });
        assert_eq!((metrics.read().rows.count(), metrics.read().rows.sum), (4000, 8000.0));
    }
}
