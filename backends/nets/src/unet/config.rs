// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `unet/config.json`: what the denoiser looks like, and what of it this crate does not do.
//!
//! Source: diffusers `models/unets/unet_2d_condition.py`, `UNet2DConditionModel.__init__`, whose defaults
//! stand for absent keys. `upcast_attention` is not asked: attention is in f32 whatever it says. A ControlNet says of
//! its trunk what a UNet says.

use alice_plugin::Result;
use serde::Deserialize;

use crate::{
    config::{ConfigFile, MAX_DEPTH, MAX_LEVELS, MAX_WIDTH, OtherKeys, PerLevel},
    weights::Pointwise,
};

/// Keys that change what the network computes, each with the only value known here.
const ONLY: [(&str, &str); 24] = [
    ("_class_name", "\"UNet2DConditionModel\""),
    ("attention_type", "\"default\""),
    ("center_input_sample", "false"),
    ("class_embed_type", "null"),
    ("class_embeddings_concat", "false"),
    ("conv_in_kernel", "3"),
    ("conv_out_kernel", "3"),
    ("cross_attention_norm", "null"),
    ("downsample_padding", "1"),
    ("dual_cross_attention", "false"),
    ("encoder_hid_dim", "null"),
    ("encoder_hid_dim_type", "null"),
    ("mid_block_scale_factor", "1"),
    ("mid_block_type", "\"UNetMidBlock2DCrossAttn\""),
    ("num_attention_heads", "null"),
    ("num_class_embeds", "null"),
    ("only_cross_attention", "false"),
    ("resnet_out_scale_factor", "1"),
    ("resnet_skip_time_act", "false"),
    ("resnet_time_scale_shift", "\"default\""),
    ("time_cond_proj_dim", "null"),
    ("time_embedding_act_fn", "null"),
    ("time_embedding_type", "\"positional\""),
    ("timestep_post_act", "null"),
];

/// The configuration as it stands in the file.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct UnetConfig {
    out_channels: usize,
    up_block_types: Vec<String>,
    /// Of the way up, where it differs; begins at the smallest resolution.
    #[serde(default)]
    reverse_transformer_layers_per_block: Option<Depths>,
    #[serde(flatten)]
    trunk: TrunkConfig,
}

/// What the configuration says of the trunk, and every key that nobody has a field for.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TrunkConfig {
    in_channels: usize,
    block_out_channels: Vec<usize>,
    down_block_types: Vec<String>,
    cross_attention_dim: PerLevel,
    /// In spite of its name the number of heads: a misnomer that its library keeps for the sake of the
    /// published configurations.
    #[serde(default = "eight")]
    attention_head_dim: PerLevel,
    #[serde(default = "two")]
    layers_per_block: PerLevel,
    #[serde(default = "one")]
    transformer_layers_per_block: Depths,
    #[serde(default = "thirty_two")]
    norm_num_groups: usize,
    #[serde(default = "default_epsilon")]
    norm_eps: f64,
    #[serde(default = "silu")]
    act_fn: String,
    #[serde(default = "yes")]
    flip_sin_to_cos: bool,
    #[serde(default)]
    freq_shift: f64,
    #[serde(default)]
    time_embedding_dim: Option<usize>,
    #[serde(default)]
    use_linear_projection: bool,
    #[serde(default)]
    addition_embed_type: Option<String>,
    #[serde(default)]
    addition_time_embed_dim: Option<usize>,
    #[serde(default)]
    projection_class_embeddings_input_dim: Option<usize>,
    #[serde(flatten)]
    pub(crate) other: OtherKeys,
}

/// Transformer blocks in each transformer: given once, per level, or per transformer of each level.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a whole number or a list with a number or a list for each level")]
enum Depths {
    Same(usize),
    Each(Vec<PerLevel>),
}

fn eight() -> PerLevel {
    PerLevel::Same(8)
}
fn two() -> PerLevel {
    PerLevel::Same(2)
}
fn one() -> Depths {
    Depths::Same(1)
}
fn thirty_two() -> usize {
    32
}
fn default_epsilon() -> f64 {
    1e-5
}
fn silu() -> String {
    "silu".to_owned()
}
fn yes() -> bool {
    true
}

