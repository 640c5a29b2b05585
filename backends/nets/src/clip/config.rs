// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `text_encoder/config.json`: what the text encoder looks like.
//!
//! Source: transformers `models/clip/configuration_clip.py`, `CLIPTextConfig`, whose defaults stand for
//! absent keys.

use alice_plugin::Result;
use serde::Deserialize;

use crate::{
    config::{ConfigFile, MAX_DEPTH, MAX_WIDTH},
    ops::Activation,
};

/// The most token ids; the largest vocabularies in use have some 260 thousand.
const MAX_VOCABULARY: usize = 1 << 24;

/// The keys that shape the network. The rest concerns training and the pooled vector.
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
}

fn quick_gelu() -> String {
    "quick_gelu".to_owned()
}
fn default_epsilon() -> f64 {
    1e-5
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
}

impl ClipConfig {
    /// Checks every value and works out the layout.
    ///
    /// # Errors
    /// `BadModel` for values that make no sense, `Unsupported` for an activation that is not known here;
    /// both name file, key and value.
    pub(crate) fn plan(&self, file: &ConfigFile) -> Result<ClipPlan> {
        file.divides("num_attention_heads", self.num_attention_heads, self.hidden_size)?;
        let activation = match self.hidden_act.as_str() {
            "quick_gelu" => Activation::QuickGelu,
            "gelu" => Activation::Gelu,
            other => {
                let known = "\"quick_gelu\" and \"gelu\"";
                return Err(file.unsupported("hidden_act", format_args!("{other:?}"), known));
            }
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
        })
    }
}

#[cfg(test)]
mod tests;
