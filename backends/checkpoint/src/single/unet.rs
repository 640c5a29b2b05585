// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The denoiser: from the original's numbered blocks to diffusers' levels.
//!
//! Source: CompVis `ldm/modules/diffusionmodules/openaimodel.py`, `UNetModel`: the blocks of the way down are
//! counted through all levels, with the step to the next level among them; those of the way up likewise, where
//! the step is the last part of a block.

use serde_json::{Value, json};

use super::{Network, moves::Moves};
use crate::{Error, Family, catalog::Catalog};

/// Heads of every attention in Stable Diffusion 1.
const SD1_HEADS: usize = 8;
/// Width of a head in all later families.
const HEAD_WIDTH: usize = 64;

/// What the tensors tell of the denoiser, and the tensors.
pub(super) struct Denoiser {
    /// Channels of the input.
    pub(super) input: usize,
    /// Width of one token of the prompt.
    pub(super) context: usize,
    /// Whether transformers are entered through a matrix; a convolution otherwise.
    pub(super) linear_projections: bool,
    /// Length of the vector that joins the time embedding, in SDXL.
    pub(super) added: Option<usize>,
    output: usize,
    /// From the full resolution to the smallest.
    levels: Vec<Level>,
    mid_depth: usize,
    catalog: Catalog,
}

/// One resolution.
#[derive(Default)]
struct Level {
    channels: usize,
    /// For each residual block on the way down the blocks of the transformer behind it; 0 without one.
    down: Vec<usize>,
    /// The same on the way up, which has one residual block more.
    up: Vec<usize>,
}

impl Denoiser {
    /// Reads the denoiser whose tensors `moves` has.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::UnknownFamily`] for another build than that of Stable Diffusion.
    pub(super) fn read(moves: Moves<'_>) -> Result<Self, Error> {
        Walk::new(moves).read()
    }

    /// The network in diffusers' words, of a model of `family` whose text encoder makes a vector of `pooled`
    /// values; or what does not fit.
    pub(super) fn network(self, family: Family, pooled: u64) -> Result<Network, String> {
        let types = |kind: &str, of: fn(&Level) -> &Vec<usize>| -> Vec<String> {
            let name = |level: &Level| {
                let cross = if of(level)[0] > 0 { "CrossAttn" } else { "" };
                format!("{cross}{kind}")
            };
            self.levels.iter().map(name).collect()
        };
        let mut up_types = types("UpBlock2D", |level| &level.up);
        up_types.reverse();
        let heads = match family {
            Family::Sd1 => json!(SD1_HEADS),
            _ => self.levels.iter().map(|level| (level.channels / HEAD_WIDTH).max(1)).collect(),
        };
        let mut config = json!({
            "_class_name": "UNet2DConditionModel",
            "in_channels": self.input,
            "out_channels": self.output,
            "block_out_channels": self.levels.iter().map(|level| level.channels).collect::<Value>(),
            "layers_per_block": self.levels.iter().map(|level| level.down.len()).collect::<Value>(),
            "down_block_types": types("DownBlock2D", |level| &level.down),
            "up_block_types": up_types,
            "transformer_layers_per_block": self.depths_down()?,
            "reverse_transformer_layers_per_block": self.depths_up(),
            "attention_head_dim": heads,
            "cross_attention_dim": self.context,
            "use_linear_projection": self.linear_projections,
        });
        if let Some(added) = self.added {
            config["addition_embed_type"] = "text_time".into();
            config["projection_class_embeddings_input_dim"] = added.into();
            config["addition_time_embed_dim"] = size_width(family, added as u64, pooled)?.into();
        }
        Ok(Network { config, catalog: self.catalog })
    }

    /// Depths of the transformers on the way down. That of the smallest level is also that of the middle, and
    /// counts for it where the level has none of its own.
    fn depths_down(&self) -> Result<Value, String> {
        let last = self.levels.len() - 1;
        let depth = |(index, level): (usize, &Level)| {
            let own = level.down.iter().any(|depth| *depth > 0);
            match (own, index == last) {
                (true, true) if level.down[0] != self.mid_depth => {
                    Err("its middle is of another depth than its smallest level".to_owned())
                }
                (true, _) => Ok(json!(level.down)),
                (false, true) => Ok(json!(self.mid_depth)),
                (false, false) => Ok(json!(1)),
            }
        };
        self.levels.iter().enumerate().map(depth).collect()
    }

