// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The text encoder of CLIP: token ids in, one vector per token out.
//!
//! Source: transformers `models/clip/modeling_clip.py`, `CLIPTextModel`. The begin and end tokens mean
//! nothing here: only the pooled vector, which Stable Diffusion 1.x does not use, would look for them.

mod config;
mod emphasis;

use alice_plugin::Result;

pub(crate) use self::{
    config::{ClipConfig, ClipPlan},
    emphasis::emphasise,
};
use crate::{
    ops::{Activation, Ops},
    progress::Progress,
    weights::Weights,
};

/// The network, ready to run.
pub(crate) struct Clip<O: Ops> {
    tokens: O::Embedding,
    positions: O::Embedding,
    layers: Vec<Layer<O>>,
    final_norm: O::LayerNorm,
    pub(crate) plan: ClipPlan,
}

/// One layer of the transformer: attention, then a small network for each token.
struct Layer<O: Ops> {
    norm1: O::LayerNorm,
    query: O::Linear,
    key: O::Linear,
    value: O::Linear,
    out: O::Linear,
    norm2: O::LayerNorm,
    up: O::Linear,
    down: O::Linear,
    heads: usize,
    activation: Activation,
}

impl<O: Ops> Clip<O> {
    /// Builds the network that `plan` describes from its file.
    pub(crate) fn load(weights: &Weights<'_, O>, plan: ClipPlan) -> Result<Self> {
        // Older releases of transformers wrapped the network in one more module.
        let weights = match weights.contains("text_model.final_layer_norm.weight") {
            true => &weights.at("text_model"),
            false => weights,
        };
        let layer = |index| Layer::load(&weights.at("encoder.layers").at(index), &plan);
        let embeddings = weights.at("embeddings");
        Ok(Self {
            tokens: embeddings.at("token_embedding").embedding(plan.vocabulary, plan.width)?,
            positions: embeddings.at("position_embedding").embedding(plan.context_length, plan.width)?,
            layers: (0..plan.layers).map(layer).collect::<Result<_>>()?,
            final_norm: weights.at("final_layer_norm").layer_norm(plan.epsilon, plan.width)?,
            plan,
        })
    }

    /// Encodes one chunk of at most `context_length` known token ids: tokens `[1, ids, width]`. The last
    /// `skip` layers (at most all) are left out; the final normalisation never is.
    pub(crate) fn forward(
        &self,
        ops: &O,
        ids: &[u32],
        skip: usize,
        progress: &Progress<'_>,
    ) -> Result<O::Tensor> {
        let positions: Vec<u32> = (0u32..).take(ids.len()).collect();
        let mut hidden = ops.add(&ops.embed(&self.tokens, ids)?, &ops.embed(&self.positions, &positions)?)?;
        for layer in &self.layers[..self.layers.len() - skip] {
            hidden = layer.forward(ops, &hidden)?;
            progress.step()?;
        }
        ops.apply_layer_norm(&self.final_norm, &hidden)
    }
}

impl<O: Ops> Layer<O> {
    fn load(weights: &Weights<'_, O>, plan: &ClipPlan) -> Result<Self> {
        let ClipPlan { width, inner, epsilon, .. } = *plan;
        let attention = |name| weights.at("self_attn").at(name).linear(width, width);
        weights.loaded(Self {
            norm1: weights.at("layer_norm1").layer_norm(epsilon, width)?,
            query: attention("q_proj")?,
            key: attention("k_proj")?,
            value: attention("v_proj")?,
            out: attention("out_proj")?,
            norm2: weights.at("layer_norm2").layer_norm(epsilon, width)?,
            up: weights.at("mlp.fc1").linear(width, inner)?,
            down: weights.at("mlp.fc2").linear(inner, width)?,
            heads: plan.heads,
            activation: plan.activation,
        })
    }

    fn forward(&self, ops: &O, hidden: &O::Tensor) -> Result<O::Tensor> {
        let plain = |layer, tokens| ops.apply_linear(layer, tokens, Activation::None, None);
        let normed = ops.apply_layer_norm(&self.norm1, hidden)?;
        let (query, key, value) =
            (plain(&self.query, &normed)?, plain(&self.key, &normed)?, plain(&self.value, &normed)?);
        let attended = ops.attention(&query, &key, &value, self.heads, true)?;
        let hidden = ops.apply_linear(&self.out, &attended, Activation::None, Some(hidden))?;
        let normed = ops.apply_layer_norm(&self.norm2, &hidden)?;
        let inner = ops.apply_linear(&self.up, &normed, self.activation, None)?;
        ops.apply_linear(&self.down, &inner, Activation::None, Some(&hidden))
    }
}
