// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `vae/config.json` of a tiny autoencoder.
//!
//! Source: diffusers `models/autoencoders/autoencoder_tiny.py`, `AutoencoderTiny.__init__`, whose defaults
//! stand for absent keys. `latent_magnitude` and `latent_shift` are not asked: they are for keeping latents
//! in 8 bits.

use alice_plugin::Result;
use serde::Deserialize;

use crate::{
    config::{ConfigFile, MAX_DEPTH, MAX_LEVELS, MAX_WIDTH, OtherKeys},
    vae::convert::LatentSpace,
};

/// Keys that change what the network computes, each with the only value known here.
const ONLY: [(&str, &str); 5] = [
    ("act_fn", "\"relu\""),
    ("in_channels", "3"),
    ("out_channels", "3"),
    ("upsample_fn", "\"nearest\""),
    ("upsampling_scaling_factor", "2"),
];

/// The configuration as it stands in the file.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TinyConfig {
    #[serde(default = "default_channels")]
    encoder_block_out_channels: Vec<usize>,
    #[serde(default = "default_channels")]
    decoder_block_out_channels: Vec<usize>,
    #[serde(default = "default_encoder")]
    num_encoder_blocks: Vec<usize>,
    #[serde(default = "default_decoder")]
    num_decoder_blocks: Vec<usize>,
    #[serde(default = "four")]
    latent_channels: usize,
    #[serde(default = "one")]
    scaling_factor: f64,
    #[serde(default)]
    shift_factor: Option<f64>,
    #[serde(flatten)]
    other: OtherKeys,
}

fn default_channels() -> Vec<usize> {
    vec![64; 4]
}
fn default_encoder() -> Vec<usize> {
    vec![1, 3, 3, 3]
}
fn default_decoder() -> Vec<usize> {
    vec![3, 3, 3, 1]
}
fn four() -> usize {
    4
}
fn one() -> f64 {
    1.0
}

/// The tiny autoencoder's layout: a configuration in which every value has been checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TinyPlan {
    /// Blocks of each stage of the encoder, from the picture's size to the latent's.
    pub(crate) encoder: Vec<usize>,
    /// Blocks of each stage of the decoder, from the latent's size to the picture's; as many stages.
    pub(crate) decoder: Vec<usize>,
    /// Channels inside the encoder.
    pub(crate) encoder_channels: usize,
    /// Channels inside the decoder.
    pub(crate) decoder_channels: usize,
    /// Channels of a latent.
    pub(crate) latent: usize,
    /// The latents' scale.
    pub(crate) space: LatentSpace,
}

impl TinyPlan {
    /// Pixels along one side of a latent cell.
    pub(crate) fn scale(&self) -> u32 {
        1 << (self.decoder.len() - 1)
    }
}

impl TinyConfig {
    /// Checks every value and works out the layout.
    ///
    /// # Errors
    /// `BadModel` for values that make no sense, `Unsupported` for those that this crate does not do; both
    /// name file, key and value.
    pub(crate) fn plan(&self, file: &ConfigFile) -> Result<TinyPlan> {
        file.only(&self.other, &ONLY)?;
        let encoder = blocks(file, "num_encoder_blocks", &self.num_encoder_blocks)?;
        let decoder = blocks(file, "num_decoder_blocks", &self.num_decoder_blocks)?;
        if encoder.len() != decoder.len() {
            let why = format_args!("`num_encoder_blocks` has {}", encoder.len());
            return Err(file.bad("num_decoder_blocks", format_args!("a list of {}", decoder.len()), why));
        }
        let (of_encoder, of_decoder) = (&self.encoder_block_out_channels, &self.decoder_block_out_channels);
        Ok(TinyPlan {
            encoder_channels: channels(file, "encoder_block_out_channels", of_encoder, encoder.len())?,
            decoder_channels: channels(file, "decoder_block_out_channels", of_decoder, decoder.len())?,
            latent: file.count("latent_channels", self.latent_channels, MAX_WIDTH)?,
            space: LatentSpace::new(file, self.scaling_factor, self.shift_factor)?,
            encoder,
            decoder,
        })
    }
}

/// The number of blocks in each stage.
fn blocks(file: &ConfigFile, key: &str, blocks: &[usize]) -> Result<Vec<usize>> {
    file.count(key, blocks.len(), MAX_LEVELS)?;
    blocks.iter().map(|count| file.count(key, *count, MAX_DEPTH)).collect()
}

/// The one number of channels of all `stages`; nothing between them could change it.
fn channels(file: &ConfigFile, key: &str, channels: &[usize], stages: usize) -> Result<usize> {
    let first = channels.first().copied().unwrap_or(0);
    if channels.len() != stages || channels.iter().any(|channels| *channels != first) {
        let why = format_args!("must be the same number for each of the {stages} stages");
        return Err(file.bad(key, format_args!("{channels:?}"), why));
    }
    file.count(key, first, MAX_WIDTH)
}

#[cfg(test)]
mod tests;
