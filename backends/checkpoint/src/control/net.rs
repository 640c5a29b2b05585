// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the tensors of a ControlNet tell of its configuration.
//!
//! Source: diffusers `models/controlnets/controlnet.py`, `ControlNetModel`.

use serde_json::{Value, json};

use super::{Wrong, count, number, sides};
use crate::{Family, catalog::Catalog};

/// Heads of every attention in Stable Diffusion 1.
const SD1_HEADS: usize = 8;
/// Width of a head in all later families.
const HEAD_WIDTH: usize = 64;
/// Into how many values the published models turn each of the sizes that SDXL hears.
const SIZE_WIDTH: usize = 256;
/// How many sizes SDXL hears.
const SIZES: usize = 6;

/// One resolution on the way down.
struct Level {
    channels: usize,
    layers: usize,
    /// Blocks of each transformer; 0 without transformers.
    depth: usize,
}

/// The configuration of the ControlNet with the tensors of `catalog`, which go by diffusers' names.
pub(super) fn config(catalog: &Catalog) -> Result<Value, Wrong> {
    let [_, input, ..]: [usize; 4] = sides(catalog, "conv_in.weight")?;
    let levels = levels(catalog)?;
    let mid_depth = depth(catalog, "mid_block.attentions.0");
    let attention = "mid_block.attentions.0";
    if mid_depth == 0 {
        return Err(Wrong::Seen(
            "its middle does not hear a prompt, a build that is not read here".to_owned(),
        ));
    }
    let [_, context]: [usize; 2] =
        sides(catalog, &format!("{attention}.transformer_blocks.0.attn2.to_k.weight"))?;
    let proj_in = format!("{attention}.proj_in.weight");
    let linear = catalog.entries.get(&proj_in).is_some_and(|entry| entry.shape.len() == 2);
    check_kept(catalog, &levels)?;
    let (channels, hint) = hint_channels(catalog)?;
    let added = match catalog.entries.contains_key("add_embedding.linear_1.weight") {
        true => Some(sides::<2>(catalog, "add_embedding.linear_1.weight")?[1]),
        false => None,
    };
    let types = levels.iter().map(|level| match level.depth {
        0 => "DownBlock2D",
        _ => "CrossAttnDownBlock2D",
    });
    let mut config = json!({
        "_class_name": "ControlNetModel",
        "in_channels": input,
        "conditioning_channels": channels,
        "conditioning_embedding_out_channels": hint,
        "controlnet_conditioning_channel_order": "rgb",
        "global_pool_conditions": false,
        "block_out_channels": levels.iter().map(|level| level.channels).collect::<Value>(),
        "layers_per_block": levels[0].layers,
        "down_block_types": types.collect::<Value>(),
        "transformer_layers_per_block": depths(&levels, mid_depth)?,
        "cross_attention_dim": context,
        "use_linear_projection": linear,
    });
    if let Some(added) = added {
        config["addition_embed_type"] = "text_time".into();
        config["projection_class_embeddings_input_dim"] = added.into();
        if added > SIZES * SIZE_WIDTH {
            config["addition_time_embed_dim"] = SIZE_WIDTH.into();
        }
    }
    config["attention_head_dim"] = match base(&config) {
        Family::Sd1 => json!(SD1_HEADS),
        _ => levels.iter().map(|level| (level.channels / HEAD_WIDTH).max(1)).collect(),
    };
    Ok(config)
}

/// The family of the models that a ControlNet of this configuration guides.
pub(super) fn base(config: &Value) -> Family {
    let context = number(config, "cross_attention_dim");
    match config.get("addition_embed_type").and_then(Value::as_str) {
        Some(_) if context == Some(1280) => Family::SdxlRefiner,
        Some(_) => Family::Sdxl,
        None => {
            let linear = config.get("use_linear_projection").and_then(Value::as_bool).unwrap_or(false);
            Family::by_prompt(context, linear)
        }
    }
}

fn levels(catalog: &Catalog) -> Result<Vec<Level>, Wrong> {
    let first = |level: usize| format!("down_blocks.{level}.resnets.0.conv1.weight");
    let levels = (0..count(catalog, first)).map(|number| {
        let [channels, ..]: [usize; 4] = sides(catalog, &first(number))?;
        let block = format!("down_blocks.{number}");
        let layers = count(catalog, |layer| format!("{block}.resnets.{layer}.conv1.weight"));
        let depths: Vec<_> =
            (0..layers).map(|layer| depth(catalog, &format!("{block}.attentions.{layer}"))).collect();
        match depths.iter().all(|depth| *depth == depths[0]) {
            true => Ok(Level { channels, layers, depth: depths[0] }),
            false => Err(Wrong::Seen(format!("the transformers of its `{block}` are not alike"))),
        }
    });
    let levels = levels.collect::<Result<Vec<_>, _>>()?;
    match levels.first() {
        None => Err(Wrong::Missing(first(0))),
        Some(level) if levels.iter().all(|other| other.layers == level.layers) => Ok(levels),
        Some(_) => Err(Wrong::Seen("its levels differ in their number of blocks".to_owned())),
    }
}

/// The number of blocks of the transformer `attention`; 0 when there is none.
fn depth(catalog: &Catalog, attention: &str) -> usize {
    count(catalog, |block| format!("{attention}.transformer_blocks.{block}.norm1.weight"))
}

/// Depths of the transformers. That of the smallest level is also that of the middle, and counts for it where the
/// level has none of its own.
fn depths(levels: &[Level], mid: usize) -> Result<Value, Wrong> {
    let last = levels.len() - 1;
    let depth = |(number, level): (usize, &Level)| match (level.depth, number == last) {
        (0, true) => Ok(mid),
        (0, false) => Ok(1),
        (own, true) if own != mid => {
            Err(Wrong::Seen("its middle is of another depth than its smallest level".to_owned()))
        }
        (own, _) => Ok(own),
    };
    levels.iter().enumerate().map(depth).collect::<Result<Value, _>>()
}

/// Passes when there is one convolution for each picture that the denoiser keeps on its way down: the first, one
/// for each block, and one for each step to the next level.
fn check_kept(catalog: &Catalog, levels: &[Level]) -> Result<(), Wrong> {
    let kept: usize = levels.iter().map(|level| level.layers + 1).sum();
    let found = count(catalog, |number| format!("controlnet_down_blocks.{number}.weight"));
    match found == kept {
        true => Ok(()),
        false => Err(Wrong::Seen(format!("it has {found} outputs for the way down instead of {kept}"))),
    }
}

/// Channels of the hint, and those of its convolutions at each resolution.
fn hint_channels(catalog: &Catalog) -> Result<(usize, Vec<usize>), Wrong> {
    let embedding = "controlnet_cond_embedding";
    let [first, channels, ..]: [usize; 4] = sides(catalog, &format!("{embedding}.conv_in.weight"))?;
    let blocks = count(catalog, |block| format!("{embedding}.blocks.{block}.weight"));
    let mut sizes = vec![first];
    // Of each pair the second steps to the next resolution.
    for block in (1..blocks).step_by(2) {
        let [size, ..]: [usize; 4] = sides(catalog, &format!("{embedding}.blocks.{block}.weight"))?;
        sizes.push(size);
    }
    Ok((channels, sizes))
}
