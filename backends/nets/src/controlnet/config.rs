// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A ControlNet's `config.json`: the trunk's keys, and what the picture becomes.
//!
//! Source: diffusers `models/controlnets/controlnet.py`, `ControlNetModel.__init__`, whose defaults stand for absent
//! keys.

use alice_plugin::Result;
use serde::Deserialize;

use crate::{
    config::{ConfigFile, MAX_LEVELS, MAX_WIDTH},
    unet::{TrunkConfig, TrunkPlan},
};

/// Keys that change what the network computes, each with the only value known here.
const ONLY: [(&str, &str); 12] = [
    ("_class_name", "\"ControlNetModel\""),
    ("class_embed_type", "null"),
    ("conditioning_channels", "3"),
    ("downsample_padding", "1"),
    ("encoder_hid_dim", "null"),
    ("encoder_hid_dim_type", "null"),
    ("global_pool_conditions", "false"),
    ("mid_block_scale_factor", "1"),
    ("num_attention_heads", "null"),
    ("num_class_embeds", "null"),
    ("only_cross_attention", "false"),
    ("resnet_time_scale_shift", "\"default\""),
];

/// The configuration as it stands in the file.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ControlNetConfig {
    #[serde(default = "embedding")]
    conditioning_embedding_out_channels: Vec<usize>,
    #[serde(default = "rgb")]
    controlnet_conditioning_channel_order: String,
    #[serde(default = "attends")]
    mid_block_type: String,
    #[serde(flatten)]
    trunk: TrunkConfig,
}

fn embedding() -> Vec<usize> {
    vec![16, 32, 96, 256]
}
fn rgb() -> String {
    "rgb".to_owned()
}
fn attends() -> String {
    "UNetMidBlock2DCrossAttn".to_owned()
}

/// The layout: a configuration in which every value has been checked.
#[derive(Clone, Debug)]
pub(crate) struct ControlNetPlan {
    pub(crate) trunk: TrunkPlan,
    /// Channels of the picture's embedding, at least one; its sides are halved between each two.
    pub(crate) embedding: Vec<usize>,
    /// Which channel of a pixel comes first, second and third.
    pub(crate) order: [usize; 3],
}

impl ControlNetConfig {
    /// Checks every value and works out the layout.
    ///
    /// # Errors
    /// `BadModel` for values that make no sense, `Unsupported` for those that this crate does not do; both
    /// name file, key and value.
    pub(crate) fn plan(&self, file: &ConfigFile) -> Result<ControlNetPlan> {
        file.only(&self.trunk.other, &ONLY)?;
        let (key, embedding) =
            ("conditioning_embedding_out_channels", &self.conditioning_embedding_out_channels);
        file.count(key, embedding.len(), MAX_LEVELS)?;
        embedding.iter().try_for_each(|channels| file.count(key, *channels, MAX_WIDTH).map(drop))?;
        let order = match self.controlnet_conditioning_channel_order.as_str() {
            "rgb" => [0, 1, 2],
            "bgr" => [2, 1, 0],
            other => {
                let (key, known) = ("controlnet_conditioning_channel_order", "\"rgb\" and \"bgr\"");
                return Err(file.unsupported(key, format_args!("{other:?}"), known));
            }
        };
        let middle_attends = match self.mid_block_type.as_str() {
            "UNetMidBlock2DCrossAttn" => true,
            "UNetMidBlock2D" => false,
            other => {
                let known = "\"UNetMidBlock2DCrossAttn\" and \"UNetMidBlock2D\"";
                return Err(file.unsupported("mid_block_type", format_args!("{other:?}"), known));
            }
        };
        let trunk = self.trunk.plan(file, middle_attends)?;
        Ok(ControlNetPlan { trunk, embedding: embedding.clone(), order })
    }
}

impl ControlNetPlan {
    /// Pixels of a picture along one side of a latent's cell.
    pub(crate) fn scale(&self) -> usize {
        1 << self.halvings()
    }

    /// How often the picture's sides are halved; also the number of blocks that encode it.
    pub(crate) fn halvings(&self) -> usize {
        self.embedding.len() - 1
    }
}

#[cfg(test)]
mod tests;
