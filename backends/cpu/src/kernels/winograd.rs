// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Convolutions of 3 x 3 with a quarter of the multiplications: Winograd's minimal filtering.
//!
//! Source: Lavin and Gray 2015, arXiv:1509.09308, F(4x4, 3x3), with points of our own (see [`transform`]).
//!
//! The result is cut into tiles of 4 x 4 pixels, of which each comes from 6 x 6 of the image. Both these and the
//! weights are transformed to 36 places, and at each place a tile's result is one row of a product over the channels.
//!
//! A task is some tiles and some panels. It transforms its part of the image once. The weights are those of the direct
//! convolution, and are transformed for a slab of channels and two rows of places at a time, right before their
//! products. With many tiles that costs a twelfth of these. Weights that were transformed while loading would need four
//! times the memory, and be four times as much to read.
//!
//! A tile's sums depend on the tile alone: not on how many there are, and not on who computes them.
#![allow(unsafe_code)]
#![allow(clippy::needless_range_loop, reason = "as in the product")]

use std::{ops::Range, sync::Arc};

use alice_plugin::Result;

use super::{
    memory::Arena,
    pack::{RUN, Slab},
    product::{MOST_COLUMNS, MOST_TAPS, Product, ROWS, block, finish},
    simd::{self, Simd},
};
use crate::{isa::Isa, threads::Threads};

mod tiles;
mod transform;

pub(crate) use tiles::Tiles;
use transform::{POINTS, RESULTS, Values};

/// Tiles of a task at most: the more, the fewer times the weights are transformed; the sums of these in one panel take
/// 0.9 MB of the second cache.
const TILES: usize = 16 * ROWS;
/// The same where these are so few that their part of the image stays in the second cache from panel to panel, if it
/// has at most [`FEW_BYTES`]: 6 % less time for 128 channels.
const FEW_TILES: usize = 8 * ROWS;
const FEW_BYTES: usize = 1 << 20;
/// Channels of a slab: two rows of places of its weights stay near, and the sums are not loaded too often.
const STEPS: usize = RUN;
/// Places are so many values further apart than they must, since at a distance of a power of two they would all share
/// one set of the first cache.
const GAP: usize = 16;
/// Channels are whole vectors of every instruction set.
const CHANNELS: usize = 16;
const PLACES: usize = POINTS * POINTS;
/// The rows of places whose weights are transformed together: those that share most of it.
const PAIRS: [[usize; 2]; 3] = [[0, 5], [1, 2], [3, 4]];

/// A convolution of 3 x 3 whose windows follow each other without a step, and what joins it.
pub(crate) struct Winograd<'a> {
    /// Its left side is the image, a pixel for each row.
    pub(crate) product: Product<'a, f32>,
    pub(crate) tiles: &'a Tiles,
}

