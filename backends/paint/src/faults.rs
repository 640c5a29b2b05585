// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Accidents on request: the n-th call of a kind fails, panics, ends the process or never returns.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::thread::sleep;
use std::time::Duration;

use alice_plugin::{Error, ErrorKind, Result};
use rustix::process::{Signal, getpid, kill_process};
use serde::Deserialize;

/// One accident: `{"call": "denoise", "at": 3, "do": "out_of_memory"}`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The call that it befalls.
    pub call: Call,
    /// Which call of this kind, counted from 1 in each instance. Unset: every one.
    pub at: Option<u64>,
    /// What happens.
    #[serde(rename = "do")]
    pub effect: Effect,
}

/// A call of the contract. `create` stands for the start of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the variants are the calls")]
pub enum Call {
    Create,
    Describe,
    Load,
    Adapt,
    EncodeText,
    Denoise,
    Decode,
    EncodeImage,
    EncodeHint,
    Upscale,
    Release,
    Unload,
    Memory,
}

/// What an accident does: an error of a kind, or something from which no call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the others are the kinds of errors")]
pub enum Effect {
    Invalid,
    Unsupported,
    BadModel,
    OutOfMemory,
    Cancelled,
    DeviceLost,
    StaleHandle,
    Contract,
    Internal,
    /// A Rust panic.
    Panic,
    /// The end of the process, as a driver's or C++ library's abort would be.
    Abort,
    /// The end of the process by a wrong address.
    Segfault,
    /// The end of the process as by the system when memory runs out.
    Kill,
    /// The end of the process by a library that calls `exit`.
    Exit,
    /// No accident but a look at the world: a socket is opened, and the call fails where that is refused.
    Network,
    /// The call never returns and shows no sign of life.
    Hang,
}

/// The accidents of an instance, and how often each call has been made.
#[derive(Debug)]
pub(crate) struct Faults {
    faults: Vec<Fault>,
    calls: HashMap<Call, u64>,
}

impl Faults {
    pub(crate) fn new(faults: Vec<Fault>) -> Self {
        Self { faults, calls: HashMap::new() }
    }

    /// Counts a call, and lets happen to it what was asked for.
    pub(crate) fn strike(&mut self, call: Call) -> Result<()> {
        let count = self.calls.entry(call).or_default();
        *count += 1;
        let due = |fault: &&Fault| fault.call == call && fault.at.is_none_or(|at| at == *count);
        match self.faults.iter().find(due) {
            Some(fault) => fault.effect.happen(),
            None => Ok(()),
        }
    }
}

impl Effect {
    fn happen(self) -> Result<()> {
        let kind = match self {
            Self::Invalid => ErrorKind::Invalid,
            Self::Unsupported => ErrorKind::Unsupported,
            Self::BadModel => ErrorKind::BadModel,
            Self::OutOfMemory => ErrorKind::OutOfMemory,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::DeviceLost => ErrorKind::DeviceLost,
            Self::StaleHandle => ErrorKind::StaleHandle,
            Self::Contract => ErrorKind::Contract,
            Self::Internal => ErrorKind::Internal,
            Self::Panic => panic!("this panic was asked for"),
            Self::Abort => std::process::abort(),
            Self::Segfault => signal(Signal::SEGV),
            Self::Kill => signal(Signal::KILL),
            Self::Exit => std::process::exit(3),
            Self::Network => return network(),
            Self::Hang => loop {
                sleep(Duration::from_secs(3600));
            },
        };
        Err(Error::new(kind, format!("this failure ({kind:?}) was asked for")))
    }
}

/// Sends itself a signal until it works: Rust's own handler takes the first wrong address for an overflow of the
/// stack, and gives up only with the second.
fn signal(signal: Signal) -> ! {
    loop {
        kill_process(getpid(), signal).expect("a process may send itself signals");
    }
}

fn network() -> Result<()> {
    let socket = UdpSocket::bind(("127.0.0.1", 0));
    socket.map(drop).map_err(|error| Error::internal(format!("no socket: {error}")))
}
