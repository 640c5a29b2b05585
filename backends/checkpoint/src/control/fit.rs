// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Whether a network that lets a picture guide suits a model: what it adds must be as large as what it joins.
//!
//! Source: diffusers `models/controlnets/controlnet.py`, `models/adapter.py` and
//! `models/unets/unet_2d_condition.py`, whose defaults stand for absent keys.

use serde::Deserialize;

use super::adapter::{FULL, LIGHT, XL};
use crate::{Checkpoint, Error, diffusers::Widths};

/// The sizes of the half that a denoiser and a ControlNet have alike: the way down and the middle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Channels of the latents.
    latent: usize,
    /// Width of one token of the prompt.
    context: usize,
    /// Length of the vector that joins the time embedding, in SDXL; 0 without one.
    added: usize,
    /// From the full resolution to the smallest; at least one.
    levels: Vec<Level>,
}

/// One resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    channels: usize,
    /// Residual blocks.
    blocks: usize,
    /// Whether they have transformers.
    attends: bool,
}

/// Where on the way down an adapter's features join: images with so many channels and sides that are those of the
/// latent, halved so many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    channels: usize,
    halvings: usize,
}

/// The sizes that a network needs of the model that it guides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs(Sizes);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sizes {
    /// A ControlNet's trunk is like the model's.
    Like(Trunk),
    /// The places of an adapter's features are the model's first ones.
    Places(Vec<Place>),
}

/// What of a denoiser's or a ControlNet's configuration tells its sizes.
#[derive(Debug, Deserialize)]
pub(super) struct TrunkConfig {
    #[serde(default = "latent")]
    in_channels: usize,
    #[serde(default = "channels")]
    block_out_channels: Vec<usize>,
    #[serde(default = "types")]
    down_block_types: Vec<String>,
    #[serde(default = "blocks")]
    layers_per_block: Widths,
    #[serde(default = "context")]
    cross_attention_dim: Widths,
    addition_embed_type: Option<String>,
    projection_class_embeddings_input_dim: Option<usize>,
}

/// What of an adapter's configuration tells its sizes.
#[derive(Debug, Deserialize)]
pub(super) struct AdapterConfig {
    #[serde(default = "full")]
    adapter_type: String,
    #[serde(default = "channels")]
    channels: Vec<usize>,
}

/// What of an autoencoder's configuration tells the latents that it makes.
#[derive(Deserialize)]
struct Autoencoder {
    #[serde(default = "latent")]
    latent_channels: usize,
}

fn latent() -> usize {
    4
}
fn channels() -> Vec<usize> {
    vec![320, 640, 1280, 1280]
}
fn types() -> Vec<String> {
    [CROSS, CROSS, CROSS, "DownBlock2D"].map(str::to_owned).to_vec()
}
fn blocks() -> Widths {
    Widths::Same(2)
}
fn context() -> Widths {
    Widths::Same(1280)
}
fn full() -> String {
    FULL.to_owned()
}

/// The kind of a level with transformers.
const CROSS: &str = "CrossAttnDownBlock2D";
/// More residual blocks than any level has: what a file claims is not counted out.
const MOST_BLOCKS: usize = 64;
/// Levels that a sentence lists.
const MOST_LISTED: usize = 8;

impl Trunk {
    /// That of the denoiser of `checkpoint`.
    ///
    /// # Errors
    /// As [`Checkpoint::config`].
    pub fn of(checkpoint: &Checkpoint) -> Result<Self, Error> {
        let Autoencoder { latent_channels } = checkpoint.config("vae")?;
        // A denoiser may take more than the latent, of which nothing reaches a network beside it.
        Ok(Self { latent: latent_channels, ..Self::new(checkpoint.config("unet")?) })
    }

    fn new(config: TrunkConfig) -> Self {
        let attends = |level: usize| config.down_block_types.get(level).is_some_and(|kind| kind == CROSS);
        let level = |(index, channels): (usize, &usize)| Level {
            channels: *channels,
            blocks: config.layers_per_block.of(index).unwrap_or(0),
            attends: attends(index),
        };
        let added = config.addition_embed_type.and(config.projection_class_embeddings_input_dim);
        Self {
            latent: config.in_channels,
            context: config.cross_attention_dim.of(0).unwrap_or(0),
            added: added.unwrap_or(0),
            levels: config.block_out_channels.iter().enumerate().map(level).collect(),
        }
    }

