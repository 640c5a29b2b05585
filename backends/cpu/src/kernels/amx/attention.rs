// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Attention on tiles: as `kernels/attention.rs`, with 64 queries at a time.
#![allow(unsafe_code)]

use std::{cell::RefCell, ops::Range};

use super::{Block, CHUNK_BYTES, Chunk, DEPTH, SIDE, Tiles};
use crate::{
    format::{Bf16, Element},
    kernels::{
        attention::{Attention, MOST_WIDTH, Running},
        product::MOST_COLUMNS,
    },
};

/// Queries that are answered together.
pub(crate) const QUERIES: usize = 2 * SIDE;
/// Keys whose scores exist at one time.
const KEYS: usize = 4 * MOST_COLUMNS;

/// What a block of queries needs while it goes through the keys. It is used again, so that it is not cleared.
struct Work {
    /// The queries, by chunks of the head's values.
    query: Vec<Chunk>,
    /// `[queries, KEYS]`.
    scores: Vec<f32>,
    /// The same as weights, by chunks of keys.
    weights: Vec<Chunk>,
    /// `[queries, columns of the head's values]`.
    sums: Vec<f32>,
}

thread_local! {
    static WORK: RefCell<Work> = RefCell::new(Work {
        query: vec![Chunk::default(); QUERIES * MOST_WIDTH / DEPTH],
        scores: vec![0.0; QUERIES * KEYS],
        weights: vec![Chunk::default(); QUERIES * KEYS / DEPTH],
        sums: vec![0.0; QUERIES * MOST_WIDTH],
    });
}

/// Answers the queries of `range` (at most [`QUERIES`]) of head number `head`, counted through all rows.
///
/// # Safety
/// The processor has AMX, and nobody else answers them.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(crate) unsafe fn run(task: &Attention<'_, Bf16>, head: usize, range: Range<usize>) {
    WORK.with_borrow_mut(|work| {
        let (keys, values) = &task.packed[head];
        let head_width = task.head_width();
        for (row, query) in range.clone().enumerate() {
            let values = &task.query[task.place(head, query)..][..head_width];
            for (chunk, values) in values.chunks(DEPTH).enumerate() {
                work.query[chunk * QUERIES + row] = Chunk::of(values);
            }
        }
        let stride = values.padded_columns();
        work.sums[..QUERIES * stride].fill(0.0);
        let mut running = [Running::NEW; QUERIES];
        let tiles = Tiles::configure();
        let seen = task.seen(range.end);
        for first in (0..seen).step_by(KEYS) {
            let count = KEYS.min(task.keys - first);
            let chunks = head_width.div_ceil(DEPTH);
            work.scores.fill(0.0);
            for column in (0..count).step_by(SIDE) {
                let panel = (first + column) / MOST_COLUMNS;
                let wide = keys.vectors(panel) * 16;
                let right = keys.rows(panel, 0, chunks * DEPTH);
                for row in (0..range.len()).step_by(SIDE) {
                    let block = Block {
                        left: work.query[row..].as_ptr(),
                        left_step: QUERIES * CHUNK_BYTES,
                        right: right[2 * ((first + column) % MOST_COLUMNS)..].as_ptr(),
                        right_row: 2 * wide * size_of::<Bf16>(),
                        chunks,
                        sums: work.scores[row * KEYS + column..].as_mut_ptr(),
                        sums_row: KEYS * size_of::<f32>(),
                    };
                    // SAFETY: the queries, the panel and the scores are as long as the sizes say.
                    unsafe { block.add() };
                }
            }
            let filled = count.next_multiple_of(DEPTH);
            for (row, query) in range.clone().enumerate() {
                let visible = task.seen(query + 1).saturating_sub(first).min(count);
                let scores = &mut work.scores[row * KEYS..][..filled];
                let fade = running[row].weigh(scores, visible, task.scale);
                for (chunk, scores) in scores.chunks_exact(DEPTH).enumerate() {
                    let weights = &mut work.weights[chunk * QUERIES + row].0;
                    weights.iter_mut().zip(scores).for_each(|(weight, score)| *weight = Bf16::narrow(*score));
                }
                if fade != 1.0 {
                    work.sums[row * stride..][..stride].iter_mut().for_each(|sum| *sum *= fade);
                }
            }
            for column in (0..stride).step_by(SIDE) {
                let panel = column / MOST_COLUMNS;
                let wide = values.vectors(panel) * 16;
                let right = values.rows(panel, first, filled);
                for row in (0..range.len()).step_by(SIDE) {
                    let block = Block {
                        left: work.weights[row..].as_ptr(),
                        left_step: QUERIES * CHUNK_BYTES,
                        right: right[2 * (column % MOST_COLUMNS)..].as_ptr(),
                        right_row: 2 * wide * size_of::<Bf16>(),
                        chunks: filled / DEPTH,
                        sums: work.sums[row * stride + column..].as_mut_ptr(),
                        sums_row: stride * size_of::<f32>(),
                    };
                    // SAFETY: as above.
                    unsafe { block.add() };
                }
            }
        }
        drop(tiles);
        for (row, query) in range.enumerate() {
            let inverse = running[row].inverse();
            // SAFETY: nobody else answers this query.
            let out = unsafe { task.out.part(task.place(head, query), head_width) };
            let sums = &work.sums[row * stride..][..head_width];
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = Bf16::narrow(sum * inverse));
        }
    });
}
