// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The noise that a seed stands for: the normal numbers of torch's generator on the CPU, so that a seed
//! means the same picture here, in diffusers, and on every device.

mod mt19937;

use std::f32::consts::TAU;

use mt19937::Mt19937;

use crate::{Latent, LatentShape};

/// Values that torch makes in one go, half of them cosines and half of them sines.
const BLOCK: usize = 16;

/// A stream of standard normal numbers, as from `torch.Generator("cpu").manual_seed(seed)`.
///
/// torch has two ways: 16 values or more are made in single precision in blocks of 16, fewer one by one in
/// double precision from a generator that keeps every second value for later. Both are followed, so a tensor
/// of 15 values has nothing in common with the first 15 of a tensor of 16.
/// Agrees with torch to 1e-6; the last bits depend on the vector instructions that torch finds.
#[derive(Clone, Debug)]
pub struct Noise {
    seed: u64,
    bits: Mt19937,
    /// The second value of the last pair that was made one by one.
    kept: Option<f64>,
}

impl Noise {
    /// The stream of `seed`. As in torch, only the low 32 bits count.
    pub fn new(seed: u64) -> Self {
        Self { seed, bits: Mt19937::new(seed as u32), kept: None }
    }

    /// The seed, whole: generators other than torch's use all its bits.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// The next latent of noise, as `torch.randn([1, channels, height, width], generator=...)`.
    pub fn latent(&mut self, shape: LatentShape) -> Latent {
        let mut values = vec![0.0; shape.len()];
        if values.len() < BLOCK {
            values.fill_with(|| self.single());
        } else {
            self.fill(&mut values);
        }
        Latent { shape, values }
    }

    /// Fills 16 values or more. The uniform numbers are drawn first and then turned into normal ones block by
    /// block; a last block that is not full is drawn anew, over values that were ready.
    fn fill(&mut self, values: &mut [f32]) {
        values.fill_with(|| self.uniform());
        values.chunks_exact_mut(BLOCK).for_each(box_muller);
        if !values.len().is_multiple_of(BLOCK) {
            let last = values.len() - BLOCK;
            values[last..].fill_with(|| self.uniform());
            box_muller(&mut values[last..]);
        }
    }

    /// One value, the way of tensors below 16 values.
    fn single(&mut self) -> f32 {
        let value = self.kept.take().unwrap_or_else(|| {
            let (angle, distance) = (std::f64::consts::TAU * self.uniform_f64(), self.uniform_f64());
            let radius = (-2.0 * (-distance).ln_1p()).sqrt();
            self.kept = Some(radius * angle.sin());
            radius * angle.cos()
        });
        value as f32
    }

    /// Uniform in [0, 1) with the 24 bits that a single-precision number holds.
    fn uniform(&mut self) -> f32 {
        (self.bits.next() & 0x00ff_ffff) as f32 / 16_777_216.0
    }

    /// Uniform in [0, 1) with the 53 bits that a double-precision number holds.
    fn uniform_f64(&mut self) -> f64 {
        let (high, low) = (u64::from(self.bits.next()), u64::from(self.bits.next()));
        let bits = (high << 32 | low) & ((1 << 53) - 1);
        bits as f64 / (1u64 << 53) as f64
    }
}

/// Turns a block of 16 uniform numbers into normal ones: the first half gives the distances, the second half
/// the angles. Source: Box and Muller 1958, doi:10.1214/aoms/1177706645.
fn box_muller(block: &mut [f32]) {
    let (distances, angles) = block.split_at_mut(BLOCK / 2);
    for (distance, angle) in distances.iter_mut().zip(angles) {
        // 1 - u is never zero, so the logarithm is finite.
        let radius = (-2.0 * (1.0 - *distance).ln()).sqrt();
        let theta = TAU * *angle;
        (*distance, *angle) = (radius * theta.cos(), radius * theta.sin());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(width: usize) -> LatentShape {
        LatentShape { channels: 1, height: 1, width }
    }

    fn draw(noise: &mut Noise, sizes: &[usize]) -> Vec<f32> {
        sizes.iter().flat_map(|&size| noise.latent(row(size)).values).collect()
    }

    proptest! {
        #[test]
        fn whole_blocks_are_the_same_whether_drawn_at_once_or_in_parts(
            seed: u64, first in 1usize..9, second in 1usize..9,
        ) {
            let (first, second) = (first * BLOCK, second * BLOCK);
            let parts = draw(&mut Noise::new(seed), &[first, second]);
            // A tensor draws all its uniform numbers before it makes blocks, but block by block they are the
            // same.
            prop_assert_eq!(parts, draw(&mut Noise::new(seed), &[first + second]));
        }

        #[test]
        fn small_tensors_are_the_same_whether_drawn_at_once_or_in_parts(
            seed: u64, first in 1usize..8, second in 1usize..8,
        ) {
            let parts = draw(&mut Noise::new(seed), &[first, second]);
            prop_assert_eq!(parts, draw(&mut Noise::new(seed), &[first + second]));
        }

        #[test]
        fn only_the_low_32_bits_of_a_seed_count(low: u32, high: u32) {
            let seed = u64::from(high) << 32 | u64::from(low);
            prop_assert_eq!(draw(&mut Noise::new(seed), &[20]), draw(&mut Noise::new(low.into()), &[20]));
        }
    }

    #[test]
    fn noise_is_standard_normal() {
        let values = draw(&mut Noise::new(3), &[200_000]);
        let count = values.len() as f64;
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let variance = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count;
        assert!(mean.abs() < 0.01, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.015, "variance {variance}");
    }

    #[test]
    fn an_empty_latent_draws_nothing() {
        let mut noise = Noise::new(1);
        assert!(noise.latent(row(0)).values.is_empty());
        assert_eq!(draw(&mut noise, &[16]), draw(&mut Noise::new(1), &[16]));
    }
}
