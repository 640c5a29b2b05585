// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the daemon and a worker say to each other: frames of a length (four bytes, little-endian) and as many
//! bytes of JSON. Tensors and pictures are not in them but in the shared memory; a [`Span`] says where.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use alice_plugin::{
    DecodeOptions, Description, EncodeOptions, LoadRequest, Memory, ModelInfo, UpscaleOptions,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::memory::Span;

/// The longest frame, in bytes. Descriptions and log lines have hundreds; more than this is garbage.
const LIMIT: usize = 1 << 20;
/// Bytes of the length in front of each frame.
const HEAD: usize = 4;

/// A call for the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// Counts the calls. The answer repeats it, and it is what the shared memory names to stop the call.
    pub(super) number: u64,
    /// Everything that the call's spans lie in, but for those that the worker fills.
    pub(super) input: Span,
    /// What to do.
    pub(super) call: Call,
}

/// The calls of the contract, after [`Call::Open`], which comes first and once.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    /// Opens the library and starts an instance. `level` is the least important level to log.
    Open {
        library: PathBuf,
        options: Value,
        level: String,
    },
    Describe,
    Load(LoadRequest),
    /// Each file with the bits of its scale, which JSON would not keep exactly.
    Adapt {
        model: u64,
        adapters: Vec<(PathBuf, u32)>,
    },
    EncodeText {
        model: u64,
        chunks: Vec<Chunk>,
        extra_rows: Vec<Tensor>,
        clip_skip: u32,
    },
    /// The values follow the input in memory; the answer says how many.
    ReadText {
        conditioning: u64,
        part: String,
    },
    Denoise {
        model: u64,
        shape: [u32; 3],
        rows: Vec<Row>,
        out: Span,
    },
    Decode {
        model: u64,
        shape: [u32; 3],
        latents: Span,
        options: DecodeOptions,
        out: Span,
    },
    EncodeImage {
        model: u64,
        shape: [u32; 3],
        pixels: Span,
        options: EncodeOptions,
        mean: Span,
        deviation: Span,
    },
    EncodeHint {
        model: u64,
        shape: [u32; 3],
        pixels: Span,
    },
    Upscale {
        model: u64,
        height: u32,
        width: u32,
        pixels: Span,
        options: UpscaleOptions,
        out: Span,
    },
    Release(u64),
    Unload(u64),
    Memory,
}

impl Call {
    /// What the worker does meanwhile, to follow "while it".
    pub(super) fn doing(&self) -> &'static str {
        match self {
            Self::Open { .. } => "opened its library",
            Self::Describe => "described itself",
            Self::Load(_) => "loaded a model",
            Self::Adapt { .. } => "changed a model's adapters",
            Self::EncodeText { .. } => "encoded a prompt",
            Self::ReadText { .. } => "read an encoded prompt",
            Self::Denoise { .. } => "computed a step",
            Self::Decode { .. } => "decoded a picture",
            Self::EncodeImage { .. } => "encoded a picture",
            Self::EncodeHint { .. } => "encoded a hint",
            Self::Upscale { .. } => "made a picture larger",
            Self::Release(_) => "released what it had encoded",
            Self::Unload(_) => "unloaded a model",
            Self::Memory => "counted its memory",
        }
    }
}

/// A [`TextChunk`](alice_plugin::TextChunk).
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Chunk {
    pub(super) encoder: u32,
    pub(super) ids: Span,
    pub(super) weights: Span,
}

/// A [`NamedTensor`](alice_plugin::NamedTensor).
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) shape: Vec<u32>,
    pub(super) data: Span,
}

/// A [`DenoiseRow`](alice_plugin::DenoiseRow); of its timestep the bits, which JSON would not keep exactly.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) latent: Span,
    pub(super) timestep: u32,
    pub(super) conditioning: u64,
    pub(super) extras: Vec<Tensor>,
    pub(super) hints: Vec<Hint>,
}

/// A [`Hint`](alice_plugin::Hint); of its scale the bits.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hint {
    pub(super) model: u64,
    pub(super) hint: u64,
    pub(super) scale: u32,
}

/// What a worker says: one answer to each call, and the others at any time.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// A line for the log. `level` is the contract's number.
    Log { level: u32, target: String, message: String },
    /// The running call's sign of life.
    Progress { done: u64, total: u64 },
    /// The call's result.
    Done { number: u64, answer: Answer },
    /// The call's failure, with the contract's number for its kind.
    Failed { number: u64, status: i32, message: String },
}

/// What a call gives, beside what lies in the shared memory.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// Major and minor version of the contract that the library speaks, and what it says of itself.
    Opened(u16, u16, Description),
    Described(Description),
    Loaded(u64, ModelInfo),
    Handle(u64),
    /// Values of a part of an encoded prompt.
    Values(usize),
    Used(Memory),
    Nothing,
}

