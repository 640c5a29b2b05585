// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Sums and largest values in sixteen lanes, which is vector code on every processor and one order on all.

use crate::format::Element;

const LANES: usize = 16;

/// The largest value; minus infinity of none.
#[inline(always)]
pub(crate) fn largest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = if *value > *lane { *value } else { *lane };
    }
    fold(lanes, |a, b| if b > a { b } else { a })
}

/// The sum of `term` over all values.
#[inline(always)]
pub(crate) fn total_of<E: Element>(values: &[E], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += term(value.widen());
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += term(value.widen());
    }
    fold(lanes, |a, b| a + b)
}

/// Turns every value into `term` of it, and gives their sum.
#[inline(always)]
pub(crate) fn replace_and_total(values: &mut [f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = values.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *value = term(*value);
            *lane += *value;
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *value = term(*value);
        *lane += *value;
    }
    fold(lanes, |a, b| a + b)
}

/// Joins pairs of lanes, as a vector would be folded.
#[inline(always)]
fn fold(mut lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = join(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}
