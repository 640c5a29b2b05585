// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The left side of a product as tiles can read it: from each row to the next, and from each chunk of the depth to the
//! next, it is the same distance.
//!
//! Tokens are so already, where they lie. Of an image a copy is made, in planes of 32 channels: each holds the pixels
//! line by line with one pixel of zeros before each line, and a line of zeros above each image and below the last.
//! So a pixel's neighbour below is always as far away as a line is long, and what lies under a tap of the kernel is
//! the same memory from another place on. The rows of a product that fall on the frame of zeros are computed for
//! nothing (one in 64 of an image 64 pixels wide) and left out of the result.
//!
//! What goes over an image in steps of two has a plane for each tap instead.
#![allow(unsafe_code)]

use std::ops::Range;

use super::{CHUNK_BYTES, DEPTH, SIDE, first_of, quantise};
use crate::{
    format::Bf16,
    kernels::{
        product::{MOST_TAPS, Out},
        window::Windows,
    },
};

/// A left side.
#[derive(Clone, Copy)]
pub(crate) struct Planes<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) places: &'a Places,
}

/// Where a left side's values lie, in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// From a row to the next.
    row: usize,
    /// From a chunk of the depth to the next.
    chunk: usize,
    /// Where the first row begins under each tap.
    taps: [usize; MOST_TAPS],
    pub(crate) grid: Grid,
}

/// Which rows of a product are pixels of the result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    images: usize,
    height: usize,
    width: usize,
    /// Rows of the product from a line of pixels to the next.
    pitch: usize,
    /// Rows of the product from an image to the next.
    area: usize,
}

/// Rows of a product that are pixels, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) rows: Range<usize>,
    /// The first one's number among the pixels of all images.
    pub(crate) pixel: usize,
    /// The image's number.
    pub(crate) image: usize,
}

impl Grid {
    /// `rows` that are all pixels, `area` of them in each image.
    fn dense(rows: usize, area: usize) -> Self {
        Self { images: rows / area, height: 1, width: area, pitch: area, area }
    }

    /// Rows of the product.
    pub(crate) fn rows(&self) -> usize {
        (self.images - 1) * self.area + (self.height - 1) * self.pitch + self.width
    }

    /// Images of the batch.
    pub(crate) fn images(&self) -> usize {
        self.images
    }

    /// The pixels among `rows`.
    pub(crate) fn runs(self, rows: Range<usize>) -> impl Iterator<Item = Run> {
        let lines = rows.start / self.pitch..rows.end.div_ceil(self.pitch);
        lines.filter_map(move |line| {
            let (image, y) = (line * self.pitch / self.area, line * self.pitch % self.area / self.pitch);
            let first = (line * self.pitch).max(rows.start);
            let end = (line * self.pitch + self.width).min(rows.end);
            let pixel = (image * self.height + y) * self.width + first.saturating_sub(line * self.pitch);
            (y < self.height && first < end).then_some(Run { rows: first..end, pixel, image })
        })
    }
}

impl Places {
    /// Tokens or pixels where they are, `rows` of `depth` values, if tiles can read them there: they take whole
    /// chunks, and rows by 32, and rows whose distance is a multiple of sixteen lines of the cache throw each other out of it.
    pub(crate) fn in_place(rows: usize, area: usize, depth: usize) -> Option<Self> {
        let fits = depth.is_multiple_of(DEPTH)
            && rows.is_multiple_of(SIDE)
            && !(depth * size_of::<Bf16>()).is_multiple_of(16 * CHUNK_BYTES);
        let grid = Grid::dense(rows, area);
        let row = depth * size_of::<Bf16>();
        fits.then_some(Self { row, chunk: CHUNK_BYTES, taps: [0; MOST_TAPS], grid })
    }

    /// The first row's values under a tap from chunk number `chunk` on.
    #[inline(always)]
    fn first(&self, tap: usize, chunk: usize) -> usize {
        self.taps[tap] + chunk * self.chunk
    }
}