/// What one task does, compiled for an instruction set that the processor has.
pub(crate) struct Kernel {
    run: unsafe fn(&Winograd<'_>, Range<usize>, Range<usize>, &mut [f32]),
}

/// Compiles the task for an instruction set.
macro_rules! instance {
    ($name:ident, $simd:ty $(, $features:literal)?) => {
        static $name: Kernel = {
            $(#[target_feature(enable = $features)])?
            unsafe fn compiled(
                task: &Winograd<'_>,
                tiles: Range<usize>,
                panels: Range<usize>,
                scratch: &mut [f32],
            ) {
                // SAFETY: the caller vouches for it.
                unsafe { run::<$simd>(task, tiles, panels, scratch) }
            }
            Kernel { run: compiled }
        };
    };
}

instance!(PORTABLE, simd::Portable);
#[cfg(target_arch = "aarch64")]
instance!(NEON, simd::Neon);
#[cfg(target_arch = "x86_64")]
instance!(AVX2, simd::Avx2, "avx2,fma");
#[cfg(target_arch = "x86_64")]
instance!(AVX512, simd::Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");

/// The task for an instruction set that the processor has.
pub(crate) fn of(isa: Isa) -> &'static Kernel {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => &AVX512,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => &AVX2,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => &NEON,
        _ => &PORTABLE,
    }
}

impl Kernel {
    /// Convolves all of `images`. A task is a block of tiles, and where there are too few of these for all threads, a
    /// part of the panels.
    pub(crate) fn convolve(
        &self,
        threads: &Threads,
        arena: &Arc<Arena>,
        task: &Winograd<'_>,
        images: usize,
    ) -> Result<()> {
        let (tiles, panels) = (images * task.tiles.count(), task.product.joined.right.panels());
        let few = Room::new(task.product.joined.right.input(), FEW_TILES).image_count() * size_of::<f32>()
            <= FEW_BYTES;
        let blocks = tiles.div_ceil(if few { FEW_TILES } else { TILES });
        let size = tiles.div_ceil(blocks).next_multiple_of(ROWS);
        let parts = (4 * threads.count()).div_ceil(blocks).clamp(1, panels);
        let parts = if threads.count() == 1 { 1 } else { parts };
        let count = Room::new(task.product.joined.right.input(), size.min(tiles)).count();
        let done = threads.map(tiles.div_ceil(size) * parts, |number| {
            let (block, part) = (number / parts, number % parts);
            let tiles = block * size..tiles.min((block + 1) * size);
            let panels = panels * part / parts..panels * (part + 1) / parts;
            let mut scratch = arena.take::<f32>(count)?;
            // SAFETY: the processor has the instruction set, and each task has tiles or panels of its own.
            unsafe { (self.run)(task, tiles, panels, scratch.as_mut_slice()) };
            Ok(())
        });
        done.into_iter().collect()
    }
}

/// Distances in a task's memory, in values.
#[derive(Clone, Copy)]
struct Room {
    channels: usize,
    /// From a place of the transformed image to the next one, in which there are [`STEPS`] channels of every tile.
    image: usize,
    /// From a place of the transformed weights to the next one, in which there are [`STEPS`] rows of a panel.
    weights: usize,
    /// From a place of the sums to the next one, in which there is a row of a panel for every tile.
    sums: usize,
}

impl Room {
    fn new(channels: usize, tiles: usize) -> Self {
        let tiles = tiles.next_multiple_of(ROWS);
        Self {
            channels,
            image: tiles * STEPS + GAP,
            weights: STEPS * MOST_COLUMNS + GAP,
            sums: tiles * MOST_COLUMNS + GAP,
        }
    }

    fn image_count(&self) -> usize {
        self.channels.div_ceil(STEPS) * PLACES * self.image
    }

    /// Values of all three.
    fn count(&self) -> usize {
        self.image_count() + 2 * POINTS * self.weights + PLACES * self.sums
    }

