// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Normalisations, each in one function: statistics, scale and shift, activation.

use alice_nets::{Activation, activation::activate};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::values::values;

/// A group normalisation's weights.
pub struct GroupNorm {
    pub(crate) groups: usize,
    pub(crate) epsilon: f32,
    /// One value per channel.
    pub(crate) weight: Vec<f32>,
    /// One value per channel.
    pub(crate) bias: Vec<f32>,
}

/// A layer normalisation's weights.
pub struct LayerNorm {
    pub(crate) epsilon: f32,
    /// One value per place in a token.
    pub(crate) weight: Vec<f32>,
    /// One value per place in a token.
    pub(crate) bias: Vec<f32>,
}

impl GroupNorm {
    /// Normalises each row's groups of channels of `[rows, channels, height, width]`, then activates.
    pub(crate) fn apply(&self, image: &Tensor, activation: Activation) -> Result<Tensor> {
        let (_, channels, height, width) = image.dims4()?;
        let (area, per_group) = (height * width, channels / self.groups);
        let source = values(image)?;
        let mut out = vec![0.0; source.len()];
        let groups = out.par_chunks_mut(per_group * area).zip(source.par_chunks(per_group * area));
        groups.enumerate().for_each(|(index, (out, source))| {
            let (mean, scale) = mean_and_scale(source, self.epsilon);
            let first = index % self.groups * per_group;
            for (channel, (out, source)) in out.chunks_mut(area).zip(source.chunks(area)).enumerate() {
                let factor = scale * self.weight[first + channel];
                let shift = self.bias[first + channel];
                out.iter_mut().zip(source).for_each(|(out, x)| *out = (x - mean) * factor + shift);
                activate(activation, out);
            }
        });
        Tensor::from_vec(out, image.shape(), image.device())
    }
}

impl LayerNorm {
    /// Normalises each token of `[rows, tokens, width]`.
    pub(crate) fn apply(&self, tokens: &Tensor) -> Result<Tensor> {
        let width = self.weight.len();
        let source = values(tokens)?;
        let mut out = vec![0.0; source.len()];
        let pairs = out.par_chunks_mut(width).zip(source.par_chunks(width));
        pairs.with_min_len(16).for_each(|(out, source)| {
            let (mean, scale) = mean_and_scale(source, self.epsilon);
            let affine = self.weight.iter().zip(&self.bias);
            out.iter_mut().zip(source).zip(affine).for_each(|((out, x), (weight, bias))| {
                *out = (x - mean) * scale * weight + bias;
            });
        });
        Tensor::from_vec(out, tokens.shape(), tokens.device())
    }
}

/// The mean, and one over the standard deviation with `epsilon` added to the variance.
fn mean_and_scale(values: &[f32], epsilon: f32) -> (f32, f32) {
    let mean = sum(values, |x| x) / values.len() as f64;
    let centre = mean as f32;
    let variance = sum(values, |x| (x - centre) * (x - centre)) / values.len() as f64;
    (centre, (1.0 / (variance + f64::from(epsilon)).sqrt()) as f32)
}

/// The sum of `term` over all values: in sixteen lanes of f32 over short runs, which is vector code, and in
/// f64 over the runs, so that a picture of millions of values loses no digits.
fn sum(values: &[f32], term: impl Fn(f32) -> f32) -> f64 {
    const LANES: usize = 16;
    const RUN: usize = 64 * LANES;
    let run_sum = |run: &[f32]| {
        let (lanes_of_run, rest) = run.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for values in lanes_of_run {
            lanes.iter_mut().zip(values).for_each(|(lane, x)| *lane += term(*x));
        }
        lanes.iter().sum::<f32>() + rest.iter().map(|x| term(*x)).sum::<f32>()
    };
    values.chunks(RUN).map(|run| f64::from(run_sum(run))).sum()
}
