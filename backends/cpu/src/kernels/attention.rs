// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Attention in blocks of queries and keys: a score lives as long as its block, and no matrix of them exists.
//!
//! Source: Dao et al., "FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness", 2022,
//! algorithm 1 (the running maximum and sum).
#![allow(unsafe_code)]

use std::ops::Range;

use super::{
    exp,
    pack::{Packed, Slab},
    product::{MOST_COLUMNS, MOST_TAPS, Multiply, Out, PANEL, ROWS, Runs, block},
    simd::Simd,
    sums::{largest, replace_and_total},
};

/// Queries that are answered together.
pub(crate) const QUERIES: usize = 8 * ROWS;
/// Keys whose scores exist at one time.
const KEYS: usize = 4 * MOST_COLUMNS;
/// The widest head.
pub(crate) const MOST_WIDTH: usize = 512;

/// Attention of some heads whose keys and values are packed.
pub(crate) struct Attention<'a, E> {
    pub(crate) heads: Heads<'a, E>,
    /// For each row's heads the keys as columns over a head's values, and the values as columns over the keys.
    pub(crate) packed: &'a [(Packed<E>, Packed<E>)],
}

/// Some heads' `softmax(q k^T * scale) v`.
pub(crate) struct Heads<'a, E> {
    /// `[rows, tokens, width]`.
    pub(crate) query: &'a [E],
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    /// Values in a token, of all heads.
    pub(crate) width: usize,
    /// In each row.
    pub(crate) heads: usize,
    pub(crate) scale: f32,
    /// A query sees only keys up to its own place.
    pub(crate) causal: bool,
    pub(crate) out: Out<E>,
}

impl<E> Heads<'_, E> {
    /// Where the values of a query's head begin.
    #[inline(always)]
    pub(super) fn place(&self, head: usize, query: usize) -> usize {
        ((head / self.heads) * self.queries + query) * self.width + head % self.heads * self.head_width()
    }

    /// Where the keys and values of a head begin.
    pub(super) fn key_place(&self, head: usize) -> usize {
        (head / self.heads) * self.keys * self.width + head % self.heads * self.head_width()
    }

    /// Values of a head.
    #[inline(always)]
    pub(super) fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// Keys that the queries before number `end` see, the last one all of them.
    #[inline(always)]
    pub(super) fn seen(&self, end: usize) -> usize {
        if self.causal { self.keys.min(end) } else { self.keys }
    }
}

/// What a block of queries needs while it goes through the keys.
struct Work<E> {
    scores: [f32; QUERIES * KEYS],
    weights: [E; QUERIES * KEYS],
    /// For each panel of the head's values, six rows after each other.
    sums: [f32; QUERIES * MOST_WIDTH],
    running: [Running; QUERIES],
}

/// The softmax of one query so far.
#[derive(Clone, Copy)]
struct Running {
    highest: f32,
    /// The sum of all weights, as they are with this highest score.
    total: f32,
}

impl Running {
    /// Before any key was seen.
    const NEW: Self = Self { highest: f32::NEG_INFINITY, total: 0.0 };

    /// Turns scores, of which the first `visible` count, into weights, and gives the factor for all that was summed up
    /// with earlier ones.
    #[inline(always)]
    fn weigh<S: Simd>(&mut self, scores: &mut [f32], visible: usize, scale: f32) -> f32 {
        let highest = self.highest.max(largest(&scores[..visible]) * scale);
        let fade = if self.highest == f32::NEG_INFINITY {
            0.0
        } else {
            exp::of_negative::<S>(self.highest - highest)
        };
        let weight = |score: f32| exp::of_negative::<S>(score * scale - highest);
        let total = replace_and_total(&mut scores[..visible], weight);
        scores[visible..].fill(0.0);
        self.total = self.total * fade + total;
        self.highest = highest;
        fade
    }

    /// What the sums are multiplied with at the end.
    #[inline(always)]
    fn inverse(&self) -> f32 {
        1.0 / self.total
    }
}

