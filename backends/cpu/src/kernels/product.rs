// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The matrix product that linear layers, convolutions and attention are made of, and what joins its results
//! while they are in the first cache.
//!
//! Each row of the left side is one token or pixel and lies in memory as one run for every tap of a convolution
//! (a linear layer has one tap), wherever that is: no picture is ever unfolded. The right side is packed in
//! panels of [`PANEL`] vectors, in the order in which the kernel reads it.
//!
//! Loops over rows and columns of a block are by index: iterators over them do not all become registers.
//!
//! A row's result depends on the row alone: not on how many rows there are, and not on who computes them.
#![allow(unsafe_code)]
#![allow(clippy::needless_range_loop, reason = "see above")]

use std::ops::Range;

use alice_nets::{
    Activation,
    activation::{activate, gelu},
};

use super::{
    pack::{Packed, Slab},
    simd::{Bf16Dot, Simd},
    window::Left,
};
use crate::format::{Bf16, Element};

/// Rows of the left side that the kernel computes together.
pub(crate) const ROWS: usize = 6;
/// Vectors of the right side in a panel: with those of six rows they fill 32 registers.
pub(crate) const PANEL: usize = 4;
/// The most taps: of a kernel of 3 x 3.
pub(crate) const MOST_TAPS: usize = 9;
/// Rows that are computed for one panel before the next: their sums and their left side stay in the second cache.
pub(crate) const BLOCK: usize = 32 * ROWS;
/// The most columns of a panel, those of the widest vector.
pub(crate) const MOST_COLUMNS: usize = PANEL * 16;

/// Where the left side's rows lie: for each tap the address of each row's run.
pub(crate) type Runs<T> = [[*const T; ROWS]; MOST_TAPS];

/// A product whose left side's rows are read where they lie.
pub(crate) struct Product<'a, E> {
    pub(crate) left: Left<'a, E>,
    /// Rows of the left side in each row of the batch.
    pub(crate) area: usize,
    pub(crate) joined: Joined<'a, E>,
}

/// The right side of a product and what joins the result:
/// `out = activation(left x right + bias + per_channel) + residual`, or the gated form of it.
pub(crate) struct Joined<'a, E, R = E> {
    pub(crate) right: &'a Packed<R>,
    /// One value for each row of the batch and column, `[rows, columns]`.
    pub(crate) per_channel: Option<&'a [f32]>,
    /// Of the result's shape.
    pub(crate) residual: Option<&'a [E]>,
    /// Whether the residual joins before the activation (as in convolutions) or behind it.
    pub(crate) residual_first: bool,
    pub(crate) activation: Activation,
    /// `[rows of the left side, columns]`.
    pub(crate) out: Out<E>,
}

/// The result's memory, written by many at once and by each in places of its own.
#[derive(Clone, Copy)]
pub(crate) struct Out<E>(*mut E);

// SAFETY: see the type; whoever hands out parts hands out each place once.
unsafe impl<E> Send for Out<E> {}
// SAFETY: as above.
unsafe impl<E> Sync for Out<E> {}

impl<E> Out<E> {
    pub(crate) fn new(out: &mut [E]) -> Self {
        Self(out.as_mut_ptr())
    }

    /// `count` places from number `first` on.
    ///
    /// # Safety
    /// They are within the memory, which outlives the answer, and nobody else has them.
    #[inline(always)]
    pub(crate) unsafe fn part<'b>(self, first: usize, count: usize) -> &'b mut [E] {
        // SAFETY: the caller vouches for it.
        unsafe { std::slice::from_raw_parts_mut(self.0.wrapping_add(first), count) }
    }
}

/// Numbers that `S` multiplies.
pub(crate) trait Multiply<S: Simd>: Element {
    /// One block: adds to `sums[row][column]` the sum over taps and steps of `left * right`, with `N` vectors of
    /// columns. A step is a value, or a pair of bf16.
    ///
    /// # Safety
    /// The first `taps` entries of `left` are to runs of `steps` values, `right` to `taps * steps * N` vectors,
    /// `sums` to [`ROWS`] times `N` vectors; the processor has the instruction set.
    unsafe fn block<const N: usize>(
        left: &Runs<Self>,
        taps: usize,
        steps: usize,
        right: *const Self,
        sums: *mut f32,
    );
}

