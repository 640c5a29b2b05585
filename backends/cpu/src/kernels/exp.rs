// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The exponential of softmax, which takes as long as a third of attention's products.

use std::f32::consts::LOG2_E;

use super::simd::Simd;

/// `e^x` for `x <= 0`, within 2e-7 of its value; below -87 it stays at the smallest normal number.
///
/// The same polynomial as [`alice_nets::activation::exp`], with products and sums in one instruction where there is
/// one. Plain code, since the compiler makes vectors of it inside a kernel.
///
/// Source: Stephen Moshier's Cephes library, `expf`.
#[inline(always)]
pub(super) fn of_negative<S: Simd>(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves no room for a fraction: the sum's low bits are the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with so few digits that its products with integers are exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Written so that what is no number stays none.
    let x = if x < -87.3 { -87.3 } else { x };
    let shifted = mul_add::<S>(x, LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<S>(n, -LN_2_LOW, mul_add::<S>(n, -LN_2_HIGH, x));
    let curve = mul_add::<S>(1.987_569_1e-4, r, 1.398_2e-3);
    let curve = mul_add::<S>(curve, r, 8.333_452e-3);
    let curve = mul_add::<S>(curve, r, 4.166_579_6e-2);
    let curve = mul_add::<S>(curve, r, 1.666_666_5e-1);
    let curve = mul_add::<S>(curve, r, 0.5);
    let series = mul_add::<S>(curve, r * r, r) + 1.0;
    // 2^n by its bits: the integer moves into the exponent, whose bias is 127.
    f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23)) * series
}

#[inline(always)]
fn mul_add<S: Simd>(a: f32, b: f32, c: f32) -> f32 {
    if S::FUSED { a.mul_add(b, c) } else { a * b + c }
}

#[cfg(test)]
mod tests {
    use super::{
        super::simd::{Portable, Simd},
        *,
    };

    fn is_near<S: Simd>() {
        for x in (0..=100_000).map(|i| (i as f32 / 1e5).powi(3) * -87.0) {
            let (found, expected) = (f64::from(of_negative::<S>(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 2e-7, "e^{x} is {expected:e} and not {found:e}");
        }
        let smallest = of_negative::<S>(f32::NEG_INFINITY);
        assert!(smallest > 0.0 && smallest < 2e-38, "{smallest:e}");
        assert!(of_negative::<S>(f32::NAN).is_nan());
    }

    #[test]
    fn it_is_within_two_parts_in_ten_million() {
        is_near::<Portable>();
        // Plain code, whatever the processor has.
        #[cfg(target_arch = "x86_64")]
        is_near::<super::super::simd::Avx2>();
        #[cfg(target_arch = "aarch64")]
        is_near::<super::super::simd::Neon>();
    }
}
