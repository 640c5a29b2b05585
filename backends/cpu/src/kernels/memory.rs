// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Memory for tensors: every model has one region of addresses, of which the first pass takes the memory from the
//! system, and all that follow use it again.
#![allow(unsafe_code)]

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alice_plugin::{Error, ErrorKind, Result};
use bytemuck::{Pod, Zeroable};

use super::region::Region;

/// A cache line, which is also the widest vector.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; LINE]);

/// Bytes of a cache line.
const LINE: usize = 64;
/// Lines of a model's region, 64 GiB: more than any picture needs. Where the system promises more than it has, addresses
/// cost nothing.
const RESERVED: usize = (64 << 30) / LINE;
/// After so many buffers, memory that was not needed for any of them goes back to the system: some passes of a network.
const FORGETS: usize = 4096;

/// One region, and what of it is free.
pub(crate) struct Arena {
    region: Region,
    places: Mutex<Places>,
}

/// Which lines are free.
struct Places {
    /// Number of lines by the first of them; no two runs touch each other.
    free: BTreeMap<usize, usize>,
    /// Lines that were ever written and not given back: all before this one.
    touched: usize,
    /// The same of the lines that were in use lately.
    needed: usize,
    /// Buffers taken lately.
    taken: usize,
}

/// Bytes that begin at a cache line; they go back to their arena.
pub(crate) struct Buffer {
    arena: Arc<Arena>,
    lines: Range<usize>,
}

impl Arena {
    /// Addresses for a model's tensors.
    ///
    /// # Errors
    /// `OutOfMemory` when the system has not even these.
    pub(crate) fn new() -> Result<Arc<Self>> {
        if let Ok(region) = Region::reserve(RESERVED) {
            return Ok(Arc::new(Self::of(region, RESERVED)));
        }
        // A system that promises no more memory than it has: the weights want to be promised some as well.
        let mut sizes = (1..12).map(|halvings| RESERVED >> halvings);
        let promised = sizes.find(|lines| Region::reserve(*lines).is_ok());
        let lines = promised.ok_or_else(|| out_of_memory(RESERVED >> 11))? / 4;
        let region = Region::reserve(lines).map_err(|_| out_of_memory(lines))?;
        Ok(Arc::new(Self::of(region, lines)))
    }

    fn of(region: Region, lines: usize) -> Self {
        let free = BTreeMap::from([(0, lines)]);
        Self { region, places: Mutex::new(Places { free, touched: 0, needed: 0, taken: 0 }) }
    }

    /// A buffer of at least `count` values of whatever they were before.
    ///
    /// # Errors
    /// `OutOfMemory` when the region is full.
    pub(crate) fn take<T: Pod>(self: &Arc<Self>, count: usize) -> Result<Buffer> {
        let wanted = lines_for::<T>(count).max(1);
        let mut places = self.lock();
        let first = places.take(wanted).ok_or_else(|| out_of_memory(wanted))?;
        if let Some(idle) = places.forget() {
            // SAFETY: nobody has the lines behind all that were needed lately; they are free, and the lock is held.
            unsafe { self.region.give_back(&idle) };
        }
        Ok(Buffer { arena: Arc::clone(self), lines: first..first + wanted })
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        // What is free is told wholly even if another holder panicked.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    /// The first run of free lines that is long enough.
    fn take(&mut self, wanted: usize) -> Option<usize> {
        let (first, found) = self.free.iter().find(|(_, lines)| **lines >= wanted)?;
        let (first, found) = (*first, *found);
        self.free.remove(&first);
        if found > wanted {
            self.free.insert(first + wanted, found - wanted);
        }
        self.needed = self.needed.max(first + wanted);
        self.touched = self.touched.max(first + wanted);
        Some(first)
    }

    /// Joins what comes back with what lies beside it.
    fn put(&mut self, lines: &Range<usize>) {
        let mut joined = lines.clone();
        if let Some((first, length)) = self.free.range(..lines.start).next_back().map(|(a, b)| (*a, *b))
            && first + length == lines.start
        {
            self.free.remove(&first);
            joined.start = first;
        }
        if let Some(length) = self.free.remove(&lines.end) {
            joined.end += length;
        }
        self.free.insert(joined.start, joined.len());
    }

    /// After many buffers the lines that none of them needed, if they are as many as those that were.
    fn forget(&mut self) -> Option<Range<usize>> {
        self.taken += 1;
        if self.taken < FORGETS {
            return None;
        }
        self.taken = 0;
        // Buffers that live long may lie behind all that were taken lately.
        let behind = self.free.last_key_value().filter(|(first, lines)| *first + *lines >= self.touched);
        let last = behind.map_or(self.touched, |(first, _)| *first);
        let needed = self.needed.max(last);
        let idle = needed..self.touched;
        self.needed = 0;
        if idle.len() <= needed {
            return None;
        }
        self.touched = needed;
        Some(idle)
    }
}

impl Buffer {
    /// A buffer of `count` zeros with a region of its own: for weights.
    pub(crate) fn zeros<T: Pod>(count: usize) -> Result<Self> {
        let lines = lines_for::<T>(count).max(1);
        let region = Region::reserve(lines).map_err(|_| out_of_memory(lines))?;
        Arc::new(Arena::of(region, lines)).take::<T>(count)
    }

