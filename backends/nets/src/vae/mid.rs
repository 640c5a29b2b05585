// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The middle of the autoencoder's two halves: at the smallest size, every pixel attends to all others.
//!
//! Source: diffusers `models/unets/unet_2d_blocks.py`, `UNetMidBlock2D`, and `models/attention_processor.py`,
//! `Attention`.

use alice_plugin::Result;

use crate::{
    ops::{Activation, ConvAdd, Ops},
    progress::Progress,
    resnet::{Resnet, ResnetShape},
    slot::{Conv, Linear},
    vae::{EPSILON, config::KlPlan},
    weights::{Pointwise, Weights},
};

/// Two residual blocks with attention between them.
pub(crate) struct Mid<O: Ops> {
    first: Resnet<O>,
    attention: Option<Attention<O>>,
    second: Resnet<O>,
}

/// Attention of one head, with its normalisation and projections.
struct Attention<O: Ops> {
    norm: O::GroupNorm,
    query: Linear<O>,
    key: Linear<O>,
    value: Linear<O>,
    // A matrix in the file; as a 1x1 convolution it takes the residual image along.
    out: Conv<O>,
}

/// What the projections of query, key, value and result are called in files of today.
const NAMES: [&str; 4] = ["to_q", "to_k", "to_v", "to_out.0"];
/// What they were called when Stable Diffusion 1.x was published.
const OLD_NAMES: [&str; 4] = ["query", "key", "value", "proj_attn"];

impl<O: Ops> Mid<O> {
    /// Builds the middle of either half from its part of the file.
    pub(crate) fn load(weights: &Weights<'_, O>, plan: &KlPlan) -> Result<Self> {
        let shape = ResnetShape {
            input: plan.bottom(),
            output: plan.bottom(),
            time: None,
            groups: plan.groups,
            epsilon: EPSILON,
        };
        let resnet = |index: usize| weights.loaded(Resnet::load(&weights.at("resnets").at(index), shape)?);
        let attention = match plan.attention {
            true => Some(Attention::load(&weights.at("attentions.0"), plan)?),
            false => None,
        };
        Ok(Self { first: resnet(0)?, attention, second: resnet(1)? })
    }

    pub(crate) fn forward(&self, ops: &O, image: &O::Tensor, progress: &Progress<'_>) -> Result<O::Tensor> {
        let mut image = self.first.forward(ops, image, None)?;
        progress.step()?;
        if let Some(attention) = &self.attention {
            image = attention.forward(ops, &image)?;
        }
        image = self.second.forward(ops, &image, None)?;
        progress.step()?;
        Ok(image)
    }
}

impl<O: Ops> Attention<O> {
    fn load(weights: &Weights<'_, O>, plan: &KlPlan) -> Result<Self> {
        let channels = plan.bottom();
        let [query, key, value, out] = match weights.contains("query.weight") {
            true => OLD_NAMES,
            false => NAMES,
        };
        Ok(Self {
            norm: weights.at("group_norm").group_norm(plan.groups, EPSILON, channels)?,
            query: weights.at(query).linear(channels, channels)?,
            key: weights.at(key).linear(channels, channels)?,
            value: weights.at(value).linear(channels, channels)?,
            out: weights.at(out).conv1x1(channels, channels, Pointwise::Matrix)?,
        })
    }

    fn forward(&self, ops: &O, image: &O::Tensor) -> Result<O::Tensor> {
        let [_, _, height, width] = ops.image_shape(image);
        let normed = ops.apply_group_norm(&self.norm, image, Activation::None)?;
        let tokens = ops.image_to_tokens(&normed)?;
        let query = ops.apply_linear(&self.query.get(), &tokens, Activation::None, None)?;
        let key = ops.apply_linear(&self.key.get(), &tokens, Activation::None, None)?;
        let value = ops.apply_linear(&self.value.get(), &tokens, Activation::None, None)?;
        let attended = ops.attention(&query, &key, &value, 1, false)?;
        let hidden = ops.tokens_to_image(&attended, height, width)?;
        ops.apply_conv(&self.out.get(), &hidden, ConvAdd { residual: Some(image), ..ConvAdd::default() })
    }
}
