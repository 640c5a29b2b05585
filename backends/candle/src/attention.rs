// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Attention in blocks of queries: at no time do more scores exist than those of one block per thread.

use alice_nets::activation::exp;
use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::values::{values, write_in_place};

/// Scores of one block: 4 MiB.
const BLOCK_SCORES: usize = 1 << 20;
/// A block has at least so many queries, or the product would spend its time on reading keys.
const MIN_BLOCK: usize = 32;

/// `softmax(q k^T / sqrt(width / heads)) v` of each head; tokens are `[rows, tokens, width]`. With `causal`
/// a query sees only the keys up to its own place.
pub(crate) fn attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    heads: usize,
    causal: bool,
) -> Result<Tensor> {
    let (rows, queries, width) = query.dims3()?;
    let keys = key.dim(1)?;
    let block = (BLOCK_SCORES / keys).max(MIN_BLOCK).min(queries);
    let head_width = width / heads;
    let head_of =
        |tokens: &Tensor, row: usize, head: usize| tokens.get(row)?.narrow(1, head * head_width, head_width);
    // One after the other in memory: the blocks of the first head of the first row, and so on.
    let blocks: Vec<_> = (0..rows * heads)
        .flat_map(|head| (0..queries).step_by(block).map(move |first| (head / heads, head % heads, first)))
        .collect();
    let results = blocks.par_iter().map(|&(row, head, first)| {
        let query = head_of(query, row, head)?.narrow(0, first, block.min(queries - first))?;
        let scores = query.matmul(&head_of(key, row, head)?.t()?)?;
        let scale = 1.0 / (head_width as f32).sqrt();
        write_in_place(&scores, |scores| {
            for (query, scores) in scores.chunks_mut(keys).enumerate() {
                let visible = if causal { (first + query + 1).min(keys) } else { keys };
                scores[visible..].fill(0.0);
                softmax(&mut scores[..visible], scale);
            }
        })?;
        scores.matmul(&head_of(value, row, head)?)
    });
    let results = results.collect::<Result<Vec<_>>>()?;

    let mut out = vec![0.0; rows * queries * width];
    for (&(row, head, first), result) in blocks.iter().zip(&results) {
        let out = out[(row * queries + first) * width..].chunks_mut(width);
        for (token, result) in out.zip(values(result)?.chunks(head_width)) {
            token[head * head_width..][..head_width].copy_from_slice(result);
        }
    }
    Tensor::from_vec(out, (rows, queries, width), query.device())
}

/// `softmax(scale * scores)` in place. The largest score is subtracted first, so that nothing overflows.
fn softmax(scores: &mut [f32], scale: f32) {
    let largest = largest(scores);
    scores.iter_mut().for_each(|score| *score = exp((*score - largest) * scale));
    let factor = 1.0 / sum(scores);
    scores.iter_mut().for_each(|score| *score *= factor);
}

const LANES: usize = 16;

/// In sixteen lanes, which is vector code.
fn largest(values: &[f32]) -> f32 {
    let (runs, rest) = values.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for run in runs {
        lanes.iter_mut().zip(run).for_each(|(lane, x)| *lane = if *x > *lane { *x } else { *lane });
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// In sixteen lanes, which is vector code.
fn sum(values: &[f32]) -> f32 {
    let (runs, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for run in runs {
        lanes.iter_mut().zip(run).for_each(|(lane, x)| *lane += x);
    }
    lanes.iter().chain(rest).sum()
}
