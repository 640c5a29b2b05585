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
mod transformer;

use alice_plugin::Result;

pub(crate) use self::config::{UnetConfig, UnetPlan};
use self::{config::LevelPlan, sinusoid::sinusoids, transformer::Transformer};
use crate::{
    ops::{Activation, ConvAdd, Ops, Padding},
    progress::Progress,
    resnet::{Resnet, ResnetShape},
    weights::Weights,
};

/// The network, ready to run.
pub(crate) struct Unet<O: Ops> {
    time1: O::Linear,
    time2: O::Linear,
    conv_in: O::Conv,
    /// From the full resolution to the smallest.
    down: Vec<DownLevel<O>>,
    mid: [Stage<O>; 2],
    /// From the smallest resolution to the full one.
    up: Vec<UpLevel<O>>,
    norm_out: O::GroupNorm,
    conv_out: O::Conv,
    pub(crate) plan: UnetPlan,
}

/// A residual block, and a transformer where the level has them.
struct Stage<O: Ops> {
    resnet: Resnet<O>,
    transformer: Option<Transformer<O>>,
}

struct DownLevel<O: Ops> {
    stages: Vec<Stage<O>>,
    /// Halves the image; the smallest level has none.
    halve: Option<O::Conv>,
}

struct UpLevel<O: Ops> {
    stages: Vec<Stage<O>>,
    /// Enlarges the image; the full resolution has none.
    enlarge: Option<O::Conv>,
}

/// What every stage of one evaluation hears.
struct Hears<'a, T> {
    /// The time embedding after its activation, tokens `[rows, 1, time]`.
    time: &'a T,
    /// The encoded prompts, tokens `[rows, tokens, context]`.
    prompt: &'a T,
    progress: &'a Progress<'a>,
}

impl<O: Ops> Unet<O> {
    /// Builds the network that `plan` describes from its file.
    pub(crate) fn load(weights: &Weights<'_, O>, plan: UnetPlan) -> Result<Self> {
        let (levels, last) = (plan.levels.len(), plan.levels.len() - 1);
        let (first, bottom) = (plan.levels[0].channels, &plan.levels[last]);
        let time = weights.at("time_embedding");
        let mid = weights.at("mid_block");
        let mid_stage =
            |index, attention| Stage::load(&mid, &plan, bottom, index, bottom.channels, attention);
        Ok(Self {
            time1: time.at("linear_1").linear(plan.sinusoid.width, plan.time)?,
            time2: time.at("linear_2").linear(plan.time, plan.time)?,
            conv_in: weights.at("conv_in").conv3x3(plan.input, first)?,
            down: (0..levels).map(|index| DownLevel::load(weights, &plan, index)).collect::<Result<_>>()?,
            mid: [mid_stage(0, true)?, mid_stage(1, false)?],
            up: (0..levels).rev().map(|index| UpLevel::load(weights, &plan, index)).collect::<Result<_>>()?,
            norm_out: weights.at("conv_norm_out").group_norm(plan.groups, plan.epsilon, first)?,
            conv_out: weights.at("conv_out").conv3x3(first, plan.output)?,
            plan,
        })
    }

    /// The raw answer to `latents`, an image with one row for each of `timesteps`; `prompt` has the rows'
    /// encoded prompts, tokens `[rows, tokens, context]`.
    pub(crate) fn forward(
        &self,
        ops: &O,
        latents: &O::Tensor,
        timesteps: &[f32],
        prompt: &O::Tensor,
        progress: &Progress<'_>,
    ) -> Result<O::Tensor> {
        let time = self.embed_time(ops, timesteps)?;
        let hears = Hears { time: &time, prompt, progress };
        let mut image = ops.apply_conv(&self.conv_in, latents, ConvAdd::default())?;
        let mut kept = vec![image.clone()];
        for level in &self.down {
            image = level.forward(ops, image, &mut kept, &hears)?;
        }
        for stage in &self.mid {
            image = stage.forward(ops, &image, &hears)?;
        }
        for level in &self.up {
            image = level.forward(ops, image, &mut kept, &hears)?;
        }
        image = ops.apply_group_norm(&self.norm_out, &image, Activation::Silu)?;
        ops.apply_conv(&self.conv_out, &image, ConvAdd::default())
    }