    /// Depths of the transformers on the way up, from the smallest level.
    fn depths_up(&self) -> Value {
        let depths = |level: &Level| if level.up[0] > 0 { json!(level.up) } else { json!(1) };
        self.levels.iter().rev().map(depths).collect()
    }
}

/// Into how many values each size is turned that SDXL hears behind the pooled vector of `pooled` values; both
/// together are `added` values.
fn size_width(family: Family, added: u64, pooled: u64) -> Result<u64, String> {
    // Height and width of original, cropping and target; the refiner has a score in the target's place.
    let sizes = if family == Family::SdxlRefiner { 5 } else { 6 };
    match added.checked_sub(pooled) {
        Some(rest) if rest > 0 && rest % sizes == 0 => Ok(rest / sizes),
        _ => Err(format!("its UNet wants {added} added values, of which {pooled} are the pooled prompt")),
    }
}

/// One reading of a denoiser, or of its first half.
pub(super) struct Walk<'a> {
    pub(super) moves: Moves<'a>,
    /// As the first attention to the prompt has it.
    context: Option<usize>,
    linear_projections: bool,
}

/// What the first half of a denoiser tells.
pub(super) struct FirstHalf {
    input: usize,
    added: Option<usize>,
    levels: Vec<Level>,
    mid_depth: usize,
}

impl<'a> Walk<'a> {
    /// A reading of the network whose tensors `moves` has.
    pub(super) fn new(moves: Moves<'a>) -> Self {
        Self { moves, context: None, linear_projections: false }
    }

    /// Takes what comes before the way up: the embedding of the time, the way down and the middle.
    ///
    /// # Errors
    /// As [`Denoiser::read`].
    pub(super) fn first_half(&mut self) -> Result<FirstHalf, Error> {
        self.moves.layer("time_embed.0", "time_embedding.linear_1")?;
        self.moves.layer("time_embed.2", "time_embedding.linear_2")?;
        let added = match self.moves.has("label_emb.0.0.weight") {
            true => {
                self.moves.layer("label_emb.0.0", "add_embedding.linear_1")?;
                self.moves.layer("label_emb.0.2", "add_embedding.linear_2")?;
                Some(self.moves.side("label_emb.0.0.weight", 1)?)
            }
            false => None,
        };
        let [_, input, ..]: [usize; 4] = self.moves.sides("input_blocks.0.0.weight")?;
        self.moves.layer("input_blocks.0.0", "conv_in")?;
        let levels = self.down()?;
        self.resnet("middle_block.0", "mid_block.resnets.0")?;
        let mid_depth = self.transformer("middle_block.1", "mid_block.attentions.0")?;
        self.resnet("middle_block.2", "mid_block.resnets.1")?;
        Ok(FirstHalf { input, added, levels, mid_depth })
    }

    fn read(mut self) -> Result<Denoiser, Error> {
        let FirstHalf { input, added, mut levels, mid_depth } = self.first_half()?;
        self.up(&mut levels)?;
        self.moves.layer("out.0", "conv_norm_out")?;
        self.moves.layer("out.2", "conv_out")?;
        let [output, ..]: [usize; 4] = self.moves.sides("out.2.weight")?;
        for level in &levels {
            for depths in [&level.down, &level.up] {
                if depths.iter().any(|depth| (*depth > 0) != (depths[0] > 0)) {
                    let seen = "only some blocks of a level of its UNet have transformers".to_owned();
                    return Err(self.moves.unknown(seen));
                }
            }
        }
        let Some(context) = self.context else {
            return Err(self.moves.unknown("its UNet does not hear a prompt".to_owned()));
        };
        let linear_projections = self.linear_projections;
        let catalog = self.moves.finish(|_| false)?;
        Ok(Denoiser { input, context, linear_projections, added, output, levels, mid_depth, catalog })
    }

