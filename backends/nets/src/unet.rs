// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The denoiser: a UNet that hears the timestep and the prompt.
//!
//! Source: diffusers `models/unets/unet_2d_condition.py`, `UNet2DConditionModel`, and the blocks of
//! `models/unets/unet_2d_blocks.py`. On the way down every result is kept; on the way up each joins the
//! block of the same size. Any latent size works: the way up enlarges to the size that was left on the way
//! down, which need not be the double.

mod config;
mod sinusoid;
mod steering;
mod transformer;
mod trunk;

use alice_plugin::Result;

use self::trunk::{Hears, Stage};
pub(crate) use self::{
    config::{AddedPlan, TrunkConfig, TrunkPlan, UnetConfig, UnetPlan},
    steering::{Features, Residuals, Steering},
    trunk::{Added, Question, Trunk},
};
use crate::{
    ops::{Activation, ConvAdd, Ops},
    slot::Conv,
    weights::Weights,
};

/// The network, ready to run.
pub(crate) struct Unet<O: Ops> {
    trunk: Trunk<O>,
    /// From the smallest resolution to the full one.
    up: Vec<UpLevel<O>>,
    norm_out: O::GroupNorm,
    conv_out: Conv<O>,
    pub(crate) plan: UnetPlan,
}

struct UpLevel<O: Ops> {
    stages: Vec<Stage<O>>,
    /// Enlarges the image; the full resolution has none.
    enlarge: Option<Conv<O>>,
}

impl<O: Ops> Unet<O> {
    /// Builds the network that `plan` describes from its file.
    pub(crate) fn load(weights: &Weights<'_, O>, plan: UnetPlan) -> Result<Self> {
        let (levels, trunk) = (plan.trunk.levels.len(), &plan.trunk);
        let first = trunk.levels[0].channels;
        Ok(Self {
            trunk: Trunk::load(weights, trunk)?,
            up: (0..levels).rev().map(|index| UpLevel::load(weights, &plan, index)).collect::<Result<_>>()?,
            norm_out: weights.at("conv_norm_out").group_norm(trunk.groups, trunk.epsilon, first)?,
            conv_out: weights.at("conv_out").conv3x3(first, plan.output)?,
            plan,
        })
    }

    /// The raw answer to a question, with what guides it.
    pub(crate) fn forward(
        &self,
        ops: &O,
        question: &Question<'_, O::Tensor>,
        steering: &Steering<O::Tensor>,
    ) -> Result<O::Tensor> {
        let Steering { controls, features } = steering;
        let hears = self.trunk.hear(ops, question)?;
        let mut kept = self.trunk.descend(ops, question.latents, None, features, &hears)?;
        let middle = self.trunk.middle(ops, &kept, &hears)?;
        let middle = Features::join(ops, features, self.trunk.levels(), middle)?;
        let mut image = Residuals::join(ops, controls, &mut kept, middle)?;
        for level in &self.up {
            image = level.forward(ops, image, &mut kept, &hears)?;
        }
        image = ops.apply_group_norm(&self.norm_out, &image, Activation::Silu)?;
        ops.apply_conv(&self.conv_out.get(), &image, ConvAdd::default())
    }
}

impl<O: Ops> UpLevel<O> {
    /// `index` counts as on the way down; the file counts the other way round.
    fn load(weights: &Weights<'_, O>, plan: &UnetPlan, index: usize) -> Result<Self> {
        let (levels, depths) = (&plan.trunk.levels, &plan.up[index]);
        let level = &levels[index];
        let weights = weights.at("up_blocks").at(levels.len() - 1 - index);
        let entering = levels.get(index + 1).unwrap_or(level).channels;
        // The last image to come back is the one that entered this level on the way down.
        let entered = levels[index.saturating_sub(1)].channels;
        let stage = |stage| {
            let from_below = if stage == 0 { entering } else { level.channels };
            let kept = if stage + 1 == depths.len() { entered } else { level.channels };
            Stage::load(&weights, &plan.trunk, level, stage, from_below + kept, depths[stage])
        };
        let stages = (0..depths.len()).map(stage).collect::<Result<_>>()?;
        let enlarge = match index > 0 {
            true => Some(weights.at("upsamplers.0.conv").conv3x3(level.channels, level.channels)?),
            false => None,
        };
        Ok(Self { stages, enlarge })
    }

    /// The image for the next level; takes from `kept` what the level of this size left there.
    fn forward(
        &self,
        ops: &O,
        mut image: O::Tensor,
        kept: &mut Vec<O::Tensor>,
        hears: &Hears<'_, O::Tensor>,
    ) -> Result<O::Tensor> {
        for stage in &self.stages {
            let twin = kept.pop().expect("the way down leaves an image for every stage of the way up");
            image = ops.concat_channels(&image, &twin)?;
            image = stage.forward(ops, &image, hears)?;
        }
        if let (Some(enlarge), Some(next)) = (&self.enlarge, kept.last()) {
            let [_, _, height, width] = ops.image_shape(next);
            image = ops.upsample_conv(&enlarge.get(), &image, height, width, Activation::None)?;
        }
        Ok(image)
    }
}
