// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the layers of a denoiser are called by the model's makers, who number its blocks in one row.
//!
//! Source: CompVis latent-diffusion `ldm/modules/diffusionmodules/openaimodel.py`; diffusers
//! `loaders/single_file_utils.py`, `create_unet_diffusers_config_from_ldm`.

use std::collections::{BTreeMap, BTreeSet};

use crate::Layer;

/// How a denoiser's blocks are numbered.
pub(super) struct Blocks {
    /// The first number of each block on the way down, and how many stages it has.
    down: Vec<(usize, usize)>,
    /// The same on the way up.
    up: Vec<(usize, usize)>,
    /// The blocks on the way up that have transformers.
    attentive: BTreeSet<usize>,
}

impl Blocks {
    /// The numbering that follows from a model's layers.
    pub(super) fn of(layers: &[Layer]) -> Self {
        let (mut down, mut up) = (BTreeMap::new(), BTreeMap::new());
        let mut attentive = BTreeSet::new();
        for layer in layers.iter().filter(|layer| layer.component == "unet") {
            let parts: Vec<_> = layer.module.split('.').collect();
            let [side, block, kind, stage, ..] = parts[..] else { continue };
            let (Ok(block), Ok(stage)) = (block.parse::<usize>(), stage.parse::<usize>()) else { continue };
            let stages = match (side, kind) {
                ("down_blocks", "resnets") => down.entry(block).or_insert(0),
                ("up_blocks", "resnets") => up.entry(block).or_insert(0),
                ("up_blocks", "attentions") => {
                    attentive.insert(block);
                    continue;
                }
                _ => continue,
            };
            *stages = (*stages).max(stage.saturating_add(1));
        }
        // Number 0 on the way down is the first convolution. Every block but the last ends with a change of size,
        // which has a number of its own on the way down and shares that of the last stage on the way up.
        Self { down: numbers(&down, 1, 1), up: numbers(&up, 0, 0), attentive }
    }

    /// The makers' path of a layer.
    pub(super) fn name_of(&self, module: &str) -> Option<String> {
        let parts: Vec<_> = module.split('.').collect();
        Some(match parts[..] {
            ["conv_in"] => "input_blocks.0.0".to_owned(),
            ["conv_out"] => "out.2".to_owned(),
            ["time_embedding", "linear_1"] => "time_embed.0".to_owned(),
            ["time_embedding", "linear_2"] => "time_embed.2".to_owned(),
            ["add_embedding", "linear_1"] => "label_emb.0.0".to_owned(),
            ["add_embedding", "linear_2"] => "label_emb.0.2".to_owned(),
            ["mid_block", kind, stage, ref rest @ ..] => {
                let number = match (kind, stage) {
                    ("resnets", "0") => 0,
                    ("attentions", "0") => 1,
                    ("resnets", "1") => 2,
                    _ => return None,
                };
                format!("middle_block.{number}.{}", inner(kind, rest)?)
            }
            ["down_blocks", block, kind, stage, ref rest @ ..] => {
                let (first, stages) = *self.down.get(block.parse::<usize>().ok()?)?;
                let stage: usize = stage.parse().ok()?;
                match kind {
                    "downsamplers" => format!("input_blocks.{}.0.op", first.checked_add(stages)?),
                    _ => format!("input_blocks.{}.{}", first.checked_add(stage)?, within(kind, rest)?),
                }
            }
            ["up_blocks", block, kind, stage, ref rest @ ..] => {
                let block: usize = block.parse().ok()?;
                let (first, stages) = *self.up.get(block)?;
                let stage: usize = stage.parse().ok()?;
                match kind {
                    "upsamplers" => {
                        let place = if self.attentive.contains(&block) { 2 } else { 1 };
                        let last = first.checked_add(stages)?.checked_sub(1)?;
                        format!("output_blocks.{last}.{place}.conv")
                    }
                    _ => format!("output_blocks.{}.{}", first.checked_add(stage)?, within(kind, rest)?),
                }
            }
            _ => return None,
        })
    }
}

/// The first number of each block, and its stages. `between` is added after each.
fn numbers(stages: &BTreeMap<usize, usize>, first: usize, between: usize) -> Vec<(usize, usize)> {
    let mut next = first;
    let in_a_row = stages.iter().enumerate().take_while(|(place, (block, _))| place == *block);
    in_a_row
        .map(|(_, (_, &stages))| {
            let block = (next, stages);
            next = next.saturating_add(stages).saturating_add(between);
            block
        })
        .collect()
}

/// A path within one numbered block: a residual block, then a transformer.
fn within(kind: &str, rest: &[&str]) -> Option<String> {
    let number = match kind {
        "resnets" => 0,
        "attentions" => 1,
        _ => return None,
    };
    Some(format!("{number}.{}", inner(kind, rest)?))
}

/// A path within a residual block or a transformer.
fn inner(kind: &str, rest: &[&str]) -> Option<String> {
    match (kind, rest) {
        ("resnets", ["conv1"]) => Some("in_layers.2".to_owned()),
        ("resnets", ["conv2"]) => Some("out_layers.3".to_owned()),
        ("resnets", ["time_emb_proj"]) => Some("emb_layers.1".to_owned()),
        ("resnets", ["conv_shortcut"]) => Some("skip_connection".to_owned()),
        // Transformers have the same names on both sides.
        ("attentions", rest) => Some(rest.join(".")),
        _ => None,
    }
}