    /// The way down: residual blocks, and steps that begin the next level.
    fn down(&mut self) -> Result<Vec<Level>, Error> {
        let (mut levels, mut level) = (Vec::new(), Level::default());
        for place in 1.. {
            let block = format!("input_blocks.{place}");
            let to = format!("down_blocks.{}", levels.len());
            if self.moves.has(&format!("{block}.0.op.weight")) && !level.down.is_empty() {
                self.moves.layer(&format!("{block}.0.op"), &format!("{to}.downsamplers.0.conv"))?;
                levels.push(std::mem::take(&mut level));
            } else if place == 1 || self.moves.has(&format!("{block}.0.in_layers.0.weight")) {
                let (channels, depth) = self.stage(&block, &to, level.down.len())?;
                level.channels = channels;
                level.down.push(depth);
            } else {
                break;
            }
        }
        if level.down.is_empty() {
            return Err(self.moves.unknown("the smallest level of its UNet has no blocks".to_owned()));
        }
        levels.push(level);
        Ok(levels)
    }

    /// The way up: for each level one residual block more than on the way down.
    fn up(&mut self, levels: &mut [Level]) -> Result<(), Error> {
        let (mut place, count) = (0, levels.len());
        for (index, level) in levels.iter_mut().rev().enumerate() {
            let to = format!("up_blocks.{index}");
            for stage in 0..=level.down.len() {
                let block = format!("output_blocks.{place}");
                let (_, depth) = self.stage(&block, &to, stage)?;
                level.up.push(depth);
                if stage == level.down.len() && index + 1 < count {
                    let part = if depth > 0 { 2 } else { 1 };
                    self.moves.layer(&format!("{block}.{part}.conv"), &format!("{to}.upsamplers.0.conv"))?;
                }
                place += 1;
            }
        }
        Ok(())
    }

    /// A residual block and the transformer behind it, if there is one: the channels of the one and the depth of
    /// the other.
    fn stage(&mut self, block: &str, to: &str, index: usize) -> Result<(usize, usize), Error> {
        let channels = self.resnet(&format!("{block}.0"), &format!("{to}.resnets.{index}"))?;
        let attention = format!("{block}.1");
        let depth = match self.moves.has(&format!("{attention}.norm.weight")) {
            true => self.transformer(&attention, &format!("{to}.attentions.{index}"))?,
            false => 0,
        };
        Ok((channels, depth))
    }

    /// A residual block; its channels.
    fn resnet(&mut self, from: &str, to: &str) -> Result<usize, Error> {
        for (original, ours) in [
            ("in_layers.0", "norm1"),
            ("in_layers.2", "conv1"),
            ("emb_layers.1", "time_emb_proj"),
            ("out_layers.0", "norm2"),
            ("out_layers.3", "conv2"),
        ] {
            self.moves.layer(&format!("{from}.{original}"), &format!("{to}.{ours}"))?;
        }
        let [output, input, ..]: [usize; 4] = self.moves.sides(&format!("{from}.in_layers.2.weight"))?;
        if input != output {
            self.moves.layer(&format!("{from}.skip_connection"), &format!("{to}.conv_shortcut"))?;
        }
        Ok(output)
    }

    /// A transformer, whose parts have the same names everywhere; the number of its blocks.
    fn transformer(&mut self, from: &str, to: &str) -> Result<usize, Error> {
        for part in ["norm", "proj_in", "proj_out"] {
            self.moves.layer(&format!("{from}.{part}"), &format!("{to}.{part}"))?;
        }
        self.linear_projections |= self.moves.rank(&format!("{from}.proj_in.weight")) == 2;
        let mut depth = 0;
        while depth == 0 || self.moves.has(&format!("{from}.transformer_blocks.{depth}.norm1.weight")) {
            let (from, to) =
                (format!("{from}.transformer_blocks.{depth}"), format!("{to}.transformer_blocks.{depth}"));
            for part in ["attn1.to_q", "attn1.to_k", "attn1.to_v", "attn2.to_q", "attn2.to_k", "attn2.to_v"] {
                self.moves.weight(&format!("{from}.{part}"), &format!("{to}.{part}"))?;
            }
            let with_bias =
                ["attn1.to_out.0", "attn2.to_out.0", "ff.net.0.proj", "ff.net.2", "norm1", "norm2", "norm3"];
            for part in with_bias {
                self.moves.layer(&format!("{from}.{part}"), &format!("{to}.{part}"))?;
            }
            if self.context.is_none() {
                self.context = Some(self.moves.side(&format!("{from}.attn2.to_k.weight"), 1)?);
            }
            depth += 1;
        }
        Ok(depth)
    }
}
