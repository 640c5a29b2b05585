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
    rest.iter().chain(&lanes).fold(f32::NEG_INFINITY, |largest, value| largest.max(*value))
}

/// The sum.
#[inline(always)]
pub(crate) fn total(values: &[f32]) -> f32 {
    total_of(values, |value| value)
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
    // Pairs of lanes, as a vector would be folded.
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}
