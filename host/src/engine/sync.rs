// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What connects the callers with the engine's thread: the standard library's channel and thread. In the tests the
//! same code also runs on shuttle's, which tries out who goes on when (`tests/explored.rs`).

#[cfg(not(test))]
pub(super) use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

#[cfg(test)]
pub(super) use super::tests::explored::{Receiver, RecvTimeoutError, Sender, channel, spawn};

/// Starts a thread of this name.
///
/// # Errors
/// The system's refusal.
#[cfg(not(test))]
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.into()).spawn(work).map(drop)
}
