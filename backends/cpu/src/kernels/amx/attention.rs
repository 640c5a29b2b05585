// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Attention on tiles: as `kernels/attention.rs`, with 128 queries at a time and a softmax of AVX-512.
#![allow(unsafe_code)]

use std::{
    arch::x86_64::{
        __m512, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_max_ps, _mm512_mul_ps,
        _mm512_reduce_add_ps, _mm512_reduce_max_ps, _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_ps,
        _mm512_setzero_ps, _mm512_storeu_ps, _mm512_sub_ps,
    },
    cell::RefCell,
    f32::consts::LOG2_E,
    ops::Range,
};

use super::{Block, CHUNK_BYTES, Chunk, DEPTH, SIDE, Tile, Tiles, first_of, narrow_vectors, put};
use crate::{
    format::Bf16,
    kernels::attention::{Heads, MOST_WIDTH},
};

/// Queries that are answered together.
pub(super) const QUERIES: usize = 4 * SIDE;
/// Keys whose scores exist at one time.
const KEYS: usize = 4 * DEPTH;
/// Values of a chunk of the depth of 32 packed columns.
const PACKED: usize = DEPTH * SIDE;

/// Attention of some heads whose keys and values are packed for tiles.
pub(crate) struct Attention<'a> {
    pub(crate) heads: Heads<'a, Bf16>,
    /// Of each row's heads, after each other: by 32 keys, by chunks of the head's values.
    pub(crate) keys: &'a [Bf16],
    /// Likewise: by 32 of the head's values, by chunks of keys.
    pub(crate) values: &'a [Bf16],
}

/// Values of one head's packed keys, and also of its packed values.
pub(crate) fn packed(head_width: usize, keys: usize) -> usize {
    head_width.div_ceil(DEPTH) * keys.div_ceil(SIDE) * PACKED
}

/// Packs one head's keys, `[keys, head]` at distances of `width`, as columns over its values.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) fn pack_keys(key: &[Bf16], width: usize, head_width: usize, keys: usize, out: &mut [Bf16]) {
    let chunks = head_width.div_ceil(DEPTH);
    for (place, out) in out.as_chunks_mut::<{ 2 * SIDE }>().0.iter_mut().enumerate() {
        let (first, depth) = (place * 2 / (chunks * DEPTH) * SIDE, place * 2 % (chunks * DEPTH));
        for column in 0..SIDE {
            let pair = (first + column < keys).then(|| {
                let key = &key[(first + column) * width..][..head_width];
                [key.get(depth), key.get(depth + 1)].map(|value| value.copied().unwrap_or_default())
            });
            [out[2 * column], out[2 * column + 1]] = pair.unwrap_or_default();
        }
    }
}

/// Packs one head's values, `[keys, head]` at distances of `width`, as columns over its keys.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) fn pack_values(value: &[Bf16], width: usize, head_width: usize, keys: usize, out: &mut [Bf16]) {
    let depth = keys.next_multiple_of(DEPTH);
    let row = |key: usize, first: usize| {
        let mut row = [Bf16::default(); SIDE];
        if key < keys {
            let values = &value[key * width..][first..head_width.min(first + SIDE)];
            match <&[Bf16; SIDE]>::try_from(values) {
                Ok(values) => row = *values,
                Err(_) => row[..values.len()].copy_from_slice(values),
            }
        }
        row
    };
    for (place, out) in out.as_chunks_mut::<{ 2 * SIDE }>().0.iter_mut().enumerate() {
        let (first, key) = (place * 2 / depth * SIDE, place * 2 % depth);
        let (even, odd) = (row(key, first), row(key + 1, first));
        for column in 0..SIDE {
            out[2 * column] = even[column];
            out[2 * column + 1] = odd[column];
        }
    }
}

/// What a block of queries needs while it goes through the keys. It is used again, so that it is not cleared.
struct Work {
    /// The queries, by chunks of the head's values.
    query: Vec<Chunk>,
    /// `[32, KEYS]` of the step in hand and of the next.
    scores: [Vec<f32>; 2],
    /// The same as weights, by chunks of keys, of the step in hand and of the one before.
    weights: [Vec<Chunk>; 2],
    /// `[queries, columns of the head's values]`.
    sums: Vec<f32>,
    running: [Running; QUERIES / SIDE],
    /// What the tiles do while a softmax is computed.
    beside: Vec<Block>,
}

