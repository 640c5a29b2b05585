// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Memory for tensors, aligned to cache lines and used again: the first step takes from the system what the
//! following ones find here.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alice_plugin::{Error, ErrorKind, Result};
use bytemuck::{Pod, Zeroable};

/// A cache line, which is also the widest vector.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

/// Bytes of a cache line.
const LINE: usize = 64;

/// Buffers that wait to be used again.
#[derive(Default)]
pub(crate) struct Arena {
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    /// By their number of lines.
    free: BTreeMap<usize, Vec<Vec<Line>>>,
    /// Lines that wait here.
    waiting: usize,
    /// Lines that are in use.
    used: usize,
}

/// Bytes that begin at a cache line; they go back to their arena.
pub(crate) struct Buffer {
    lines: Vec<Line>,
    arena: Option<Arc<Arena>>,
}

impl Arena {
    /// A buffer of at least `count` values of whatever they were before.
    ///
    /// When another network or another size of picture needs buffers that are not here, those that are go back to the
    /// system as soon as they are more than those in use.
    pub(crate) fn take<T: Pod>(self: &Arc<Self>, count: usize) -> Result<Buffer> {
        let wanted = lines_for::<T>(count);
        let found = self.lock().take(wanted);
        let lines = found.map_or_else(|| allocate(wanted), Ok)?;
        self.lock().used += lines.len();
        Ok(Buffer { lines, arena: Some(Arc::clone(self)) })
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        // Lists of buffers are whole even if another holder panicked.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    /// A buffer of so many lines, or up to a half more.
    fn take(&mut self, wanted: usize) -> Option<Vec<Line>> {
        let mut near = self.free.range_mut(wanted..=wanted + wanted / 2);
        let found = near.find_map(|(_, buffers)| buffers.pop());
        match &found {
            Some(lines) => self.waiting -= lines.len(),
            None if self.waiting > self.used => {
                self.free.clear();
                self.waiting = 0;
            }
            None => {}
        }
        found
    }

    fn put(&mut self, lines: Vec<Line>) {
        self.used -= lines.len();
        self.waiting += lines.len();
        self.free.entry(lines.len()).or_default().push(lines);
    }
}

impl Buffer {
    /// A buffer of `count` zeros that belongs to no arena: for weights.
    pub(crate) fn zeros<T: Pod>(count: usize) -> Result<Self> {
        Ok(Self { lines: allocate(lines_for::<T>(count))?, arena: None })
    }

    /// The values, and some more that fill the last lines.
    pub(crate) fn as_slice<T: Pod>(&self) -> &[T] {
        bytemuck::cast_slice(&self.lines)
    }

    /// The values, to be written.
    pub(crate) fn as_mut_slice<T: Pod>(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(arena) = &self.arena {
            arena.lock().put(std::mem::take(&mut self.lines));
        }
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

fn allocate(count: usize) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    let full =
        |_| Error::new(ErrorKind::OutOfMemory, format!("there are no {} bytes of memory", count * LINE));
    lines.try_reserve_exact(count).map_err(full)?;
    lines.resize(count, Line::zeroed());
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_and_what_no_longer_fits_goes_back() {
        let arena = Arc::new(Arena::default());
        let first = arena.take::<f32>(1000).unwrap();
        let address = first.as_slice::<f32>().as_ptr();
        assert_eq!(address.align_offset(LINE), 0);
        drop(first);
        let again = arena.take::<f32>(900).unwrap();
        assert_eq!(again.as_slice::<f32>().as_ptr(), address);
        drop(again);
        assert_eq!(arena.lock().waiting, lines_for::<f32>(1000));
        let other = arena.take::<f32>(10_000).unwrap();
        assert_eq!(arena.lock().waiting, 0);
        assert_eq!(arena.lock().used, lines_for::<f32>(10_000));
        drop(other);
    }
}
