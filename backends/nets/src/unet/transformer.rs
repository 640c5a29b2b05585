// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The transformer in the UNet: pixels attend to each other and to the prompt.
//!
//! Source: diffusers `models/transformers/transformer_2d.py` and `models/attention.py`,
//! `BasicTransformerBlock`.

use alice_plugin::Result;

use crate::{
    ops::{Activation, ConvAdd, Ops},
    slot::{Conv, Gated, Linear},
    unet::config::{LevelPlan, TrunkPlan},
    weights::Weights,
};

/// Epsilon of the normalisation before the transformer; not the configuration's.
const ENTRY_EPSILON: f32 = 1e-6;
/// Epsilon of the normalisations within; not the configuration's either.
const BLOCK_EPSILON: f32 = 1e-5;

/// Pixels to tokens, some blocks, tokens to pixels, added to what came in.
pub(crate) struct Transformer<O: Ops> {
    norm: O::GroupNorm,
    // Into the blocks goes a matrix on tokens, out of them a 1x1 convolution on pixels: the same sums
    // whichever way the file keeps them, and only a convolution takes the residual image along.
    enter: Linear<O>,
    blocks: Vec<Block<O>>,
    leave: Conv<O>,
}

/// Self-attention, attention to the prompt, and a network for each token.
struct Block<O: Ops> {
    norm1: O::LayerNorm,
    to_self: Attention<O>,
    norm2: O::LayerNorm,
    to_prompt: Attention<O>,
    norm3: O::LayerNorm,
    gated: Gated<O>,
    out: Linear<O>,
}

/// Attention with its projections.
struct Attention<O: Ops> {
    query: Linear<O>,
    key: Linear<O>,
    value: Linear<O>,
    out: Linear<O>,
    heads: usize,
}

impl<O: Ops> Transformer<O> {
    /// Builds a transformer of `depth` blocks in `level` from its part of the file.
    pub(crate) fn load(
        weights: &Weights<'_, O>,
        plan: &TrunkPlan,
        level: &LevelPlan,
        depth: usize,
    ) -> Result<Self> {
        let channels = level.channels;
        let block = |index| Block::load(&weights.at("transformer_blocks").at(index), plan, level);
        Ok(Self {
            norm: weights.at("norm").group_norm(plan.groups, ENTRY_EPSILON, channels)?,
            enter: weights.at("proj_in").pointwise(channels, channels, plan.projections)?,
            blocks: (0..depth).map(block).collect::<Result<_>>()?,
            leave: weights.at("proj_out").conv1x1(channels, channels, plan.projections)?,
        })
    }

    /// `image` after every pixel has seen the others and the prompt, tokens `[rows, tokens, context]`.
    pub(crate) fn forward(&self, ops: &O, image: &O::Tensor, prompt: &O::Tensor) -> Result<O::Tensor> {
        let [_, _, height, width] = ops.image_shape(image);
        let normed = ops.apply_group_norm(&self.norm, image, Activation::None)?;
        let tokens = ops.image_to_tokens(&normed)?;
        let mut tokens = ops.apply_linear(&self.enter.get(), &tokens, Activation::None, None)?;
        for block in &self.blocks {
            tokens = block.forward(ops, &tokens, prompt)?;
        }
        let hidden = ops.tokens_to_image(&tokens, height, width)?;
        ops.apply_conv(&self.leave.get(), &hidden, ConvAdd { residual: Some(image), ..ConvAdd::default() })
    }
}

impl<O: Ops> Block<O> {
    fn load(weights: &Weights<'_, O>, plan: &TrunkPlan, level: &LevelPlan) -> Result<Self> {
        let width = level.channels;
        let norm = |name| weights.at(name).layer_norm(BLOCK_EPSILON, width);
        // The network for each token is four times as wide; its first layer makes values and their gates.
        let inner = 4 * width;
        Ok(Self {
            norm1: norm("norm1")?,
            to_self: Attention::load(&weights.at("attn1"), width, width, level.heads)?,
            norm2: norm("norm2")?,
            to_prompt: Attention::load(&weights.at("attn2"), width, plan.context, level.heads)?,
            norm3: norm("norm3")?,
            gated: weights.at("ff.net.0.proj").gated(width, inner)?,
            out: weights.at("ff.net.2").linear(inner, width)?,
        })
    }

    fn forward(&self, ops: &O, tokens: &O::Tensor, prompt: &O::Tensor) -> Result<O::Tensor> {
        let normed = ops.apply_layer_norm(&self.norm1, tokens)?;
        let tokens = self.to_self.forward(ops, &normed, &normed, tokens)?;
        let normed = ops.apply_layer_norm(&self.norm2, &tokens)?;
        let tokens = self.to_prompt.forward(ops, &normed, prompt, &tokens)?;
        let normed = ops.apply_layer_norm(&self.norm3, &tokens)?;
        let gated = ops.apply_geglu(&self.gated.get(), &normed)?;
        ops.apply_linear(&self.out.get(), &gated, Activation::None, Some(&tokens))
    }
}

impl<O: Ops> Attention<O> {
    /// Tokens of `width` values look at tokens of `context` values.
    fn load(weights: &Weights<'_, O>, width: usize, context: usize, heads: usize) -> Result<Self> {
        Ok(Self {
            query: weights.at("to_q").linear_without_bias(width, width)?,
            key: weights.at("to_k").linear_without_bias(context, width)?,
            value: weights.at("to_v").linear_without_bias(context, width)?,
            out: weights.at("to_out.0").linear(width, width)?,
            heads,
        })
    }

    /// What `tokens` find in `context`, plus `residual`. Of a prompt, keys and values are the same at every
    /// step and computed anew at each: some per cent of the work, against as much memory for each prompt as
    /// all blocks' keys and values take.
    fn forward(
        &self,
        ops: &O,
        tokens: &O::Tensor,
        context: &O::Tensor,
        residual: &O::Tensor,
    ) -> Result<O::Tensor> {
        let query = ops.apply_linear(&self.query.get(), tokens, Activation::None, None)?;
        let key = ops.apply_linear(&self.key.get(), context, Activation::None, None)?;
        let value = ops.apply_linear(&self.value.get(), context, Activation::None, None)?;
        let attended = ops.attention(&query, &key, &value, self.heads, false)?;
        ops.apply_linear(&self.out.get(), &attended, Activation::None, Some(residual))
    }
}
