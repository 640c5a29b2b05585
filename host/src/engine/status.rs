// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the engine's thread lets everybody see, without anyone waiting for it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use alice_plugin::{LatentShape, LoadRequest};
use tokio::sync::watch;

use super::versioned::Versioned;

/// Measurements that are shown. Somebody who goes through all sizes must not fill the memory.
const MANY: usize = 1024;

/// A model on the device, or on its way there.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelStatus {
    /// How it was asked for.
    pub request: LoadRequest,
    /// Which version of its files it is made of.
    pub version: u64,
    /// Whether it can be used.
    pub state: ModelState,
    /// Bytes of its weights; before it is loaded, as many as its files let expect.
    pub memory_bytes: u64,
    /// Pictures that are being made with it.
    pub users: usize,
    /// Whether it stays until it is unloaded by request.
    pub pinned: bool,
    /// How long nobody has used it.
    pub idle: Duration,
}

/// Whether a model can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelState {
    /// It is being brought onto the device: `done` of `total` parts, of which 0 are an unknown number.
    #[allow(missing_docs, reason = "said above")]
    Loading { done: u64, total: u64 },
    /// It is there.
    Loaded,
}

/// What passes of one kind took.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The model.
    pub request: LoadRequest,
    /// The size of the latents.
    pub shape: LatentShape,
    /// How many rows the pass had.
    pub rows: usize,
    /// How many passes of so many rows there were.
    pub passes: u64,
    /// Seconds that the shortest of the last ones took.
    pub seconds: f64,
}

/// The board on which the engine's thread writes.
#[derive(Debug, Default)]
pub(super) struct Board {
    models: Mutex<Vec<Posted>>,
    measurements: Mutex<Vec<Measurement>>,
    seats: AtomicUsize,
    /// The models that somebody waits for, once for each who does.
    awaited: Mutex<Vec<Versioned<LoadRequest>>>,
    finished: AtomicU64,
    deaths: watch::Sender<u64>,
}

/// Somebody waits for models, for as long as this is held.
#[derive(Debug)]
pub(super) struct Await<'a> {
    board: &'a Board,
    models: &'a [Versioned<LoadRequest>],
}

impl Drop for Await<'_> {
    fn drop(&mut self) {
        let mut awaited = lock(&self.board.awaited);
        for model in self.models {
            if let Some(place) = awaited.iter().position(|other| other == model) {
                awaited.swap_remove(place);
            }
        }
    }
}

/// A model's status with the moment from which on it has been idle.
#[derive(Clone, Debug)]
pub(super) struct Posted {
    pub(super) status: ModelStatus,
    pub(super) idle_since: Option<Instant>,
}

impl Board {
    pub(super) fn models(&self) -> Vec<ModelStatus> {
        let idle = |since: Option<Instant>| since.map_or(Duration::ZERO, |since| since.elapsed());
        let models = lock(&self.models);
        models
            .iter()
            .map(|model| ModelStatus { idle: idle(model.idle_since), ..model.status.clone() })
            .collect()
    }

    pub(super) fn measurements(&self) -> Vec<Measurement> {
        lock(&self.measurements).clone()
    }

    pub(super) fn seconds_per_row(&self, request: &LoadRequest, shape: LatentShape) -> Option<f64> {
        let measurements = lock(&self.measurements);
        let of_this = measurements.iter().filter(|seen| seen.request == *request && seen.shape == shape);
        of_this.map(|seen| seen.seconds / seen.rows as f64).min_by(f64::total_cmp)
    }

    pub(super) fn seats_taken(&self) -> usize {
        self.seats.load(Ordering::Relaxed)
    }

    pub(super) fn sit(&self) {
        self.seats.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.seats.fetch_sub(1, Ordering::Relaxed);
    }

    /// From now on somebody waits for these models.
    pub(super) fn wait_for<'a>(&'a self, models: &'a [Versioned<LoadRequest>]) -> Await<'a> {
        lock(&self.awaited).extend_from_slice(models);
        Await { board: self, models }
    }

    /// Whether anybody waits for this model, also one of whom the engine's thread has not read yet.
    pub(super) fn is_awaited(&self, model: &Versioned<LoadRequest>) -> bool {
        lock(&self.awaited).contains(model)
    }

    /// How many calls the device has finished.
    pub(super) fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    /// The device has finished a call.
    pub(super) fn note_finished(&self) {
        self.finished.fetch_add(1, Ordering::Relaxed);
    }

    /// How often the backend has died.
    pub(super) fn deaths(&self) -> watch::Receiver<u64> {
        self.deaths.subscribe()
    }

    pub(super) fn note_deaths(&self, deaths: u64) {
        self.deaths.send_replace(deaths);
    }

    /// Replaces the list of models.
    pub(super) fn post_models(&self, models: Vec<Posted>) {
        *lock(&self.models) = models;
    }

    /// Notes how far the model that is being loaded has come.
    pub(super) fn post_progress(&self, done: u64, total: u64) {
        for model in lock(&self.models).iter_mut() {
            if matches!(model.status.state, ModelState::Loading { .. }) {
                model.status.state = ModelState::Loading { done, total };
            }
        }
    }

    /// Notes what one more pass took.
    pub(super) fn post_pass(&self, request: &LoadRequest, shape: LatentShape, rows: usize, seconds: f64) {
        let mut measurements = lock(&self.measurements);
        let same =
            |seen: &&mut Measurement| seen.rows == rows && seen.shape == shape && seen.request == *request;
        let full = measurements.len() == MANY;
        match measurements.iter_mut().find(same) {
            Some(seen) => {
                seen.passes += 1;
                seen.seconds = seconds;
            }
            None if full => {}
            None => {
                measurements.push(Measurement { request: request.clone(), shape, rows, passes: 1, seconds })
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every writer leaves a whole list behind, even one that panics on its way.
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
