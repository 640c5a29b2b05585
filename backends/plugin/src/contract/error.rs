// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A failed call: its kind decides what the daemon does, its message is for a person.

/// Why a call failed, in the terms on which the daemon can act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The arguments make no sense: a wrong length, an unknown option, a token outside the vocabulary.
    Invalid,
    /// The arguments make sense, this backend does not offer it.
    Unsupported,
    /// The model's files are missing, damaged or of another kind than stated.
    BadModel,
    /// The device has not enough memory; a smaller batch may succeed.
    OutOfMemory,
    /// The caller's [`Control`](crate::Control) said stop.
    Cancelled,
    /// The device is gone; only a new instance can help.
    DeviceLost,
    /// A handle that was never given out, or that has been released.
    StaleHandle,
    /// The backend panicked; the instance refuses everything from here on.
    Panic,
    /// The library does not keep the contract.
    Contract,
    /// Anything else.
    Internal,
}

/// A failed call: what kind, and a sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What the daemon can do about it.
    pub kind: ErrorKind,
    /// What happened to which thing and, when known, what to do. Never a prompt or a picture.
    pub message: String,
}

impl Error {
    /// An error of `kind` with `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// [`ErrorKind::Invalid`] with `message`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// [`ErrorKind::Unsupported`] with `message`.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// [`ErrorKind::BadModel`] with `message`.
    pub fn bad_model(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadModel, message)
    }

    /// [`ErrorKind::Internal`] with `message`.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// [`ErrorKind::Cancelled`].
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled")
    }
}
