// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `text_encoder/config.json`: what a text encoder looks like.
//!
//! Source: transformers `models/clip/configuration_clip.py`, `CLIPTextConfig`, whose defaults stand for
//! absent keys. Which layer the denoiser hears is not among them: that is the pipeline's choice.

use alice_plugin::Result;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    config::{ConfigFile, MAX_DEPTH, MAX_WIDTH},
    ops::Activation,
};

/// The most token ids; the largest vocabularies in use have some 260 thousand.
const MAX_VOCABULARY: usize = 1 << 24;

/// An end token's id that was never true: many published files say so. See [`ClipPlan::end_of`].
const WRONG_END: u32 = 2;
/// The end token where the configuration does not say it.
const DEFAULT_END: u32 = 49407;

/// The keys that shape the network. The rest concerns training.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ClipConfig {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    #[serde(default = "quick_gelu")]
    hidden_act: String,
    #[serde(default = "default_epsilon")]
    layer_norm_eps: f64,
    #[serde(default = "default_projection")]
    projection_dim: usize,
    /// A list in some files that nobody pools with.
    #[serde(default)]
    eos_token_id: Value,
}

fn quick_gelu() -> String {
    "quick_gelu".to_owned()
}
fn default_epsilon() -> f64 {
    1e-5
}
fn default_projection() -> usize {
    512
}
/// Which of the encoder's layers the denoiser hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The last one, normalised: Stable Diffusion 1 and 2.
    Last,
    /// The one before it, as it is: SDXL.
    BeforeLast,
}

/// The text encoder's layout: a configuration in which every value has been checked.
#[derive(Clone, Debug)]
pub(crate) struct ClipPlan {
    /// Number of token ids.
    pub(crate) vocabulary: usize,
    /// Tokens in one chunk, with the begin and end tokens.
    pub(crate) context_length: usize,
    /// Length of one token's vector.
    pub(crate) width: usize,
    /// Width of the network for each token.
    pub(crate) inner: usize,
    /// Number of layers.
    pub(crate) layers: usize,
    /// Heads of each attention; they divide the width.
    pub(crate) heads: usize,
    /// What stands between the two layers of the network for each token.
    pub(crate) activation: Activation,
    /// Epsilon of every normalisation.
    pub(crate) epsilon: f32,
    /// Which layer the denoiser hears.
    pub(crate) heard: Heard,
    /// Length of the pooled vector, if the encoder makes one.
    pub(crate) projection: Option<usize>,
    /// The end token's id, as the file says.
    end: u32,
}

impl ClipPlan {
    /// The number of layers that the denoiser hears without the last `skip`, which are at most
    /// [`most_skipped`](Self::most_skipped).
    pub(crate) fn layers_heard(&self, skip: usize) -> usize {
        self.most_skipped() - skip
    }

    /// The number of layers that a prompt can leave out: all that the denoiser hears.
    pub(crate) fn most_skipped(&self) -> usize {
        match self.heard {
            Heard::Last => self.layers,
            Heard::BeforeLast => self.layers - 1,
        }
    }

    /// The place of the token that ends the prompt in one chunk, whose vector stands for the whole.
    ///
    /// Source: transformers `CLIPTextModel.forward`. The first end token; the first place where there is
    /// none. Files from before that rule say 2 whatever the vocabulary, and mean its highest id; words that were
    /// learned later have higher ones and end nothing.
    pub(crate) fn end_of(&self, ids: &[u32]) -> usize {
        let end = match self.end {
            WRONG_END => {
                let known = ids.iter().copied().filter(|id| (*id as usize) < self.vocabulary);
                known.max().unwrap_or_default()
            }
            end => end,
        };
        ids.iter().position(|id| *id == end).unwrap_or(0)
    }
}

impl ClipConfig {
    /// Checks every value and works out the layout, of an encoder with or without a projection.
    ///
    /// # Errors
    /// `BadModel` for values that make no sense, `Unsupported` for an activation that is not known here;
    /// both name file, key and value.
    pub(crate) fn plan(&self, file: &ConfigFile, heard: Heard, projects: bool) -> Result<ClipPlan> {
        file.divides("num_attention_heads", self.num_attention_heads, self.hidden_size)?;
        let activation = match self.hidden_act.as_str() {
            "quick_gelu" => Activation::QuickGelu,
            "gelu" => Activation::Gelu,
            other => {
                let known = "\"quick_gelu\" and \"gelu\"";
                return Err(file.unsupported("hidden_act", format_args!("{other:?}"), known));
            }
        };
        let end = match self.eos_token_id.as_u64().map(u32::try_from) {
            Some(Ok(end)) => end,
            _ if self.eos_token_id.is_null() || !projects => DEFAULT_END,
            _ => return Err(file.bad("eos_token_id", &self.eos_token_id, "must be one token")),
        };
        let projection = match projects {
            true => Some(file.count("projection_dim", self.projection_dim, MAX_WIDTH)?),
            false => None,
        };
        Ok(ClipPlan {
            vocabulary: file.count("vocab_size", self.vocab_size, MAX_VOCABULARY)?,
            context_length: file.count("max_position_embeddings", self.max_position_embeddings, MAX_WIDTH)?,
            width: file.count("hidden_size", self.hidden_size, MAX_WIDTH)?,
            inner: file.count("intermediate_size", self.intermediate_size, MAX_WIDTH)?,
            layers: file.count("num_hidden_layers", self.num_hidden_layers, MAX_DEPTH)?,
            heads: self.num_attention_heads,
            activation,
            epsilon: file.epsilon("layer_norm_eps", self.layer_norm_eps)?,
            heard,
            projection,
            end,
        })
    }
}

#[cfg(test)]
mod tests;