    /// The slabs with their numbers.
    fn slabs(&self) -> impl Iterator<Item = (usize, Slab)> + use<> {
        let channels = self.channels;
        let slab = move |first| Slab { taps: 0..1, depth: first..channels.min(first + STEPS) };
        (0..channels).step_by(STEPS).map(slab).enumerate()
    }
}

/// Computes `tiles` (at most [`TILES`]) in `panels`.
///
/// # Safety
/// The processor has the instruction set, and nobody else writes the same tiles and panels.
#[inline(always)]
unsafe fn run<S: Simd>(task: &Winograd<'_>, tiles: Range<usize>, panels: Range<usize>, scratch: &mut [f32]) {
    let room = Room::new(task.product.joined.right.input(), tiles.len());
    let (image, rest) = scratch.split_at_mut(room.image_count());
    let (weights, sums) = rest.split_at_mut(2 * POINTS * room.weights);
    for (index, tile) in tiles.clone().enumerate() {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { transform_image::<S>(task, tile, index, &room, image) };
    }
    for panel in panels {
        let vectors = task.product.joined.right.vectors(panel);
        let sums = &mut sums[..PLACES * room.sums];
        sums.fill(0.0);
        for (number, slab) in room.slabs() {
            for (pair, rows) in PAIRS.into_iter().enumerate() {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { transform_weights::<S>(task, panel, &slab, pair, &room, weights) };
                for (row, weights) in rows.into_iter().zip(weights.chunks_exact(POINTS * room.weights)) {
                    let first = number * PLACES + row * POINTS;
                    let places = Places {
                        image: &image[first * room.image..][..POINTS * room.image],
                        weights,
                        sums: &mut sums[row * POINTS * room.sums..][..POINTS * room.sums],
                    };
                    // SAFETY: as above.
                    unsafe { multiply::<S>(places, vectors, tiles.len(), &slab, &room) };
                }
            }
        }
        for (index, tile) in tiles.clone().enumerate() {
            // SAFETY: nobody else has this tile's columns in this panel.
            unsafe { transform_sums::<S>(task, tile, index, panel, &room, sums) };
        }
    }
}

/// Transforms what the image has under a tile. It is the one of that `index` in the task.
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
unsafe fn transform_image<S: Simd>(
    task: &Winograd<'_>,
    tile: usize,
    index: usize,
    room: &Room,
    out: &mut [f32],
) {
    let zeros = [0.0; STEPS];
    for (number, slab) in room.slabs() {
        let mut pixels = [[zeros.as_ptr(); POINTS]; POINTS];
        for y in 0..POINTS {
            for x in 0..POINTS {
                if let Some(pixel) = task.tiles.pixel(tile, y, x) {
                    pixels[y][x] = task.product.left.run(pixel, 0, slab.depth.clone()).as_ptr();
                }
            }
        }
        let out = &mut out[number * PLACES * room.image..][..PLACES * room.image];
        let out = out.as_mut_ptr().wrapping_add(index * STEPS);
        for channel in (0..slab.depth.len()).step_by(S::LANES) {
            // SAFETY: the caller vouches for the instruction set; the pixels have whole vectors of channels.
            let corner = unsafe { Values::<S>::load(pixels[0][0].wrapping_add(channel)) };
            let mut tile = [[corner; POINTS]; POINTS];
            for x in 0..POINTS {
                let mut column = [corner; POINTS];
                for y in 0..POINTS {
                    // SAFETY: as above.
                    column[y] = unsafe { Values::load(pixels[y][x].wrapping_add(channel)) };
                }
                let column = transform::image(column);
                for y in 0..POINTS {
                    tile[y][x] = column[y];
                }
            }
            for y in 0..POINTS {
                let row = transform::image(tile[y]);
                for x in 0..POINTS {
                    let place = (y * POINTS + x) * room.image + channel;
                    // SAFETY: the place has a slab's channels for each tile.
                    unsafe { row[x].store(out.wrapping_add(place)) };
                }
            }
        }
    }
}

/// Transforms a panel's weights of a slab to the places of a pair of rows.
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
unsafe fn transform_weights<S: Simd>(
    task: &Winograd<'_>,
    panel: usize,
    slab: &Slab,
    pair: usize,
    room: &Room,
    out: &mut [f32],
) {
    let right = task.product.joined.right;
    let count = slab.depth.len() * right.vectors(panel) * S::LANES;
    let mut taps = [[std::ptr::null(); 3]; 3];
    for y in 0..3 {
        for x in 0..3 {
            taps[x][y] = right.tap(panel, 3 * y + x, &slab.depth).as_ptr();
        }
    }
    let out = out[..2 * POINTS * room.weights].as_mut_ptr();
    // Called by name for each pair, so that what the others would need is never computed.
    match pair {
        // SAFETY: every tap has so many values, and every place room for them.
        0 => unsafe { transform_rows::<S, 0, 5>(&taps, count, room, out) },
        // SAFETY: as above.
        1 => unsafe { transform_rows::<S, 1, 2>(&taps, count, room, out) },
        // SAFETY: as above.
        _ => unsafe { transform_rows::<S, 3, 4>(&taps, count, room, out) },
    }
}

/// # Safety
/// `taps` are columns of runs of `count` values, a multiple of the vector's; `out` has room for as many at each place;
/// the processor has the instruction set.
#[inline(always)]
unsafe fn transform_rows<S: Simd, const ONE: usize, const TWO: usize>(
    taps: &[[*const f32; 3]; 3],
    count: usize,
    room: &Room,
    out: *mut f32,
) {
    for first in (0..count).step_by(S::LANES) {
        // SAFETY: the caller vouches for it.
        let mut one = [unsafe { Values::<S>::load(taps[0][0].wrapping_add(first)) }; 3];
        let mut two = one;
        for x in 0..3 {
            let mut column = one;
            for y in 0..3 {
                // SAFETY: as above.
                column[y] = unsafe { Values::load(taps[x][y].wrapping_add(first)) };
            }
            let rows = transform::weights(column);
            one[x] = rows[ONE];
            two[x] = rows[TWO];
        }
        let (one, two) = (transform::weights(one), transform::weights(two));
        for x in 0..POINTS {
            // SAFETY: as above.
            unsafe { one[x].store(out.wrapping_add(x * room.weights + first)) };
            // SAFETY: as above.
            unsafe { two[x].store(out.wrapping_add((POINTS + x) * room.weights + first)) };
        }
    }
}

/// A row of places.
struct Places<'a> {
    image: &'a [f32],
    weights: &'a [f32],
    sums: &'a mut [f32],
}