/// The UNet's layout: a configuration in which every value has been checked.
#[derive(Clone, Debug)]
pub(crate) struct UnetPlan {
    /// Everything before the way up.
    pub(crate) trunk: TrunkPlan,
    /// For each level, from the full resolution, and each residual block on the way up, which has one more than the
    /// way down, the transformer blocks of the transformer behind it; 0 where there is none.
    pub(crate) up: Vec<Vec<usize>>,
    /// Channels of the output.
    pub(crate) output: usize,
}

/// The layout of what a UNet and a ControlNet have alike.
#[derive(Clone, Debug)]
pub(crate) struct TrunkPlan {
    /// Channels of the input.
    pub(crate) input: usize,
    /// From the full resolution (first) to the smallest.
    pub(crate) levels: Vec<LevelPlan>,
    /// Width of one token of the encoded prompt.
    pub(crate) context: usize,
    /// Groups of every group normalisation; they divide the channels of every level.
    pub(crate) groups: usize,
    /// Epsilon of the normalisations outside the transformers.
    pub(crate) epsilon: f32,
    /// The timestep's sinusoids.
    pub(crate) sinusoid: SinusoidPlan,
    /// Width of the time embedding.
    pub(crate) time: usize,
    /// How the file keeps the projections into and out of the transformers.
    pub(crate) projections: Pointwise,
    /// Of each residual block in the middle the transformer blocks of the transformer behind it; 0 for none.
    pub(crate) middle: Vec<usize>,
    /// What joins the time embedding, in SDXL.
    pub(crate) added: Option<AddedPlan>,
}

/// A pooled vector and some numbers (sizes), each as sinusoids, that join the time embedding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AddedPlan {
    /// The sinusoids of one number.
    pub(crate) sinusoid: SinusoidPlan,
    /// Length of the pooled vector and the sinusoids of all numbers together.
    pub(crate) input: usize,
}

impl UnetPlan {
    /// Number of blocks, for the progress of a call.
    pub(crate) fn blocks(&self) -> usize {
        self.trunk.blocks() + self.up.iter().map(Vec::len).sum::<usize>()
    }
}

impl TrunkPlan {
    /// Number of blocks, for the progress of a call.
    pub(crate) fn blocks(&self) -> usize {
        self.levels.iter().map(|level| level.down.len()).sum::<usize>() + self.middle.len()
    }

    /// The channels of the images that are kept on the way down, in their order.
    pub(crate) fn kept(&self) -> Vec<usize> {
        let last = self.levels.len() - 1;
        let of_level = |(index, level): (usize, &LevelPlan)| {
            let halved = usize::from(index < last);
            vec![level.channels; level.down.len() + halved]
        };
        let levels = self.levels.iter().enumerate().flat_map(of_level);
        std::iter::once(self.levels[0].channels).chain(levels).collect()
    }

    /// Channels of the image in the middle.
    pub(crate) fn bottom(&self) -> usize {
        self.levels[self.levels.len() - 1].channels
    }
}

/// One resolution of the UNet.
#[derive(Clone, Debug)]
pub(crate) struct LevelPlan {
    /// Channels.
    pub(crate) channels: usize,
    /// Heads of each attention; they divide the channels wherever there is attention.
    pub(crate) heads: usize,
    /// For each residual block on the way down the transformer blocks of the transformer behind it; 0 where
    /// there is no transformer.
    pub(crate) down: Vec<usize>,
}

impl LevelPlan {
    /// Whether there are transformers on the way down.
    pub(crate) fn attends(&self) -> bool {
        self.down.iter().any(|depth| *depth > 0)
    }
}

/// How a timestep becomes a vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SinusoidPlan {
    /// Length of the vector.
    pub(crate) width: usize,
    /// Cosines first.
    pub(crate) flip: bool,
    /// Taken from the number of frequencies in the exponent's divisor.
    pub(crate) shift: f32,
}

