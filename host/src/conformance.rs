// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Whether a plugin does what the contract says: named checks against its library, as the daemon uses it.
//!
//! Level A is the contract itself and holds for every plugin, whatever it computes and whatever language it
//! is written in. Level B holds the networks against reference tensors. Each check starts an instance of its
//! own, so that one failure says nothing about the others.

pub mod bench;
pub mod contract;
pub mod networks;
pub mod reference;

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use alice_plugin::Error;
use alice_plugin::load::Plugin;
use serde_json::Value;

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Level A: handles, errors, lengths, cancelling, repeatability.
    Contract,
    /// Level B: the numbers that the networks answer.
    Networks,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Contract => "A",
            Self::Networks => "B",
        })
    }
}

/// What became of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The plugin does it.
    Passed,
    /// It could not be asked here; why not.
    Skipped(String),
    /// The plugin does something else; what.
    Failed(String),
}

/// One check of one plugin.
#[derive(Clone, Debug)]
pub struct Check {
    /// What it is about.
    pub level: Level,
    /// What ought to be true, as a sentence.
    pub name: Cow<'static, str>,
    /// What was measured, for people who compare.
    pub measured: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
}

/// A model to check with.
#[derive(Clone, Debug)]
pub struct Model {
    /// A directory in the diffusers layout, or a single file.
    pub directory: PathBuf,
    /// Its family, as [`alice_plugin::LoadRequest::family`] has it.
    pub family: String,
    /// Networks that can stand beside it.
    pub beside: Vec<Network>,
}

/// A network that stands beside a model: one whose hints guide it, or one that makes pictures larger.
#[derive(Clone, Debug)]
pub struct Network {
    /// A directory with a `config.json`, or a single file.
    pub path: PathBuf,
    /// `controlnet`, `t2i_adapter` or `upscaler`.
    pub family: String,
}

/// What is checked, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The plugin.
    pub plugin: &'a Plugin,
    /// The options that each instance is started with.
    pub options: &'a Value,
    /// Without one, only what needs no model is checked.
    pub model: Option<&'a Model>,
}

/// Why a check ended before it had passed.
#[derive(Debug)]
pub enum Stop {
    /// See [`Outcome::Skipped`].
    Skipped(String),
    /// See [`Outcome::Failed`].
    Failed(String),
}

/// What a check returns.
pub type Verdict<T = ()> = Result<T, Stop>;

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(format!("{:?}: {error}", error.kind))
    }
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Ok(()) => Self::Passed,
            Err(Stop::Skipped(reason)) => Self::Skipped(reason),
            Err(Stop::Failed(reason)) => Self::Failed(reason),
        }
    }
}

/// A check that fails with what `message` says, unless `truth` holds.
///
/// # Errors
/// [`Stop::Failed`].
pub fn ensure(truth: bool, message: impl FnOnce() -> String) -> Verdict {
    if truth { Ok(()) } else { Err(Stop::Failed(message())) }
}

/// Checks the contract (level A) of the plugin at `path`, every instance started with `options`.
pub fn run(path: &Path, options: &Value, model: Option<&Model>) -> Vec<Check> {
    let plugin = Plugin::open(path);
    let opened = Check {
        level: Level::Contract,
        name: "the library opens as a plugin of this major version".into(),
        measured: None,
        outcome: plugin.as_ref().map(drop).map_err(|error| error.clone().into()).into(),
    };
    let mut checks = vec![opened];
    if let Ok(plugin) = &plugin {
        checks.extend(contract::run(&Subject { plugin, options, model }));
    }
    checks
}
