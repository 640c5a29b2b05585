// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Brownian motion over the noise level: the noise of samplers that take steps of different lengths, or two in
//! one, out of one path. Its total over any stretch does not depend on how the stretch is cut into steps.
//!
//! The path is a function of the seed alone, found by halving: every value between two known ones is their mean
//! plus noise of a counter-based generator, named by its place in the tree of halves.
//! Sources: Levy's construction (Karatzas and Shreve 1991, section 2.3); Li et al. 2020, arXiv:2001.01328, section
//! 4, for asking it in any order; Salmon et al. 2011, doi:10.1145/2063384.2063405, for Philox4x32-10.

use std::collections::VecDeque;
use std::f32::consts::TAU;

use crate::{Latent, LatentShape};

/// Halvings until the path is taken to be straight. Steps are dense where sigma is low, so the halves are
/// equal in its cube root; the last ones are 1e-3 of the shortest step of a thousand.
const DEPTH: u32 = 16;
/// Tells this use of a seed from any other.
const STREAM: u32 = 1;

/// Values that are kept: a step begins where the last one ended, and may have a middle.
const KEPT: usize = 3;

/// One path for each value of a latent.
#[derive(Clone, Debug)]
pub(crate) struct BrownianPath {
    seed: u64,
    shape: LatentShape,
    highest: f64,
    /// The last levels that were asked for and the paths' values there, the newest first. They save the way
    /// down the tree, and change nothing.
    known: VecDeque<(f32, Vec<f64>)>,
}

impl BrownianPath {
    /// The paths that start at 0 at noise level 0 and end at noise level `highest`.
    pub(crate) fn new(seed: u64, shape: LatentShape, highest: f32) -> Self {
        Self { seed, shape, highest: highest.into(), known: VecDeque::new() }
    }

    /// Standard normal noise for the step from noise level `from` to `to`: the path's change over it, brought
    /// to unit variance. The two levels are at most the highest, and different.
    pub(crate) fn noise(&mut self, from: f32, to: f32) -> Latent {
        self.learn(from);
        self.learn(to);
        let ((_, before), (_, after)) = (&self.known[1], &self.known[0]);
        let deviation = f64::from((to - from).abs()).sqrt();
        let pairs = before.iter().zip(after);
        let values = pairs.map(|(before, after)| ((after - before) / deviation) as f32).collect();
        Latent { shape: self.shape, values }
    }

    /// Makes the level `sigma` the newest of those known.
    fn learn(&mut self, sigma: f32) {
        let found = self.known.iter().position(|(known, _)| *known == sigma);
        let newest = found.and_then(|index| self.known.remove(index));
        let newest = newest.unwrap_or_else(|| (sigma, self.at(sigma.into())));
        self.known.push_front(newest);
        self.known.truncate(KEPT);
    }

    /// The paths' values at noise level `sigma`.
    fn at(&self, sigma: f64) -> Vec<f64> {
        let place = (sigma / self.highest).cbrt();
        let level = |place: f64| self.highest * place.powi(3);
        let (mut low, mut high) = (0.0, 1.0);
        let mut below = vec![0.0; self.shape.len()];
        let mut above = below.clone();
        self.add_normals(0, self.highest.sqrt(), &mut above);
        let mut node = 1;
        for _ in 0..DEPTH {
            let middle = (low + high) / 2.0;
            let (start, end) = (level(low), level(high));
            let share = (level(middle) - start) / (end - start);
            let deviation = (share * (1.0 - share) * (end - start)).sqrt();
            let is_lower = place < middle;
            // The new value takes the place of the end that lies beyond it.
            let (kept, replaced, share) =
                if is_lower { (&below, &mut above, share) } else { (&above, &mut below, 1.0 - share) };
            for (replaced, kept) in replaced.iter_mut().zip(kept) {
                *replaced = kept + share * (*replaced - kept);
            }
            self.add_normals(node, deviation, replaced);
            if is_lower {
                high = middle
            } else {
                low = middle
            }
            node = 2 * node + u32::from(!is_lower);
        }
        let (start, end) = (level(low), level(high));
        let share = ((sigma - start) / (end - start)).clamp(0.0, 1.0);
        below.iter().zip(&above).map(|(below, above)| below + share * (above - below)).collect()
    }

