// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Memory that the daemon and a worker share, as a file that lies in no directory: it is written and read,
//! not mapped, so that neither can be harmed by what the other does with it. It grows with a large call, and what that
//! took more than others need is given back when it is over.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

/// Where the tensors begin. Before them lies the number of the call that is to stop.
const START: u64 = 64;
/// Everything begins at a multiple of this, so that it can be read as numbers of four bytes.
const ALIGNMENT: u64 = 4;
/// Bytes that either process keeps for the next call. Calls for pictures of the sizes that are painted take no more (but
/// for a masked one of the largest size, with four bytes a pixel), so that they need not ask the system for memory each
/// time.
pub(super) const KEPT: u64 = 16 << 20;

/// A piece of the shared memory, in bytes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Span {
    pub(super) at: u64,
    pub(super) length: u64,
}

impl Span {
    fn end(self) -> u64 {
        (self.at + self.length).next_multiple_of(ALIGNMENT)
    }

    /// The piece behind this one.
    pub(super) fn next(self, length: usize) -> Self {
        Self { at: self.end(), length: length as u64 }
    }

    /// Where this piece lies in the bytes of `whole`, if it does.
    pub(super) fn within(self, whole: Self) -> Option<std::ops::Range<usize>> {
        let from = self.at.checked_sub(whole.at)?;
        let to = from.checked_add(self.length).filter(|to| *to <= whole.length)?;
        Some(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
    }
}

/// The shared file.
#[derive(Debug)]
pub(super) struct Memory(File);

impl Memory {
    /// New memory.
    pub(super) fn create() -> io::Result<Self> {
        let memory = Self(file()?);
        memory.stop(0)?;
        Ok(memory)
    }

    /// The other process's view of it.
    pub(super) fn attach(file: OwnedFd) -> Self {
        Self(File::from(file))
    }

    /// A descriptor to hand to the other process.
    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.0.try_clone()?.into())
    }

    /// Asks that the call of this number stops.
    pub(super) fn stop(&self, number: u64) -> io::Result<()> {
        self.0.write_all_at(&number.to_le_bytes(), 0)
    }

    /// Whether the call of this number is to stop.
    pub(super) fn is_stopped(&self, number: u64) -> io::Result<bool> {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(u64::from_le_bytes(bytes) == number)
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    /// Gives back what is more than [`KEPT`]. Nobody has anything there any more.
    pub(super) fn tidy(&self) -> io::Result<()> {
        if self.0.metadata()?.len() > KEPT {
            self.0.set_len(KEPT)?;
        }
        Ok(())
    }

    pub(super) fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, at)
    }
}

/// A file that lies in no directory.
#[cfg(target_os = "linux")]
pub(crate) fn file() -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    Ok(memfd_create("alice-worker", MemfdFlags::CLOEXEC)?.into())
}

/// A file that lies in no directory.
#[cfg(not(target_os = "linux"))]
pub(crate) fn file() -> io::Result<File> {
    tempfile::tempfile()
}

/// The slices of a call and their places in the memory, one behind the other.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    slices: Vec<(u64, &'a [u8])>,
    all: Span,
}

impl<'a> Layout<'a> {
    pub(super) fn new() -> Self {
        Self { slices: Vec::new(), all: Span { at: START, length: 0 } }
    }

    /// Gives `bytes` a place.
    pub(super) fn place(&mut self, bytes: &'a [u8]) -> Span {
        let span = self.all.next(bytes.len());
        self.slices.push((span.at, bytes));
        self.all.length = span.end() - self.all.at;
        span
    }

    /// A place for `length` bytes of the answer.
    pub(super) fn behind(&self, length: usize) -> Span {
        self.all.next(length)
    }

    /// Everything that has a place.
    pub(super) fn all(&self) -> Span {
        self.all
    }

    /// Writes everything to its place.
    pub(super) fn write(&self, memory: &Memory) -> io::Result<()> {
        self.slices.iter().try_for_each(|(at, bytes)| memory.write(*at, bytes))?;
        // The last piece may end short of its multiple, and the whole is read at once.
        match self.slices.last() {
            Some((at, bytes)) if !(bytes.len() as u64).is_multiple_of(ALIGNMENT) => {
                let end = at + bytes.len() as u64;
                memory.write(end, &[0; ALIGNMENT as usize][..(self.all.end() - end) as usize])
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_lie_apart_at_multiples_of_four_and_come_back_as_they_were() {
        let memory = Memory::create().unwrap();
        let other = Memory::attach(memory.descriptor().unwrap());
        let mut layout = Layout::new();
        let spans = [&b"abcde"[..], b"", b"fghi", b"j"].map(|bytes| (layout.place(bytes), bytes));
        layout.write(&memory).unwrap();
        let mut whole = vec![0; layout.all().length as usize];
        other.read(layout.all().at, &mut whole).unwrap();
        for (span, bytes) in spans {
            assert!(span.at.is_multiple_of(ALIGNMENT));
            assert_eq!(&whole[span.within(layout.all()).unwrap()], bytes);
        }
        assert!(layout.behind(8).at > spans[3].0.at);
        assert!(layout.behind(8).within(layout.all()).is_none());
    }

    #[test]
    fn what_a_large_call_took_is_given_back_and_can_be_had_again() {
        let memory = Memory::create().unwrap();
        let length = || memory.0.metadata().unwrap().len();
        memory.stop(7).unwrap();
        memory.write(KEPT - 1, b"a").unwrap();
        memory.tidy().unwrap();
        assert_eq!(length(), KEPT);
        for _ in 0..2 {
            memory.write(3 * KEPT, b"b").unwrap();
            memory.tidy().unwrap();
            assert_eq!(length(), KEPT);
        }
        assert!(memory.is_stopped(7).unwrap());
    }

    #[test]
    fn a_call_is_stopped_by_its_number_and_the_next_one_is_not() {
        let memory = Memory::create().unwrap();
        assert!(!memory.is_stopped(1).unwrap());
        memory.stop(1).unwrap();
        assert!(memory.is_stopped(1).unwrap() && !memory.is_stopped(2).unwrap());
    }
}
