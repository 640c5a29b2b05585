// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Latents, and masks, of another size.
//!
//! Source: torch's `nn.functional.interpolate` without `align_corners` and without antialiasing, which diffusers makes
//! masks smaller with and A1111 latents larger.

use crate::{Latent, LatentShape};

/// How the values between those that are known are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The value at or before the place.
    Nearest,
    /// Cubic splines through four values each way.
    Bicubic,
}

/// The tension of the splines. Keys 1981, doi:10.1109/TASSP.1981.1163711, with torch's value in place of -1/2.
const TENSION: f32 = -0.75;

/// The values that make up one of another size: places, and weights that add up to 1.
type Taps = Vec<(usize, f32)>;

impl Latent {
    /// The same latent in another height and width, neither of them 0.
    #[must_use]
    pub fn resized(&self, height: usize, width: usize, interpolation: Interpolation) -> Self {
        let old = self.shape;
        let (rows, columns) = (interpolation.taps(old.height, height), interpolation.taps(old.width, width));
        let shape = LatentShape { height, width, ..old };
        let mut values = Vec::with_capacity(shape.len());
        for plane in self.values.chunks_exact(old.height * old.width) {
            for row in &rows {
                for column in &columns {
                    let along = |y: usize| -> f32 {
                        column.iter().map(|&(x, weight)| weight * plane[y * old.width + x]).sum()
                    };
                    values.push(row.iter().map(|&(y, weight)| weight * along(y)).sum());
                }
            }
        }
        Self { shape, values }
    }
}

impl Interpolation {
    /// For each of `new` values what of `old` ones it is made of.
    fn taps(self, old: usize, new: usize) -> Vec<Taps> {
        let scale = old as f32 / new as f32;
        (0..new)
            .map(|index| match self {
                Self::Nearest => vec![(((index as f32 * scale) as usize).min(old - 1), 1.0)],
                Self::Bicubic => splines(scale * (index as f32 + 0.5) - 0.5, old),
            })
            .collect()
    }
}

/// The four values around `place` of `count`, with their weights. Beyond the ends the outermost is repeated.
fn splines(place: f32, count: usize) -> Taps {
    let below = place.floor();
    let part = place - below;
    let near = |x: f32| ((TENSION + 2.0) * x - (TENSION + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((TENSION * x - 5.0 * TENSION) * x + 8.0 * TENSION) * x - 4.0 * TENSION;
    let weights = [far(part + 1.0), near(part), near(1.0 - part), far(2.0 - part)];
    let last = (count - 1) as f32;
    let taps = [-1.0, 0.0, 1.0, 2.0].map(|offset| (below + offset).clamp(0.0, last) as usize);
    taps.into_iter().zip(weights).collect()
}