    /// Adds normal numbers of this standard deviation to `values`: those of one node of the tree.
    fn add_normals(&self, node: u32, deviation: f64, values: &mut [f64]) {
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        for (block, values) in (0u32..).zip(values.chunks_mut(4)) {
            let normals = normals(philox([block, node, STREAM, 0], key));
            for (value, normal) in values.iter_mut().zip(normals) {
                *value += deviation * f64::from(normal);
            }
        }
    }
}

/// Philox4x32-10: four random words for a counter and a key.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
    const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
    for _ in 0..10 {
        let wide = |word: u32, multiplier: u32| {
            let product = u64::from(word) * u64::from(multiplier);
            ((product >> 32) as u32, product as u32)
        };
        let (first_high, first_low) = wide(counter[0], MULTIPLIERS[0]);
        let (second_high, second_low) = wide(counter[2], MULTIPLIERS[1]);
        counter =
            [second_high ^ counter[1] ^ key[0], second_low, first_high ^ counter[3] ^ key[1], first_low];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// Four words as four standard normal numbers. Source: Box and Muller 1958, doi:10.1214/aoms/1177706645.
fn normals(words: [u32; 4]) -> [f32; 4] {
    // 24 bits are what a single-precision number holds; the half keeps 0 out.
    let uniform = words.map(|word| ((word >> 8) as f32 + 0.5) / 16_777_216.0);
    let pair = |distance: f32, angle: f32| {
        let (radius, theta) = ((-2.0 * distance.ln()).sqrt(), TAU * angle);
        [radius * theta.cos(), radius * theta.sin()]
    };
    let ([a, b], [c, d]) = (pair(uniform[0], uniform[1]), pair(uniform[2], uniform[3]));
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HIGHEST: f32 = 14.6;

    fn path(seed: u64, values: usize) -> BrownianPath {
        BrownianPath::new(seed, LatentShape { channels: 1, height: 1, width: values }, HIGHEST)
    }

    #[test]
    fn philox_gives_its_authors_known_answers() {
        // Random123, `tests/kat_vectors`.
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
    }

    proptest! {
        /// However a stretch is cut, and in whatever order its parts are asked for.
        #[test]
        fn the_parts_of_a_stretch_add_up_to_the_whole(
            seed: u64, a in 0.01f32..14.6, b in 0.01f32..14.6, c in 0.01f32..14.6,
        ) {
            prop_assume!((a - b).abs() > 1e-3 && (b - c).abs() > 1e-3 && (a - c).abs() > 1e-3);
            let mut path = path(seed, 6);
            let mut change = |from: f32, to: f32| {
                let deviation = f64::from((to - from).abs()).sqrt();
                path.noise(from, to).values.into_iter().map(move |value| f64::from(value) * deviation).collect::<Vec<_>>()
            };
            let parts = change(b, c).into_iter().zip(change(a, b));
            for ((late, early), whole) in parts.zip(change(a, c)) {
                prop_assert!((early + late - whole).abs() < 1e-5, "{early} + {late} is not {whole}");
            }
        }
    }

    #[test]
    fn steps_of_any_length_have_unit_variance_and_steps_apart_nothing_in_common() {
        let mut path = path(5, 40_000);
        let stretches = [(14.6, 9.0), (9.0, 3.0), (3.0, 2.9), (0.2, 0.1), (0.05, 0.03)];
        let noises: Vec<Vec<f32>> = stretches.iter().map(|&(from, to)| path.noise(from, to).values).collect();
        let mean_product = |one: &[f32], other: &[f32]| {
            let products = one.iter().zip(other).map(|(a, b)| f64::from(a * b));
            products.sum::<f64>() / one.len() as f64
        };
        for (index, one) in noises.iter().enumerate() {
            for (place, other) in noises.iter().enumerate() {
                let expected = f64::from(u8::from(index == place));
                let found = mean_product(one, other);
                assert!(
                    (found - expected).abs() < 0.03,
                    "{:?}, {:?}: {found}",
                    stretches[index],
                    stretches[place]
                );
            }
        }
    }

    #[test]
    fn another_seed_is_another_path() {
        assert_ne!(path(1, 4).noise(10.0, 5.0), path(1 << 32, 4).noise(10.0, 5.0));
        assert_eq!(path(1, 4).noise(10.0, 5.0), path(1, 4).noise(10.0, 5.0));
    }
}
