// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the configurations of a model's networks say of sizes: of its pictures, its text encoders and the input
//! of its denoiser. Read for the list of models, before any weight is.

use alice_checkpoint::{Checkpoint, Family};
use alice_diffusion::{Prediction, SchedulerConfig};
use alice_plugin::TextEncoderInfo;
use serde::Deserialize;

/// The sizes of a model.
pub(super) struct Sizes {
    unet: Unet,
    autoencoder: Autoencoder,
    text_encoders: Vec<TextEncoder>,
}

#[derive(Deserialize)]
struct Unet {
    sample_size: Option<Side>,
    #[serde(default = "four")]
    in_channels: u32,
}

/// One side of a square, or height and width of which the larger counts.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Side {
    Square(u32),
    Pair([u32; 2]),
}

#[derive(Deserialize)]
struct Autoencoder {
    #[serde(default = "four")]
    latent_channels: u32,
    /// One for each level; every level but one halves the sides.
    #[serde(default)]
    block_out_channels: Vec<u32>,
    /// The same in the configuration of a tiny autoencoder.
    #[serde(default)]
    encoder_block_out_channels: Vec<u32>,
}

#[derive(Deserialize)]
struct TextEncoder {
    #[serde(default = "twelve")]
    num_hidden_layers: u32,
    #[serde(default = "positions")]
    max_position_embeddings: u32,
    #[serde(default = "vocabulary")]
    vocab_size: u32,
    #[serde(default = "width")]
    hidden_size: u32,
}

/// Channels of a latent where the configurations of Stable Diffusion leave them out.
fn four() -> u32 {
    4
}

/// Layers of CLIP's text encoder where its configuration leaves them out.
fn twelve() -> u32 {
    12
}

/// Positions, tokens and width of CLIP's text encoder where its configuration leaves them out.
fn positions() -> u32 {
    77
}

fn vocabulary() -> u32 {
    49_408
}

fn width() -> u32 {
    768
}

/// What the text encoders of `checkpoint` read, as their configurations say: for those who ask before a backend has the
/// model.
///
/// # Errors
/// When one is missing or not understood.
pub(super) fn text_encoders(
    checkpoint: &Checkpoint,
) -> Result<Vec<TextEncoderInfo>, alice_checkpoint::Error> {
    let info = |encoder: TextEncoder| TextEncoderInfo {
        context_length: encoder.max_position_embeddings,
        vocab_size: encoder.vocab_size,
        hidden_size: encoder.hidden_size,
    };
    let encoders = checkpoint.text_encoders()?;
    encoders.iter().map(|encoder| checkpoint.config(encoder.component).map(info)).collect()
}

impl Sizes {
    /// Reads the configurations of `checkpoint`.
    ///
    /// # Errors
    /// When one is missing or not understood.
    pub(super) fn read(checkpoint: &Checkpoint) -> Result<Self, alice_checkpoint::Error> {
        let encoders = checkpoint.text_encoders()?;
        let configs = encoders.iter().map(|encoder| checkpoint.config(encoder.component));
        Ok(Self {
            unet: checkpoint.config("unet")?,
            autoencoder: checkpoint.config("vae")?,
            text_encoders: configs.collect::<Result<_, _>>()?,
        })
    }

    /// Side in pixels of the pictures that the model was trained on.
    pub(super) fn native(&self, family: Family, scheduler: &SchedulerConfig) -> u32 {
        let pixels = match self.unet.sample_size {
            Some(Side::Square(cells)) => cells.saturating_mul(self.autoencoder.scale()),
            Some(Side::Pair([height, width])) => height.max(width).saturating_mul(self.autoencoder.scale()),
            None => published(family, scheduler),
        };
        pixels.clamp(64, 2048)
    }

    /// Most layers that can be left out at the end of every text encoder, so that one remains. Those of SDXL
    /// leave one out anyway.
    pub(super) fn most_clip_skip(&self, family: Family) -> u32 {
        let always = u32::from(matches!(family, Family::Sdxl | Family::SdxlRefiner));
        let layers = self.text_encoders.iter().map(|encoder| encoder.num_hidden_layers).min();
        layers.unwrap_or(0).saturating_sub(1 + always)
    }

    /// What the denoiser takes, by the channels that it has beyond those of a latent.
    pub(super) fn takes(&self) -> Takes {
        let latent = self.autoencoder.latent_channels;
        Takes::of(latent, self.unet.in_channels.saturating_sub(latent))
    }
}

/// What a model's denoiser takes at every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// The latent alone: it paints from text.
    Latent,
    /// A picture's latent beside it: it changes the picture as it is told (InstructPix2Pix).
    Picture,
    /// A mask and the latent of what is left of a picture: it paints what is missing (inpainting).
    MaskedPicture,
    /// Something beside the latent that is known by nobody here.
    Unknown,
}