impl UnetConfig {
    /// Checks every value and works out the layout.
    ///
    /// # Errors
    /// `BadModel` for values that make no sense, `Unsupported` for those that this crate does not do; both
    /// name file, key and value.
    pub(crate) fn plan(&self, file: &ConfigFile) -> Result<UnetPlan> {
        file.only(&self.trunk.other, &ONLY)?;
        let trunk = self.trunk.plan(file, true)?;
        Ok(UnetPlan {
            up: self.up(file, &trunk)?,
            output: file.count("out_channels", self.out_channels, MAX_WIDTH)?,
            trunk,
        })
    }

    /// The transformers on the way up, from the full resolution on; the lists of the file begin at the smallest one.
    fn up(&self, file: &ConfigFile, trunk: &TrunkPlan) -> Result<Vec<Vec<usize>>> {
        let (count, all) = (trunk.levels.len(), &self.trunk.transformer_layers_per_block);
        let mut attends = attention(file, "up_block_types", &self.up_block_types, count, "UpBlock2D")?;
        attends.reverse();
        let level = |(index, level): (usize, &LevelPlan)| {
            let blocks = level.down.len() + 1;
            if !attends[index] {
                return Ok(vec![0; blocks]);
            }
            file.divides("attention_head_dim", level.heads, level.channels)?;
            match &self.reverse_transformer_layers_per_block {
                Some(reverse) => reverse.of(file, UP_DEPTHS, count - 1 - index, count, blocks),
                None => all.of(file, DOWN_DEPTHS, index, count, blocks),
            }
        };
        trunk.levels.iter().enumerate().map(level).collect()
    }
}

impl TrunkConfig {
    /// Checks every value and works out the layout. In the middle are two residual blocks with a transformer between
    /// them, or one block alone.
    ///
    /// # Errors
    /// As [`UnetConfig::plan`].
    pub(crate) fn plan(&self, file: &ConfigFile, middle_attends: bool) -> Result<TrunkPlan> {
        file.silu("act_fn", &self.act_fn)?;
        let levels = self.levels(file, middle_attends)?;
        let (first, count) = (levels[0].channels, levels.len());
        let middle = match middle_attends {
            true => vec![self.transformer_layers_per_block.of(file, DOWN_DEPTHS, count - 1, count, 1)?[0], 0],
            false => vec![0],
        };
        Ok(TrunkPlan {
            input: file.count("in_channels", self.in_channels, MAX_WIDTH)?,
            levels,
            context: self.context(file, count)?,
            groups: self.norm_num_groups,
            epsilon: file.epsilon("norm_eps", self.norm_eps)?,
            sinusoid: self.sinusoid(file, "block_out_channels", first)?,
            time: file.count(
                "time_embedding_dim",
                self.time_embedding_dim.unwrap_or(4 * first),
                4 * MAX_WIDTH,
            )?,
            projections: if self.use_linear_projection { Pointwise::Matrix } else { Pointwise::Kernel },
            middle,
            added: self.added(file)?,
        })
    }

    fn levels(&self, file: &ConfigFile, middle_attends: bool) -> Result<Vec<LevelPlan>> {
        let count = file.count("block_out_channels", self.block_out_channels.len(), MAX_LEVELS)?;
        let layers = file.per_level("layers_per_block", &self.layers_per_block, count, MAX_DEPTH)?;
        let heads = file.per_level("attention_head_dim", &self.attention_head_dim, count, MAX_WIDTH)?;
        let down = attention(file, "down_block_types", &self.down_block_types, count, "DownBlock2D")?;
        let level = |index: usize| {
            let channels = file.count("block_out_channels", self.block_out_channels[index], MAX_WIDTH)?;
            file.divides("norm_num_groups", self.norm_num_groups, channels)?;
            // The transformer in the middle has the last level's heads.
            if down[index] || (middle_attends && index + 1 == count) {
                file.divides("attention_head_dim", heads[index], channels)?;
            }
            let down = match down[index] {
                true => {
                    self.transformer_layers_per_block.of(file, DOWN_DEPTHS, index, count, layers[index])?
                }
                false => vec![0; layers[index]],
            };
            Ok(LevelPlan { channels, heads: heads[index], down })
        };
        (0..count).map(level).collect()
    }