    /// Every residual block begins its use of the time embedding with the same activation, so that is part
    /// of it here.
    fn embed_time(&self, ops: &O, timesteps: &[f32]) -> Result<O::Tensor> {
        let shape = [timesteps.len(), 1, self.plan.sinusoid.width];
        let time = ops.tokens(shape, &sinusoids(self.plan.sinusoid, timesteps))?;
        let time = ops.apply_linear(&self.time1, &time, Activation::Silu, None)?;
        ops.apply_linear(&self.time2, &time, Activation::Silu, None)
    }
}

impl<O: Ops> DownLevel<O> {
    fn load(weights: &Weights<'_, O>, plan: &UnetPlan, index: usize) -> Result<Self> {
        let level = &plan.levels[index];
        let weights = weights.at("down_blocks").at(index);
        let entering = plan.levels[index.saturating_sub(1)].channels;
        let stage = |stage| {
            let input = if stage == 0 { entering } else { level.channels };
            Stage::load(&weights, plan, level, stage, input, level.attention_down)
        };
        let stages = (0..level.layers).map(stage).collect::<Result<_>>()?;
        let halve = match index + 1 < plan.levels.len() {
            true => Some(weights.at("downsamplers.0.conv").halving(level.channels, Padding::Around(1))?),
            false => None,
        };
        Ok(Self { stages, halve })
    }

    /// The image for the next level; every result on the way is pushed onto `kept`.
    fn forward(
        &self,
        ops: &O,
        mut image: O::Tensor,
        kept: &mut Vec<O::Tensor>,
        hears: &Hears<'_, O::Tensor>,
    ) -> Result<O::Tensor> {
        for stage in &self.stages {
            image = stage.forward(ops, &image, hears)?;
            kept.push(image.clone());
        }
        if let Some(halve) = &self.halve {
            image = ops.apply_conv(halve, &image, ConvAdd::default())?;
            kept.push(image.clone());
        }
        Ok(image)
    }
}

impl<O: Ops> UpLevel<O> {
    /// `index` counts as on the way down; the file counts the other way round.
    fn load(weights: &Weights<'_, O>, plan: &UnetPlan, index: usize) -> Result<Self> {
        let level = &plan.levels[index];
        let weights = weights.at("up_blocks").at(plan.levels.len() - 1 - index);
        let entering = plan.levels.get(index + 1).unwrap_or(level).channels;
        // The last image to come back is the one that entered this level on the way down.
        let entered = plan.levels[index.saturating_sub(1)].channels;
        let stage = |stage| {
            let from_below = if stage == 0 { entering } else { level.channels };
            let kept = if stage == level.layers { entered } else { level.channels };
            Stage::load(&weights, plan, level, stage, from_below + kept, level.attention_up)
        };
        let stages = (0..=level.layers).map(stage).collect::<Result<_>>()?;
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
            image = ops.upsample_conv(enlarge, &image, height, width)?;
        }
        Ok(image)
    }
}

impl<O: Ops> Stage<O> {
    /// The stage number `index` of a block of `level`, whose image comes with `input` channels.
    fn load(
        weights: &Weights<'_, O>,
        plan: &UnetPlan,
        level: &LevelPlan,
        index: usize,
        input: usize,
        attention: bool,
    ) -> Result<Self> {
        let (output, time) = (level.channels, Some(plan.time));
        let shape = ResnetShape { input, output, time, groups: plan.groups, epsilon: plan.epsilon };
        let transformer = match attention {
            true => Some(Transformer::load(&weights.at("attentions").at(index), plan, level)?),
            false => None,
        };
        weights.loaded(Self { resnet: Resnet::load(&weights.at("resnets").at(index), shape)?, transformer })
    }

    fn forward(&self, ops: &O, image: &O::Tensor, hears: &Hears<'_, O::Tensor>) -> Result<O::Tensor> {
        let mut image = self.resnet.forward(ops, image, Some(hears.time))?;
        if let Some(transformer) = &self.transformer {
            image = transformer.forward(ops, &image, hears.prompt)?;
        }
        hears.progress.step()?;
        Ok(image)
    }
}
