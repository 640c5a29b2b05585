// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What an entry gives back: a status and its message, a number, JSON into a sink.

use std::ptr::NonNull;

use serde::Serialize;

use crate::abi::{self, Status};
use crate::{Error, ErrorKind, Result};

/// Turns `result` into a status, and its message into the caller's buffer if there is one.
///
/// # Safety
/// `error` is null or points to an [`abi::Error`] whose buffer is as large as it says.
pub(super) unsafe fn report(result: Result<()>, error: *mut abi::Error) -> Status {
    let Err(reason) = result else {
        return abi::OK;
    };
    // SAFETY: the caller's promise. A null or broken struct means that nobody wants the message.
    if let Ok(room) = unsafe { abi::read::read(error) } {
        // SAFETY: `read` has found `error` usable, and `room` is its copy.
        unsafe { write_message(&reason.message, room, error) };
    }
    abi::status_of(reason.kind)
}

/// # Safety
/// `error` is valid and `room` is a copy of what it points to.
unsafe fn write_message(message: &str, room: abi::Error, error: *mut abi::Error) {
    let Some(buffer) = NonNull::new(room.message) else { return };
    let length = message.floor_char_boundary(room.message_capacity.min(u32::MAX as usize));
    // SAFETY: the buffer holds `message_capacity` bytes, which are not fewer than `length`, and is the
    // caller's own memory, which does not overlap with this library's string.
    unsafe { buffer.as_ptr().copy_from_nonoverlapping(message.as_ptr(), length) };
    // SAFETY: `error` is valid, and this field is part of its first version.
    let field = unsafe { &raw mut (*error).message_len };
    // SAFETY: as above; writing through a raw pointer needs no initialised value.
    unsafe { field.write(length as u32) };
}

/// Writes `value` to where the caller wants it.
///
/// # Errors
/// `Invalid` when there is no such place.
///
/// # Safety
/// `place` is null or points to room for a `T`.
pub(super) unsafe fn put<T>(place: *mut T, value: T, what: &str) -> Result<()> {
    present(place, what)?;
    // SAFETY: not null and aligned; the caller promises the room.
    unsafe { place.write(value) };
    Ok(())
}

/// Whether there is a place for a result, asked before the work that makes it.
///
/// # Errors
/// `Invalid` when there is none.
pub(super) fn present<T>(place: *mut T, what: &str) -> Result<()> {
    if place.is_null() || !place.is_aligned() {
        return Err(Error::invalid(format!(
            "there is no room for the {what}: the pointer is null or misaligned"
        )));
    }
    Ok(())
}

/// Sends `value` as JSON.
///
/// # Errors
/// `Contract` for an unusable sink, `Internal` when the sink does not want it.
///
/// # Safety
/// `sink` is null or points to an [`abi::Sink`] whose function may be called with its `user`.
pub(super) unsafe fn emit(sink: *const abi::Sink, value: &impl Serialize) -> Result<()> {
    // SAFETY: the caller's promise.
    let sink = unsafe { abi::read::read(sink) }?;
    let Some(emit) = sink.emit else {
        return Err(Error::new(ErrorKind::Contract, "the sink has no function"));
    };
    let text = serde_json::to_vec(value).map_err(|error| Error::internal(error.to_string()))?;
    // SAFETY: the caller's promise about the function; the bytes live until it returns.
    match unsafe { emit(sink.user, text.as_ptr(), text.len()) } {
        0 => Ok(()),
        _ => Err(Error::internal("the caller did not take the answer")),
    }
}