    /// Channels of the images that are kept on the way down, and of the one in the middle.
    fn kept(&self) -> Vec<usize> {
        let last = self.levels.len().saturating_sub(1);
        let of_level = |(index, level): (usize, &Level)| {
            let halved = usize::from(index < last);
            std::iter::repeat_n(level.channels, level.blocks.saturating_add(halved).min(MOST_BLOCKS))
        };
        let first = self.levels.first().map(|level| level.channels);
        let bottom = self.levels.last().map(|level| level.channels);
        first.into_iter().chain(self.levels.iter().enumerate().flat_map(of_level)).chain(bottom).collect()
    }

    /// Where features join: one place for each level, before it halves the sides if it has transformers and behind
    /// that elsewhere, and the middle.
    fn places(&self) -> Vec<Place> {
        let last = self.levels.len().saturating_sub(1);
        let of_level = |(index, level): (usize, &Level)| {
            let behind = usize::from(index < last && !level.attends);
            Place { channels: level.channels, halvings: index + behind }
        };
        let middle = self.levels.last().map(|level| Place { channels: level.channels, halvings: last });
        self.levels.iter().enumerate().map(of_level).chain(middle).collect()
    }

    /// What of the model of the trunk `other` is of another size than in a ControlNet of this one.
    fn unlike(&self, other: &Self) -> Option<String> {
        if self.latent != other.latent {
            let (own, others) = (self.latent, other.latent);
            return Some(format!("it takes latents of {own} channels, those of this model have {others}"));
        }
        if self.context != other.context {
            let (own, others) = (self.context, other.context);
            return Some(format!(
                "it takes prompts of {own} values a token, those of this model have {others}"
            ));
        }
        if self.added != other.added {
            let (own, others) = (self.added, other.added);
            return Some(format!("it hears {own} values beside the prompt, this model {others}"));
        }
        if self.kept() == other.kept() {
            return None;
        }
        let [own, others] = [self, other].map(|trunk| {
            listed(trunk.levels.iter().map(|level| format!("{} x {}", level.blocks, level.channels)))
        });
        Some(format!("it is built for levels of {own} channels, this model has {others}"))
    }
}

impl Needs {
    /// Those of a ControlNet of this configuration.
    pub(super) fn of_net(config: TrunkConfig) -> Self {
        Self(Sizes::Like(Trunk::new(config)))
    }

    /// Those of an adapter of this configuration.
    pub(super) fn of_adapter(config: &AdapterConfig) -> Self {
        let channels = config.channels.iter().copied();
        // The last level of a light one is as wide as the one before it, and not listed.
        let repeated = config.channels.last().copied().filter(|_| config.adapter_type == LIGHT);
        let halvings = |index: usize| match config.adapter_type.as_str() {
            // Those for SDXL begin at half the size, and halve before the third alone.
            XL => 1 + usize::from(index >= 2),
            _ => index,
        };
        let place = |(index, channels)| Place { channels, halvings: halvings(index) };
        Self(Sizes::Places(channels.chain(repeated).enumerate().map(place).collect()))
    }

    /// What the model of this `trunk` lacks; nothing when it suits. The words go on from "it cannot be used".
    pub fn unmet_by(&self, trunk: &Trunk) -> Option<String> {
        let needed = match &self.0 {
            Sizes::Like(own) => return own.unlike(trunk),
            Sizes::Places(needed) => needed,
        };
        let places = trunk.places();
        if places.starts_with(needed) {
            return None;
        }
        let [own, others] = [needed, &places].map(|places| {
            listed(
                places
                    .iter()
                    .map(|place| format!("{} (1/{})", place.channels, 1_u128 << place.halvings.min(64))),
            )
        });
        Some(format!(
            "its features are images of {own} channels (and part of the latent's sides), this model's {others}"
        ))
    }
}

