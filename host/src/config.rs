// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the operator may set: one documented field per key, nested by topic as in `config.yaml`.
//!
//! Key names and meanings are those of the Python ALICE where it had the key. [`mod@file`] reads them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub mod change;
pub mod file;
mod generation;
mod limits;
mod server;
mod storage;

pub use generation::{Engine, Generation, Isolation, MaxConcurrent, MaxRows};
pub use limits::Limits;
pub use server::{Network, RegistrationMode, Server};
pub use storage::{Expired, Storage, gigabytes};

/// Hears of a key, whether its value is one that it may have, and else what it must be.
type Check<'a> = dyn FnMut(&'static str, bool, &str) + 'a;

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who can reach the daemon.
    pub server: Server,
    /// Where models are.
    pub models: Models,
    /// How pictures are made when a request leaves it open, and on what.
    pub generation: Generation,
    /// How evaluations share the device.
    pub engine: Engine,
    /// What one caller may ask for.
    pub limits: Limits,
    /// Pictures that come with requests.
    pub images: Images,
    /// Where pictures go.
    pub storage: Storage,
    /// What is logged.
    pub logging: Logging,
    /// The file that it was read from, or would have been if it were there. It is no key.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

/// Where models are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Models {
    /// The directory of the models, at any depth in it: safetensors files, and directories in the layout of
    /// diffusers. LoRAs lie in its `loras`, embeddings in its `embeddings`. The built-in model is found beside the
    /// program too.
    pub directory: PathBuf,
    /// Id or name of the model that `gpt-image-1` and an absent `model` mean. Unset: the first one found.
    /// Set, it is loaded when the daemon starts.
    pub default_model: Option<String>,
    /// Ids or names of models that are loaded when the daemon starts and stay in memory.
    pub pinned: Vec<String>,
    /// The autoencoders to use instead of models' own, by the models' ids or names: safetensors files, or
    /// directories with a `config.json`. A path that is not absolute begins beside the model, or in `directory`.
    pub vae: BTreeMap<String, PathBuf>,
    /// Seconds after which a model that nobody uses is unloaded; 0 keeps it until another one needs the room.
    pub auto_unload_timeout: u32,
}

impl Models {
    /// Holds each value against what it may be.
    fn check(&self, check: &mut Check<'_>) {
        let named =
            |(name, path): (&String, &PathBuf)| !name.trim().is_empty() && !path.as_os_str().is_empty();
        check("models.vae", self.vae.iter().all(named), "must have a path for the name of each model");
    }
}

impl Default for Models {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("models"),
            default_model: None,
            pinned: Vec::new(),
            vae: BTreeMap::new(),
            auto_unload_timeout: 300,
        }
    }
}

/// Pictures that come with requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Images {
    /// Fetch pictures that clients name by their address, from the public network.
    pub allow_url_inputs: bool,
    /// Fetch them without encryption too.
    pub allow_http_inputs: bool,
}

/// What is logged. Prompts, pictures and keys never are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    /// The least important level that is written.
    pub level: Level,
    /// File to append to. Unset: standard error.
    pub file: Option<PathBuf>,
}

impl Default for Logging {
    fn default() -> Self {
        Self { level: Level::Info, file: None }
    }
}

/// A log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

impl Config {
    /// What is wrong with single values: the key, and what it may be.
    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut check = |key, holds: bool, rule: &str| {
            if !holds {
                problems.push((key, rule.to_owned()));
            }
        };
        self.generation.check(&mut check);
        self.engine.check(&mut check);
        self.limits.check(&mut check);
        self.models.check(&mut check);
        self.server.check(&mut check);
        self.storage.check(&mut check);
        problems
    }
}
