// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A T2I-Adapter's `config.json`.
//!
//! Source: diffusers `models/adapter.py`, `T2IAdapter.__init__`, whose defaults stand for absent keys.

use alice_plugin::Result;
use serde::Deserialize;

use crate::config::{ConfigFile, MAX_DEPTH, MAX_LEVELS, MAX_WIDTH, OtherKeys};

/// The keys beside the fields that change what the network computes.
const ONLY: [(&str, &str); 1] = [("_class_name", "\"T2IAdapter\"")];
/// The largest side of the squares that become channels; published ones have 8 and 16.
const MAX_FOLD: usize = 32;
/// A light block works on so many times fewer channels than it gives.
const LIGHT: usize = 4;

/// The configuration as it stands in the file.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct T2iAdapterConfig {
    #[serde(default = "full")]
    adapter_type: String,
    #[serde(default = "three")]
    in_channels: usize,
    #[serde(default = "widths")]
    channels: Vec<usize>,
    #[serde(default = "two")]
    num_res_blocks: usize,
    #[serde(default = "eight")]
    downscale_factor: usize,
    #[serde(flatten)]
    other: OtherKeys,
}

fn full() -> String {
    "full_adapter".to_owned()
}
fn three() -> usize {
    3
}
fn widths() -> Vec<usize> {
    vec![320, 640, 1280, 1280]
}
fn two() -> usize {
    2
}
fn eight() -> usize {
    8
}

/// The layout: a configuration in which every value has been checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct T2iAdapterPlan {
    /// Side of the squares of pixels that become channels.
    pub(crate) fold: usize,
    /// Pixels along one side of the cell of a latent that the features suit.
    pub(crate) scale: usize,
    /// Whether the picture is seen in grey.
    pub(crate) grey: bool,
    /// Channels of the convolution before the blocks, if there is one.
    pub(crate) enters: Option<usize>,
    /// One for each image.
    pub(crate) blocks: Vec<BlockPlan>,
}

/// What one block looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BlockPlan {
    pub(crate) kind: Inner,
    /// Whether the sides are halved first.
    pub(crate) pools: bool,
    pub(crate) input: usize,
    /// Channels of the residual blocks.
    pub(crate) inner: usize,
    pub(crate) output: usize,
    /// How many residual blocks there are.
    pub(crate) resnets: usize,
}

/// How the residual blocks are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inner {
    /// At full width; the second convolution sees single pixels.
    Full,
    /// At a quarter of the width; both convolutions see the neighbours.
    Light,
}

impl T2iAdapterConfig {
    /// Checks every value and works out the layout.
    ///
    /// # Errors
    /// `BadModel` for values that make no sense, `Unsupported` for those that this crate does not do; both
    /// name file, key and value.
    pub(crate) fn plan(&self, file: &ConfigFile) -> Result<T2iAdapterPlan> {
        file.only(&self.other, &ONLY)?;
        let key = "channels";
        file.count(key, self.channels.len(), MAX_LEVELS)?;
        self.channels.iter().try_for_each(|channels| file.count(key, *channels, MAX_WIDTH).map(drop))?;
        file.count("num_res_blocks", self.num_res_blocks, MAX_DEPTH)?;
        let fold = file.count("downscale_factor", self.downscale_factor, MAX_FOLD)?;
        let grey = match self.in_channels {
            1 => true,
            3 => false,
            other => return Err(file.unsupported("in_channels", other, "1 and 3")),
        };
        let plan =
            T2iAdapterPlan { fold, scale: fold, grey, enters: Some(self.channels[0]), blocks: Vec::new() };
        match self.adapter_type.as_str() {
            "full_adapter" => Ok(T2iAdapterPlan { blocks: self.full(), ..plan }),
            "full_adapter_xl" if fold % 2 != 0 => {
                Err(file.bad("downscale_factor", fold, "must be even in an adapter for SDXL"))
            }
            // Its first image is as large as what SDXL's first level leaves, half of the latent.
            "full_adapter_xl" => Ok(T2iAdapterPlan { blocks: self.full_xl(file)?, scale: fold / 2, ..plan }),
            "light_adapter" => {
                let input = plan.folded();
                Ok(T2iAdapterPlan { blocks: self.light(file, input)?, enters: None, ..plan })
            }
            other => {
                let known = "\"full_adapter\", \"full_adapter_xl\" and \"light_adapter\"";
                Err(file.unsupported("adapter_type", format_args!("{other:?}"), known))
            }
        }
    }

    /// Every block but the first halves the sides.
    fn full(&self) -> Vec<BlockPlan> {
        let block = |(index, output): (usize, &usize)| self.block(self.before(index), *output, index > 0);
        self.channels.iter().enumerate().map(block).collect()
    }

    /// The third block alone halves the sides.
    fn full_xl(&self, file: &ConfigFile) -> Result<Vec<BlockPlan>> {
        let block = |(index, output): (usize, &usize)| {
            let before = self.before(index);
            // These bring no channels to others, in the reference either.
            if index > 2 && before != *output {
                let why =
                    format_args!("block {index} of an adapter for SDXL has those of block {}", index - 1);
                return Err(file.bad("channels", output, why));
            }
            Ok(self.block(before, *output, index == 2))
        };
        self.channels.iter().enumerate().map(block).collect()
    }

