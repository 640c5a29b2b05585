// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Values as whole numbers of steps, -127 to 127. A step is as large as it must be for the largest magnitude: in weights
//! that of a column, on the left side that of a token, or of an image where windows mix its pixels.
//!
//! Source: Dettmers et al., "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale", 2022, section 2.1 (scales
//! by row and by column).
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m512, _mm_storeu_si128, _mm256_loadu_si256, _mm512_castsi512_ps, _mm512_cvtepu16_epi32,
    _mm512_cvtps_epi32, _mm512_cvtsepi32_epi8, _mm512_mul_ps, _mm512_set1_ps, _mm512_slli_epi32,
};

use super::{CHUNK_BYTES, DEPTH, first_of};
use crate::format::{Bf16, Element};

/// The largest number of steps.
const MOST: f32 = 127.0;
/// Tokens that are looked at together.
pub(super) const TOGETHER: usize = 64;

/// The larger of two magnitudes; what is no number is larger than all.
#[inline(always)]
fn larger(most: f32, magnitude: f32) -> f32 {
    if magnitude > most || magnitude.is_nan() { magnitude } else { most }
}

/// The size of a step for values of at most these magnitudes.
pub(crate) fn scale(magnitudes: impl IntoIterator<Item = f32>) -> f32 {
    let most = magnitudes.into_iter().fold(0.0, larger);
    // Of nothing but zeros any step will do.
    if most == 0.0 { 1.0 } else { most / MOST }
}

/// The largest magnitude of each of the tokens in `values`, which are as many as `out` has room for.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) fn magnitudes(values: &[Bf16], out: &mut [f32]) {
    let channels = values.len() / out.len();
    for (out, token) in out.iter_mut().zip(values.chunks_exact(channels)) {
        let mut lanes = [0.0_f32; DEPTH];
        for values in token.chunks(DEPTH) {
            let values = first_of(values);
            for lane in 0..DEPTH {
                lanes[lane] = larger(lanes[lane], values[lane].widen().abs());
            }
        }
        *out = lanes.into_iter().fold(0.0, larger);
    }
}

/// Up to 64 values as steps, of which one has `step`; what is missing is zero.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) fn chunk(values: &[Bf16], step: f32) -> [u8; CHUNK_BYTES] {
    let mut out = [0; CHUNK_BYTES];
    for (out, values) in out.as_chunks_mut::<DEPTH>().0.iter_mut().zip(values.chunks(DEPTH)) {
        let values = first_of(values);
        for (out, values) in out.as_chunks_mut::<16>().0.iter_mut().zip(values.as_chunks::<16>().0) {
            let steps = _mm512_mul_ps(widened(values), _mm512_set1_ps(step));
            let steps = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(steps));
            // SAFETY: there is room for sixteen bytes.
            unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), steps) };
        }
    }
    out
}

#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn widened(values: &[Bf16; 16]) -> __m512 {
    // SAFETY: there are sixteen values.
    let values = unsafe { _mm256_loadu_si256(values.as_ptr().cast()) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(values)))
}
