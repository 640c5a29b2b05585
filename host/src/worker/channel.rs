// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The daemon's end of a worker: one call at a time goes out, and its answer, or the worker's end, comes back.

use std::io::{self, ErrorKind as Io};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use alice_plugin::load::log;
use alice_plugin::{Control, Error, ErrorKind, Result, abi};
use tracing::warn;

use super::Patience;
use super::frames::{Answer, Broken, Call, Message, Receiver, Request, Sender};
use super::memory::{Layout, Memory};
use super::process::{Process, told};

/// How often a caller is asked whether it still wants its answer, and silence is measured.
const GLANCE: Duration = Duration::from_millis(50);
/// How long a worker may leave a frame untaken. One fits into the system's buffer, so that only a process that
/// is stopped, with others before it, leaves any.
const TAKING: Duration = Duration::from_secs(10);
/// How long a worker that has hung up may take to end by itself, so that its own status can be told.
const LAST_BREATH: Duration = Duration::from_secs(2);

/// A worker, or how it ended.
#[derive(Debug)]
pub(super) struct Channel {
    /// The backend's name, for sentences.
    name: String,
    line: Result<Line>,
}

impl Channel {
    /// Starts a process that waits for its first call.
    pub(super) fn open(name: String, program: &Path, threads: Option<u64>) -> Result<Self> {
        match Line::open(program, threads) {
            Ok(line) => Ok(Self { name, line: Ok(line) }),
            Err(error) => {
                let program = program.display();
                Err(Error::internal(format!("cannot start `{program}` as a compute worker: {error}")))
            }
        }
    }

    pub(super) fn process_id(&self) -> Option<u32> {
        self.line.as_ref().ok().map(|line| line.process.id())
    }

    /// Carries out one call.
    pub(super) fn call(
        &mut self,
        call: Call,
        layout: &Layout<'_>,
        patience: &Patience,
        control: &dyn Control,
    ) -> Result<Answer> {
        let line = self.line.as_mut().map_err(|error| error.clone())?;
        let doing = call.doing();
        let lost = match line.call(call, layout, patience, control) {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) if !matches!(error.kind, ErrorKind::Panic | ErrorKind::DeviceLost) => {
                return Err(error);
            }
            Ok(Err(error)) => error,
            Err(end) => {
                let sentence = sentence(&end, line.obituary(&end), doing);
                Error::new(ErrorKind::DeviceLost, format!("the compute worker of `{}` {sentence}", self.name))
            }
        };
        Err(self.end(lost))
    }

    /// Why there is no worker any more, if it has ended since its last call. What it was is waited for.
    pub(super) fn obituary(&mut self) -> Option<Error> {
        let line = match &mut self.line {
            Ok(line) => line,
            Err(error) => return Some(error.clone()),
        };
        if !line.process.has_ended() {
            return None;
        }
        let end = End::Broken(Broken::Ended);
        let sentence = sentence(&end, line.obituary(&end), "had nothing to do");
        let message = format!("the compute worker of `{}` {sentence}", self.name);
        Some(self.end(Error::new(ErrorKind::DeviceLost, message)))
    }

    /// Reads what an answer has put into the shared memory.
    pub(super) fn read(&mut self, at: u64, into: &mut [u8]) -> Result<()> {
        let line = self.line.as_ref().map_err(|error| error.clone())?;
        line.memory.read(at, into).map_err(|_| self.garbled())
    }

    /// Gives back the shared memory that a large call took. Its answer has been read.
    pub(super) fn tidy(&self) {
        let Ok(line) = &self.line else { return };
        if let Err(error) = line.memory.tidy() {
            warn!(%error, "The memory that is shared with a compute worker stays as large as it is");
        }
    }

    /// Ends a worker whose answer is none to the question.
    pub(super) fn garbled(&mut self) -> Error {
        let message = format!("the compute worker of `{}` gave an answer to another question", self.name);
        self.end(Error::new(ErrorKind::DeviceLost, message))
    }

    /// Ends the process. This error is the answer to everything from here on.
    fn end(&mut self, error: Error) -> Error {
        self.line = Err(error.clone());
        error
    }
}

/// Why no answer comes any more.
#[derive(Debug)]
enum End {
    Broken(Broken),
    Silent(Duration),
}

impl<T: Into<Broken>> From<T> for End {
    fn from(broken: T) -> Self {
        Self::Broken(broken.into())
    }
}

#[derive(Debug)]
struct Line {
    process: Process,
    sender: Sender,
    receiver: Receiver,
    memory: Memory,
    /// Calls so far.
    number: u64,
}

