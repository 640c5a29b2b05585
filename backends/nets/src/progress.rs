// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The sign of life that a running network gives after each of its blocks.

use std::cell::Cell;

use alice_plugin::{Control, Result};

/// Counts the finished blocks of one call.
pub(crate) struct Progress<'a> {
    control: &'a dyn Control,
    done: Cell<u64>,
    total: u64,
}

impl<'a> Progress<'a> {
    /// A call of `total` blocks that begins now.
    ///
    /// # Errors
    /// `Cancelled` when the caller does not want it any more.
    pub(crate) fn begin(control: &'a dyn Control, total: usize) -> Result<Self> {
        let progress = Self { control, done: Cell::new(0), total: total as u64 };
        progress.control.progress(0, progress.total)?;
        Ok(progress)
    }

    /// One more block is finished.
    ///
    /// # Errors
    /// `Cancelled` when the caller wants the call to end.
    pub(crate) fn step(&self) -> Result<()> {
        self.done.set(self.done.get() + 1);
        self.control.progress(self.done.get(), self.total)
    }
}