fn listed(levels: impl Iterator<Item = String>) -> String {
    levels.take(MOST_LISTED).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn trunk(config: Value) -> Trunk {
        Trunk::new(serde_json::from_value(config).unwrap())
    }

    fn control_net(config: Value) -> Needs {
        Needs::of_net(serde_json::from_value(config).unwrap())
    }

    fn adapter(config: Value) -> Needs {
        Needs::of_adapter(&serde_json::from_value(config).unwrap())
    }

    fn sd1() -> Value {
        json!({ "cross_attention_dim": 768 })
    }

    fn sdxl() -> Value {
        json!({
            "cross_attention_dim": 2048, "block_out_channels": [320, 640, 1280],
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "addition_embed_type": "text_time", "projection_class_embeddings_input_dim": 2816,
        })
    }

    /// `config` with `key` changed.
    fn with(mut config: Value, key: &str, value: Value) -> Value {
        config[key] = value;
        config
    }

    #[test]
    fn a_control_net_suits_models_of_its_own_sizes() {
        for config in [sd1(), sdxl()] {
            let (needs, model) = (control_net(config.clone()), trunk(config.clone()));
            assert_eq!(needs.unmet_by(&model), None);
            // Whether a level's blocks have transformers is each network's own business, as is how often it is said.
            let plain = with(config.clone(), "down_block_types", json!(["DownBlock2D"]));
            assert_eq!(needs.unmet_by(&trunk(plain)), None);
            let said = with(config.clone(), "layers_per_block", json!([2, 2, 2, 2]));
            assert_eq!(needs.unmet_by(&trunk(said)), None);
            for (key, value, word) in [
                ("in_channels", json!(16), "latents of 4 channels, those of this model have 16"),
                ("cross_attention_dim", json!(1024), "those of this model have 1024"),
                ("block_out_channels", json!([320, 640, 1288]), "this model has 2 x 320, 2 x 640, 2 x 1288"),
                ("block_out_channels", json!([64, 128]), "this model has 2 x 64, 2 x 128"),
                ("layers_per_block", json!(1), "this model has 1 x 320, 1 x 640"),
            ] {
                let other = trunk(with(config.clone(), key, value));
                let unmet = needs.unmet_by(&other).unwrap_or_else(|| panic!("{key} does not count"));
                assert!(unmet.contains(word), "{unmet}");
            }
        }
        let refiner = with(sdxl(), "projection_class_embeddings_input_dim", json!(2560));
        let unmet = control_net(sdxl()).unmet_by(&trunk(refiner)).unwrap();
        assert!(unmet.contains("2816 values beside the prompt, this model 2560"), "{unmet}");
        assert!(control_net(sd1()).unmet_by(&trunk(sdxl())).is_some());
    }

    #[test]
    fn an_adapter_suits_models_with_its_channels_at_its_sizes() {
        let (full, light) =
            (adapter(json!({})), adapter(json!({ "adapter_type": LIGHT, "channels": [320, 640, 1280] })));
        let xl = adapter(json!({ "adapter_type": XL }));
        let sd2 = with(sd1(), "cross_attention_dim", json!(1024));
        for model in [trunk(sd1()), trunk(sd2)] {
            assert_eq!((full.unmet_by(&model), light.unmet_by(&model)), (None, None));
            let unmet = xl.unmet_by(&model).unwrap();
            assert!(unmet.contains("320 (1/2), 640 (1/2), 1280 (1/4), 1280 (1/4) channels"), "{unmet}");
        }
        assert_eq!(xl.unmet_by(&trunk(sdxl())), None);
        assert!(full.unmet_by(&trunk(sdxl())).is_some() && light.unmet_by(&trunk(sdxl())).is_some());
        let narrow = trunk(with(sd1(), "block_out_channels", json!([64, 128, 128])));
        for needs in [&full, &light, &xl] {
            assert!(needs.unmet_by(&narrow).is_some());
        }
        let none = trunk(with(sd1(), "block_out_channels", json!([])));
        assert!(full.unmet_by(&none).is_some() && control_net(sd1()).unmet_by(&none).is_some());
    }

    #[test]
    fn what_a_file_claims_costs_nothing() {
        let huge = json!({ "layers_per_block": u64::MAX, "block_out_channels": vec![1; 1000] });
        assert!(control_net(sd1()).unmet_by(&trunk(huge.clone())).is_some());
        let adapter = adapter(json!({ "channels": vec![1; 1000] }));
        assert!(adapter.unmet_by(&trunk(huge)).is_some());
    }
}
