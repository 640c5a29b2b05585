// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `alice worker`: the process that the daemon starts for a backend. No person does.

use std::process::ExitCode;

use anyhow::Context;

use crate::worker;

/// Serves the daemon that has started this process.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    worker::serve().context("the compute worker ends")?;
    Ok(ExitCode::SUCCESS)
}