impl<S: Simd> Multiply<S> for f32 {
    #[inline(always)]
    unsafe fn block<const N: usize>(
        left: &Runs<f32>,
        taps: usize,
        steps: usize,
        right: *const f32,
        sums: *mut f32,
    ) {
        if S::MANY || N <= 2 {
            // SAFETY: the caller vouches for all of it.
            return unsafe { columns::<S, N, N>(left, taps, steps, right, sums) };
        }
        // Sixteen registers hold the sums of two vectors of columns.
        for first in (0..N / 2 * 2).step_by(2) {
            let (right, sums) = (right.wrapping_add(first * S::LANES), sums.wrapping_add(first * S::LANES));
            // SAFETY: as above.
            unsafe { columns::<S, N, 2>(left, taps, steps, right, sums) };
        }
        if N % 2 == 1 {
            let last = (N - 1) * S::LANES;
            let (right, sums) = (right.wrapping_add(last), sums.wrapping_add(last));
            // SAFETY: as above.
            unsafe { columns::<S, N, 1>(left, taps, steps, right, sums) };
        }
    }
}

/// `M` of the `N` vectors of columns of a block, from those on that `right` and `sums` begin at.
///
/// # Safety
/// As [`Multiply::block`].
#[inline(always)]
unsafe fn columns<S: Simd, const N: usize, const M: usize>(
    left: &Runs<f32>,
    taps: usize,
    steps: usize,
    right: *const f32,
    sums: *mut f32,
) {
    // SAFETY: the caller vouches for the room and the instruction set.
    let mut sum: [[S::Vector; M]; ROWS] = unsafe { load_sums::<S, N, M>(sums) };
    let mut columns = sum[0];
    let mut right = right;
    for runs in &left[..taps] {
        for step in 0..steps {
            for n in 0..M {
                // SAFETY: the caller vouches for so many vectors.
                columns[n] = unsafe { S::load(right.wrapping_add(n * S::LANES)) };
            }
            for row in 0..ROWS {
                // SAFETY: the run has that value.
                let value = unsafe { runs[row].wrapping_add(step).read() };
                // SAFETY: the caller vouches for the instruction set.
                let value = unsafe { S::splat(value) };
                for n in 0..M {
                    // SAFETY: as above.
                    sum[row][n] = unsafe { S::mul_add(value, columns[n], sum[row][n]) };
                }
            }
            right = right.wrapping_add(N * S::LANES);
        }
    }
    // SAFETY: as above.
    unsafe { store_sums::<S, N, M>(&sum, sums) };
}

impl<S: Bf16Dot> Multiply<S> for Bf16 {
    #[inline(always)]
    unsafe fn block<const N: usize>(
        left: &Runs<Bf16>,
        taps: usize,
        steps: usize,
        right: *const Bf16,
        sums: *mut f32,
    ) {
        // SAFETY: the caller vouches for the room and the instruction set.
        let mut sum: [[S::Vector; N]; ROWS] = unsafe { load_sums::<S, N, N>(sums) };
        let mut columns = sum[0];
        let mut right = right.cast::<f32>();
        for runs in &left[..taps] {
            for step in 0..steps {
                for n in 0..N {
                    // SAFETY: the caller vouches for so many vectors.
                    columns[n] = unsafe { S::load(right.wrapping_add(n * S::LANES)) };
                }
                for row in 0..ROWS {
                    // SAFETY: the run has that pair.
                    let value = unsafe { S::splat_pair(runs[row].wrapping_add(2 * step).cast()) };
                    for n in 0..N {
                        // SAFETY: as above.
                        sum[row][n] = unsafe { S::dot_add(value, columns[n], sum[row][n]) };
                    }
                }
                right = right.wrapping_add(N * S::LANES);
            }
        }
        // SAFETY: as above.
        unsafe { store_sums::<S, N, N>(&sum, sums) };
    }
}

/// `M` of the `N` vectors of each row.
///
/// # Safety
/// As [`Multiply::block`].
#[inline(always)]
unsafe fn load_sums<S: Simd, const N: usize, const M: usize>(sums: *const f32) -> [[S::Vector; M]; ROWS] {
    // SAFETY: the caller vouches for the instruction set.
    let mut sum = [[unsafe { S::splat(0.0) }; M]; ROWS];
    for row in 0..ROWS {
        for n in 0..M {
            // SAFETY: the caller vouches for the room.
            sum[row][n] = unsafe { S::load(sums.wrapping_add((row * N + n) * S::LANES)) };
        }
    }
    sum
}

/// The same the other way.
///
/// # Safety
/// As [`Multiply::block`].
#[inline(always)]
unsafe fn store_sums<S: Simd, const N: usize, const M: usize>(sum: &[[S::Vector; M]; ROWS], sums: *mut f32) {
    for row in 0..ROWS {
        for n in 0..M {
            // SAFETY: the caller vouches for it.
            unsafe { S::store(sums.wrapping_add((row * N + n) * S::LANES), sum[row][n]) };
        }
    }
}

