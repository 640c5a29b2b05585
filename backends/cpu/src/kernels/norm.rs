// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Normalisations. Statistics are taken in f32 over short runs and joined in f64.

use alice_nets::{Activation, activation::activate};

use super::sums::total_of;
use crate::format::Element;

/// Pixels whose statistics are taken together: fixed, so that the order of sums does not depend on threads.
pub(crate) const PIXELS: usize = 64;

/// Mean and sum of squared distances of each channel, over pixels `[pixels, channels]`.
#[inline(always)]
pub(crate) fn moments<E: Element>(pixels: &[E], means: &mut [f32], squares: &mut [f32]) {
    let channels = means.len();
    means.fill(0.0);
    squares.fill(0.0);
    for pixel in pixels.chunks_exact(channels) {
        means.iter_mut().zip(pixel).for_each(|(mean, value)| *mean += value.widen());
    }
    let inverse = channels as f32 / pixels.len() as f32;
    means.iter_mut().for_each(|mean| *mean *= inverse);
    for pixel in pixels.chunks_exact(channels) {
        for ((square, mean), value) in squares.iter_mut().zip(&*means).zip(pixel) {
            let distance = value.widen() - mean;
            *square += distance * distance;
        }
    }
}

/// `activation(value * factor + shift)` of each channel.
#[inline(always)]
pub(crate) fn scale_and_shift<E: Element>(
    pixels: &[E],
    factors: &[f32],
    shifts: &[f32],
    activation: Activation,
    out: &mut [E],
) {
    let channels = factors.len();
    let mut line = [0.0_f32; LINE];
    for (out, pixel) in out.chunks_exact_mut(channels).zip(pixels.chunks_exact(channels)) {
        let parts = out.chunks_mut(LINE).zip(pixel.chunks(LINE));
        for ((out, pixel), (factors, shifts)) in parts.zip(factors.chunks(LINE).zip(shifts.chunks(LINE))) {
            let line = &mut line[..pixel.len()];
            for ((value, pixel), (factor, shift)) in
                line.iter_mut().zip(pixel).zip(factors.iter().zip(shifts))
            {
                *value = pixel.widen() * factor + shift;
            }
            activate(activation, line);
            out.iter_mut().zip(&*line).for_each(|(out, value)| *out = E::narrow(*value));
        }
    }
}

/// Values that are held in f32 between two loops.
const LINE: usize = 256;

/// Normalises one token.
#[inline(always)]
pub(crate) fn layer_norm<E: Element>(token: &[E], weight: &[f32], bias: &[f32], epsilon: f32, out: &mut [E]) {
    let count = token.len() as f32;
    let mean = total_of(token, |value| value) / count;
    let variance = total_of(token, |value| (value - mean) * (value - mean)) / count;
    let scale = 1.0 / (variance + epsilon).sqrt();
    for ((out, value), (weight, bias)) in out.iter_mut().zip(token).zip(weight.iter().zip(bias)) {
        *out = E::narrow((value.widen() - mean) * scale * weight + bias);
    }
}
