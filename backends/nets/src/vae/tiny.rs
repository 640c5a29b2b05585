// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The tiny autoencoder (TAESD): convolutions and nothing else, some fifty times less work than the one it
//! imitates. It knows pictures in 0 ..= 1 and single latents.
//!
//! Source: diffusers `models/autoencoders/autoencoder_tiny.py`, `AutoencoderTiny`, with `EncoderTiny` and
//! `DecoderTiny` of `vae.py`. The file numbers all layers of one half in the order in which they are
//! applied, those without weights too.

mod config;

use alice_plugin::Result;

pub(super) use self::config::{TinyConfig, TinyPlan};
use crate::{
    ops::{Activation, ConvAdd, Ops},
    progress::Progress,
    slot::Conv,
    weights::Weights,
};

/// Latents are bent to at most this size before they are decoded.
const LARGEST: f32 = 3.0;

/// The half that makes latents of pictures.
pub(super) struct TinyEncoder<O: Ops> {
    /// From the picture's size to the latent's: the first convolution keeps the size, the others halve it.
    stages: Vec<(Conv<O>, Vec<Block<O>>)>,
    conv_out: Conv<O>,
}

/// The half that makes pictures of latents.
pub(super) struct TinyDecoder<O: Ops> {
    conv_in: Conv<O>,
    /// From the latent's size to the picture's: the last convolution keeps the size, the others double it.
    stages: Vec<(Vec<Block<O>>, Conv<O>)>,
}

/// Three convolutions around which the input goes too.
struct Block<O: Ops> {
    convs: [Conv<O>; 3],
}

impl<O: Ops> TinyEncoder<O> {
    /// Builds the encoder that `plan` describes from the autoencoder's file.
    pub(super) fn load(file: &Weights<'_, O>, plan: &TinyPlan) -> Result<Self> {
        let weights = file.at("encoder.layers");
        let channels = plan.encoder_channels;
        let (mut stages, mut layer) = (Vec::new(), 0);
        for (stage, blocks) in plan.encoder.iter().enumerate() {
            let conv = match stage {
                0 => weights.at(layer).conv3x3(3, channels)?,
                _ => weights.at(layer).halving_without_bias(channels)?,
            };
            stages.push((conv, load_blocks(&weights, layer + 1, *blocks, channels)?));
            layer += 1 + blocks;
        }
        Ok(Self { stages, conv_out: weights.at(layer).conv3x3(channels, plan.latent)? })
    }

    /// The latent, in the autoencoder's own numbers, of `image`, whose values are 0 ..= 1.
    pub(super) fn forward(&self, ops: &O, image: &O::Tensor, progress: &Progress<'_>) -> Result<O::Tensor> {
        let mut image = image.clone();
        for (conv, blocks) in &self.stages {
            image = ops.apply_conv(&conv.get(), &image, ConvAdd::default())?;
            image = run(ops, blocks, image, progress)?;
        }
        ops.apply_conv(&self.conv_out.get(), &image, ConvAdd::default())
    }
}

impl<O: Ops> TinyDecoder<O> {
    /// Builds the decoder that `plan` describes from the autoencoder's file.
    pub(super) fn load(file: &Weights<'_, O>, plan: &TinyPlan) -> Result<Self> {
        let weights = file.at("decoder.layers");
        let (channels, last) = (plan.decoder_channels, plan.decoder.len() - 1);
        // The activation behind the first convolution has a number too.
        let (mut stages, mut layer) = (Vec::new(), 2);
        for (stage, count) in plan.decoder.iter().enumerate() {
            let blocks = load_blocks(&weights, layer, *count, channels)?;
            layer += count;
            let conv = if stage == last {
                weights.at(layer).conv3x3(channels, 3)?
            } else {
                // The enlargement has a number too.
                layer += 1;
                weights.at(layer).conv3x3_without_bias(channels, channels)?
            };
            layer += 1;
            stages.push((blocks, conv));
        }
        Ok(Self { conv_in: weights.at(0).conv3x3(plan.latent, channels)?, stages })
    }