    /// The width of the prompt's tokens. It may be given for each level, but there is one prompt for all.
    fn context(&self, file: &ConfigFile, levels: usize) -> Result<usize> {
        let key = "cross_attention_dim";
        let widths = file.per_level(key, &self.cross_attention_dim, levels, MAX_WIDTH)?;
        match widths.iter().find(|width| **width != widths[0]) {
            None => Ok(widths[0]),
            Some(other) => Err(file.unsupported(key, format_args!("{} and {other}", widths[0]), "one width")),
        }
    }

    fn added(&self, file: &ConfigFile) -> Result<Option<AddedPlan>> {
        match self.addition_embed_type.as_deref() {
            None => return Ok(None),
            Some("text_time") => {}
            Some(other) => {
                let known = "null and \"text_time\"";
                return Err(file.unsupported("addition_embed_type", format_args!("{other:?}"), known));
            }
        }
        let count = |key, value: Option<usize>, limit| file.count(key, value.unwrap_or(0), limit);
        let width = count("addition_time_embed_dim", self.addition_time_embed_dim, MAX_WIDTH)?;
        let input = self.projection_class_embeddings_input_dim;
        Ok(Some(AddedPlan {
            sinusoid: self.sinusoid(file, "addition_time_embed_dim", width)?,
            input: count("projection_class_embeddings_input_dim", input, 8 * MAX_WIDTH)?,
        }))
    }

    /// Sinusoids of `width` values, which `key` says.
    fn sinusoid(&self, file: &ConfigFile, key: &str, width: usize) -> Result<SinusoidPlan> {
        let shift = self.freq_shift as f32;
        let divisor = (width / 2) as f32 - shift;
        if !shift.is_finite() || divisor <= 0.0 {
            let why = format_args!("must be below half of the {width} that `{key}` says");
            return Err(file.bad("freq_shift", self.freq_shift, why));
        }
        Ok(SinusoidPlan { width, flip: self.flip_sin_to_cos, shift })
    }
}

const DOWN_DEPTHS: &str = "transformer_layers_per_block";
const UP_DEPTHS: &str = "reverse_transformer_layers_per_block";

impl Depths {
    /// The blocks of each of the `transformers` in the entry number `index` for one of `levels` levels, where
    /// this stands under `key`.
    fn of(
        &self,
        file: &ConfigFile,
        key: &str,
        index: usize,
        levels: usize,
        transformers: usize,
    ) -> Result<Vec<usize>> {
        let level = match self {
            Self::Same(depth) => &PerLevel::Same(*depth),
            Self::Each(levels_found) => {
                file.length(key, levels_found.len(), levels)?;
                &levels_found[index]
            }
        };
        let depths = match level {
            PerLevel::Same(depth) => vec![*depth; transformers],
            PerLevel::Each(depths) if depths.len() >= transformers => depths[..transformers].to_vec(),
            PerLevel::Each(depths) => {
                let value = format_args!("a list of {}", depths.len());
                return Err(file.bad(key, value, format_args!("a level has {transformers} transformers")));
            }
        };
        depths.into_iter().map(|depth| file.count(key, depth, MAX_DEPTH)).collect()
    }
}

/// For each level, whether its blocks have transformers: `plain` is the name of a block without.
fn attention(
    file: &ConfigFile,
    key: &str,
    types: &[String],
    levels: usize,
    plain: &str,
) -> Result<Vec<bool>> {
    file.length(key, types.len(), levels)?;
    let has_attention = |kind: &String| match kind.strip_prefix("CrossAttn") {
        Some(rest) if rest == plain => Ok(true),
        None if kind == plain => Ok(false),
        _ => {
            let known = format!("{plain:?} and \"CrossAttn{plain}\"");
            Err(file.unsupported(key, format_args!("{kind:?}"), known))
        }
    };
    types.iter().map(has_attention).collect()
}

#[cfg(test)]
mod tests;
