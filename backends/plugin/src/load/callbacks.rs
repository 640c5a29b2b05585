// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a plugin may call while it works for the daemon. No panic passes from here into the plugin.

use std::cell::OnceCell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::thread::{self, ThreadId};

use super::logs;
use crate::abi::read::slice;
use crate::abi::{self, ABI_MAJOR, ABI_MINOR};
use crate::{Control, Error, ErrorKind, Result};

/// The longest answer taken from a sink, in bytes; descriptions are a few hundred.
const REPLY_LIMIT: usize = 16 << 20;

/// What the callbacks answer.
const GO_ON: i32 = 0;
const STOP: i32 = 1;

/// The daemon's functions as every plugin gets them.
pub(super) fn host() -> abi::Host {
    abi::Host {
        struct_size: size_of::<abi::Host>() as u32,
        abi_major: ABI_MAJOR,
        abi_minor: ABI_MINOR,
        user: null_mut(),
        log: Some(log),
        log_enabled: Some(log_enabled),
    }
}

unsafe extern "C" fn log(
    _user: *mut c_void,
    level: u32,
    target: *const u8,
    target_len: usize,
    message: *const u8,
    message_len: usize,
) {
    // SAFETY: the contract: readable bytes for the time of the call.
    let target = unsafe { slice(target, target_len, "a log's target") };
    // SAFETY: as above.
    let message = unsafe { slice(message, message_len, "a log's message") };
    if let (Ok(target), Ok(message)) = (target, message) {
        // A subscriber that panics must not take the plugin with it; its panic has been reported already.
        let _ = catch_unwind(AssertUnwindSafe(|| logs::emit(level, target, message)));
    }
}

unsafe extern "C" fn log_enabled(_user: *mut c_void, level: u32) -> i32 {
    i32::from(logs::enabled(level))
}

/// Collects what a plugin sends to a sink.
#[derive(Debug, Default)]
pub(super) struct Reply {
    bytes: Vec<u8>,
    /// Something could not be taken, so that the rest is worth nothing.
    failed: bool,
}

impl Reply {
    /// The sink that fills this reply, as long as the reply is neither moved nor dropped.
    pub(super) fn sink(&mut self) -> abi::Sink {
        abi::Sink {
            struct_size: size_of::<abi::Sink>() as u32,
            user: (&raw mut *self).cast(),
            emit: Some(emit),
        }
    }

    /// Everything that was sent.
    ///
    /// # Errors
    /// `Contract` when something could not be taken.
    pub(super) fn into_bytes(self) -> Result<Vec<u8>> {
        if self.failed {
            let message = format!("the plugin's answer is longer than {REPLY_LIMIT} bytes or damaged");
            return Err(Error::new(ErrorKind::Contract, message));
        }
        Ok(self.bytes)
    }

    fn take(&mut self, piece: &[u8]) -> bool {
        let fits = self.bytes.len() + piece.len() <= REPLY_LIMIT;
        if fits {
            self.bytes.extend_from_slice(piece);
        }
        fits
    }
}

unsafe extern "C" fn emit(user: *mut c_void, bytes: *const u8, length: usize) -> i32 {
    // SAFETY: null, or the reply behind the sink, which nothing else uses during the call.
    let Some(reply) = (unsafe { user.cast::<Reply>().as_mut() }) else { return STOP };
    // SAFETY: the contract: readable bytes for the time of the call.
    let piece = unsafe { slice(bytes, length, "an answer") };
    let taken = catch_unwind(AssertUnwindSafe(|| piece.is_ok_and(|piece| reply.take(piece))));
    if matches!(taken, Ok(true)) {
        return GO_ON;
    }
    reply.failed = true;
    STOP
}

/// Passes a call's progress on to a [`Control`] and remembers that it said stop.
pub(super) struct Listener<'a> {
    thread: ThreadId,
    control: &'a dyn Control,
    stop: OnceCell<String>,
}

impl<'a> Listener<'a> {
    pub(super) fn new(control: &'a dyn Control) -> Self {
        Self { thread: thread::current().id(), control, stop: OnceCell::new() }
    }

    /// The struct for the plugin, good as long as the listener is neither moved nor dropped.
    pub(super) fn control(&self) -> abi::Control {
        abi::Control {
            struct_size: size_of::<abi::Control>() as u32,
            user: (&raw const *self).cast_mut().cast(),
            progress: Some(progress),
        }
    }

    /// Why the call was to stop, if it was.
    pub(super) fn into_stop(self) -> Option<String> {
        self.stop.into_inner()
    }

    fn hear(&self, done: u64, total: u64) -> i32 {
        if self.stop.get().is_some() {
            return STOP;
        }
        let answer = catch_unwind(AssertUnwindSafe(|| self.control.progress(done, total)));
        let reason = match answer {
            Ok(Ok(())) => return GO_ON,
            Ok(Err(error)) => error.message,
            Err(_) => "the caller's control panicked".to_owned(),
        };
        // Only the first reason is kept, and this is it: the check above has seen none.
        let _ = self.stop.set(reason);
        STOP
    }
}

unsafe extern "C" fn progress(user: *mut c_void, done: u64, total: u64) -> i32 {
    // SAFETY: null, or the listener of the running call, which is only ever shared.
    match unsafe { user.cast::<Listener<'_>>().as_ref() } {
        // Neither the control nor the cell may be touched from another thread.
        Some(listener) if listener.thread == thread::current().id() => listener.hear(done, total),
        _ => STOP,
    }
}