    /// The picture, about 0 ..= 1, of `latents`, which are [bent](bend).
    pub(super) fn forward(&self, ops: &O, latents: &O::Tensor, progress: &Progress<'_>) -> Result<O::Tensor> {
        let mut image = ops.apply_conv(&self.conv_in.get(), latents, relu())?;
        for (stage, (blocks, conv)) in self.stages.iter().enumerate() {
            image = run(ops, blocks, image, progress)?;
            image = if stage + 1 == self.stages.len() {
                ops.apply_conv(&conv.get(), &image, ConvAdd::default())?
            } else {
                let [_, _, height, width] = ops.image_shape(&image);
                ops.upsample_conv(&conv.get(), &image, 2 * height, 2 * width, Activation::None)?
            };
        }
        Ok(image)
    }
}

impl<O: Ops> Block<O> {
    fn load(weights: &Weights<'_, O>, channels: usize) -> Result<Self> {
        // The activations between them have the odd numbers.
        let conv = |number: usize| weights.at("conv").at(number).conv3x3(channels, channels);
        weights.loaded(Self { convs: [conv(0)?, conv(2)?, conv(4)?] })
    }

    fn forward(&self, ops: &O, image: &O::Tensor) -> Result<O::Tensor> {
        let [first, second, third] = &self.convs;
        let hidden = ops.apply_conv(&first.get(), image, relu())?;
        let hidden = ops.apply_conv(&second.get(), &hidden, relu())?;
        ops.apply_conv(&third.get(), &hidden, ConvAdd { residual: Some(image), ..relu() })
    }
}

/// The `count` blocks from the layer number `first` on.
fn load_blocks<O: Ops>(
    weights: &Weights<'_, O>,
    first: usize,
    count: usize,
    channels: usize,
) -> Result<Vec<Block<O>>> {
    (first..first + count).map(|layer| Block::load(&weights.at(layer), channels)).collect()
}

/// What the blocks make of `image`, one after the other.
fn run<O: Ops>(
    ops: &O,
    blocks: &[Block<O>],
    mut image: O::Tensor,
    progress: &Progress<'_>,
) -> Result<O::Tensor> {
    for block in blocks {
        image = block.forward(ops, &image)?;
        progress.step()?;
    }
    Ok(image)
}

/// Nothing joins the convolution; what is below 0 becomes 0.
fn relu<'a, T>() -> ConvAdd<'a, T> {
    ConvAdd { activation: Activation::Relu, ..ConvAdd::default() }
}

/// Brings latents smoothly to less than [`LARGEST`], which is as far as the decoder was trained to see.
pub(super) fn bend(latents: &mut [f32]) {
    latents.iter_mut().for_each(|value| *value = (*value / LARGEST).tanh() * LARGEST);
}

/// Pictures of 0 ..= 1 as ones of -1 ..= 1.
pub(super) fn from_unit(picture: &mut [f32]) {
    picture.iter_mut().for_each(|value| *value = *value * 2.0 - 1.0);
}

/// Pictures of -1 ..= 1 as ones of 0 ..= 1.
pub(super) fn to_unit(picture: &mut [f32]) {
    picture.iter_mut().for_each(|value| *value = (*value + 1.0) / 2.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latents_are_bent_smoothly_and_little_near_zero() {
        let mut latents = [0.0, 0.1, -3.0, 1e9, f32::NEG_INFINITY];
        bend(&mut latents);
        // torch.tanh(x / 3) * 3 of PyTorch 2.13 in f64.
        let expected = [0.0, 0.099_963, -2.284_782_5, 3.0, -3.0];
        for (value, expected) in latents.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{latents:?}");
        }
    }

    #[test]
    fn pictures_go_there_and_back() {
        let mut picture = [-1.0, 0.0, 0.5];
        to_unit(&mut picture);
        assert_eq!(picture, [0.0, 0.5, 0.75]);
        from_unit(&mut picture);
        assert_eq!(picture, [-1.0, 0.0, 0.5]);
    }
}
