// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The half of the autoencoder that makes latents of pictures.
//!
//! Source: diffusers `models/autoencoders/vae.py`, `Encoder`.

use alice_plugin::Result;

use crate::{
    ops::{Activation, ConvAdd, Ops, Padding},
    progress::Progress,
    resnet::{Resnet, ResnetShape},
    slot::Conv,
    vae::{EPSILON, config::KlPlan, mid::Mid},
    weights::{Pointwise, Weights},
};

/// The encoder, ready to run.
pub(crate) struct Encoder<O: Ops> {
    conv_in: Conv<O>,
    /// From the picture's size to the latent's.
    levels: Vec<Level<O>>,
    mid: Mid<O>,
    norm_out: O::GroupNorm,
    conv_out: Conv<O>,
    quant: Option<Conv<O>>,
}

struct Level<O: Ops> {
    resnets: Vec<Resnet<O>>,
    /// Halves the image; the latent's size has none.
    halve: Option<Conv<O>>,
}

impl<O: Ops> Encoder<O> {
    /// Builds the encoder that `plan` describes from its file.
    pub(crate) fn load(file: &Weights<'_, O>, plan: &KlPlan) -> Result<Self> {
        let weights = file.at("encoder");
        // A mean and a variance for each channel of the latent.
        let moments = 2 * plan.latent;
        let quant = match plan.quant {
            true => Some(file.at("quant_conv").conv1x1(moments, moments, Pointwise::Kernel)?),
            false => None,
        };
        let level = |index| Level::load(&weights, plan, index);
        Ok(Self {
            conv_in: weights.at("conv_in").conv3x3(3, plan.channels[0])?,
            levels: (0..plan.channels.len()).map(level).collect::<Result<_>>()?,
            mid: Mid::load(&weights.at("mid_block"), plan)?,
            norm_out: weights.at("conv_norm_out").group_norm(plan.groups, EPSILON, plan.bottom())?,
            conv_out: weights.at("conv_out").conv3x3(plan.bottom(), moments)?,
            quant,
        })
    }

    /// The posterior of `image` (-1 ..= 1) in the autoencoder's own numbers: the means' channels, then the
    /// channels of the variances' logarithms.
    pub(crate) fn forward(&self, ops: &O, image: &O::Tensor, progress: &Progress<'_>) -> Result<O::Tensor> {
        let mut image = ops.apply_conv(&self.conv_in.get(), image, ConvAdd::default())?;
        for level in &self.levels {
            for resnet in &level.resnets {
                image = resnet.forward(ops, &image, None)?;
                progress.step()?;
            }
            if let Some(halve) = &level.halve {
                image = ops.apply_conv(&halve.get(), &image, ConvAdd::default())?;
            }
        }
        image = self.mid.forward(ops, &image, progress)?;
        image = ops.apply_group_norm(&self.norm_out, &image, Activation::Silu)?;
        image = ops.apply_conv(&self.conv_out.get(), &image, ConvAdd::default())?;
        match &self.quant {
            Some(conv) => ops.apply_conv(&conv.get(), &image, ConvAdd::default()),
            None => Ok(image),
        }
    }
}

impl<O: Ops> Level<O> {
    fn load(weights: &Weights<'_, O>, plan: &KlPlan, index: usize) -> Result<Self> {
        let output = plan.channels[index];
        let weights = weights.at("down_blocks").at(index);
        let entering = plan.channels[index.saturating_sub(1)];
        let resnet = |resnet: usize| {
            let input = if resnet == 0 { entering } else { output };
            let shape = ResnetShape { input, output, time: None, groups: plan.groups, epsilon: EPSILON };
            weights.loaded(Resnet::load(&weights.at("resnets").at(resnet), shape)?)
        };
        let resnets = (0..plan.layers).map(resnet).collect::<Result<_>>()?;
        let halve = match index + 1 < plan.channels.len() {
            true => {
                Some(weights.at("downsamplers.0.conv").halving(output, output, Padding::BelowAndRight)?)
            }
            false => None,
        };
        Ok(Self { resnets, halve })
    }
}
