// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `alice conformance`: does a backend keep the contract, and are its networks right?
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;

use alice_checkpoint::Checkpoint;
use alice_checkpoint::control::ControlFile;
use alice_checkpoint::upscaler::UpscalerFile;
use anyhow::Context;

use crate::conformance::{self, Check, Model, Network, Outcome};

/// What `alice conformance` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The library to check.
    #[arg(long, value_name = "PATH")]
    backend: PathBuf,
    /// A model directory in the diffusers layout to check with. Without one, only what needs no model is checked.
    #[arg(long, value_name = "DIRECTORY")]
    model: Option<PathBuf>,
    /// A network to check with that stands beside the model: a ControlNet or T2I-Adapter made for it, or an upscaler.
    /// May be given several times.
    #[arg(long, value_name = "PATH", requires = "model")]
    beside: Vec<PathBuf>,
    /// The directory of reference models and tensors (`tests/fixtures` in the source tree). Without it, the
    /// networks are not checked.
    #[arg(long, value_name = "DIRECTORY")]
    fixtures: Option<PathBuf>,
    /// Options for the backend, as JSON.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    options: String,
}

/// Prints one line per check. Exit code 1 when any failed.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let options = serde_json::from_str(&arguments.options).context("`--options` is not JSON")?;
    let beside = arguments.beside.into_iter().map(network).collect::<anyhow::Result<Vec<_>>>()?;
    let model = arguments.model.map(|path| model(path, beside)).transpose()?;
    let mut checks = conformance::run(&arguments.backend, &options, model.as_ref());
    if let Some(fixtures) = &arguments.fixtures {
        checks.extend(conformance::networks::run(&arguments.backend, &options, fixtures)?);
    }
    for check in &checks {
        print(check);
    }
    let failed = checks.iter().filter(|check| matches!(check.outcome, Outcome::Failed(_))).count();
    println!("{} checks, {failed} failed", checks.len());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The model in `directory`, with the family that its files show.
fn model(directory: PathBuf, beside: Vec<Network>) -> anyhow::Result<Model> {
    let family = Checkpoint::open(&directory)?.family().as_str().to_owned();
    Ok(Model { directory, family, beside })
}

/// The network at `path`, as what its tensors show.
fn network(path: PathBuf) -> anyhow::Result<Network> {
    let family = match UpscalerFile::open(&path) {
        Ok(_) => "upscaler",
        Err(_) => ControlFile::open(&path)?.kind().as_str(),
    };
    Ok(Network { path, family: family.to_owned() })
}

fn print(Check { level, name, measured, outcome }: &Check) {
    let measured = measured.as_deref().map(|measured| format!(": {measured}")).unwrap_or_default();
    match outcome {
        Outcome::Passed => println!("pass  {level} {name}{measured}"),
        Outcome::Skipped(reason) => println!("skip  {level} {name}: {reason}"),
        Outcome::Failed(reason) => println!("FAIL  {level} {name}: {reason}"),
    }
}
