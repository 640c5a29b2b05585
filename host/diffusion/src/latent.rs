// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The picture in the network's space: a small stack of planes of plain numbers.

use crate::Noise;

/// The size of one latent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LatentShape {
    /// Channels.
    pub channels: usize,
    /// Cells from top to bottom.
    pub height: usize,
    /// Cells from left to right.
    pub width: usize,
}

impl LatentShape {
    /// Number of values in one latent.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether it holds no value at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The latent of one image, row-major: `[channels, height, width]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Latent {
    /// Its size.
    pub shape: LatentShape,
    /// As many values as [`LatentShape::len`] says.
    pub values: Vec<f32>,
}

impl Latent {
    /// A latent of zeros.
    pub fn zeros(shape: LatentShape) -> Self {
        Self { shape, values: vec![0.0; shape.len()] }
    }

    /// `change` of every value.
    pub(crate) fn map(&self, change: impl Fn(f32) -> f32) -> Self {
        Self { shape: self.shape, values: self.values.iter().map(|&value| change(value)).collect() }
    }

    /// `join` of every pair of values of two latents of the same shape.
    pub(crate) fn zip(&self, other: &Self, join: impl Fn(f32, f32) -> f32) -> Self {
        let pairs = self.values.iter().zip(&other.values);
        Self { shape: self.shape, values: pairs.map(|(&a, &b)| join(a, b)).collect() }
    }
}

/// What an autoencoder says of a picture: each value of its latent is normally distributed.
///
/// Source: diffusers `models/autoencoders/vae.py`, `DiagonalGaussianDistribution`.
#[derive(Clone, Debug, PartialEq)]
pub struct Posterior {
    /// The likeliest latent.
    pub mean: Latent,
    /// The standard deviation of each of its values.
    pub deviation: Latent,
}

impl Posterior {
    /// Whether the autoencoder answers with one latent and no distribution, as tiny ones do.
    pub fn is_certain(&self) -> bool {
        self.deviation.values.iter().all(|deviation| *deviation == 0.0)
    }

    /// A latent of the picture: what diffusers' pipelines begin with. Draws one latent of noise, or nothing where there
    /// is nothing to choose.
    pub fn draw(&self, noise: &mut Noise) -> Latent {
        if self.is_certain() {
            return self.mean.clone();
        }
        let scattered =
            self.deviation.zip(&noise.latent(self.mean.shape), |deviation, noise| deviation * noise);
        self.mean.zip(&scattered, |mean, scattered| mean + scattered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_latent_is_the_mean_and_the_next_noise_times_the_deviation() {
        let shape = LatentShape { channels: 1, height: 1, width: 2 };
        let latent = |values: [f32; 2]| Latent { shape, values: values.into() };
        let posterior = Posterior { mean: latent([3.0, -1.0]), deviation: latent([0.0, 2.0]) };
        let mut noise = Noise::new(8);
        let drawn = [posterior.draw(&mut noise), noise.latent(shape)];
        let mut same = Noise::new(8);
        let expected = same.latent(shape);
        assert_eq!(drawn[0].values, [3.0, -1.0 + 2.0 * expected.values[1]]);
        assert_eq!(drawn[1], same.latent(shape), "one latent is drawn");
        let certain = Posterior { deviation: latent([0.0; 2]), ..posterior };
        assert_eq!(certain.draw(&mut noise), certain.mean);
        assert_eq!(noise.latent(shape), same.latent(shape), "nothing is drawn");
    }
}
