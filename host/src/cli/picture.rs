// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `alice picture`: the process that the daemon starts to read a picture. No person does.

use std::process::ExitCode;

use anyhow::Context;

use crate::inputs;

/// What the server tells it.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What is to be done, as JSON.
    job: String,
}

/// Reads the picture on standard input.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    inputs::serve(&arguments.job).context("the picture cannot be read")?;
    Ok(ExitCode::SUCCESS)
}