/// Sums of a block of rows in one panel: for every six rows the columns of each.
#[repr(C, align(64))]
struct Sums([f32; BLOCK * MOST_COLUMNS]);

/// Computes `rows` (at most [`BLOCK`]) of the product in `panels`.
///
/// # Safety
/// The processor has the instruction set, and nobody else writes the same rows and panels.
#[inline(always)]
pub(crate) unsafe fn run<S: Simd, E: Multiply<S>>(
    product: &Product<'_, E>,
    rows: Range<usize>,
    panels: Range<usize>,
) {
    let mut sums = Sums([0.0; BLOCK * MOST_COLUMNS]);
    for panel in panels {
        let vectors = product.joined.right.vectors(panel);
        let columns = vectors * S::LANES;
        let sums = &mut sums.0[..rows.len().next_multiple_of(ROWS) * columns];
        sums.fill(0.0);
        for slab in product.joined.right.slabs() {
            let right = product.joined.right.slab(panel, &slab);
            for (first, sums) in rows.clone().step_by(ROWS).zip(sums.chunks_exact_mut(ROWS * columns)) {
                let count = ROWS.min(rows.end - first);
                let runs = product.left.runs(first, count, &slab);
                // SAFETY: the left side's runs and the panel are as long as the slab says.
                unsafe { block::<S, E>(vectors, &runs, &slab, right, sums) };
            }
        }
        for (row, sums) in rows.clone().zip(sums.chunks_exact_mut(columns)) {
            // SAFETY: nobody else has this row's columns in this panel.
            unsafe { finish(product, row, panel, sums) };
        }
    }
}

/// # Safety
/// As [`Multiply::block`], with `vectors` for `N`.
#[inline(always)]
pub(crate) unsafe fn block<S: Simd, E: Multiply<S>>(
    vectors: usize,
    runs: &Runs<E>,
    slab: &Slab,
    right: &[E],
    sums: &mut [f32],
) {
    let (taps, steps) = (slab.taps.len(), slab.steps::<E>());
    let (right, sums) = (right.as_ptr(), sums.as_mut_ptr());
    // Called by name, since a function that is called through a pointer is not inlined into the instruction set.
    match vectors {
        // SAFETY: the caller vouches for it.
        1 => unsafe { E::block::<1>(runs, taps, steps, right, sums) },
        // SAFETY: the caller vouches for it.
        2 => unsafe { E::block::<2>(runs, taps, steps, right, sums) },
        // SAFETY: the caller vouches for it.
        3 => unsafe { E::block::<3>(runs, taps, steps, right, sums) },
        // SAFETY: the caller vouches for it.
        _ => unsafe { E::block::<PANEL>(runs, taps, steps, right, sums) },
    }
}

/// Joins what belongs to the sums of one row in one panel, and writes them.
///
/// # Safety
/// Nobody else writes them.
#[inline(always)]
pub(super) unsafe fn finish<E: Element>(
    product: &Product<'_, E>,
    row: usize,
    panel: usize,
    sums: &mut [f32],
) {
    let joined = &product.joined;
    let right = joined.right;
    for (sum, bias) in sums.iter_mut().zip(right.bias(panel)) {
        *sum += bias;
    }
    let columns = right.columns_of(panel);
    let place = row * right.columns() + columns.start;
    // SAFETY: the caller vouches for it.
    let out = unsafe { joined.out.part(place, columns.len()) };
    if right.is_gated() {
        let (values, gates) = sums.split_at(sums.len() / 2);
        for ((out, value), gate) in out.iter_mut().zip(values).zip(gates) {
            *out = E::narrow(value * gelu(*gate));
        }
        return;
    }
    let sums = &mut sums[..columns.len()];
    if let Some(values) = joined.per_channel {
        let values = &values[row / product.area * right.columns() + columns.start..];
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }
    let residual = joined.residual.map(|residual| &residual[place..]);
    if let (Some(residual), true) = (residual, joined.residual_first) {
        sums.iter_mut().zip(residual).for_each(|(sum, value)| *sum += value.widen());
    }
    activate(joined.activation, sums);
    if let (Some(residual), false) = (residual, joined.residual_first) {
        sums.iter_mut().zip(residual).for_each(|(sum, value)| *sum += value.widen());
    }
    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = E::narrow(*sum));
}