    /// One block more than there are numbers of channels; every one but the first halves the sides.
    fn light(&self, file: &ConfigFile, folded: usize) -> Result<Vec<BlockPlan>> {
        let last = self.channels.last();
        let block = |(index, output): (usize, &usize)| {
            file.divides("channels", LIGHT, *output)?;
            let input = if index == 0 { folded } else { self.before(index) };
            let plan = self.block(input, *output, index > 0);
            Ok(BlockPlan { kind: Inner::Light, inner: output / LIGHT, ..plan })
        };
        self.channels.iter().chain(last).enumerate().map(block).collect()
    }

    fn block(&self, input: usize, output: usize, pools: bool) -> BlockPlan {
        BlockPlan { kind: Inner::Full, pools, input, inner: output, output, resnets: self.num_res_blocks }
    }

    /// Channels of the block before the one of this number; the first one has its own.
    fn before(&self, index: usize) -> usize {
        self.channels[index.saturating_sub(1)]
    }
}

impl T2iAdapterPlan {
    /// Channels of the picture when its squares have become channels.
    pub(crate) fn folded(&self) -> usize {
        let planes = if self.grey { 1 } else { 3 };
        planes * self.fold * self.fold
    }

    /// Number of residual blocks, for the progress of a call.
    pub(crate) fn resnets(&self) -> usize {
        self.blocks.iter().map(|block| block.resnets).sum()
    }
}

#[cfg(test)]
mod tests {
    use alice_plugin::ErrorKind;
    use serde_json::{Value, json};

    use super::*;

    fn plan(config: Value) -> Result<T2iAdapterPlan> {
        let config = T2iAdapterConfig::deserialize(config)
            .map_err(|error| alice_plugin::Error::bad_model(error.to_string()))?;
        config.plan(&ConfigFile::new("adapter/config.json"))
    }

    /// `input`, `inner`, `output` of each block, and whether it pools.
    fn blocks(plan: &T2iAdapterPlan) -> Vec<(usize, usize, usize, bool)> {
        plan.blocks.iter().map(|block| (block.input, block.inner, block.output, block.pools)).collect()
    }

    #[test]
    fn the_published_ones_are_understood() {
        let full = plan(json!({ "_class_name": "T2IAdapter", "in_channels": 1 })).unwrap();
        let expected = [
            (320, 320, 320, false),
            (320, 640, 640, true),
            (640, 1280, 1280, true),
            (1280, 1280, 1280, true),
        ];
        assert_eq!(blocks(&full), expected);
        assert_eq!((full.fold, full.scale, full.folded(), full.enters), (8, 8, 64, Some(320)));
        assert_eq!(full.resnets(), 8);

        let xl = plan(json!({ "adapter_type": "full_adapter_xl", "downscale_factor": 16 })).unwrap();
        let expected = [
            (320, 320, 320, false),
            (320, 640, 640, false),
            (640, 1280, 1280, true),
            (1280, 1280, 1280, false),
        ];
        assert_eq!((blocks(&xl), xl.scale, xl.folded()), (expected.to_vec(), 8, 768));

        let light =
            json!({ "adapter_type": "light_adapter", "channels": [320, 640, 1280], "num_res_blocks": 4 });
        let light = plan(light).unwrap();
        let expected =
            [(192, 80, 320, false), (320, 160, 640, true), (640, 320, 1280, true), (1280, 320, 1280, true)];
        assert_eq!((blocks(&light), light.enters), (expected.to_vec(), None));
    }

    #[test]
    fn nonsense_is_a_bad_model() {
        for config in [
            json!({ "channels": [] }),
            json!({ "channels": [320, 0] }),
            json!({ "channels": [320, u64::MAX] }),
            json!({ "num_res_blocks": 0 }),
            json!({ "num_res_blocks": 1_000_000 }),
            json!({ "downscale_factor": 0 }),
            json!({ "downscale_factor": 64 }),
            json!({ "adapter_type": "full_adapter_xl", "downscale_factor": 7 }),
            json!({ "adapter_type": "full_adapter_xl", "channels": [320, 640, 1280, 640] }),
            json!({ "adapter_type": "light_adapter", "channels": [322] }),
            json!({ "in_channels": -1 }),
        ] {
            let error = plan(config.clone()).expect_err(&config.to_string());
            assert_eq!(error.kind, ErrorKind::BadModel, "{config}: {error}");
        }
    }

    #[test]
    fn what_this_crate_does_not_do_is_unsupported() {
        for config in [
            json!({ "_class_name": "MultiAdapter" }),
            json!({ "adapter_type": "half_adapter" }),
            json!({ "in_channels": 4 }),
        ] {
            let error = plan(config.clone()).expect_err(&config.to_string());
            assert_eq!(error.kind, ErrorKind::Unsupported, "{config}: {error}");
            assert!(error.message.contains("adapter/config.json"), "{error}");
        }
    }
}