impl Line {
    fn open(program: &Path, threads: Option<u64>) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(GLANCE))?;
        ours.set_write_timeout(Some(TAKING))?;
        let memory = Memory::create()?;
        let process = Process::start(program, theirs.into(), memory.descriptor()?, threads)?;
        let sender = Sender::new(ours.try_clone()?);
        Ok(Self { process, sender, receiver: Receiver::new(ours), memory, number: 0 })
    }

    /// The answer to a call, or why there is none.
    fn call(
        &mut self,
        call: Call,
        layout: &Layout<'_>,
        patience: &Patience,
        control: &dyn Control,
    ) -> std::result::Result<Result<Answer>, End> {
        self.number += 1;
        let number = self.number;
        layout.write(&self.memory)?;
        match self.sender.send(&Request { number, input: layout.all(), call }) {
            // What a worker said before its end is still to be read.
            Err(error) if matches!(error.kind(), Io::BrokenPipe | Io::ConnectionReset) => {}
            Err(error) if error.kind() == Io::WouldBlock => return Err(End::Silent(TAKING)),
            // A path that is not Unicode, or a call that is too long.
            Err(error) if matches!(error.kind(), Io::InvalidData | Io::InvalidInput) => {
                return Ok(Err(Error::invalid(error.to_string())));
            }
            sent => sent?,
        }
        let mut caller = Caller { control, reached: (0, 0), stop: None };
        let mut silent = Duration::ZERO;
        // Silence is counted, not measured: time in which the whole machine stood still is not the worker's.
        while silent < patience.get() {
            let Some(message) = self.receiver.receive()? else {
                silent += GLANCE;
                let (done, total) = caller.reached;
                caller.hear(done, total, number, &self.memory)?;
                continue;
            };
            silent = Duration::ZERO;
            match message {
                Message::Log { level, target, message } => log(level, &target, &message),
                Message::Progress { done, total } => caller.hear(done, total, number, &self.memory)?,
                Message::Done { number: answered, answer } if answered == number => return Ok(Ok(answer)),
                Message::Failed { number: answered, status, message } if answered == number => {
                    return Ok(Err(caller.told(Error::new(abi::kind_of(status), message))));
                }
                Message::Done { .. } | Message::Failed { .. } => {
                    return Err(Broken::Garbage("an answer to another call".to_owned()).into());
                }
            }
        }
        Err(End::Silent(silent))
    }

    /// The status of a worker that ended by itself.
    fn obituary(&mut self, end: &End) -> Option<ExitStatus> {
        // Whoever hangs up is about to end, and the status says why.
        let hung_up = matches!(end, End::Broken(Broken::Ended));
        let status = self.process.end(if hung_up { LAST_BREATH } else { Duration::ZERO });
        status.unwrap_or_else(|error| {
            warn!(%error, "A compute worker cannot be waited for");
            None
        })
    }
}

/// Whoever waits for the answer.
struct Caller<'a> {
    control: &'a dyn Control,
    /// How far the call had come at its last sign of life: silence takes nothing back.
    reached: (u64, u64),
    /// Why it wants no answer any more.
    stop: Option<String>,
}

impl Caller<'_> {
    /// Tells the caller that the call goes on, and the worker when the caller does not want it to.
    fn hear(&mut self, done: u64, total: u64, number: u64, memory: &Memory) -> io::Result<()> {
        self.reached = (done, total);
        if self.stop.is_none()
            && let Err(error) = self.control.progress(done, total)
        {
            self.stop = Some(error.message);
            memory.stop(number)?;
        }
        Ok(())
    }

    /// A failed call's error: of one that was stopped, the caller's own words.
    fn told(self, error: Error) -> Error {
        match self.stop {
            Some(message) if error.kind == ErrorKind::Cancelled => Error { message, ..error },
            _ => error,
        }
    }
}

/// What became of a worker, to follow its name. `status` is there when it ended by itself.
fn sentence(end: &End, status: Option<ExitStatus>, doing: &str) -> String {
    match (end, status) {
        (End::Broken(Broken::Ended), Some(status)) => format!("{} while it {doing}", told(status)),
        (End::Broken(Broken::Ended), None) => format!("hung up while it {doing}, and was ended"),
        (End::Broken(Broken::Garbage(what)), _) => {
            format!("sent what cannot be understood while it {doing}, and was ended: {what}")
        }
        (End::Broken(Broken::Io(error)), _) => format!("was lost while it {doing}: {error}"),
        (End::Silent(silent), _) => format!(
            "gave no sign of life for {} s while it {doing}, and was ended (`engine.hang_seconds`)",
            silent.as_secs()
        ),
    }
}
