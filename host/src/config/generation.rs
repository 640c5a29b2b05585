// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How pictures are made when a request leaves it open, on what, and how evaluations share it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Check;
use crate::draft::{GUIDANCE, SIDES, STEPS};

/// How pictures are made when a request leaves it open, and on what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// `auto` takes the backend that suits this machine best; otherwise a backend's name or a library's path.
    pub backend: String,
    /// Further directories to search for `libalice_backend_*.so`.
    pub backend_directories: Vec<PathBuf>,
    /// Options handed to the backend as they are, by the backend's name.
    pub backend_options: serde_json::Map<String, serde_json::Value>,
    /// Threads of a backend that computes on the CPU. Unset: one per physical core.
    pub threads: Option<u32>,
    /// Steps, 1-150. Unset: the model's own.
    pub default_steps: Option<u32>,
    /// Guidance scale, 0-20. Unset: the model's own.
    pub default_guidance_scale: Option<f32>,
    /// Scheduler name. Unset: the model's own.
    pub default_scheduler: Option<String>,
    /// Width in pixels, 64-2048. Unset: the model's own.
    pub default_width: Option<u32>,
    /// Height in pixels, 64-2048. Unset: the model's own.
    pub default_height: Option<u32>,
    /// How many jobs may be worked on at the same time.
    pub max_concurrent: MaxConcurrent,
    /// Seconds without a finished step after which a request is given up.
    pub request_timeout: u32,
}

/// `auto` or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxConcurrent {
    /// As many as can fill the device's batches, and not all of them one caller's.
    Auto,
    /// Up to this many, at least 1.
    #[serde(untagged)]
    Jobs(u32),
}

impl MaxConcurrent {
    /// Jobs of everybody together. The engine shares its device between all of them, so more cost memory only.
    pub fn jobs(self) -> usize {
        match self {
            Self::Auto => 64,
            Self::Jobs(jobs) => jobs as usize,
        }
    }

    /// Jobs of one caller: two rows each fill a forward pass of 16.
    pub fn jobs_of_one_caller(self) -> usize {
        match self {
            Self::Auto => 8,
            Self::Jobs(jobs) => jobs as usize,
        }
    }
}

impl Generation {
    /// Holds each value against what it may be.
    pub(super) fn check(&self, check: &mut Check<'_>) {
        let side = |value: Option<u32>| value.is_none_or(|side| SIDES.contains(&side));
        let steps = self.default_steps.is_none_or(|steps| STEPS.contains(&steps));
        let guidance = self.default_guidance_scale.is_none_or(|scale| GUIDANCE.contains(&scale));
        check("generation.default_steps", steps, "must be 1 to 150");
        check("generation.default_guidance_scale", guidance, "must be 0 to 20");
        check("generation.default_width", side(self.default_width), "must be 64 to 2048");
        check("generation.default_height", side(self.default_height), "must be 64 to 2048");
        check("generation.request_timeout", self.request_timeout >= 1, "must be at least 1 second");
        let threads = self.threads.is_none_or(|threads| (1..=1024).contains(&threads));
        check("generation.threads", threads, "must be 1 to 1024");
        let concurrent = self.max_concurrent != MaxConcurrent::Jobs(0);
        check("generation.max_concurrent", concurrent, "must be `auto` or at least 1");
        if let Some(name) = &self.default_scheduler
            && let Err(error) = name.parse::<alice_diffusion::Sampler>()
        {
            check("generation.default_scheduler", false, &error.to_string());
        }
    }
}

impl Default for Generation {
    fn default() -> Self {
        Self {
            backend: "auto".into(),
            backend_directories: Vec::new(),
            backend_options: serde_json::Map::new(),
            threads: None,
            default_steps: None,
            default_guidance_scale: None,
            default_scheduler: None,
            default_width: None,
            default_height: None,
            max_concurrent: MaxConcurrent::Auto,
            request_timeout: 300,
        }
    }
}

/// How evaluations share the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// Rows that one forward pass may hold; one guided evaluation has two and is never split.
    pub max_rows: MaxRows,
    /// MiB of a device's memory that the weights of all models together may take. Unset: most of what is free
    /// when the daemon starts.
    pub memory_mib: Option<u64>,
    /// Where the backend runs.
    pub isolation: Isolation,
    /// Seconds without a sign of life after which a backend's process is ended and started anew, 1-86400.
    pub hang_seconds: u32,
}

impl Engine {
    /// Holds each value against what it may be.
    pub(super) fn check(&self, check: &mut Check<'_>) {
        check("engine.max_rows", self.max_rows != MaxRows::Rows(0), "must be `auto` or at least 1");
        let memory = self.memory_mib.is_none_or(|mib| (1..=1 << 30).contains(&mib));
        check("engine.memory_mib", memory, "must be 1 to 1073741824");
        let hang = (1..=86_400).contains(&self.hang_seconds);
        check("engine.hang_seconds", hang, "must be 1 to 86400 seconds");
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self { max_rows: MaxRows::Auto, memory_mib: None, isolation: Isolation::Process, hang_seconds: 120 }
    }
}

/// Where the backend runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// In a process of its own, whose crash the daemon survives.
    Process,
    /// Inside the daemon, for debugging.
    None,
}

/// `auto` or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxRows {
    /// As many as measuring shows to pay: on a CPU usually one evaluation.
    Auto,
    /// Up to this many rows, at least 1.
    #[serde(untagged)]
    Rows(u32),
}
