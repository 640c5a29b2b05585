// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The half that a UNet and a ControlNet have alike: the time embedding, the way down and the middle.

use alice_plugin::Result;

use super::{
    config::{AddedPlan, LevelPlan, SinusoidPlan, TrunkPlan},
    sinusoid::sinusoids,
    steering::Features,
    transformer::Transformer,
};
use crate::{
    ops::{Activation, ConvAdd, Ops, Padding},
    progress::Progress,
    resnet::{Resnet, ResnetShape},
    slot::{Conv, Linear},
    weights::Weights,
};

/// The networks up to the middle.
pub(crate) struct Trunk<O: Ops> {
    time: Embedding<O>,
    /// For the pooled vector and the sizes, in SDXL.
    added: Option<Embedding<O>>,
    conv_in: Conv<O>,
    /// From the full resolution to the smallest.
    down: Vec<DownLevel<O>>,
    middle: Vec<Stage<O>>,
    sinusoid: SinusoidPlan,
    added_plan: Option<AddedPlan>,
}

/// What a network is asked about some rows.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a, T> {
    /// An image with one row for each timestep.
    pub(crate) latents: &'a T,
    pub(crate) timesteps: &'a [f32],
    /// The rows' encoded prompts, tokens `[rows, tokens, context]`.
    pub(crate) prompt: &'a T,
    /// An entry for each row exactly if the plan asks for it.
    pub(crate) added: &'a [Added<'a>],
    pub(crate) progress: &'a Progress<'a>,
}

/// What joins the time embedding of one row, in SDXL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added<'a> {
    /// The prompt's pooled vector.
    pub(crate) pooled: &'a [f32],
    /// The sizes; with the pooled vector they fill [`AddedPlan::input`].
    pub(crate) time_ids: &'a [f32],
}

/// What every stage of one evaluation hears.
pub(crate) struct Hears<'a, T> {
    /// The time embedding after its activation, tokens `[rows, 1, time]` of the precise operations.
    pub(super) time: T,
    /// The encoded prompts, tokens `[rows, tokens, context]`.
    pub(super) prompt: &'a T,
    pub(super) progress: &'a Progress<'a>,
}

/// Two layers that make a vector of the time embedding's width.
struct Embedding<O: Ops> {
    first: Linear<O>,
    second: Linear<O>,
}

/// A residual block, and a transformer where the level has them.
pub(super) struct Stage<O: Ops> {
    resnet: Resnet<O>,
    transformer: Option<Transformer<O>>,
}

struct DownLevel<O: Ops> {
    stages: Vec<Stage<O>>,
    /// Halves the image; the smallest level has none.
    halve: Option<Conv<O>>,
    /// Whether the stages have transformers.
    attends: bool,
}

impl<O: Ops> Trunk<O> {
    /// Builds the networks that `plan` describes from their file.
    pub(crate) fn load(weights: &Weights<'_, O>, plan: &TrunkPlan) -> Result<Self> {
        let levels = plan.levels.len();
        let bottom = &plan.levels[levels - 1];
        let embedding = |name, input| Embedding::load(&weights.at(name).precise(), input, plan.time);
        let mid = weights.at("mid_block");
        let stage =
            |(index, depth): (usize, &usize)| Stage::load(&mid, plan, bottom, index, bottom.channels, *depth);
        Ok(Self {
            time: embedding("time_embedding", plan.sinusoid.width)?,
            added: plan.added.map(|added| embedding("add_embedding", added.input)).transpose()?,
            conv_in: weights.at("conv_in").conv3x3(plan.input, plan.levels[0].channels)?,
            down: (0..levels).map(|index| DownLevel::load(weights, plan, index)).collect::<Result<_>>()?,
            middle: plan.middle.iter().enumerate().map(stage).collect::<Result<_>>()?,
            sinusoid: plan.sinusoid,
            added_plan: plan.added,
        })
    }