thread_local! {
    static WORK: RefCell<Work> = RefCell::new(Work {
        query: vec![Chunk::default(); QUERIES * MOST_WIDTH / DEPTH],
        scores: [(); 2].map(|()| vec![0.0; SIDE * KEYS]),
        weights: [(); 2].map(|()| vec![Chunk::default(); SIDE * KEYS / DEPTH]),
        sums: vec![0.0; QUERIES * MOST_WIDTH],
        running: [Running::NEW; QUERIES / SIDE],
        beside: Vec::new(),
    });
}

/// A step: 32 queries from number `row` on (of those that are answered together), and up to [`KEYS`] keys from `first`
/// on.
#[derive(Clone, Copy)]
struct Step {
    /// Steps take turns with two buffers.
    turn: usize,
    row: usize,
    first: usize,
    count: usize,
}

/// One head's packed keys and values, and how many chunks each key and value has.
struct Packed<'a> {
    keys: &'a [Bf16],
    values: &'a [Bf16],
    count: usize,
    chunks: usize,
}

/// Answers the queries of `range` (at most [`QUERIES`]) of head number `head`, counted through all rows.
///
/// The tiles multiply while the vectors compute the softmax: the next step's scores, and the values by the weights of
/// the step before.
///
/// # Safety
/// The processor has AMX, and nobody else answers them.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn run(task: &Attention<'_>, head: usize, range: Range<usize>) {
    WORK.with_borrow_mut(|work| {
        let heads = &task.heads;
        let head_width = heads.head_width();
        let size = packed(head_width, heads.keys);
        let packed = Packed {
            keys: &task.keys[head * size..][..size],
            values: &task.values[head * size..][..size],
            count: heads.keys,
            chunks: head_width.div_ceil(DEPTH),
        };
        // An earlier call that panicked would have left addresses there that are no more.
        work.beside.clear();
        work.take_queries(heads, head, range.clone());
        work.running.fill(Running::NEW);
        let tiles = Tiles::configure();
        let groups = range.len().div_ceil(SIDE);
        let steps = groups * heads.seen(range.end).div_ceil(KEYS);
        let step = |number: usize| {
            let (row, first) = (number % groups * SIDE, number / groups * KEYS);
            Step { turn: number % 2, row, first, count: KEYS.min(heads.keys - first) }
        };
        work.score(&packed, step(0));
        // SAFETY: the caller vouches for AMX, and the tiles are configured.
        unsafe { work.do_all() };
        for number in 0..steps {
            if number + 1 < steps {
                work.score(&packed, step(number + 1));
            }
            if number > 0 {
                work.sum(&packed, step(number - 1));
            }
            let now = step(number);
            let visible = |place: usize| {
                heads.seen(range.start + now.row + place + 1).saturating_sub(now.first).min(now.count)
            };
            // SAFETY: as above.
            unsafe { work.weigh(now, visible, heads.scale * LOG2_E, packed.chunks * SIDE) };
        }
        work.sum(&packed, step(steps - 1));
        // SAFETY: as above.
        unsafe { work.do_all() };
        drop(tiles);
        for (row, query) in range.enumerate() {
            let inverse = _mm512_set1_ps(1.0 / work.running[row / SIDE].total[row % SIDE]);
            // SAFETY: nobody else answers this query.
            let out = unsafe { heads.out.part(heads.place(head, query), head_width) };
            let (sums, _) = work.sums[row * packed.chunks * SIDE..].as_chunks::<SIDE>();
            for (out, sums) in out.chunks_mut(SIDE).zip(sums) {
                let [low, high] = [low(sums), high(sums)].map(|sums| _mm512_mul_ps(sums, inverse));
                put(out, narrow_vectors(low, high));
            }
        }
    });
}

impl Work {
    /// Copies the queries of a head.
    #[inline]
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    fn take_queries(&mut self, heads: &Heads<'_, Bf16>, head: usize, range: Range<usize>) {
        for (row, query) in range.enumerate() {
            let values = &heads.query[heads.place(head, query)..][..heads.head_width()];
            for (chunk, values) in values.chunks(DEPTH).enumerate() {
                self.query[chunk * QUERIES + row] = Chunk(first_of(values));
            }
        }
    }

