// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The daemon at one moment: what it has counted, and how its parts stand. The one place that asks them all.

use std::time::Duration;

use super::histogram::Reading;
use super::{Ended, Stage, process};
use crate::app::App;
use crate::engine::ModelState;

/// The daemon at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The backend's name.
    pub backend: String,
    /// How long the daemon has been running.
    pub uptime: Duration,
    /// Jobs that wait.
    pub waiting: usize,
    /// Jobs that are worked on.
    pub running: usize,
    /// Models on the device.
    pub models: usize,
    /// Bytes that their weights hold there.
    pub model_bytes: u64,
    /// The devices that the backend could use.
    pub devices: Vec<Device>,
    /// Bytes of the machine's memory in which the daemon's own process lies; `None` when unknown.
    pub resident_bytes: Option<u64>,
    /// What was counted since the start.
    pub counted: Counted,
}

/// A device and its memory.
#[derive(Clone, Debug)]
pub struct Device {
    /// The backend's number for it.
    pub index: u32,
    /// `cpu`, `cuda`, ...
    pub kind: String,
    /// Its memory in bytes, if known.
    pub bytes: Option<u64>,
}

/// What [`Metrics`](super::Metrics) has counted.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Seconds that jobs waited before they began.
    pub waits: Reading,
    /// Seconds that jobs took, by how they ended.
    pub jobs: [(Ended, Reading); 3],
    /// Seconds of the parts of the work.
    pub stages: [(Stage, Reading); 7],
    /// Rows in the denoiser's forward passes.
    pub rows: Reading,
    /// Finished pictures.
    pub pictures: u64,
    /// Steps of samplers, of all pictures together.
    pub steps: u64,
    /// Models that made room or were idle for too long.
    pub evictions: u64,
    /// Backends that died and were started anew.
    pub restarts: u64,
    /// Calls for which the device had not enough memory.
    pub out_of_memory: u64,
    /// Jobs that found the line full.
    pub refusals: u64,
}

impl Counted {
    /// What was counted of the jobs that ended so.
    pub fn ended(&self, how: Ended) -> &Reading {
        &self.jobs[how as usize].1
    }

    /// What was counted of this part of the work.
    pub fn stage(&self, stage: Stage) -> &Reading {
        &self.stages[stage as usize].1
    }

    /// Steps for each second in which the denoiser worked, over all pictures that it worked on: with several
    /// in one forward pass more than passes. `None` before the first.
    pub fn steps_per_second(&self) -> Option<f64> {
        let seconds = self.stage(Stage::Denoise).sum;
        (seconds > 0.0).then(|| self.steps as f64 / seconds)
    }
}

/// The daemon now.
pub fn take(app: &App) -> Snapshot {
    let models: Vec<_> = app.engines.all().iter().flat_map(|engine| engine.models()).collect();
    let loaded = || models.iter().filter(|model| matches!(model.state, ModelState::Loaded));
    let devices = app.backend.devices.iter();
    Snapshot {
        backend: app.backend.name.clone(),
        uptime: app.started.elapsed(),
        waiting: app.jobs.waiting(),
        running: app.jobs.running(),
        models: loaded().count(),
        model_bytes: loaded().map(|model| model.memory_bytes).sum(),
        devices: devices
            .map(|device| Device {
                index: device.index,
                kind: device.kind.clone(),
                bytes: device.memory_total,
            })
            .collect(),
        resident_bytes: process::resident_bytes(),
        counted: app.metrics.read(),
    }
}
