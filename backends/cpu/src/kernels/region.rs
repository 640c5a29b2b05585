// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Addresses whose memory the system gives when it is first written, in pages as large as it has: weights and pictures
//! are gone through from end to end, and looking up where each 4 KiB lie takes a processor some per cent of its time.
#![allow(unsafe_code)]

use std::{io, ops::Range};

use memmap2::{MmapOptions, MmapRaw};

use super::memory::Line;

/// A run of lines that begin as zeros.
pub(crate) struct Region {
    map: MmapRaw,
}

impl Region {
    /// Addresses for `lines`, more than there may be memory for.
    pub(crate) fn reserve(lines: usize) -> io::Result<Self> {
        let mut options = MmapOptions::new();
        let map = options.len(lines.max(1) * size_of::<Line>()).no_reserve_swap().map_anon()?;
        #[cfg(target_os = "linux")]
        if let Err(error) = map.advise(memmap2::Advice::HugePage) {
            tracing::debug!(%error, "The system has no large pages to give");
        }
        Ok(Self { map: map.into() })
    }

    /// The first of `lines`.
    fn at(&self, lines: &Range<usize>) -> *mut Line {
        assert!(lines.end * size_of::<Line>() <= self.map.len(), "the lines are within the region");
        self.map.as_mut_ptr().cast::<Line>().wrapping_add(lines.start)
    }

    /// The values of `lines`.
    ///
    /// # Safety
    /// Nobody writes them as long as the answer lives.
    pub(crate) unsafe fn read(&self, lines: &Range<usize>) -> &[Line] {
        // SAFETY: they are within the map, and the caller vouches that they do not change.
        unsafe { std::slice::from_raw_parts(self.at(lines), lines.len()) }
    }

    /// The values of `lines`, to be written.
    ///
    /// # Safety
    /// Nobody else reads or writes them as long as the answer lives.
    #[expect(clippy::mut_from_ref, reason = "different lines are written by many at once")]
    pub(crate) unsafe fn write(&self, lines: &Range<usize>) -> &mut [Line] {
        // SAFETY: they are within the map, and the caller vouches that they are nobody else's.
        unsafe { std::slice::from_raw_parts_mut(self.at(lines), lines.len()) }
    }

    /// Gives the memory of `lines` back to the system, all but parts of pages at both ends.
    ///
    /// # Safety
    /// Nobody has them, and nobody asks for what they hold.
    pub(crate) unsafe fn give_back(&self, lines: &Range<usize>) {
        #[cfg(target_os = "linux")]
        {
            // A multiple of the pages that any system has.
            const PAGE: usize = (64 << 10) / size_of::<Line>();
            let (first, end) = (lines.start.next_multiple_of(PAGE), lines.end / PAGE * PAGE);
            let (offset, length) = (first * size_of::<Line>(), end.saturating_sub(first) * size_of::<Line>());
            // SAFETY: the caller vouches that nobody misses what they hold.
            let given = unsafe {
                self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, length)
            };
            if let Err(error) = given {
                tracing::debug!(%error, "The system did not take memory back");
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = lines;
    }
}
