// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A ControlNet: a copy of the denoiser's first half that sees a picture too, and says what to add to the images that
//! the denoiser keeps.
//!
//! Source: diffusers `models/controlnets/controlnet.py`, `ControlNetModel`.

mod config;

use alice_plugin::Result;

pub(crate) use self::config::{ControlNetConfig, ControlNetPlan};
use crate::{
    ops::{Activation, ConvAdd, Ops, Padding},
    pixels,
    progress::Progress,
    slot::Conv,
    unet::{Question, Residuals, Trunk},
    weights::{Pointwise, Weights},
};

/// The network, ready to run.
pub(crate) struct ControlNet<O: Ops> {
    embedding: HintEmbedding<O>,
    trunk: Trunk<O>,
    /// What becomes of each image that the way down leaves.
    kept: Vec<Conv<O>>,
    middle: Conv<O>,
    pub(crate) plan: ControlNetPlan,
}

/// Makes of a picture an image of the latent's size.
struct HintEmbedding<O: Ops> {
    conv_in: Conv<O>,
    /// A convolution, and one that halves the sides.
    halvings: Vec<[Conv<O>; 2]>,
    conv_out: Conv<O>,
}

impl<O: Ops> ControlNet<O> {
    /// Builds the network that `plan` describes from its file.
    pub(crate) fn load(weights: &Weights<'_, O>, plan: ControlNetPlan) -> Result<Self> {
        let silent =
            |weights: &Weights<'_, O>, channels| weights.conv1x1(channels, channels, Pointwise::Kernel);
        let kept = weights.at("controlnet_down_blocks");
        let channels = plan.trunk.kept().into_iter().enumerate();
        Ok(Self {
            embedding: HintEmbedding::load(&weights.at("controlnet_cond_embedding"), &plan)?,
            trunk: Trunk::load(weights, &plan.trunk)?,
            kept: channels
                .map(|(index, channels)| silent(&kept.at(index), channels))
                .collect::<Result<_>>()?,
            middle: silent(&weights.at("controlnet_mid_block"), plan.trunk.bottom())?,
            plan,
        })
    }

    /// What the network sees of a picture's pixels, `[height, width, 3]`: an image of the latent's size.
    pub(crate) fn encode(
        &self,
        ops: &O,
        pixels: &[u8],
        [height, width]: [usize; 2],
        progress: &Progress<'_>,
    ) -> Result<O::Tensor> {
        let picture = pixels::planes(pixels, self.plan.order);
        self.embedding.forward(ops, &ops.image([1, 3, height, width], &picture)?, progress)
    }

    /// What to add to the images of a UNet that is asked the same, by a factor for each row; `hints` has the rows'
    /// encoded pictures.
    pub(crate) fn forward(
        &self,
        ops: &O,
        question: &Question<'_, O::Tensor>,
        hints: &O::Tensor,
        scales: Vec<f32>,
    ) -> Result<Residuals<O::Tensor>> {
        let hears = self.trunk.hear(ops, question)?;
        let mut images = self.trunk.descend(ops, question.latents, Some(hints), &[], &hears)?;
        let middle = self.trunk.middle(ops, &images, &hears)?;
        for (image, conv) in images.iter_mut().zip(&self.kept) {
            *image = ops.apply_conv(&conv.get(), image, ConvAdd::default())?;
        }
        let middle = ops.apply_conv(&self.middle.get(), &middle, ConvAdd::default())?;
        Ok(Residuals { kept: images, middle, scales })
    }
}

impl<O: Ops> HintEmbedding<O> {
    fn load(weights: &Weights<'_, O>, plan: &ControlNetPlan) -> Result<Self> {
        let channels = &plan.embedding;
        let halving = |(index, pair): (usize, &[usize])| {
            let blocks = weights.at("blocks");
            let keep = blocks.at(2 * index).conv3x3(pair[0], pair[0])?;
            let halve = blocks.at(2 * index + 1).halving(pair[0], pair[1], Padding::Around(1))?;
            weights.loaded([keep, halve])
        };
        Ok(Self {
            conv_in: weights.at("conv_in").conv3x3(3, channels[0])?,
            halvings: channels.windows(2).enumerate().map(halving).collect::<Result<_>>()?,
            conv_out: weights
                .at("conv_out")
                .conv3x3(channels[channels.len() - 1], plan.trunk.levels[0].channels)?,
        })
    }

    fn forward(&self, ops: &O, picture: &O::Tensor, progress: &Progress<'_>) -> Result<O::Tensor> {
        let silu = || ConvAdd { activation: Activation::Silu, ..ConvAdd::default() };
        let mut image = ops.apply_conv(&self.conv_in.get(), picture, silu())?;
        for halving in &self.halvings {
            for conv in halving {
                image = ops.apply_conv(&conv.get(), &image, silu())?;
            }
            progress.step()?;
        }
        ops.apply_conv(&self.conv_out.get(), &image, ConvAdd::default())
    }
}
