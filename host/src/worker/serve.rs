// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The worker's own half: it opens the library that the daemon names, and answers calls until the daemon
//! hangs up.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alice_plugin::load::{Plugin, PluginBackend, close_inherited};
use alice_plugin::{Backend, Error, Result, abi};
use serde_json::Value;
use tracing::info;

use super::answers::Worker;
use super::frames::{Answer, Broken, Call, Message, Receiver, Request, Sender};
use super::memory::Memory;
use super::{confine, logs};

/// Bytes of an error's message that are told.
const MESSAGE_LIMIT: usize = 16 << 10;

/// How long after an answer the next call is looked for. Most steps follow each other faster than a process that
/// sleeps wakes up, and as long as no call is there nothing needs the cores for computing.
const SOON: Duration = Duration::from_micros(100);

/// Serves the daemon that has started this process, until it hangs up.
///
/// # Errors
/// When no daemon has started this process, and when its frames cannot be read or answered.
pub fn serve() -> io::Result<()> {
    let closed = close_inherited();
    let (stream, memory) = descriptors()?;
    let sender = Arc::new(Sender::new(stream.try_clone()?));
    let mut receiver = Receiver::new(stream.try_clone()?);
    let Some(Request { number, call: Call::Open { library, options, level }, .. }) =
        next(&mut receiver, Duration::ZERO)?
    else {
        return Ok(());
    };
    logs::start(sender.clone(), &level);
    confine::note("close what it was given by mistake", closed);
    confine::enter();
    confine::end_with(stream)?;
    let backend = match open(&library, &options) {
        Ok((answer, backend)) => {
            sender.send(&Message::Done { number, answer })?;
            backend
        }
        Err(error) => return sender.send(&failed(number, error)),
    };
    let mut worker = Worker::new(backend, memory, sender.clone());
    let soon = soon();
    while let Some(request) = next(&mut receiver, soon)? {
        let number = request.number;
        let message = match worker.answer(&request) {
            Ok(answer) => Message::Done { number, answer },
            Err(error) => failed(number, error),
        };
        sender.send(&message)?;
        worker.tidy();
    }
    Ok(())
}

/// Where there is one core, whoever prepares the next call needs it.
fn soon() -> Duration {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if cores > 1 { SOON } else { Duration::ZERO }
}

/// The daemon's socket and memory. Afterwards the standard streams are what libraries expect, which may print.
fn descriptors() -> io::Result<(UnixStream, Memory)> {
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    if stream.peer_addr().is_err() {
        let reason = "`alice worker` is started by the server, not by hand";
        return Err(io::Error::new(ErrorKind::InvalidInput, reason));
    }
    let memory = Memory::attach(io::stdout().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok((stream, memory))
}

fn open(library: &Path, options: &Value) -> Result<(Answer, PluginBackend)> {
    let plugin = Plugin::open(library)?;
    let (major, minor) = plugin.abi();
    let mut backend = plugin.start(options)?;
    let description = backend.describe()?;
    let devices: Vec<_> = description.devices.iter().map(|device| device.name.as_str()).collect();
    info!(
        path = %library.display(), contract = %format_args!("{major}.{minor}"), ?devices,
        "Opened the backend `{}`", description.name
    );
    Ok((Answer::Opened(major, minor, description), backend))
}

/// The next call, which is looked for without sleeping for as long as `soon`; `None` when the daemon has hung up.
fn next(receiver: &mut Receiver, soon: Duration) -> io::Result<Option<Request>> {
    match receiver.receive_soon(soon) {
        Ok(request) => Ok(request),
        Err(Broken::Ended) => Ok(None),
        Err(Broken::Garbage(what)) => Err(io::Error::new(ErrorKind::InvalidData, what)),
        Err(Broken::Io(error)) => Err(error),
    }
}

fn failed(number: u64, Error { kind, mut message }: Error) -> Message {
    message.truncate(message.floor_char_boundary(MESSAGE_LIMIT));
    Message::Failed { number, status: abi::status_of(kind), message }
}
