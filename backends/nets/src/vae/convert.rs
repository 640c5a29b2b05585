// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Between the numbers of the autoencoder and those of the world: 8-bit pixels on one side, the sampler's
//! latents on the other.
//!
//! Source: diffusers `image_processor.py` for pixels, `autoencoders/vae.py`,
//! `DiagonalGaussianDistribution`, for the posterior.

use alice_plugin::Result;

use crate::config::ConfigFile;

/// Bounds of the logarithm of the posterior's variance.
const LOG_VARIANCE: (f32, f32) = (-30.0, 20.0);

/// How the sampler's latents relate to the autoencoder's: `sampler = (own - shift) * scaling`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LatentSpace {
    /// Above 0.
    pub(crate) scaling: f32,
    /// Finite.
    pub(crate) shift: f32,
}

impl LatentSpace {
    /// The space that a configuration says; no shift is a shift by 0.
    ///
    /// # Errors
    /// `BadModel` for numbers that cannot be calculated with in f32.
    pub(crate) fn new(file: &ConfigFile, scaling_factor: f64, shift_factor: Option<f64>) -> Result<Self> {
        let (scaling, shift) = (scaling_factor as f32, shift_factor.unwrap_or(0.0) as f32);
        if !(scaling.is_normal() && scaling > 0.0) {
            return Err(file.bad("scaling_factor", scaling_factor, "must be a number above 0"));
        }
        if !shift.is_finite() {
            return Err(file.bad("shift_factor", shift, "must be a number"));
        }
        Ok(Self { scaling, shift })
    }

    /// The sampler's latents in the autoencoder's numbers.
    pub(crate) fn to_own(self, latents: &[f32]) -> Vec<f32> {
        latents.iter().map(|value| value / self.scaling + self.shift).collect()
    }

    /// The autoencoder's latents in the sampler's numbers, in place.
    pub(crate) fn to_sampler(self, own: &mut [f32]) {
        own.iter_mut().for_each(|value| *value = (*value - self.shift) * self.scaling);
    }

    /// Mean and standard deviation, in the sampler's numbers, of what the encoder says of one picture: all
    /// means, then the logarithms of all variances.
    pub(crate) fn posterior(self, moments: &[f32], mean: &mut [f32], deviation: &mut [f32]) {
        let (means, log_variances) = moments.split_at(mean.len());
        mean.copy_from_slice(means);
        self.to_sampler(mean);
        for (log_variance, deviation) in log_variances.iter().zip(deviation) {
            let log_variance = log_variance.clamp(LOG_VARIANCE.0, LOG_VARIANCE.1);
            *deviation = (0.5 * log_variance).exp() * self.scaling;
        }
    }
}

/// One picture of the decoder, `[3, height, width]` in -1 ..= 1, as pixels `[height, width, 3]`.
pub(crate) fn to_pixels(image: &[f32], pixels: &mut [u8]) {
    let plane = image.len() / 3;
    for (index, pixel) in pixels.chunks_exact_mut(3).enumerate() {
        for (channel, value) in pixel.iter_mut().enumerate() {
            let unit = (image[channel * plane + index] * 0.5 + 0.5).clamp(0.0, 1.0);
            // numpy rounds halves to even. A value that is no number becomes 0.
            *value = (unit * 255.0).round_ties_even() as u8;
        }
    }
}

/// One picture's pixels, `[height, width, 3]`, for the encoder: `[3, height, width]` in -1 ..= 1.
pub(crate) fn from_pixels(pixels: &[u8]) -> Vec<f32> {
    let channel = |channel| pixels.iter().skip(channel).step_by(3);
    let planes = channel(0).chain(channel(1)).chain(channel(2));
    planes.map(|value| f32::from(*value) / 255.0 * 2.0 - 1.0).collect()
}

/// The same of pixels with a fourth byte, which says how far each is seen: what is not seen is 0.
pub(crate) fn from_seen_pixels(pixels: &[u8]) -> Vec<f32> {
    let (pixels, _) = pixels.as_chunks::<4>();
    let value = |pixel: &[u8; 4], channel: usize| {
        // What is seen wholly is to the bit what it is without the fourth byte.
        let seen = f32::from(pixel[3]) / 255.0;
        (f32::from(pixel[channel]) / 255.0 * 2.0 - 1.0) * seen
    };
    let plane = |channel| pixels.iter().map(move |pixel| value(pixel, channel));
    plane(0).chain(plane(1)).chain(plane(2)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_wholly_is_what_it_is_and_what_is_not_seen_is_the_middle() {
        let rgb: Vec<u8> = (0..=255).chain([1, 2]).collect();
        let with = |alpha: u8| rgb.chunks(3).flat_map(|pixel| [pixel, &[alpha]].concat()).collect::<Vec<_>>();
        assert_eq!(from_seen_pixels(&with(255)), from_pixels(&rgb));
        assert!(from_seen_pixels(&with(0)).iter().all(|value| *value == 0.0));
        assert_eq!(from_seen_pixels(&[0, 255, 0, 51, 255, 0, 255, 0]), [-0.2, 0.0, 0.2, 0.0, -0.2, 0.0]);
    }

    #[test]
    fn pixels_round_half_to_even_and_saturate() {
        // Two pixels, plane by plane. In f32 -0.4 becomes exactly 76.5, which numpy rounds to 76.
        let (red, green, blue) = ([-7.0, -0.4], [f32::NAN, 7.0], [-0.5, f32::INFINITY]);
        let mut pixels = [9; 6];
        to_pixels(&[red, green, blue].concat(), &mut pixels);
        assert_eq!(pixels, [0, 0, 64, 76, 255, 255]);
    }

    #[test]
    fn every_pixel_value_survives_the_way_there_and_back() {
        let pixels: Vec<u8> = (0..=255).chain([1, 2]).collect();
        let mut back = vec![0; pixels.len()];
        to_pixels(&from_pixels(&pixels), &mut back);
        assert_eq!(back, pixels);
        assert_eq!(from_pixels(&[0, 255, 0, 255, 0, 255]), [-1.0, 1.0, 1.0, -1.0, -1.0, 1.0]);
    }

    #[test]
    fn the_posterior_is_clamped_and_scaled() {
        let space = LatentSpace { scaling: 0.5, shift: 1.0 };
        let (mut mean, mut deviation) = ([0.0; 3], [0.0; 3]);
        space.posterior(&[3.0, 1.0, -1.0, 0.0, -100.0, 100.0], &mut mean, &mut deviation);
        assert_eq!(mean, [1.0, 0.0, -1.0]);
        assert_eq!(deviation, [0.5, 0.5 * (-15f32).exp(), 0.5 * 10f32.exp()]);
        assert_eq!(space.to_own(&mean), [3.0, 1.0, -1.0]);
    }
}
