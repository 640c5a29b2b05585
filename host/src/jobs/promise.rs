// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A place in line for a job that is not there yet: its pictures are being read, or it is being written down. The line
//! counts it as it counts jobs, so that no more requests are worked on than can be taken.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Caller, Inner};

/// The place. It is free again when this is dropped, unless a job has [taken](Self::redeem) it.
#[derive(Debug)]
pub(super) struct Promise {
    inner: Arc<Mutex<Inner>>,
    caller: Caller,
    open: bool,
}

impl Promise {
    /// That of a place which the line in `inner` has promised to `caller`.
    pub(super) fn of(inner: Arc<Mutex<Inner>>, caller: Caller) -> Self {
        Self { inner, caller, open: true }
    }

    /// The job enters `inner`, the same line, now: between its promise and its place nobody else comes in.
    pub(super) fn redeem(mut self, inner: &mut Inner) {
        inner.line.release(&self.caller);
        self.open = false;
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if self.open {
            self.inner.lock().unwrap_or_else(PoisonError::into_inner).line.release(&self.caller);
        }
    }
}