impl<'a> Planes<'a> {
    /// The values of `row` under a tap from chunk number `chunk` on.
    #[inline(always)]
    pub(super) fn from(&self, row: usize, tap: usize, chunk: usize) -> &'a [u8] {
        &self.bytes[self.places.first(tap, chunk) + row * self.places.row..]
    }

    /// Bytes from a row to the next, and from a chunk to the next.
    pub(super) fn steps(&self) -> [usize; 2] {
        [self.places.row, self.places.chunk]
    }
}

/// How a copy in planes is made.
#[derive(Clone, Debug)]
pub(crate) enum Staging<'a> {
    /// Lines of pixels `[height, width]` as they are, or with a frame of zeros around each image; enlarged from `source`
    /// by nearest neighbour.
    Framed { frame: usize, source: [usize; 2] },
    /// A plane for each tap.
    Unfolded { windows: &'a Windows, taps: usize },
}

/// A copy in planes.
pub(crate) struct Stage<'a> {
    pub(crate) image: &'a [Bf16],
    pub(crate) channels: usize,
    images: usize,
    height: usize,
    width: usize,
    /// Pixels in each plane.
    pixels: usize,
    how: Staging<'a>,
    /// Into int8: how many steps of it one is, for each image or each pixel.
    steps: Option<&'a [f32]>,
}

impl<'a> Stage<'a> {
    /// A copy of `images` of `channels` each that are `[height, width]` when they are enlarged or unfolded.
    pub(crate) fn new(
        image: &'a [Bf16],
        channels: usize,
        images: usize,
        [height, width]: [usize; 2],
        how: Staging<'a>,
    ) -> Self {
        let mut stage = Self { image, channels, images, height, width, pixels: 0, how, steps: None };
        // What the last block of rows reads beyond the last pixel may be anything.
        stage.pixels = stage.lines() * stage.pitch() + 1 + SIDE;
        stage
    }

    /// The size of a step of int8, from the largest magnitude of each pixel of the source: for each pixel, or for each
    /// image where windows mix its pixels.
    pub(crate) fn scales(&self, magnitudes: &[f32]) -> Vec<f32> {
        match self.how {
            Staging::Framed { frame: 0, source } if source == [self.height, self.width] => {
                magnitudes.iter().map(|most| quantise::scale([*most])).collect()
            }
            _ => {
                let images = magnitudes.chunks_exact(magnitudes.len() / self.images);
                images.map(|image| quantise::scale(image.iter().copied())).collect()
            }
        }
    }

    /// The same in int8, where `steps` says how many steps one is, for each image or each pixel of the source.
    pub(crate) fn in_int8(self, steps: &'a [f32]) -> Self {
        Self { steps: Some(steps), ..self }
    }

    fn frame(&self) -> usize {
        if let Staging::Framed { frame, .. } = self.how { frame } else { 0 }
    }

    fn pitch(&self) -> usize {
        self.width + self.frame()
    }

    /// Lines of each plane.
    pub(crate) fn lines(&self) -> usize {
        self.images * (self.height + self.frame()) + self.frame()
    }

    /// Pixels that are written with a line: with the last one the zeros behind it.
    fn length(&self, line: usize) -> usize {
        self.pitch() + if line + 1 == self.lines() { self.frame() } else { 0 }
    }

    /// Lines that are written together: enough of them to be worth a task.
    pub(super) fn lines_of_a_task(&self) -> usize {
        (64 / self.pitch()).max(1)
    }

    /// Channels of a plane.
    fn depth(&self) -> usize {
        if self.steps.is_some() { 2 * DEPTH } else { DEPTH }
    }

    fn chunks(&self) -> usize {
        self.channels.div_ceil(self.depth())
    }

    /// Pixels of all planes.
    pub(crate) fn count(&self) -> usize {
        let planes = if let Staging::Unfolded { taps, .. } = self.how { taps } else { 1 };
        planes * self.chunks() * self.pixels
    }

