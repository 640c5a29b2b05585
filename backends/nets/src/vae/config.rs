// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `vae/config.json` of the autoencoder that models are trained with: what it looks like, and what of it this crate does not do.
//!
//! Source: diffusers `models/autoencoders/autoencoder_kl.py`, `AutoencoderKL.__init__`, whose defaults stand
//! for absent keys. `force_upcast` is not asked: it speaks of half precision, which is the backend's choice.

use alice_plugin::Result;
use serde::Deserialize;

use crate::{
    config::{ConfigFile, MAX_DEPTH, MAX_LEVELS, MAX_WIDTH, OtherKeys},
    vae::convert::LatentSpace,
};

/// Keys that change what the network computes, each with the only value known here.
const ONLY: [(&str, &str); 5] = [
    ("_class_name", "\"AutoencoderKL\""),
    ("in_channels", "3"),
    ("out_channels", "3"),
    ("latents_mean", "null"),
    ("latents_std", "null"),
];

/// The configuration as it stands in the file.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct KlConfig {
    block_out_channels: Vec<usize>,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
    latent_channels: usize,
    #[serde(default = "one")]
    layers_per_block: usize,
    #[serde(default = "thirty_two")]
    norm_num_groups: usize,
    #[serde(default = "silu")]
    act_fn: String,
    /// Stable Diffusion 1.x was published before the key existed; the default is its value.
    #[serde(default = "default_scaling")]
    scaling_factor: f64,
    #[serde(default)]
    shift_factor: Option<f64>,
    #[serde(default = "yes")]
    use_quant_conv: bool,
    #[serde(default = "yes")]
    use_post_quant_conv: bool,
    #[serde(default = "yes")]
    mid_block_add_attention: bool,
    #[serde(flatten)]
    other: OtherKeys,
}

fn one() -> usize {
    1
}
fn thirty_two() -> usize {
    32
}
fn silu() -> String {
    "silu".to_owned()
}
fn default_scaling() -> f64 {
    0.18215
}
fn yes() -> bool {
    true
}

/// The autoencoder's layout: a configuration in which every value has been checked.
#[derive(Clone, Debug)]
pub(crate) struct KlPlan {
    /// Channels of each level, from the picture's size (first) to the latent's.
    pub(crate) channels: Vec<usize>,
    /// Residual blocks in each level of the encoder; the decoder has one more.
    pub(crate) layers: usize,
    /// Channels of a latent.
    pub(crate) latent: usize,
    /// Groups of every normalisation; they divide the channels of every level.
    pub(crate) groups: usize,
    /// Whether the pixels attend to each other at the smallest size.
    pub(crate) attention: bool,
    /// Whether a 1x1 convolution follows the encoder.
    pub(crate) quant: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    pub(crate) post_quant: bool,
    /// The latents' scale.
    pub(crate) space: LatentSpace,
}

impl KlPlan {
    /// Channels at the smallest size.
    pub(crate) fn bottom(&self) -> usize {
        self.channels[self.channels.len() - 1]
    }

    /// Pixels along one side of a latent cell.
    pub(crate) fn scale(&self) -> u32 {
        1 << (self.channels.len() - 1)
    }

    /// Number of blocks of the encoder, for the progress of a call.
    pub(crate) fn encoder_blocks(&self) -> usize {
        self.channels.len() * self.layers + MID_BLOCKS
    }

    /// Number of blocks of the decoder.
    pub(crate) fn decoder_blocks(&self) -> usize {
        self.channels.len() * (self.layers + 1) + MID_BLOCKS
    }
}

/// Residual blocks at the smallest size, in the encoder and in the decoder.
const MID_BLOCKS: usize = 2;

impl KlConfig {
    /// Checks every value and works out the layout.
    ///
    /// # Errors
    /// `BadModel` for values that make no sense, `Unsupported` for those that this crate does not do; both
    /// name file, key and value.
    pub(crate) fn plan(&self, file: &ConfigFile) -> Result<KlPlan> {
        file.only(&self.other, &ONLY)?;
        file.silu("act_fn", &self.act_fn)?;
        let levels = file.count("block_out_channels", self.block_out_channels.len(), MAX_LEVELS)?;
        for channels in &self.block_out_channels {
            file.count("block_out_channels", *channels, MAX_WIDTH)?;
            file.divides("norm_num_groups", self.norm_num_groups, *channels)?;
        }
        blocks(file, "down_block_types", &self.down_block_types, levels, "DownEncoderBlock2D")?;
        blocks(file, "up_block_types", &self.up_block_types, levels, "UpDecoderBlock2D")?;
        Ok(KlPlan {
            channels: self.block_out_channels.clone(),
            layers: file.count("layers_per_block", self.layers_per_block, MAX_DEPTH)?,
            latent: file.count("latent_channels", self.latent_channels, MAX_WIDTH)?,
            groups: self.norm_num_groups,
            attention: self.mid_block_add_attention,
            quant: self.use_quant_conv,
            post_quant: self.use_post_quant_conv,
            space: LatentSpace::new(file, self.scaling_factor, self.shift_factor)?,
        })
    }
}

/// Passes when `types` names the one `known` block for each level.
fn blocks(file: &ConfigFile, key: &str, types: &[String], levels: usize, known: &str) -> Result<()> {
    file.length(key, types.len(), levels)?;
    match types.iter().find(|kind| *kind != known) {
        Some(other) => Err(file.unsupported(key, format_args!("{other:?}"), format_args!("{known:?}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
