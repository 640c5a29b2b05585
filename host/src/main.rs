// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The `alice` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    alice::cli::run()
}