    /// What every stage hears of a question.
    pub(crate) fn hear<'a>(
        &self,
        ops: &O,
        question: &Question<'a, O::Tensor>,
    ) -> Result<Hears<'a, O::Tensor>> {
        let time = self.embed_time(ops.precise(), question.timesteps, question.added)?;
        Ok(Hears { time, prompt: question.prompt, progress: question.progress })
    }

    /// The images that the way down leaves, of which the last goes on to the middle. `beside` joins the first of them;
    /// features join as they come, the images that are kept included.
    pub(crate) fn descend(
        &self,
        ops: &O,
        latents: &O::Tensor,
        beside: Option<&O::Tensor>,
        features: &[Features<O::Tensor>],
        hears: &Hears<'_, O::Tensor>,
    ) -> Result<Vec<O::Tensor>> {
        let add = ConvAdd { residual: beside, ..ConvAdd::default() };
        let mut image = ops.apply_conv(&self.conv_in.get(), latents, add)?;
        let mut kept = vec![image.clone()];
        for (index, level) in self.down.iter().enumerate() {
            let join = |image| Features::join(ops, features, index, image);
            image = level.forward(ops, image, &mut kept, hears, join)?;
        }
        Ok(kept)
    }

    /// The image in the middle, from the last of those that the way down leaves.
    pub(crate) fn middle(
        &self,
        ops: &O,
        kept: &[O::Tensor],
        hears: &Hears<'_, O::Tensor>,
    ) -> Result<O::Tensor> {
        let image = kept.last().expect("the way down leaves the image that it begins with");
        self.middle.iter().try_fold(image.clone(), |image, stage| stage.forward(ops, &image, hears))
    }

    /// How many levels there are.
    pub(super) fn levels(&self) -> usize {
        self.down.len()
    }

    /// The time embedding of the rows; `ops` are the precise ones. Every residual block begins its use of the time embedding
    /// with the same activation, so that is part of it here.
    fn embed_time(&self, ops: &O, timesteps: &[f32], added: &[Added<'_>]) -> Result<O::Tensor> {
        let time = sinusoids(self.sinusoid, timesteps);
        let (Some(network), Some(plan)) = (&self.added, self.added_plan) else {
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
    fn load(weights: &Weights<'_, O>, plan: &TrunkPlan, index: usize) -> Result<Self> {
        let level = &plan.levels[index];
        let weights = weights.at("down_blocks").at(index);
        let entering = plan.levels[index.saturating_sub(1)].channels;
        let stage = |stage| {
            let input = if stage == 0 { entering } else { level.channels };
            Stage::load(&weights, plan, level, stage, input, level.down[stage])
        };
        let stages = (0..level.down.len()).map(stage).collect::<Result<_>>()?;
        let halve = match index + 1 < plan.levels.len() {
            true => {
                let weights = weights.at("downsamplers.0.conv");
                Some(weights.halving(level.channels, level.channels, Padding::Around(1))?)
            }
            false => None,
        };
        Ok(Self { stages, halve, attends: level.attends() })
    }

    /// The image for the next level; every result on the way is pushed onto `kept`. `join` adds the level's features:
    /// behind the last stage where stages attend, elsewhere behind the halving.
    fn forward(
        &self,
        ops: &O,
        mut image: O::Tensor,
        kept: &mut Vec<O::Tensor>,
        hears: &Hears<'_, O::Tensor>,
        join: impl Fn(O::Tensor) -> Result<O::Tensor>,
    ) -> Result<O::Tensor> {
        let joins = |index: usize| match self.attends {
            true => index + 1 == self.stages.len(),
            false => index + 1 == self.stages.len() + usize::from(self.halve.is_some()),
        };
        for (index, stage) in self.stages.iter().enumerate() {
            image = stage.forward(ops, &image, hears)?;
            image = if joins(index) { join(image)? } else { image };
            kept.push(image.clone());
        }
        if let Some(halve) = &self.halve {
            image = ops.apply_conv(&halve.get(), &image, ConvAdd::default())?;
            image = if joins(self.stages.len()) { join(image)? } else { image };
            kept.push(image.clone());
        }
        Ok(image)
    }
}

impl<O: Ops> Stage<O> {
    /// The stage number `index` of a block of `level`, whose image comes with `input` channels. Its
    /// transformer has `depth` blocks; with 0 there is none.
    pub(super) fn load(
        weights: &Weights<'_, O>,
        plan: &TrunkPlan,
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

    pub(super) fn forward(
        &self,
        ops: &O,
        image: &O::Tensor,
        hears: &Hears<'_, O::Tensor>,
    ) -> Result<O::Tensor> {
        let mut image = self.resnet.forward(ops, image, Some(&hears.time))?;
        if let Some(transformer) = &self.transformer {
            image = transformer.forward(ops, &image, hears.prompt)?;
        }
        hears.progress.step()?;
        Ok(image)
    }
}
