// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The matrix product on tiles.
#![allow(unsafe_code)]

use std::{cell::RefCell, ops::Range};

use super::{Block, CHUNK_BYTES, Chunk, DEPTH, SIDE, Tiles};
use crate::{
    format::Bf16,
    kernels::{
        pack::Slab,
        product::{MOST_COLUMNS, Product, finish},
    },
};

/// Panels whose sums are kept at one time, so that the rows are copied once for all of them.
pub(crate) const PANELS: usize = 6;
/// Bytes of a panel's slab: half of it stays in the first cache.
pub(crate) const SLAB_BYTES: usize = 96 << 10;

/// A thread's copy of the left side, and its sums.
#[derive(Default)]
struct Room {
    left: Vec<Chunk>,
    sums: Vec<f32>,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

/// Computes `rows` of the product in `panels` (at most [`PANELS`]).
///
/// # Safety
/// The processor has AMX, and nobody else writes the same rows and panels.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(crate) unsafe fn run(product: &Product<'_, Bf16>, rows: Range<usize>, panels: Range<usize>) {
    ROOM.with_borrow_mut(|room| {
        let padded = rows.len().next_multiple_of(SIDE);
        let stride = panels.len() * MOST_COLUMNS;
        room.sums.clear();
        room.sums.resize(padded * stride, 0.0);
        let tiles = Tiles::configure();
        for slab in product.right.slabs() {
            copy_left(product, rows.clone(), padded, &slab, &mut room.left);
            for (place, panel) in panels.clone().enumerate() {
                let right = product.right.slab(panel, &slab);
                let columns = product.right.vectors(panel) * 16;
                for first in (0..columns).step_by(SIDE) {
                    for row in (0..padded).step_by(SIDE) {
                        let sums = &mut room.sums[row * stride + place * MOST_COLUMNS + first..];
                        let block = Block {
                            left: room.left[row..].as_ptr(),
                            left_step: padded * CHUNK_BYTES,
                            right: right[2 * first..].as_ptr(),
                            right_row: 2 * columns * size_of::<Bf16>(),
                            chunks: right.len() / (columns * DEPTH),
                            sums: sums.as_mut_ptr(),
                            sums_row: stride * size_of::<f32>(),
                        };
                        // SAFETY: the slices above are as long as the block's sizes say.
                        unsafe { block.add() };
                    }
                }
            }
        }
        drop(tiles);
        for (row, sums) in rows.zip(room.sums.chunks_exact_mut(stride)) {
            for (panel, sums) in panels.clone().zip(sums.chunks_exact_mut(MOST_COLUMNS)) {
                let columns = product.right.vectors(panel) * 16;
                // SAFETY: the caller vouches for it.
                unsafe { finish(product, row, panel, &mut sums[..columns]) };
            }
        }
    });
}

/// Copies the rows of a slab side by side, chunk by chunk of the depth; what fills up a chunk is zero.
#[inline(always)]
fn copy_left(
    product: &Product<'_, Bf16>,
    rows: Range<usize>,
    padded: usize,
    slab: &Slab,
    left: &mut Vec<Chunk>,
) {
    let per_tap = slab.depth.len() / DEPTH;
    left.resize(slab.taps.len() * per_tap * padded, Chunk::default());
    let depth = slab.depth.start..slab.depth.end.min(product.right.input());
    for (place, row) in rows.enumerate() {
        for (tap_place, tap) in slab.taps.clone().enumerate() {
            let run = product.left.run(row, tap, depth.clone());
            for (chunk, values) in run.chunks(DEPTH).enumerate() {
                left[(tap_place * per_tap + chunk) * padded + place] = Chunk::of(values);
            }
        }
    }
}
