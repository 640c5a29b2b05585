// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The matrix product on tiles.
//!
//! A task takes some hundred rows and goes through the panels, which are 32 columns wide. The rows' values stay in the
//! second cache for all panels and all taps; a slab of a panel stays in the first one while all rows pass by.
#![allow(unsafe_code)]

use std::{cell::RefCell, ops::Range};

use alice_nets::activation::{activate, gelu};

use super::{Block, SIDE, Tile, Tiles, first_of, narrow, planes::Planes, put};
use crate::{
    format::{Bf16, Element},
    kernels::{
        pack::Slab,
        product::{Joined, Out},
    },
};

/// Bytes of a panel's slab: with the rows that pass by it fits into the first cache.
pub(crate) const SLAB_BYTES: usize = 20 << 10;
/// Bytes that are fetched ahead for each chunk of the depth.
const AHEAD: usize = 256;
/// Bytes of a block of rows: it stays in the second cache.
const BLOCK_BYTES: usize = 1280 << 10;
/// The most rows of a block: their sums in one panel stay in the first cache.
const MOST_ROWS: usize = 640;

/// A product whose left side lies in planes.
pub(crate) struct Tiled<'a, T> {
    pub(crate) left: Planes<'a>,
    pub(crate) joined: Joined<'a, Bf16, T>,
    /// What the steps of int8 stand for.
    pub(crate) scales: Option<Scales<'a>>,
}

/// What a step of int8 is on both sides of a product.
#[derive(Clone, Copy)]
pub(crate) struct Scales<'a> {
    /// For each image or each pixel.
    pub(crate) left: &'a [f32],
    /// For each column, in the order of the panels.
    pub(crate) right: &'a [f32],
}

impl<T: Tile> Tiled<'_, T> {
    /// Rows that a task takes at most.
    pub(crate) fn block(&self) -> usize {
        let row = self.joined.right.input() * size_of::<T>();
        (BLOCK_BYTES / row).clamp(2 * SIDE, MOST_ROWS) / SIDE * SIDE
    }
}

/// A thread's sums: those of a block's rows in one panel.
#[repr(C, align(64))]
struct Sums([[f32; SIDE]; MOST_ROWS]);

thread_local! {
    static SUMS: RefCell<Box<Sums>> = RefCell::new(Box::new(Sums([[0.0; SIDE]; MOST_ROWS])));
}

/// Computes `rows` (at most [`Tiled::block`]) of the product in `panels`.
///
/// # Safety
/// The processor has AMX, and nobody else writes the same rows and panels.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn run<T: Tile>(product: &Tiled<'_, T>, rows: Range<usize>, panels: Range<usize>) {
    SUMS.with_borrow_mut(|sums| {
        let tiles = Tiles::configure();
        for panel in panels {
            let mut begins = true;
            for slab in product.joined.right.slabs() {
                // SAFETY: the caller vouches for AMX.
                unsafe { add(product, &slab, panel, rows.clone(), begins, &mut sums.0) };
                begins = false;
            }
            for run in product.left.places.grid.runs(rows.clone()) {
                let sums = &mut sums.0[run.rows.start - rows.start..run.rows.end - rows.start];
                // SAFETY: the caller vouches for it.
                unsafe { finish(product, run.pixel, run.image, panel, sums) };
            }
        }
        drop(tiles);
    });
}