/// Why nothing more can be heard.
#[derive(Debug)]
pub(super) enum Broken {
    /// The other end is closed.
    Ended,
    /// What came is no frame.
    Garbage(String),
    /// The system's refusal.
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A process that dies with unread requests resets the connection.
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => Self::Ended,
            _ => Self::Io(error),
        }
    }
}

/// Writes whole frames; usable from every thread.
#[derive(Debug)]
pub(super) struct Sender(Mutex<UnixStream>);

impl Sender {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(Mutex::new(stream))
    }

    /// # Errors
    /// What cannot be written as JSON, or is too long; the system's refusal.
    pub(super) fn send(&self, frame: &impl Serialize) -> io::Result<()> {
        let mut bytes = vec![0; HEAD];
        serde_json::to_writer(&mut bytes, frame)?;
        let length = bytes.len() - HEAD;
        if length > LIMIT {
            return Err(io::Error::new(ErrorKind::InvalidInput, format!("a message of {length} bytes")));
        }
        bytes[..HEAD].copy_from_slice(&(length as u32).to_le_bytes());
        // A panic elsewhere leaves the stream as it was: nothing panics while a frame is written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes)
    }
}

/// Reads frames, of which one read may bring several, or a part.
#[derive(Debug)]
pub(super) struct Receiver {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were read and not yet taken: from here to there.
    from: usize,
    to: usize,
}

impl Receiver {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: vec![0; 4096], from: 0, to: 0 }
    }

    /// The next frame; `None` when the stream's timeout passes without a byte.
    ///
    /// # Errors
    /// The end of the stream, and what is no frame of this type.
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Broken> {
        loop {
            if let Some(frame) = self.take()? {
                let frame = serde_json::from_slice(frame);
                return frame.map(Some).map_err(|error| Broken::Garbage(error.to_string()));
            }
            match self.stream.read(&mut self.buffer[self.to..]) {
                Ok(0) => return Err(Broken::Ended),
                Ok(read) => self.to += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // So the system calls a read that has timed out.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// As [`receive`](Self::receive), of a frame that is expected within `patience`: until then this does not sleep.
    pub(super) fn receive_soon<T: DeserializeOwned>(
        &mut self,
        patience: Duration,
    ) -> Result<Option<T>, Broken> {
        let began = Instant::now();
        let there = |stream| {
            let asked = poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&Timespec::default()));
            // What cannot be asked is for the read to find out.
            !matches!(asked, Ok(0))
        };
        while self.from == self.to && began.elapsed() < patience && !there(&self.stream) {
            // Whoever else wants this core gets it.
            std::thread::yield_now();
        }
        self.receive()
    }

    /// The next frame's bytes, if all of them have been read. Else there is room for more of them.
    fn take(&mut self) -> Result<Option<&[u8]>, Broken> {
        let read = &self.buffer[self.from..self.to];
        let mut needed = HEAD;
        if let Some(head) = read.first_chunk() {
            let length = u32::from_le_bytes(*head) as usize;
            if length > LIMIT {
                return Err(Broken::Garbage(format!("it announces {length} bytes")));
            }
            needed += length;
            if read.len() >= needed {
                let frame = self.from + HEAD..self.from + needed;
                self.from = frame.end;
                return Ok(Some(&self.buffer[frame]));
            }
        }
        self.buffer.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        if self.buffer.len() < needed {
            self.buffer.resize(needed, 0);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_whole_however_they_were_cut() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        reader.set_read_timeout(Some(std::time::Duration::from_millis(1))).unwrap();
        let (long, short) = ("x".repeat(10_000), "y".to_owned());
        let mut bytes = Vec::new();
        for text in [&long, &short, &short] {
            let frame = serde_json::to_vec(text).unwrap();
            bytes.extend((frame.len() as u32).to_le_bytes());
            bytes.extend(frame);
        }
        let mut receiver = Receiver::new(reader);
        let mut received = Vec::new();
        for piece in bytes.chunks(9_999) {
            writer.write_all(piece).unwrap();
            while let Some(text) = receiver.receive::<String>().unwrap() {
                received.push(text);
            }
        }
        assert_eq!(received, [long, short.clone(), short]);
        drop(writer);
        assert!(matches!(receiver.receive::<String>(), Err(Broken::Ended)));
    }

    #[test]
    fn what_is_too_long_is_neither_sent_nor_awaited() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let refused = Sender::new(writer.try_clone().unwrap()).send(&"x".repeat(LIMIT));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
        writer.write_all(&(LIMIT as u32 + 1).to_le_bytes()).unwrap();
        assert!(matches!(Receiver::new(reader).receive::<String>(), Err(Broken::Garbage(_))));
    }
}