/// Answers the queries of `range` (at most [`QUERIES`]) of head number `head`, counted through all rows.
///
/// # Safety
/// The processor has the instruction set, and nobody else answers them.
#[inline(always)]
pub(crate) unsafe fn run<S: Simd, E: Multiply<S>>(task: &Attention<'_, E>, head: usize, range: Range<usize>) {
    let (keys, values) = &task.packed[head];
    let task = &task.heads;
    let head_width = task.head_width();
    let tiles = range.len().div_ceil(ROWS);
    let mut work = Work::<E> {
        scores: [0.0; QUERIES * KEYS],
        weights: [E::default(); QUERIES * KEYS],
        sums: [0.0; QUERIES * MOST_WIDTH],
        running: [Running::NEW; QUERIES],
    };
    let place = |query: usize| task.place(head, query);
    let seen = task.seen(range.end);
    for first in (0..seen).step_by(KEYS) {
        let count = KEYS.min(task.keys - first);
        let padded = count.next_multiple_of(E::DEPTH);
        // Scores: the queries' rows times the panels of these keys.
        for tile in 0..tiles {
            let runs = runs_of(|row| {
                let query = (range.start + tile * ROWS + row).min(range.end - 1);
                task.query[place(query)..][..head_width].as_ptr()
            });
            for panel in 0..count.div_ceil(PANEL * S::LANES) {
                let number = first / (PANEL * S::LANES) + panel;
                let vectors = keys.vectors(number);
                let mut sums = [0.0; ROWS * MOST_COLUMNS];
                for slab in keys.slabs() {
                    let runs = runs.map(|runs| runs.map(|run| run.wrapping_add(slab.depth.start)));
                    // SAFETY: each run is a head's values of one query.
                    unsafe { block::<S, E>(vectors, &runs, &slab, keys.slab(number, &slab), &mut sums) };
                }
                for row in 0..ROWS {
                    let from = &sums[row * vectors * S::LANES..][..vectors * S::LANES];
                    let start = (tile * ROWS + row) * KEYS + panel * PANEL * S::LANES;
                    work.scores[start..][..from.len()].copy_from_slice(from);
                }
            }
        }
        for row in 0..tiles * ROWS {
            let query = (range.start + row).min(range.end - 1);
            let visible = task.seen(query + 1).saturating_sub(first).min(count);
            let scores = &mut work.scores[row * KEYS..][..padded];
            let fade = work.running[row].weigh::<S>(scores, visible, task.scale);
            let weights = &mut work.weights[row * KEYS..][..padded];
            weights.iter_mut().zip(&*scores).for_each(|(weight, score)| *weight = E::narrow(*score));
            for panel in 0..values.panels() {
                let wide = values.vectors(panel) * S::LANES;
                let start = sums_of(panel, row, wide, S::LANES);
                work.sums[start..][..wide].iter_mut().for_each(|sum| *sum *= fade);
            }
        }
        // The weights' rows times the values of these keys.
        for tile in 0..tiles {
            let runs = runs_of(|row| work.weights[(tile * ROWS + row) * KEYS..].as_ptr());
            for panel in 0..values.panels() {
                let vectors = values.vectors(panel);
                let wide = vectors * S::LANES;
                let slab = Slab { taps: 0..1, depth: 0..padded };
                let right = values.rows(panel, first, padded);
                let start = sums_of(panel, tile * ROWS, wide, S::LANES);
                let sums = &mut work.sums[start..][..ROWS * wide];
                // SAFETY: each run is one query's weights.
                unsafe { block::<S, E>(vectors, &runs, &slab, right, sums) };
            }
        }
    }
    for (row, query) in range.enumerate() {
        let inverse = work.running[row].inverse();
        for panel in 0..values.panels() {
            let columns = values.columns_of(panel);
            let start = sums_of(panel, row, values.vectors(panel) * S::LANES, S::LANES);
            // SAFETY: nobody else answers this query.
            let out = unsafe { task.out.part(place(query) + columns.start, columns.len()) };
            out.iter_mut().zip(&work.sums[start..]).for_each(|(out, sum)| *out = E::narrow(sum * inverse));
        }
    }
}

/// Where the sums of a row in a panel of `wide` columns begin; all panels before it are full.
#[inline(always)]
fn sums_of(panel: usize, row: usize, wide: usize, lanes: usize) -> usize {
    panel * PANEL * lanes * QUERIES + row * wide
}

#[inline(always)]
fn runs_of<E>(run: impl Fn(usize) -> *const E) -> Runs<E> {
    let mut runs = [[std::ptr::null(); ROWS]; MOST_TAPS];
    runs[0] = std::array::from_fn(run);
    runs
}