/// Adds what a slab contributes.
///
/// # Safety
/// The processor has AMX and the tiles are configured.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn add<T: Tile>(
    product: &Tiled<'_, T>,
    slab: &Slab,
    panel: usize,
    rows: Range<usize>,
    mut begins: bool,
    sums: &mut [[f32; SIDE]],
) {
    let right = product.joined.right.slab(panel, slab);
    let [left_row, left_step] = product.left.steps();
    let (first, chunks) = (slab.depth.start / T::CHUNK, slab.depth.len() / T::CHUNK);
    // The next slab, or panel, lies behind this one.
    let mut ahead = right.as_ptr_range().end.cast::<u8>();
    for (tap, right) in slab.taps.clone().zip(right.chunks_exact(slab.depth.len() * SIDE)) {
        for (row, sums) in rows.clone().step_by(SIDE).zip(sums.chunks_exact_mut(SIDE)) {
            let block = Block {
                left: product.left.from(row, tap, first).as_ptr(),
                left_row,
                left_step,
                right: right.as_ptr().cast(),
                ahead,
                chunks,
                sums: sums.as_mut_ptr().cast(),
                sums_row: size_of::<[f32; SIDE]>(),
                begins,
            };
            // SAFETY: the planes have so many chunks and rows, which are a multiple of 32 or followed by 32 more; the
            // panel and the sums are as long as the sizes say.
            unsafe { T::add(&block) };
            ahead = ahead.wrapping_add(chunks * AHEAD);
        }
        begins = false;
    }
}

/// Finishes the results of a run of pixels in a panel.
///
/// # Safety
/// Nobody else writes them, and the processor has AVX-512 BF16.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn finish<T: Tile>(
    product: &Tiled<'_, T>,
    pixel: usize,
    image: usize,
    panel: usize,
    sums: &mut [[f32; SIDE]],
) {
    let joined = &product.joined;
    let right = joined.right;
    let columns = right.columns_of(panel);
    let images = product.left.places.grid.images();
    let mut shift = [0.0; SIDE];
    shift.copy_from_slice(right.bias(panel));
    if let Some(values) = joined.per_channel {
        let values = &values[image * right.columns() + columns.start..][..columns.len()];
        shift.iter_mut().zip(values).for_each(|(shift, value)| *shift += value);
    }
    for (place, sums) in sums.iter_mut().enumerate() {
        if let Some(scales) = product.scales {
            scales.apply(if scales.left.len() == images { image } else { pixel + place }, panel, sums);
        }
        for column in 0..SIDE {
            sums[column] += shift[column];
        }
        let place = (pixel + place) * right.columns() + columns.start;
        if right.is_gated() {
            // A copy, since only loops over two arrays become vectors.
            let mut gates = [0.0; SIDE / 2];
            gates.copy_from_slice(&sums[SIDE / 2..]);
            for column in 0..SIDE / 2 {
                sums[column] *= gelu(gates[column]);
            }
        } else {
            join(joined, place, columns.len(), sums);
        }
        // SAFETY: the caller vouches for it.
        unsafe { store(joined.out, place, columns.len(), sums) };
    }
}

impl Scales<'_> {
    /// Turns sums of products of steps, which are whole numbers in the place of f32, into what they stand for.
    #[inline]
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    fn apply(&self, left: usize, panel: usize, sums: &mut [f32; SIDE]) {
        let (left, right) = (self.left[left], &self.right[panel * SIDE..][..SIDE]);
        for column in 0..SIDE {
            sums[column] = sums[column].to_bits().cast_signed() as f32 * (left * right[column]);
        }
    }
}

/// Residual and activation.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn join<T>(joined: &Joined<'_, Bf16, T>, place: usize, columns: usize, sums: &mut [f32; SIDE]) {
    let Some(residual) = joined.residual else {
        activate(joined.activation, sums);
        return;
    };
    let residual = first_of(&residual[place..][..columns]);
    let add = |sums: &mut [f32; SIDE]| (0..SIDE).for_each(|column| sums[column] += residual[column].widen());
    if joined.residual_first {
        add(sums);
        activate(joined.activation, sums);
    } else {
        activate(joined.activation, sums);
        add(sums);
    }
}

/// Stores the first `columns` values.
///
/// # Safety
/// As [`finish`].
#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn store(out: Out<Bf16>, place: usize, columns: usize, sums: &[f32; SIDE]) {
    let values = narrow(sums);
    // SAFETY: the caller vouches for the place.
    let out = unsafe { out.part(place, columns) };
    put(out, values);
}