/// Adds to the sums of `count` tiles the products of a slab at a row of places.
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
unsafe fn multiply<S: Simd>(places: Places<'_>, vectors: usize, count: usize, slab: &Slab, room: &Room) {
    let columns = vectors * S::LANES;
    let mut runs = [[std::ptr::null(); ROWS]; MOST_TAPS];
    for place in 0..POINTS {
        let image = &places.image[place * room.image..][..room.image];
        let weights = &places.weights[place * room.weights..][..slab.depth.len() * columns];
        let sums = &mut places.sums[place * room.sums..][..room.sums];
        for first in (0..count).step_by(ROWS) {
            for row in 0..ROWS {
                // Tiles that are too many are the first one again.
                let tile = if first + row < count { first + row } else { first };
                runs[0][row] = image[tile * STEPS..].as_ptr();
            }
            let sums = &mut sums[first * columns..][..ROWS * columns];
            // SAFETY: runs and weights are as long as the slab says, and there are sums for six rows.
            unsafe { block::<S, f32>(vectors, &runs, slab, weights, sums) };
        }
    }
}

/// Pixels of a tile of the result in one panel.
#[repr(C, align(64))]
struct Pixels([f32; RESULTS * RESULTS * MOST_COLUMNS]);

/// Transforms a tile's sums in a panel to pixels, joins what belongs to them, and writes them.
///
/// # Safety
/// The processor has the instruction set, and nobody else writes them.
#[inline(always)]
unsafe fn transform_sums<S: Simd>(
    task: &Winograd<'_>,
    tile: usize,
    index: usize,
    panel: usize,
    room: &Room,
    sums: &[f32],
) {
    let columns = task.product.joined.right.vectors(panel) * S::LANES;
    let sums = sums[index * columns..][..(PLACES - 1) * room.sums + columns].as_ptr();
    let mut pixels = Pixels([0.0; RESULTS * RESULTS * MOST_COLUMNS]);
    let out = pixels.0[..RESULTS * RESULTS * columns].as_mut_ptr();
    for column in (0..columns).step_by(S::LANES) {
        // SAFETY: the caller vouches for the instruction set, and every place has the tile's columns.
        let corner = unsafe { Values::<S>::load(sums.wrapping_add(column)) };
        let mut half = [[corner; POINTS]; RESULTS];
        for x in 0..POINTS {
            let mut places = [corner; POINTS];
            for y in 0..POINTS {
                let place = sums.wrapping_add((y * POINTS + x) * room.sums + column);
                // SAFETY: as above.
                places[y] = unsafe { Values::load(place) };
            }
            let results = transform::results(places);
            for y in 0..RESULTS {
                half[y][x] = results[y];
            }
        }
        for y in 0..RESULTS {
            let results = transform::results(half[y]);
            for x in 0..RESULTS {
                // SAFETY: there is room for so many pixels.
                unsafe { results[x].store(out.wrapping_add((y * RESULTS + x) * columns + column)) };
            }
        }
    }
    for (place, pixel) in pixels.0[..RESULTS * RESULTS * columns].chunks_exact_mut(columns).enumerate() {
        if let Some(number) = task.tiles.result(tile, place / RESULTS, place % RESULTS) {
            // SAFETY: nobody else has this pixel's columns in this panel.
            unsafe { finish(&task.product, number, panel, pixel) };
        }
    }
}
