// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Level A: what every plugin owes the daemon, whatever it computes.

mod arguments;
mod beside;
mod control;
mod description;
mod handles;
mod reading;
mod results;

use alice_plugin::{ErrorKind, Result};

use super::{Check, Level, Stop, Subject, Verdict};

/// A sentence that ought to be true, and what finds out.
type Named = (&'static str, fn(&Subject<'_>) -> Verdict);

/// Runs every check of level A.
pub fn run(subject: &Subject<'_>) -> Vec<Check> {
    let groups = [
        description::CHECKS,
        handles::CHECKS,
        arguments::CHECKS,
        reading::CHECKS,
        control::CHECKS,
        results::CHECKS,
        beside::CHECKS,
    ];
    let checks = groups.into_iter().flatten();
    checks
        .map(|&(name, check)| Check {
            level: Level::Contract,
            name: name.into(),
            measured: None,
            outcome: check(subject).into(),
        })
        .collect()
}

/// Fails unless `result` is an error of one of these kinds; `what` says what was asked.
fn refused<T>(what: &str, result: Result<T>, kinds: &[ErrorKind]) -> Verdict {
    match result {
        Err(error) if kinds.contains(&error.kind) => Ok(()),
        Err(error) => Err(Stop::Failed(format!("{what}: {:?} instead of {kinds:?}: {error}", error.kind))),
        Ok(_) => Err(Stop::Failed(format!("{what}: it worked, {kinds:?} was expected"))),
    }
}

/// Whether the plugin leaves this call out, which only some calls allow.
fn not_offered<T>(result: &Result<T>) -> bool {
    matches!(result, Err(error) if error.kind == ErrorKind::Unsupported)
}
