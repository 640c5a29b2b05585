// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The daemon at one moment: what it has counted, and how its parts stand. The one place that asks them all.

use std::time::Duration;

use super::histogram::Reading;
use super::{Ended, Stage, process};
use crate::app::App;
use crate::engine::{Engine, ModelState};

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
    /// The devices that the backend uses, each with an engine of its own.
    pub devices: Vec<Device>,
    /// Bytes of the machine's memory in which the daemon's own process lies; `None` when unknown.
    pub resident_bytes: Option<u64>,
    /// What was counted since the start.
    pub counted: Counted,
}

/// A device, its memory, and what is on it.
#[derive(Clone, Debug)]
pub struct Device {
    /// The backend's number for it.
    pub index: u32,
    /// `cpu`, `cuda`, ...
    pub kind: String,
    /// Its memory in bytes, if known.
    pub bytes: Option<u64>,
    /// Models on it.
    pub models: usize,
    /// Bytes that their weights hold there.
    pub model_bytes: u64,
    /// Jobs that are worked on there with a model in its memory.
    pub running: usize,
}

impl Device {
    fn now(device: &alice_plugin::Device, engine: &Engine) -> Self {
        let models = engine.models();
        let loaded = || models.iter().filter(|model| matches!(model.state, ModelState::Loaded));
        Self {
            index: device.index,
            kind: device.kind.clone(),
            bytes: device.memory_total,
            models: loaded().count(),
            model_bytes: loaded().map(|model| model.memory_bytes).sum(),
            running: models.iter().map(|model| model.users).sum(),
        }
    }
}

/// What [`Metrics`](super::Metrics) has counted.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Seconds that jobs waited before they began.
    pub waits: Reading,
    /// Seconds that jobs took, by how they ended.
    pub jobs: [(Ended, Reading); 3],
    /// Seconds of the parts of the work.
    pub stages: [(Stage, Reading); Stage::ALL.len()],
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
    let devices = app.backend.devices.iter().zip(app.engines.all());
    let devices: Vec<_> = devices.map(|(device, engine)| Device::now(device, engine)).collect();
    Snapshot {
        backend: app.backend.name.clone(),
        uptime: app.started.elapsed(),
        waiting: app.jobs.waiting(),
        running: app.jobs.running(),
        models: devices.iter().map(|device| device.models).sum(),
        model_bytes: devices.iter().map(|device| device.model_bytes).sum(),
        devices,
        resident_bytes: process::resident_bytes(),
        counted: app.metrics.read(),
    }
}