    /// Where they lie.
    pub(crate) fn places(&self) -> Places {
        let (pitch, frame) = (self.pitch(), self.frame());
        let tap = |tap: usize| match self.how {
            Staging::Framed { frame: 0, .. } => 0,
            Staging::Framed { .. } => (tap / 3 * pitch + tap % 3) * CHUNK_BYTES,
            Staging::Unfolded { .. } => tap * self.chunks() * self.pixels * CHUNK_BYTES,
        };
        let grid = match frame {
            0 => Grid::dense(self.images * self.height * pitch, self.height * pitch),
            _ => Grid {
                images: self.images,
                height: self.height,
                width: self.width,
                pitch,
                area: (self.height + frame) * pitch,
            },
        };
        Places { row: CHUNK_BYTES, chunk: self.pixels * CHUNK_BYTES, taps: std::array::from_fn(tap), grid }
    }

    /// Writes `lines` of every plane.
    ///
    /// # Safety
    /// The processor has AVX-512, `out` has [`count`](Self::count) pixels, and nobody else writes these lines.
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub(super) unsafe fn fill(&self, lines: Range<usize>, out: Out<[u8; CHUNK_BYTES]>) {
        for chunk in 0..self.chunks() {
            for line in lines.clone() {
                let first = chunk * self.pixels + line * self.pitch();
                match &self.how {
                    Staging::Framed { frame, source } => {
                        // SAFETY: the caller vouches for it.
                        let out = unsafe { out.part(first, self.length(line)) };
                        self.framed(line, chunk, *frame, *source, out);
                    }
                    Staging::Unfolded { windows, taps } => {
                        for tap in 0..*taps {
                            let plane = tap * self.chunks() * self.pixels;
                            // SAFETY: as above.
                            let out = unsafe { out.part(plane + first, self.width) };
                            self.unfolded(line, chunk, windows, tap, out);
                        }
                    }
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    fn framed(
        &self,
        line: usize,
        chunk: usize,
        frame: usize,
        [height, width]: [usize; 2],
        out: &mut [[u8; CHUNK_BYTES]],
    ) {
        let (image, y) = (line / (self.height + frame), line % (self.height + frame));
        out[..frame].fill([0; CHUNK_BYTES]);
        let out = &mut out[frame..];
        match y.checked_sub(frame).filter(|_| image < self.images) {
            None => out.fill([0; CHUNK_BYTES]),
            Some(y) => {
                let line = (image * height + y * height / self.height) * width;
                for (x, out) in out[..self.width].iter_mut().enumerate() {
                    let pixel = line + if width == self.width { x } else { x * width / self.width };
                    *out = self.chunk(pixel, image, chunk);
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    fn unfolded(
        &self,
        line: usize,
        chunk: usize,
        windows: &Windows,
        tap: usize,
        out: &mut [[u8; CHUNK_BYTES]],
    ) {
        for (x, out) in out.iter_mut().enumerate() {
            let place = windows.place(line * self.width + x, tap).map(|place| place / self.channels);
            *out = place.map_or([0; CHUNK_BYTES], |pixel| self.chunk(pixel, line / self.height, chunk));
        }
    }

    /// The channels of a plane of the source's pixel number `pixel`; those that it does not have are zero.
    #[inline]
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    fn chunk(&self, pixel: usize, image: usize, chunk: usize) -> [u8; CHUNK_BYTES] {
        let depth = self.depth();
        let channels = chunk * depth..self.channels.min((chunk + 1) * depth);
        let values = &self.image[pixel * self.channels..][channels];
        match self.steps {
            None => bytemuck::cast(first_of(values)),
            Some(steps) => {
                let step = steps[if steps.len() == self.images { image } else { pixel }];
                quantise::chunk(values, step)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_on_the_frame_are_no_pixels() {
        let grid = Grid { images: 2, height: 2, width: 3, pitch: 4, area: 12 };
        assert_eq!(grid.rows(), 19);
        let runs: Vec<_> = grid.runs(1..19).collect();
        let run = |rows: Range<usize>, pixel, image| Run { rows, pixel, image };
        assert_eq!(runs, [run(1..3, 1, 0), run(4..7, 3, 0), run(12..15, 6, 1), run(16..19, 9, 1)]);
        assert_eq!(grid.runs(7..12).count(), 0);
        let dense: Vec<_> = Grid::dense(64, 32).runs(16..48).collect();
        assert_eq!(dense, [run(16..32, 16, 0), run(32..48, 32, 1)]);
    }
}