    /// The values, and some more that fill the last lines.
    pub(crate) fn as_slice<T: Pod>(&self) -> &[T] {
        // SAFETY: the lines are this buffer's alone, and are written only by who has it to be written.
        bytemuck::cast_slice(unsafe { self.arena.region.read(&self.lines) })
    }

    /// The values, to be written.
    pub(crate) fn as_mut_slice<T: Pod>(&mut self) -> &mut [T] {
        // SAFETY: as above.
        bytemuck::cast_slice_mut(unsafe { self.arena.region.write(&self.lines) })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.arena.lock().put(&self.lines);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer of {} bytes", self.lines.len() * LINE)
    }
}

fn lines_for<T>(count: usize) -> usize {
    (count * size_of::<T>()).div_ceil(LINE)
}

fn out_of_memory(lines: usize) -> Error {
    Error::new(ErrorKind::OutOfMemory, format!("there are no {} bytes of memory", lines * LINE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_used_again_and_joined_with_what_lies_beside_it() {
        let arena = Arena::new().unwrap();
        let take = |count| arena.take::<f32>(count).unwrap();
        let (first, second, third) = (take(1000), take(1000), take(1000));
        let address = first.as_slice::<f32>().as_ptr();
        assert_eq!(address.align_offset(LINE), 0);
        drop(first);
        assert_eq!(take(900).as_slice::<f32>().as_ptr(), address);
        drop(second);
        assert_eq!(take(2000).as_slice::<f32>().as_ptr(), address, "two runs are one");
        drop(third);
        assert_eq!(arena.lock().free.len(), 1, "nothing is left in pieces");
    }

    #[test]
    fn buffers_do_not_share_a_value() {
        let arena = Arena::new().unwrap();
        let mut buffers: Vec<_> = (0..20).map(|i| arena.take::<u32>(10 * i + 1).unwrap()).collect();
        for (number, buffer) in buffers.iter_mut().enumerate() {
            buffer.as_mut_slice::<u32>().fill(number as u32);
        }
        for (number, buffer) in buffers.iter().enumerate() {
            assert!(buffer.as_slice::<u32>().iter().all(|value| *value == number as u32));
        }
    }

    #[test]
    fn memory_that_is_not_needed_any_more_goes_back() {
        let arena = Arena::new().unwrap();
        let small = arena.take::<u8>(100).unwrap();
        drop(arena.take::<u8>(1 << 24).unwrap());
        assert!(arena.lock().touched > 1 << 18);
        for _ in 0..2 * FORGETS {
            drop(arena.take::<u8>(1000).unwrap());
        }
        assert!(arena.lock().touched < 100, "{}", arena.lock().touched);
        drop(small);
        assert!(arena.take::<u8>(1 << 24).unwrap().as_slice::<u8>().iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_is_in_use_at_the_end_of_the_region_is_not_given_back() {
        let lines = (1 << 22) / LINE;
        let arena = Arc::new(Arena::of(Region::reserve(lines).unwrap(), lines));
        let first = arena.take::<u8>(3 << 20).unwrap();
        let mut last = arena.take::<u8>(1 << 20).unwrap();
        last.as_mut_slice::<u8>().fill(7);
        drop(first);
        for _ in 0..3 * FORGETS {
            drop(arena.take::<u8>(1).unwrap());
        }
        assert!(last.as_slice::<u8>().iter().all(|byte| *byte == 7));
    }

    #[test]
    fn a_buffer_that_no_region_holds_is_an_error() {
        let error = Arena::new().unwrap().take::<u8>(1 << 40).unwrap_err();
        assert_eq!(error.kind, ErrorKind::OutOfMemory);
    }
}
