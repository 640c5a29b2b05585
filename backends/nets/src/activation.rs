// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Activations of single values for backends that loop over them, without branches or calls, so that the loops become
//! vector code of whatever the caller is compiled for.
//!
//! The standard library's `exp` is an opaque call that takes longer than the rest of such a loop together.

use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

use crate::ops::Activation;

/// Applies `activation` to every value.
#[inline(always)]
pub fn activate(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::None => {}
        Activation::Silu => values.iter_mut().for_each(|x| *x = silu(*x)),
        Activation::QuickGelu => values.iter_mut().for_each(|x| *x /= 1.0 + exp(-1.702 * *x)),
        Activation::Gelu => values.iter_mut().for_each(|x| *x = gelu(*x)),
        Activation::Relu => values.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x }),
        Activation::LeakyRelu => values.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.2 * *x } else { *x }),
    }
}

/// `x * sigmoid(x)`.
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `x * Φ(x)` with the normal distribution's own Φ.
///
/// Source: Abramowitz and Stegun, Handbook of Mathematical Functions, formula 7.1.26: `1 - erf(z)` for
/// `z >= 0` within 1.5e-7.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    let z = x.abs() * FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let polynomial =
        ((((1.061_405_4 * t - 1.453_152_1) * t + 1.421_413_8) * t - 0.284_496_72) * t + 0.254_829_6) * t;
    // Half of what lies beyond |x|. For negative x this is Φ(x) itself: no difference of near numbers.
    // It ends before it is smaller than the smallest normal number: with such, processors take a hundred times as long.
    let tail = 0.5 * polynomial * exp((-z * z).max(-80.0));
    x * if x < 0.0 { tail } else { 1.0 - tail }
}

/// `e^x` within 2e-7 of its value; below -87 it stays at the smallest normal number, above 88 at the largest
/// power.
///
/// Source: the polynomial for `|r| <= ln(2) / 2` is that of `expf` in Stephen Moshier's Cephes library.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves no room for a fraction: the sum's low bits are the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with so few digits that its products with integers are exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.3, 88.0);
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let curve = 1.987_569_1e-4 * r + 1.398_2e-3;
    let curve = ((curve * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r + 1.666_666_5e-1;
    let series = 1.0 + (r + r * r * (curve * r + 0.5));
    // 2^n by its bits: the integer moves into the exponent, whose bias is 127.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    power * series
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Many values on both sides of zero, denser near it.
    fn samples(limit: f32) -> impl Iterator<Item = f32> {
        (-100_000..=100_000).map(move |i| (i as f32 / 1e5).powi(3) * limit)
    }

    #[test]
    fn exp_is_within_two_parts_in_ten_million() {
        for x in samples(87.0) {
            let (found, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / exact - 1.0).abs() < 2e-7, "exp({x}) = {found}, not {exact}");
        }
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn exp_stays_finite_and_tiny_outside_its_range() {
        assert!(exp(f32::NEG_INFINITY) < 1.3e-38 && exp(-1e30) < 1.3e-38);
        assert!(exp(f32::INFINITY).is_finite() && exp(f32::INFINITY) > 1e38);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn silu_vanishes_far_below_zero_and_is_the_identity_far_above() {
        assert!(silu(-200.0).abs() < 1e-30);
        assert_eq!(silu(200.0), 200.0);
        assert!((silu(1.0) - 0.731_058_6).abs() < 1e-7);
    }

    #[test]
    fn gelu_is_the_one_with_the_error_function() {
        // torch.nn.functional.gelu of PyTorch 2.13 in f64.
        let golden = [
            (-6.0, -5.919_526e-9),
            (-3.0, -4.049_694e-3),
            (-1.0, -0.158_655_25),
            (-0.1, -0.046_017_22),
            (0.0, 0.0),
            (0.5, 0.345_731_23),
            (1.0, 0.841_344_8),
            (2.5, 2.484_475_9),
            (6.0, 6.0),
        ];
        for (x, expected) in golden {
            assert!((gelu(x) - expected).abs() < 3e-7, "gelu({x}) = {}", gelu(x));
        }
        // The tanh approximation differs from it by 1.5e-4 here.
        assert!((gelu(1.0) - 0.841_192).abs() > 1e-4);
    }
}
