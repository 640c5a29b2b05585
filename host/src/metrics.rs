// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the daemon counts of itself while it works.

use std::time::Duration;

/// A part of the work on a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Bringing a model onto the device.
    Load,
    /// Encoding a prompt.
    EncodeText,
    /// One forward pass of the denoiser.
    Denoise,
    /// Decoding a finished latent.
    Decode,
    /// Decoding an unfinished one, to be looked at meanwhile.
    Preview,
    /// Compressing and keeping a finished picture.
    Keep,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Ended {
    Done,
    Failed,
    Cancelled,
}

/// Counters of everything since the daemon started. Every method is cheap and never waits.
#[derive(Debug, Default)]
pub struct Metrics {}

impl Metrics {
    /// A job began after it had waited so long.
    pub fn waited(&self, _took: Duration) {}

    /// A job ended, so long after it began, with so many pictures.
    pub fn ended(&self, _how: Ended, _took: Duration, _pictures: u64) {}

    /// A part of the work was done.
    pub fn stage(&self, _stage: Stage, _took: Duration) {}

    /// One forward pass held so many rows.
    pub fn batch(&self, _rows: usize) {}

    /// A model made room for another one, or was idle for too long.
    pub fn evicted(&self) {}

    /// A backend that had died was started anew.
    pub fn restarted(&self) {}

    /// The device had not enough memory for a call.
    pub fn out_of_memory(&self) {}

    /// A job found the line full.
    pub fn refused(&self) {}
}
