// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The daemon's end of the processes that read pictures: one process for one picture, a bounded number of them at the
//! same time, and nothing believed of what they say that can be checked.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::outline::Refusal;
use super::{MaskPolarity, ResizeMode, Tones};
use crate::worker::Process;

/// How long a picture may take by the clock, also on a machine that is busy with others.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a process that has said its word may take to end.
const LAST_BREATH: Duration = Duration::from_secs(2);
/// Bytes of the longest answer.
const ANSWER_LIMIT: u64 = 4096;
/// Bytes around the pixels in a PNG, and what each row may cost beside them.
const PNG_FRAME: u64 = 64 << 10;

/// What a picture may be to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of its file.
    pub bytes: u64,
    /// Pixels of a side.
    pub side: u32,
    /// Pixels in all.
    pub pixels: u64,
}

impl Limits {
    /// Whether a picture may be that large.
    pub(super) fn allow(&self, width: u32, height: u32) -> bool {
        width.max(height) <= self.side && u64::from(width) * u64::from(height) <= self.pixels
    }
}

/// A part of a picture that has come to some size first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Width and height of that size in pixels.
    pub of: (u32, u32),
    /// Left, top, width and height in it.
    pub region: [u32; 4],
}

/// What a job needs of an input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Want {
    /// Its pixels: three bytes each. What is transparent shows white behind it.
    Rgb {
        /// Pixels from left to right.
        width: u32,
        /// Pixels from top to bottom.
        height: u32,
        /// How it comes to that size, or to that of which a part is taken.
        mode: ResizeMode,
        /// The part that is stretched to that size; all of it where there is none.
        part: Option<Part>,
    },
    /// How strongly each pixel is to be painted anew: one byte, 0 (stays) to 255.
    Mask {
        /// Pixels from left to right.
        width: u32,
        /// Pixels from top to bottom.
        height: u32,
        /// How it comes to that size.
        mode: ResizeMode,
        /// How it is read. What is transparent counts as black, but for [`MaskPolarity::Transparent`].
        polarity: MaskPolarity,
        /// Standard deviation of the Gaussian that softens its edges, in pixels of this size. 0: none.
        blur: f32,
    },
    /// Its edges, white on black: three equal bytes for each pixel.
    Canny {
        /// Pixels from left to right.
        width: u32,
        /// Pixels from top to bottom.
        height: u32,
        /// How it comes to that size, or to that of which a part is taken.
        mode: ResizeMode,
        /// The part that is stretched to that size; all of it where there is none.
        part: Option<Part>,
        /// The slope over which an edge goes on. 100 is usual.
        low: u32,
        /// The slope over which an edge begins. 200 is usual.
        high: u32,
    },
}

impl Want {
    /// Bytes of the answer.
    pub(super) fn bytes(&self) -> u64 {
        let (width, height, channels) = match *self {
            Self::Rgb { width, height, .. } | Self::Canny { width, height, .. } => (width, height, 3),
            Self::Mask { width, height, .. } => (width, height, 1),
        };
        u64::from(width) * u64::from(height) * channels
    }
}

/// What a process is started for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Job {
    /// To read what a client has sent, and write it down as a plain PNG.
    Take(Limits),
    /// To make of such a PNG what a job needs.
    Make(Want, Limits),
}

impl Job {
    /// Bytes that its result may have at most.
    pub(super) fn most_bytes(&self) -> u64 {
        match self {
            // Four bytes for each pixel; what cannot be compressed gets a little longer.
            Self::Take(limits) => limits.pixels * 4 + limits.pixels / 16 + PNG_FRAME,
            Self::Make(want, _) => want.bytes(),
        }
    }
}

/// What a process says of its job.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The picture is written down.
    Taken { width: u32, height: u32, has_alpha: bool, tones: Tones },
    /// The pixels are written down.
    Made,
    /// The picture is not one that is read.
    Refused(Refusal),
}

/// Who waits for a picture to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// A request, whose client waits.
    Request,
    /// A job that runs, and for which models wait on the device.
    Job,
}

/// Starts processes that read pictures.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    program: PathBuf,
    of_requests: Arc<Semaphore>,
    of_jobs: Arc<Semaphore>,
}

impl Reader {
    /// `program` is this one; at most `at_once` of its processes read pictures for requests at the same time, and as many
    /// for jobs: however many pictures arrive, no job stands behind them.
    pub(super) fn new(program: PathBuf, at_once: usize) -> Self {
        let places = || Arc::new(Semaphore::new(at_once));
        Self { program, of_requests: places(), of_jobs: places() }
    }

    /// Waits for a place, which is free again when the value is dropped.
    pub(super) async fn place(&self, whose: Whose) -> anyhow::Result<OwnedSemaphorePermit> {
        let places = match whose {
            Whose::Request => &self.of_requests,
            Whose::Job => &self.of_jobs,
        };
        Arc::clone(places).acquire_owned().await.context("nobody closes it")
    }

    /// Lets a process read `input` from its beginning and write what comes of it into `output`. Waits for it; both files
    /// are as it leaves them.
    ///
    /// # Errors
    /// When a process cannot be started, or ends without an answer for reasons that are not the picture's.
    pub(super) fn run(&self, job: &Job, input: File, output: File) -> anyhow::Result<Answer> {
        let mut command = Command::new(&self.program);
        command.arg0("alice").arg("picture").arg(serde_json::to_string(job)?);
        command.process_group(0).env_clear();
        command.stdin(input).stdout(output).stderr(Stdio::piped());
        let mut process =
            Process::start_command(command).context("cannot start a process to read a picture")?;
        let pipe = process.stderr().context("a process to read a picture has no standard error")?;
        let said = listen(pipe, Instant::now() + PATIENCE)?;
        let grace = if said.is_some() { LAST_BREATH } else { Duration::ZERO };
        let status = process.end(grace)?;
        match (said, status) {
            (Some(said), Some(status)) if status.success() => {
                serde_json::from_slice(&said).context("a process that reads a picture talks nonsense")
            }
            (_, None) => Ok(Answer::Refused(Refusal::Demanding)),
            (_, Some(status)) if was_too_much(status) => Ok(Answer::Refused(Refusal::Demanding)),
            (said, Some(status)) => {
                let said = said.unwrap_or_default();
                let said = String::from_utf8_lossy(&said);
                Err(anyhow!("a process that reads a picture failed ({status}): {}", said.trim()))
            }
        }
    }
}

/// What is said on `pipe` until it is closed; `None` when it is not by the time `end`.
fn listen(mut pipe: impl Read + std::os::fd::AsFd, end: Instant) -> io::Result<Option<Vec<u8>>> {
    let mut said = Vec::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            ready => ready?,
        };
        let mut some = [0; 1024];
        match pipe.read(&mut some)? {
            0 => return Ok(Some(said)),
            count if (said.len() + count) as u64 > ANSWER_LIMIT => return Ok(None),
            count => said.extend_from_slice(&some[..count]),
        }
    }
}

/// Whether a signal ended the process: an abort when memory was refused, the system's own for time, memory and size, or
/// a fault in a decoder. Whichever it is, the picture is at its beginning.
fn was_too_much(status: ExitStatus) -> bool {
    status.signal().is_some()
}
