// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The pictures: coloured waves from the prompt, patches from the seed.
//!
//! The "model" is one for which the perfect denoiser is known. Its latents are normally distributed around
//! the waves, every value for itself, with the deviation [`DEVIATION`]. Of a noisy value `x = a x0 + s n`
//! the best guess is then `m + a d^2 / (a^2 d^2 + s^2) (x - a m)` (the conditional mean of two normal
//! variables). So every sampler converges, with any number of steps, and to a picture of its own per seed.

use std::f32::consts::TAU;

use alice_plugin::LatentShape;

use crate::schedule::{Prediction, Schedule};

/// Pixels per latent cell along one side.
pub(crate) const SCALE: u32 = 8;
const DEVIATION: f32 = 0.5;

/// Joins a value into a seed, so that any difference changes all bits (the finaliser of SplitMix64, Steele,
/// Lea and Flood 2014).
pub(crate) fn mix(seed: u64, value: u64) -> u64 {
    // The step of SplitMix64; as a factor it keeps neighbouring seeds far apart.
    let mut bits = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(value);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// One plane of waves: what the prompt says about one channel.
struct Wave {
    level: f32,
    height: f32,
    down: f32,
    right: f32,
    phase: f32,
}

impl Wave {
    fn new(prompt: u64, channel: usize) -> Self {
        let unit = |index| mix(mix(prompt, channel as u64), index) as f32 / u64::MAX as f32;
        Self {
            level: unit(0) * 1.6 - 0.8,
            height: 0.3 + 0.5 * unit(1),
            down: (unit(2) * 5.0).floor() - 2.0,
            right: (unit(3) * 5.0).floor() - 2.0,
            phase: unit(4) * TAU,
        }
    }

    /// At a place given as parts of the whole picture.
    fn at(&self, down: f32, right: f32) -> f32 {
        self.level + self.height * (TAU * (self.down * down + self.right * right) + self.phase).sin()
    }
}

/// The raw answer for one noisy latent of `shape`. The values of `guide` are added to the waves; it may be empty.
pub(crate) fn denoise(
    prompt: u64,
    schedule: &Schedule,
    timestep: f32,
    shape: LatentShape,
    latent: &[f32],
    guide: &[f32],
    out: &mut [f32],
) {
    let (signal, noise) = schedule.signal_and_noise(timestep);
    let variance = DEVIATION * DEVIATION;
    let gain = signal * variance / (signal * signal * variance + noise * noise);
    let (height, width) = (shape.height as usize, shape.width as usize);
    let waves = (0..shape.channels as usize).map(|channel| Wave::new(prompt, channel)).collect::<Vec<_>>();
    for (index, (&noisy, out)) in latent.iter().zip(out).enumerate() {
        let (column, row) = (index % width, index / width % height);
        let wave = &waves[index / width / height];
        let mean = wave.at(row as f32 / height as f32, column as f32 / width as f32);
        let mean = guide.get(index).map_or(mean, |guide| mean + guide);
        let clean = mean + gain * (noisy - signal * mean);
        let epsilon = (noisy - signal * clean) / noise;
        *out = match schedule.prediction {
            Prediction::Epsilon => epsilon,
            Prediction::Velocity => signal * epsilon - noise * clean,
            Prediction::Sample => clean,
        };
    }
}

/// Paints one latent as RGB, `[height * 8, width * 8, 3]`: its first three channels are the colours, and
/// between the middles of the cells they run into each other.
pub(crate) fn decode(shape: LatentShape, latent: &[f32], out: &mut [u8]) {
    let (height, width) = (shape.height as usize, shape.width as usize);
    let colours = latent.iter().map(|value| 127.5 + 127.5 * value.tanh()).collect::<Vec<_>>();
    let scale = SCALE as usize;
    let mut line = vec![0.0; width];
    for (y, out) in out.chunks_exact_mut(width * scale * 3).enumerate() {
        let (above, below, down) = between(y, height);
        for colour in 0..3 {
            // A latent of fewer channels shows its last one in the colours that are left.
            let plane = colour.min(shape.channels as usize - 1) * height * width;
            let cell = |row: usize, column: usize| colours[plane + row * width + column];
            for (column, value) in line.iter_mut().enumerate() {
                *value = lerp(cell(above, column), cell(below, column), down);
            }
            for (x, pixel) in out.chunks_exact_mut(3).enumerate() {
                let (left, right, part) = between(x, width);
                pixel[colour] = lerp(line[left], line[right], part).round() as u8;
            }
        }
    }
}

/// The latent whose picture is about `pixels` of so many `bytes` each: the middle of each cell's colours, the other
/// channels zero. A fourth byte says how far a pixel is seen.
pub(crate) fn encode(shape: LatentShape, bytes: usize, pixels: &[u8], mean: &mut [f32]) {
    let (height, width, scale) = (shape.height as usize, shape.width as usize, SCALE as usize);
    for (index, value) in mean.iter_mut().enumerate() {
        let (column, row, channel) = (index % width, index / width % height, index / width / height);
        if channel >= 3 {
            *value = 0.0;
            continue;
        }
        let pixel = |y: usize, x: usize| {
            let pixel = &pixels[((y * width * scale) + x) * bytes..][..bytes];
            let seen = pixel.get(3).map_or(1.0, |alpha| f32::from(*alpha) / 255.0);
            (f32::from(pixel[channel]) - 127.5) * seen
        };
        let lines = row * scale..(row + 1) * scale;
        let sum = lines.flat_map(|y| (column * scale..(column + 1) * scale).map(move |x| (y, x)));
        let average = sum.map(|(y, x)| pixel(y, x)).sum::<f32>() / (scale * scale) as f32;
        // Pure black and white lie at infinity.
        *value = (average / 128.0).atanh();
    }
}

/// Repeats every pixel of `[_, width, 3]` `factor` times downwards and to the right.
pub(crate) fn enlarge(width: usize, factor: usize, pixels: &[u8], out: &mut [u8]) {
    let lines = out.chunks_exact_mut(width * factor * 3);
    for (y, line) in lines.enumerate() {
        let from = &pixels[y / factor * width * 3..][..width * 3];
        for (x, pixel) in line.chunks_exact_mut(3).enumerate() {
            pixel.copy_from_slice(&from[x / factor * 3..][..3]);
        }
    }
}

/// The cells on both sides of a pixel's middle, and how far it is from the first to the second.
fn between(pixel: usize, cells: usize) -> (usize, usize, f32) {
    let place = ((pixel as f32 + 0.5) / SCALE as f32 - 0.5).clamp(0.0, (cells - 1) as f32);
    let first = place as usize;
    (first, (first + 1).min(cells - 1), place - first as f32)
}

fn lerp(from: f32, to: f32, part: f32) -> f32 {
    from + (to - from) * part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::ScheduleConfig;

    const SHAPE: LatentShape = LatentShape { channels: 4, height: 4, width: 6 };

    /// Plain Euler steps from pure noise, with the raw answer turned into a guess of the picture.
    fn sample(prompt: u64, seed: u64, prediction: Prediction, steps: usize) -> Vec<f32> {
        let config = ScheduleConfig { prediction_type: prediction, ..ScheduleConfig::default() };
        let schedule = Schedule::new(&config).unwrap();
        // The sum of twelve uniform numbers is normal enough.
        let uniform = |index: u64| mix(seed, index) as f32 / u64::MAX as f32;
        let normal = |index: u64| (0..12).map(|part| uniform(index * 12 + part)).sum::<f32>() - 6.0;
        let timesteps = (0..=steps).rev().map(|step| 999.0 * step as f32 / steps as f32).collect::<Vec<_>>();
        let (signal, noise) = schedule.signal_and_noise(999.0);
        let mut x = (0..SHAPE.len() as u64).map(|index| normal(index) * noise / signal).collect::<Vec<_>>();
        let mut out = vec![0.0; x.len()];
        for (index, &timestep) in timesteps[..steps].iter().enumerate() {
            let (signal, noise) = schedule.signal_and_noise(timestep);
            let input = x.iter().map(|value| value * signal).collect::<Vec<_>>();
            denoise(prompt, &schedule, timestep, SHAPE, &input, &[], &mut out);
            let (next_signal, next_noise) = schedule.signal_and_noise(timesteps[index + 1]);
            let (sigma, next) = (noise / signal, next_noise / next_signal);
            for ((x, input), raw) in x.iter_mut().zip(&input).zip(&out) {
                let clean = match prediction {
                    Prediction::Epsilon => (input - noise * raw) / signal,
                    Prediction::Velocity => signal * input - noise * raw,
                    Prediction::Sample => *raw,
                };
                *x += (*x - clean) / sigma * (next - sigma);
            }
        }
        x
    }

    fn distance(one: &[f32], other: &[f32]) -> f32 {
        one.iter().zip(other).map(|(one, other)| (one - other).abs()).sum::<f32>() / one.len() as f32
    }

    #[test]
    fn sampling_converges_to_one_picture_per_seed_and_prompt_whatever_the_answer_means() {
        let fine = sample(1, 1, Prediction::Epsilon, 200);
        for prediction in [Prediction::Epsilon, Prediction::Velocity, Prediction::Sample] {
            assert!(distance(&fine, &sample(1, 1, prediction, 100)) < 0.02, "{prediction:?}");
        }
        assert!(distance(&fine, &sample(1, 2, Prediction::Epsilon, 200)) > 0.2, "another seed");
        assert!(distance(&fine, &sample(2, 1, Prediction::Epsilon, 200)) > 0.2, "another prompt");
        assert!(fine.iter().all(|value| value.abs() < 4.0));
    }

    #[test]
    fn a_painted_latent_is_colourful_and_smooth() {
        let latent = sample(1, 1, Prediction::Epsilon, 20);
        let mut pixels = vec![0; 32 * 48 * 3];
        decode(SHAPE, &latent, &mut pixels);
        let (darkest, lightest) = (pixels.iter().min().unwrap(), pixels.iter().max().unwrap());
        assert!(lightest - darkest > 60, "{darkest} to {lightest}");
        assert!(pixels.chunks(3).any(|pixel| pixel[0].abs_diff(pixel[1]) > 30), "not grey");
        let line = &pixels[..48 * 3];
        let step = line.windows(4).map(|pixels| pixels[0].abs_diff(pixels[3])).max().unwrap();
        assert!(step < 40, "neighbours differ by {step}");
    }

    #[test]
    fn encoding_undoes_decoding_where_the_colour_is_even() {
        let mut latent = vec![0.0; SHAPE.len()];
        latent[..24].fill(0.7);
        latent[24..48].fill(-1.1);
        let mut pixels = vec![0; 32 * 48 * 3];
        decode(SHAPE, &latent, &mut pixels);
        let mut mean = vec![9.0; SHAPE.len()];
        encode(SHAPE, 3, &pixels, &mut mean);
        assert!(distance(&mean, &latent) < 0.02);
    }

    #[test]
    fn what_is_not_seen_is_the_middle() {
        let mut mean = vec![9.0; SHAPE.len()];
        encode(SHAPE, 4, &[250, 3, 90, 0].repeat(32 * 48), &mut mean);
        assert!(mean.iter().all(|value| *value == 0.0));
    }
}