impl Takes {
    /// What a denoiser takes that has so many channels `beside` those of a latent.
    pub fn of(latent: u32, beside: u32) -> Self {
        match beside {
            0 => Self::Latent,
            _ if beside == latent => Self::Picture,
            _ if beside == latent + 1 => Self::MaskedPicture,
            _ => Self::Unknown,
        }
    }
}

impl Autoencoder {
    /// Pixels per latent cell. Without a word there are four levels, as in all of Stable Diffusion's.
    fn scale(&self) -> u32 {
        let levels = self.block_out_channels.len().max(self.encoder_block_out_channels.len());
        1 << if levels == 0 { 3 } else { (levels - 1).min(6) }
    }
}

/// Side of the pictures of the published model of a family. Those of Stable Diffusion 2 that predict the velocity
/// are the large ones.
fn published(family: Family, scheduler: &SchedulerConfig) -> u32 {
    match family {
        Family::Sd2 if scheduler.prediction() == Prediction::V => 768,
        Family::Sd1 | Family::Sd2 => 512,
        Family::Sdxl | Family::SdxlRefiner => 1024,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes that these configurations say.
    fn sizes(unet: &str, autoencoder: &str, text_encoders: &[&str]) -> Sizes {
        let encoders = text_encoders.iter().map(|config| serde_json::from_str(config).unwrap());
        Sizes {
            unet: serde_json::from_str(unet).unwrap(),
            autoencoder: serde_json::from_str(autoencoder).unwrap(),
            text_encoders: encoders.collect(),
        }
    }

    fn native(unet: &str, autoencoder: &str, family: Family, prediction: &str) -> u32 {
        let scheduler = format!("{{\"prediction_type\": \"{prediction}\"}}");
        sizes(unet, autoencoder, &[]).native(family, &SchedulerConfig::from_json(&scheduler).unwrap())
    }

    #[test]
    fn the_configurations_say_how_large_pictures_are() {
        let four_levels = r#"{"block_out_channels": [128, 256, 512, 512]}"#;
        let three_levels = r#"{"block_out_channels": [8, 8, 16]}"#;
        let tiny = r#"{"encoder_block_out_channels": [64, 64, 64, 64], "decoder_block_out_channels": [64]}"#;
        let side = |unet, autoencoder| native(unet, autoencoder, Family::Sd1, "epsilon");
        assert_eq!(side(r#"{"sample_size": 96}"#, four_levels), 768);
        assert_eq!(side(r#"{"sample_size": 96}"#, tiny), 768);
        assert_eq!(side(r#"{"sample_size": [40, 64]}"#, three_levels), 256);
        assert_eq!(side(r#"{"sample_size": 4000000000}"#, four_levels), 2048);
        assert_eq!(side(r#"{"sample_size": 1}"#, "{}"), 64);
    }

    #[test]
    fn without_a_word_pictures_are_as_large_as_those_of_the_published_model() {
        let side = |family, prediction| native("{}", "{}", family, prediction);
        assert_eq!(side(Family::Sd1, "epsilon"), 512);
        assert_eq!(side(Family::Sd1, "v_prediction"), 512);
        assert_eq!(side(Family::Sd2, "epsilon"), 512);
        assert_eq!(side(Family::Sd2, "v_prediction"), 768);
        assert_eq!(side(Family::Sdxl, "epsilon"), 1024);
        assert_eq!(side(Family::SdxlRefiner, "epsilon"), 1024);
    }

    #[test]
    fn one_layer_of_every_text_encoder_remains() {
        let encoders = [r#"{"num_hidden_layers": 12}"#, r#"{"num_hidden_layers": 32}"#];
        let most = |family, encoders: &[&str]| sizes("{}", "{}", encoders).most_clip_skip(family);
        assert_eq!(most(Family::Sd1, &encoders[..1]), 11);
        assert_eq!(most(Family::Sd1, &["{}"]), 11);
        assert_eq!(most(Family::Sdxl, &encoders), 10);
        assert_eq!(most(Family::SdxlRefiner, &encoders[1..]), 30);
        assert_eq!(most(Family::Sd1, &[]), 0);
    }

    #[test]
    fn channels_beyond_the_latents_are_those_of_a_picture() {
        let takes = |unet, autoencoder| sizes(unet, autoencoder, &[]).takes();
        assert_eq!(takes(r#"{"in_channels": 9}"#, "{}"), Takes::MaskedPicture);
        assert_eq!(takes(r#"{"in_channels": 8}"#, "{}"), Takes::Picture);
        assert_eq!(takes(r#"{"in_channels": 5}"#, "{}"), Takes::Unknown, "a map of depths");
        assert_eq!(takes("{}", "{}"), Takes::Latent);
        assert_eq!(takes(r#"{"in_channels": 16}"#, r#"{"latent_channels": 16}"#), Takes::Latent);
    }
}
