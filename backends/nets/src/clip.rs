// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The text encoder of CLIP: token ids in, one vector per token out, and one for all where the model has a
//! projection for it.
//!
//! Source: transformers `models/clip/modeling_clip.py`, `CLIPTextModel` and `CLIPTextModelWithProjection`.

mod config;
mod emphasis;

use alice_plugin::Result;

pub(crate) use self::{
    config::{ClipConfig, ClipPlan, Heard},
    emphasis::emphasise,
};
use crate::{
    ops::{Activation, Ops},
    progress::Progress,
    slot::Linear,
    weights::Weights,
};

/// The network, ready to run.
pub(crate) struct Clip<O: Ops> {
    tokens: O::Embedding,
    positions: O::Embedding,
    layers: Vec<Layer<O>>,
    final_norm: O::LayerNorm,
    projection: Option<Linear<O>>,
    pub(crate) plan: ClipPlan,
}

/// One chunk of a prompt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a> {
    /// At most `context_length` token ids.
    pub(crate) ids: &'a [u32],
    /// The rows of `width` values that the ids behind the vocabulary stand for; one for each such id.
    pub(crate) extra: &'a [f32],
}

/// What becomes of one chunk of tokens.
pub(crate) struct Encoded<T> {
    /// What the denoiser attends to, tokens `[1, ids, width]`.
    pub(crate) tokens: T,
    /// The pooled vector, tokens `[1, 1, projected]`, where it was asked for.
    pub(crate) pooled: Option<T>,
}

/// One layer of the transformer: attention, then a small network for each token.
struct Layer<O: Ops> {
    norm1: O::LayerNorm,
    query: Linear<O>,
    key: Linear<O>,
    value: Linear<O>,
    out: Linear<O>,
    norm2: O::LayerNorm,
    up: Linear<O>,
    down: Linear<O>,
    heads: usize,
    activation: Activation,
}

impl<O: Ops> Clip<O> {
    /// Builds the network that `plan` describes from its file.
    pub(crate) fn load(weights: &Weights<'_, O>, plan: ClipPlan) -> Result<Self> {
        let projection = plan
            .projection
            .map(|projected| weights.at("text_projection").linear_without_bias(plan.width, projected));
        let projection = projection.transpose()?;
        // With a projection, and in older releases of transformers, the network is one module further down.
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
            projection,
            plan,
        })
    }

    /// Encodes one chunk. Of the layers that the denoiser hears
    /// the last `skip` (at most [`ClipPlan::most_skipped`]) are left out. With `pool` the pooled vector is
    /// made too, if there is a projection; it never misses a layer.
    pub(crate) fn forward(
        &self,
        ops: &O,
        words: Words<'_>,
        skip: usize,
        pool: bool,
        progress: &Progress<'_>,
    ) -> Result<Encoded<O::Tensor>> {
        let positions: Vec<u32> = (0u32..).take(words.ids.len()).collect();
        let (tokens, positions) = (self.embed(ops, words)?, ops.embed(&self.positions, &positions)?);
        let hidden = ops.add(&tokens, &positions, Activation::None)?;
        let (heard, rest) = self.layers.split_at(self.plan.layers_heard(skip));
        let hidden = run(ops, heard, hidden, progress)?;
        let pooled = match &self.projection {
            Some(projection) if pool => {
                let last = run(ops, rest, hidden.clone(), progress)?;
                Some(self.pool(ops, projection, &last, words.ids)?)
            }
            _ => None,
        };
        let tokens = match self.plan.heard {
            Heard::Last => ops.apply_layer_norm(&self.final_norm, &hidden)?,
            Heard::BeforeLast => hidden,
        };
        Ok(Encoded { tokens, pooled })
    }

    /// The vectors of a chunk's tokens.
    fn embed(&self, ops: &O, Words { ids, extra }: Words<'_>) -> Result<O::Tensor> {
        let (vocabulary, width) = (self.plan.vocabulary, self.plan.width);
        if ids.iter().all(|&id| (id as usize) < vocabulary) {
            return ops.embed(&self.tokens, ids);
        }
        // Words that were learned later are rare and one chunk is small, so no backend need know of them.
        let known: Vec<u32> = ids.iter().map(|&id| if (id as usize) < vocabulary { id } else { 0 }).collect();
        let mut vectors = vec![0.0; ids.len() * width];
        ops.download(&ops.embed(&self.tokens, &known)?, &mut vectors)?;
        for (&id, vector) in ids.iter().zip(vectors.chunks_exact_mut(width)) {
            if let Some(row) = (id as usize).checked_sub(vocabulary) {
                vector.copy_from_slice(&extra[row * width..][..width]);
            }
        }
        ops.tokens([1, ids.len(), width], &vectors)
    }

    /// The projection of the end token, of what the last layer says of all `ids`.
    fn pool(&self, ops: &O, projection: &Linear<O>, last: &O::Tensor, ids: &[u32]) -> Result<O::Tensor> {
        // One token of one prompt is not worth an operation that every backend would have to offer.
        let width = self.plan.width;
        let mut states = vec![0.0; ids.len() * width];
        ops.download(&ops.apply_layer_norm(&self.final_norm, last)?, &mut states)?;
        let end = &states[self.plan.end_of(ids) * width..][..width];
        ops.apply_linear(&projection.get(), &ops.tokens([1, 1, width], end)?, Activation::None, None)
    }
}

/// What the layers make of `hidden`, one after the other.
fn run<O: Ops>(
    ops: &O,
    layers: &[Layer<O>],
    mut hidden: O::Tensor,
    progress: &Progress<'_>,
) -> Result<O::Tensor> {
    for layer in layers {
        hidden = layer.forward(ops, &hidden)?;
        progress.step()?;
    }
    Ok(hidden)
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
        let (query, key, value) = (
            plain(&self.query.get(), &normed)?,
            plain(&self.key.get(), &normed)?,
            plain(&self.value.get(), &normed)?,
        );
        let attended = ops.attention(&query, &key, &value, self.heads, true)?;
        let hidden = ops.apply_linear(&self.out.get(), &attended, Activation::None, Some(hidden))?;
        let normed = ops.apply_layer_norm(&self.norm2, &hidden)?;
        let inner = ops.apply_linear(&self.up.get(), &normed, self.activation, None)?;
        ops.apply_linear(&self.down.get(), &inner, Activation::None, Some(&hidden))
    }
}
