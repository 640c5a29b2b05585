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

pub(crate) use self::config::{AddedPlan, UnetConfig, UnetPlan};
use self::{config::LevelPlan, sinusoid::sinusoids, transformer::Transformer};
use crate::{
    ops::{Activation, ConvAdd, Ops, Padding},
    progress::Progress,
    resnet::{Resnet, ResnetShape},
    slot::{Conv, Linear},
    weights::Weights,
};

/// The network, ready to run.
pub(crate) struct Unet<O: Ops> {
    time: Embedding<O>,
    /// For the pooled vector and the sizes, in SDXL.
    added: Option<Embedding<O>>,
    conv_in: Conv<O>,
    /// From the full resolution to the smallest.
    down: Vec<DownLevel<O>>,
    mid: [Stage<O>; 2],
    /// From the smallest resolution to the full one.
    up: Vec<UpLevel<O>>,
    norm_out: O::GroupNorm,
    conv_out: Conv<O>,
    pub(crate) plan: UnetPlan,
}

/// Two layers that make a vector of the time embedding's width.
struct Embedding<O: Ops> {
    first: Linear<O>,
    second: Linear<O>,
}

/// What joins the time embedding of one row, in SDXL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added<'a> {
    /// The prompt's pooled vector.
    pub(crate) pooled: &'a [f32],
    /// The sizes; with the pooled vector they fill [`AddedPlan::input`].
    pub(crate) time_ids: &'a [f32],
}

/// A residual block, and a transformer where the level has them.
struct Stage<O: Ops> {
    resnet: Resnet<O>,
    transformer: Option<Transformer<O>>,
}

struct DownLevel<O: Ops> {
    stages: Vec<Stage<O>>,
    /// Halves the image; the smallest level has none.
    halve: Option<Conv<O>>,
}

struct UpLevel<O: Ops> {
    stages: Vec<Stage<O>>,
    /// Enlarges the image; the full resolution has none.
    enlarge: Option<Conv<O>>,
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
        let embedding = |name, input| Embedding::load(&weights.at(name), input, plan.time);
        let mid = weights.at("mid_block");
        let mid_stage = |index, depth| Stage::load(&mid, &plan, bottom, index, bottom.channels, depth);
        Ok(Self {
            time: embedding("time_embedding", plan.sinusoid.width)?,
            added: plan.added.map(|added| embedding("add_embedding", added.input)).transpose()?,
            conv_in: weights.at("conv_in").conv3x3(plan.input, first)?,
            down: (0..levels).map(|index| DownLevel::load(weights, &plan, index)).collect::<Result<_>>()?,
            mid: [mid_stage(0, plan.mid_depth)?, mid_stage(1, 0)?],
            up: (0..levels).rev().map(|index| UpLevel::load(weights, &plan, index)).collect::<Result<_>>()?,
            norm_out: weights.at("conv_norm_out").group_norm(plan.groups, plan.epsilon, first)?,
            conv_out: weights.at("conv_out").conv3x3(first, plan.output)?,
            plan,
        })
    }

    /// The raw answer to `latents`, an image with one row for each of `timesteps`; `prompt` has the rows'
    /// encoded prompts, tokens `[rows, tokens, context]`. `added` has an entry for each row exactly if the
    /// plan asks for it.
    pub(crate) fn forward(
        &self,
        ops: &O,
        latents: &O::Tensor,
        timesteps: &[f32],
        prompt: &O::Tensor,
        added: &[Added<'_>],
        progress: &Progress<'_>,
    ) -> Result<O::Tensor> {
        let time = self.embed_time(ops, timesteps, added)?;
        let hears = Hears { time: &time, prompt, progress };
        let mut image = ops.apply_conv(&self.conv_in.get(), latents, ConvAdd::default())?;
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
        ops.apply_conv(&self.conv_out.get(), &image, ConvAdd::default())
    }

    /// Every residual block begins its use of the time embedding with the same activation, so that is part
    /// of it here.
    fn embed_time(&self, ops: &O, timesteps: &[f32], added: &[Added<'_>]) -> Result<O::Tensor> {
        let time = sinusoids(self.plan.sinusoid, timesteps);
        let (Some(network), Some(plan)) = (&self.added, self.plan.added) else {
            return self.time.forward(ops, timesteps.len(), &time, Activation::Silu);
        };
        let time = self.time.forward(ops, timesteps.len(), &time, Activation::None)?;
        let vectors: Vec<f32> = added.iter().flat_map(|row| plan.vector(row)).collect();
        let added = network.forward(ops, added.len(), &vectors, Activation::None)?;
        ops.add(&time, &added, Activation::Silu)
    }
}

impl<O: Ops> Embedding<O> {
    /// Builds the layers for vectors of `input` values from their part of the file.
    fn load(weights: &Weights<'_, O>, input: usize, output: usize) -> Result<Self> {
        Ok(Self {
            first: weights.at("linear_1").linear(input, output)?,
            second: weights.at("linear_2").linear(output, output)?,
        })
    }

    /// The layers' result on one vector for each of `rows`, tokens `[rows, 1, output]`, activated.
    fn forward(&self, ops: &O, rows: usize, vectors: &[f32], activation: Activation) -> Result<O::Tensor> {
        let vectors = ops.tokens([rows, 1, vectors.len() / rows], vectors)?;
        let hidden = ops.apply_linear(&self.first.get(), &vectors, Activation::Silu, None)?;
        ops.apply_linear(&self.second.get(), &hidden, activation, None)
    }
}

impl AddedPlan {
    /// The vector of one row.
    fn vector(&self, row: &Added<'_>) -> Vec<f32> {
        [row.pooled, &sinusoids(self.sinusoid, row.time_ids)].concat()
    }
}

impl<O: Ops> DownLevel<O> {
    fn load(weights: &Weights<'_, O>, plan: &UnetPlan, index: usize) -> Result<Self> {
        let level = &plan.levels[index];
        let weights = weights.at("down_blocks").at(index);
        let entering = plan.levels[index.saturating_sub(1)].channels;
        let stage = |stage| {
            let input = if stage == 0 { entering } else { level.channels };
            Stage::load(&weights, plan, level, stage, input, level.down[stage])
        };
        let stages = (0..level.down.len()).map(stage).collect::<Result<_>>()?;
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
            image = ops.apply_conv(&halve.get(), &image, ConvAdd::default())?;
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
            let kept = if stage + 1 == level.up.len() { entered } else { level.channels };
            Stage::load(&weights, plan, level, stage, from_below + kept, level.up[stage])
        };
        let stages = (0..level.up.len()).map(stage).collect::<Result<_>>()?;
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

impl<O: Ops> Stage<O> {
    /// The stage number `index` of a block of `level`, whose image comes with `input` channels. Its
    /// transformer has `depth` blocks; with 0 there is none.
    fn load(
        weights: &Weights<'_, O>,
        plan: &UnetPlan,
        level: &LevelPlan,
        index: usize,
        input: usize,
        depth: usize,
    ) -> Result<Self> {
        let (output, time) = (level.channels, Some(plan.time));
        let shape = ResnetShape { input, output, time, groups: plan.groups, epsilon: plan.epsilon };
        let transformer = match depth {
            0 => None,
            _ => Some(Transformer::load(&weights.at("attentions").at(index), plan, level, depth)?),
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
