// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The half of the autoencoder that makes pictures of latents.
//!
//! Source: diffusers `models/autoencoders/vae.py`, `Decoder`.

use alice_plugin::Result;

use crate::{
    ops::{Activation, ConvAdd, Ops},
    progress::Progress,
    resnet::{Resnet, ResnetShape},
    slot::Conv,
    vae::{EPSILON, config::KlPlan, mid::Mid},
    weights::{Pointwise, Weights},
};

/// The decoder, ready to run.
pub(crate) struct Decoder<O: Ops> {
    post_quant: Option<Conv<O>>,
    conv_in: Conv<O>,
    mid: Mid<O>,
    /// From the latent's size to the picture's.
    levels: Vec<Level<O>>,
    norm_out: O::GroupNorm,
    conv_out: Conv<O>,
}

struct Level<O: Ops> {
    resnets: Vec<Resnet<O>>,
    /// Doubles the image; the picture's size has none.
    double: Option<Conv<O>>,
}

impl<O: Ops> Decoder<O> {
    /// Builds the decoder that `plan` describes from its file.
    pub(crate) fn load(file: &Weights<'_, O>, plan: &KlPlan) -> Result<Self> {
        let weights = file.at("decoder");
        let post_quant = match plan.post_quant {
            true => Some(file.at("post_quant_conv").conv1x1(plan.latent, plan.latent, Pointwise::Kernel)?),
            false => None,
        };
        let level = |index| Level::load(&weights, plan, index);
        Ok(Self {
            post_quant,
            conv_in: weights.at("conv_in").conv3x3(plan.latent, plan.bottom())?,
            mid: Mid::load(&weights.at("mid_block"), plan)?,
            levels: (0..plan.channels.len()).rev().map(level).collect::<Result<_>>()?,
            norm_out: weights.at("conv_norm_out").group_norm(plan.groups, EPSILON, plan.channels[0])?,
            conv_out: weights.at("conv_out").conv3x3(plan.channels[0], 3)?,
        })
    }

    /// The picture, about -1 ..= 1, of `latents` in the autoencoder's own numbers.
    pub(crate) fn forward(&self, ops: &O, latents: &O::Tensor, progress: &Progress<'_>) -> Result<O::Tensor> {
        let latents = match &self.post_quant {
            Some(conv) => &ops.apply_conv(&conv.get(), latents, ConvAdd::default())?,
            None => latents,
        };
        let mut image = ops.apply_conv(&self.conv_in.get(), latents, ConvAdd::default())?;
        image = self.mid.forward(ops, &image, progress)?;
        for level in &self.levels {
            for resnet in &level.resnets {
                image = resnet.forward(ops, &image, None)?;
                progress.step()?;
            }
            if let Some(double) = &level.double {
                let [_, _, height, width] = ops.image_shape(&image);
                image = ops.upsample_conv(&double.get(), &image, 2 * height, 2 * width, Activation::None)?;
            }
        }
        image = ops.apply_group_norm(&self.norm_out, &image, Activation::Silu)?;
        ops.apply_conv(&self.conv_out.get(), &image, ConvAdd::default())
    }
}

impl<O: Ops> Level<O> {
    /// `index` counts from the picture's size; the file counts the other way round.
    fn load(weights: &Weights<'_, O>, plan: &KlPlan, index: usize) -> Result<Self> {
        let output = plan.channels[index];
        let weights = weights.at("up_blocks").at(plan.channels.len() - 1 - index);
        let entering = plan.channels.get(index + 1).copied().unwrap_or(output);
        let resnet = |resnet: usize| {
            let input = if resnet == 0 { entering } else { output };
            let shape = ResnetShape { input, output, time: None, groups: plan.groups, epsilon: EPSILON };
            weights.loaded(Resnet::load(&weights.at("resnets").at(resnet), shape)?)
        };
        let resnets = (0..=plan.layers).map(resnet).collect::<Result<_>>()?;
        let double = match index > 0 {
            true => Some(weights.at("upsamplers.0.conv").conv3x3(output, output)?),
            false => None,
        };
        Ok(Self { resnets, double })
    }
}