    /// Has the tiles compute the scores of a step.
    fn score(&mut self, packed: &Packed<'_>, step: Step) {
        let query = self.query[step.row..].as_ptr().cast();
        let keys =
            packed.keys[step.first / SIDE * packed.chunks * PACKED..].chunks_exact(packed.chunks * PACKED);
        let scores = self.scores[step.turn].as_mut_ptr();
        self.beside.extend((0..step.count).step_by(SIDE).zip(keys).map(|(column, right)| Block {
            left: query,
            left_row: CHUNK_BYTES,
            left_step: QUERIES * CHUNK_BYTES,
            right: right.as_ptr().cast(),
            ahead: right.as_ptr().cast(),
            chunks: packed.chunks,
            sums: scores.wrapping_add(column).cast(),
            sums_row: KEYS * size_of::<f32>(),
            begins: true,
        }));
    }

    /// Has the tiles add the values of a step by their weights to the queries' sums.
    fn sum(&mut self, packed: &Packed<'_>, step: Step) {
        let filled = step.count.next_multiple_of(DEPTH);
        let panel = packed.count.next_multiple_of(DEPTH) * SIDE;
        let (weights, sums) = (&self.weights[step.turn], self.sums.as_mut_ptr());
        self.beside.extend((0..packed.chunks).map(|column| {
            let right = &packed.values[column * panel + step.first * SIDE..][..filled * SIDE];
            Block {
                left: weights.as_ptr().cast(),
                left_row: CHUNK_BYTES,
                left_step: SIDE * CHUNK_BYTES,
                right: right.as_ptr().cast(),
                ahead: right.as_ptr().cast(),
                chunks: filled / DEPTH,
                sums: sums.wrapping_add((step.row * packed.chunks + column) * SIDE).cast(),
                sums_row: packed.chunks * SIDE * size_of::<f32>(),
                begins: step.first == 0,
            }
        }));
    }

    /// Does what waits for the tiles.
    ///
    /// # Safety
    /// The processor has AMX, and the tiles are configured.
    #[inline]
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    unsafe fn do_all(&mut self) {
        for block in self.beside.drain(..) {
            // SAFETY: the queries, keys, values, weights, scores and sums are as long as the sizes say.
            unsafe { Bf16::add(&block) };
        }
    }

    /// Turns the scores of a step, of which each query sees so many, into weights, and fades what was summed up with
    /// earlier ones in `columns` columns. Beside that it does what waits for the tiles.
    ///
    /// Goes through all rows once for each part of it, since the parts of one row wait for each other.
    ///
    /// # Safety
    /// As [`do_all`](Self::do_all).
    #[inline]
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    unsafe fn weigh(&mut self, step: Step, visible: impl Fn(usize) -> usize, factor: f32, columns: usize) {
        let filled = step.count.next_multiple_of(DEPTH);
        let (rows, _) = self.scores[step.turn].as_chunks_mut::<KEYS>();
        let mut highest = [0.0; SIDE];
        for (place, (scores, highest)) in rows.iter_mut().zip(&mut highest).enumerate() {
            let scores = &mut scores[..filled];
            if visible(place) < filled {
                scores[visible(place)..].fill(f32::NEG_INFINITY);
            }
            let mut most = _mm512_set1_ps(f32::NEG_INFINITY);
            for chunk in scores.as_chunks::<DEPTH>().0 {
                most = _mm512_max_ps(most, _mm512_max_ps(low(chunk), high(chunk)));
            }
            *highest = _mm512_reduce_max_ps(most) * factor;
        }
        let running = &mut self.running[step.row / SIDE];
        let fades = running.rise(&highest);
        let mut totals = [0.0; SIDE];
        let weights = &mut self.weights[step.turn];
        let (blocks, mut done) = (self.beside.len(), 0);
        for (place, (scores, total)) in rows.iter().zip(&mut totals).enumerate() {
            if done * SIDE < (place + 1) * blocks {
                // SAFETY: as above.
                unsafe { Bf16::add(&self.beside[done]) };
                done += 1;
            }
            let (factor, shift) = (_mm512_set1_ps(factor), _mm512_set1_ps(-running.highest[place]));
            let mut sum = _mm512_setzero_ps();
            for (number, chunk) in scores[..filled].as_chunks::<DEPTH>().0.iter().enumerate() {
                let one = exp2(_mm512_fmadd_ps(low(chunk), factor, shift));
                let two = exp2(_mm512_fmadd_ps(high(chunk), factor, shift));
                sum = _mm512_add_ps(sum, _mm512_add_ps(one, two));
                weights[number * SIDE + place] = Chunk(narrow_vectors(one, two));
            }
            *total = _mm512_reduce_add_ps(sum);
        }
        self.beside.drain(..done);
        // SAFETY: as above.
        unsafe { self.do_all() };
        let running = &mut self.running[step.row / SIDE];
        for place in 0..SIDE {
            running.total[place] = running.total[place] * fades[place] + totals[place];
        }
        if step.first == 0 {
            return;
        }
        for (sums, fade) in self.sums[step.row * columns..].chunks_exact_mut(columns).zip(fades) {
            if fade != 1.0 {
                sums.iter_mut().for_each(|sum| *sum *= fade);
            }
        }
    }
}

/// The softmax of 32 queries so far.
#[derive(Clone, Copy)]
struct Running {
    /// The highest scores, as powers of two.
    highest: [f32; SIDE],
    /// The sums of all weights, as they are with these highest scores.
    total: [f32; SIDE],
}

impl Running {
    const NEW: Self = Self { highest: [LOWEST; SIDE], total: [0.0; SIDE] };

    /// Takes higher scores in, and gives the factors for what was summed up with the lower ones.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn rise(&mut self, scores: &[f32; SIDE]) -> [f32; SIDE] {
        let before = self.highest;
        for (highest, score) in self.highest.iter_mut().zip(scores) {
            *highest = if *score > *highest { *score } else { *highest };
        }
        let [one, two] = [low, high].map(|half| exp2(_mm512_sub_ps(half(&before), half(&self.highest))));
        let mut fades = [0.0; SIDE];
        // SAFETY: there is room for sixteen values.
        unsafe { _mm512_storeu_ps(fades.as_mut_ptr(), one) };
        // SAFETY: there is room for sixteen more.
        unsafe { _mm512_storeu_ps(fades[16..].as_mut_ptr(), two) };
        for (fade, (before, highest)) in fades.iter_mut().zip(before.iter().zip(&self.highest)) {
            // Not nearly one, but as it is.
            *fade = if before == highest { 1.0 } else { *fade };
        }
        fades
    }
}

/// Lower than any score, and still a number.
const LOWEST: f32 = -1e30;

#[inline]
#[target_feature(enable = "avx512f")]
fn low(values: &[f32; DEPTH]) -> __m512 {
    // SAFETY: there are 32 values.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn high(values: &[f32; DEPTH]) -> __m512 {
    // SAFETY: as above.
    unsafe { _mm512_loadu_ps(values.as_ptr().wrapping_add(16)) }
}

/// `2^x` for `x` from -125 to about 0, within 1.1e-4 of its value: a twentieth of what a weight in bf16 is rounded by.
///
/// The polynomial is the best one of the third degree for -1/2 ..= 1/2 by relative error.
#[inline]
#[target_feature(enable = "avx512f")]
fn exp2(x: __m512) -> __m512 {
    // As good as zero beside the largest weight, which is one. Below it the processor slows down a hundredfold.
    let x = _mm512_max_ps(_mm512_set1_ps(-125.0), x);
    let n = _mm512_roundscale_ps::<0>(x);
    let f = _mm512_sub_ps(x, n);
    let curve = _mm512_fmadd_ps(_mm512_set1_ps(CUBIC[3]), f, _mm512_set1_ps(CUBIC[2]));
    let curve = _mm512_fmadd_ps(curve, f, _mm512_set1_ps(CUBIC[1]));
    let curve = _mm512_fmadd_ps(curve, f, _mm512_set1_ps(CUBIC[0]));
    _mm512_scalef_ps(curve, n)
}

const CUBIC: [f32; 4] = [0.999_928_1, 0.693_261, 0.242_611_13, 0.055_171_67];

#[cfg(test)]
mod tests {
    use super::*;

    #[target_feature(enable = "avx512f")]
    fn one_power(x: f32) -> __m512 {
        exp2(_mm512_set1_ps(x))
    }

    #[test]
    fn powers_of_two_are_within_about_a_ten_thousandth() {
        if !crate::kernels::amx::is_available() {
            return;
        }
        for step in 0..9000 {
            let x = 0.01 - step as f32 * 0.0138;
            let mut found = [0.0_f32; 16];
            // SAFETY: the processor has AVX-512.
            let power = unsafe { one_power(x) };
            // SAFETY: as above, and there is room for sixteen values.
            unsafe { _mm512_storeu_ps(found.as_mut_ptr(), power) };
            assert!((f64::from(found[0]) / f64::from(x).exp2() - 1.0).abs() < 1.1e-4, "2^{x} = {}", found[0]);
        }
    }
}
