// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The autoencoder, in the original's spelling or in that of diffusers.
//!
//! Source: CompVis `ldm/modules/diffusionmodules/model.py`, `Encoder` and `Decoder`, which number the levels of
//! both halves from the picture's size; diffusers numbers those of the decoder from the latent's.

use serde_json::{Value, json};

use super::{Network, moves::Moves};
use crate::{Error, Family};

/// The projections of the attention in the middle, as the original calls them.
const PROJECTIONS: [&str; 4] = ["q", "k", "v", "proj_out"];
/// As diffusers does.
const OURS: [&str; 4] = ["to_q", "to_k", "to_v", "to_out.0"];
/// As diffusers did before 0.16.
const OUR_OLD: [&str; 4] = ["query", "key", "value", "proj_attn"];

/// Whether a tensor in an autoencoder's file belongs to its training, and not to what makes pictures.
pub fn is_training(name: &str) -> bool {
    ["loss.", "model_ema."].iter().any(|part| name.starts_with(part))
}

/// Who named the tensors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Original,
    Diffusers,
}

/// The autoencoder whose tensors `moves` has, for a model of `family`.
///
/// # Errors
/// [`Error::MissingTensor`], [`Error::UnknownFamily`] for another build than that of Stable Diffusion.
pub(crate) fn read(moves: Moves<'_>, family: Family) -> Result<Network, Error> {
    let spelling = match moves.has("encoder.down_blocks.0.resnets.0.norm1.weight") {
        true => Spelling::Diffusers,
        false => Spelling::Original,
    };
    Walk { moves, spelling }.read(family)
}

/// What latents are multiplied by. Those of both are the published models'; their autoencoders look alike.
fn scaling(family: Family) -> f64 {
    match family {
        Family::Sd1 | Family::Sd2 => 0.18215,
        Family::Sdxl | Family::SdxlRefiner => 0.13025,
    }
}

/// One reading of an autoencoder.
struct Walk<'a> {
    moves: Moves<'a>,
    spelling: Spelling,
}

/// A name in both spellings, the original's first.
type Both = (String, String);

impl Walk<'_> {
    fn read(mut self, family: Family) -> Result<Network, Error> {
        let [_, input, ..]: [usize; 4] = self.moves.sides("encoder.conv_in.weight")?;
        let [output, ..]: [usize; 4] = self.moves.sides("decoder.conv_out.weight")?;
        let [_, latent, ..]: [usize; 4] = self.moves.sides("decoder.conv_in.weight")?;
        let channels = self.encoder()?;
        let attention = self.decoder(&channels)?;
        let mut convolution = |name: &str| -> Result<bool, Error> {
            let has = self.moves.has(&format!("{name}.weight"));
            if has {
                self.moves.layer(name, name)?;
            }
            Ok(has)
        };
        let (quant, post_quant) = (convolution("quant_conv")?, convolution("post_quant_conv")?);
        let levels = channels.len();
        let config = json!({
            "_class_name": "AutoencoderKL",
            "in_channels": input,
            "out_channels": output,
            "latent_channels": latent,
            "block_out_channels": channels.iter().map(|(channels, _)| *channels).collect::<Value>(),
            "layers_per_block": channels[0].1,
            "down_block_types": vec!["DownEncoderBlock2D"; levels],
            "up_block_types": vec!["UpDecoderBlock2D"; levels],
            "mid_block_add_attention": attention,
            "use_quant_conv": quant,
            "use_post_quant_conv": post_quant,
            "scaling_factor": scaling(family),
        });
        Ok(Network { config, catalog: self.moves.finish(is_training)? })
    }

    /// The half that makes latents: channels and residual blocks of each level, from the picture's size.
    fn encoder(&mut self) -> Result<Vec<(usize, usize)>, Error> {
        let mut levels = Vec::new();
        self.layer(same("encoder.conv_in"))?;
        loop {
            let level = levels.len();
            let block = |block: usize| -> Both {
                let ours = format!("encoder.down_blocks.{level}.resnets.{block}");
                (format!("encoder.down.{level}.block.{block}"), ours)
            };
            let mut blocks = 0;
            while blocks == 0 || self.has(&block(blocks), "norm1.weight") {
                self.resnet(block(blocks))?;
                blocks += 1;
            }
            let channels = format!("{}.conv1.weight", self.source(&block(0)));
            levels.push((self.moves.side(&channels, 0)?, blocks));
            let ours = format!("encoder.down_blocks.{level}.downsamplers.0.conv");
            let halve = (format!("encoder.down.{level}.downsample.conv"), ours);
            if !self.has(&halve, "weight") {
                break;
            }
            self.layer(halve)?;
        }
        if levels.iter().any(|(_, blocks)| *blocks != levels[0].1) {
            return Err(self
                .moves
                .unknown("the levels of its autoencoder differ in their blocks".to_owned()));
        }
        self.middle("encoder")?;
        Ok(levels)
    }

    /// The half that makes pictures, of levels like the encoder's with one residual block more; whether it has
    /// attention in the middle.
    fn decoder(&mut self, levels: &[(usize, usize)]) -> Result<bool, Error> {
        self.layer(same("decoder.conv_in"))?;
        let attention = self.middle("decoder")?;
        for (level, (_, blocks)) in levels.iter().enumerate() {
            let ours = format!("decoder.up_blocks.{}", levels.len() - 1 - level);
            for block in 0..=*blocks {
                let original = format!("decoder.up.{level}.block.{block}");
                self.resnet((original, format!("{ours}.resnets.{block}")))?;
            }
            if level > 0 {
                let original = format!("decoder.up.{level}.upsample.conv");
                self.layer((original, format!("{ours}.upsamplers.0.conv")))?;
            }
        }
        Ok(attention)
    }

    /// The smallest size of a half and its end; whether there is attention.
    fn middle(&mut self, half: &str) -> Result<bool, Error> {
        for (original, ours) in [("block_1", 0), ("block_2", 1)] {
            self.resnet((format!("{half}.mid.{original}"), format!("{half}.mid_block.resnets.{ours}")))?;
        }
        let (original, ours) = (format!("{half}.mid.attn_1"), format!("{half}.mid_block.attentions.0"));
        let norm = (format!("{original}.norm"), format!("{ours}.group_norm"));
        let attention = self.has(&norm, "weight");
        if attention {
            self.layer(norm)?;
            let (around, names) = match self.spelling {
                Spelling::Original => (original, PROJECTIONS),
                Spelling::Diffusers if self.moves.has(&format!("{ours}.query.weight")) => {
                    (ours.clone(), OUR_OLD)
                }
                Spelling::Diffusers => (ours.clone(), OURS),
            };
            for (from, to) in names.iter().zip(OURS) {
                self.moves.matrix(&format!("{around}.{from}"), &format!("{ours}.{to}"))?;
            }
        }
        self.layer((format!("{half}.norm_out"), format!("{half}.conv_norm_out")))?;
        self.layer(same(&format!("{half}.conv_out")))?;
        Ok(attention)
    }

    fn resnet(&mut self, block: Both) -> Result<(), Error> {
        let part = |original: &str, ours: &str| -> Both {
            (format!("{}.{original}", block.0), format!("{}.{ours}", block.1))
        };
        for name in ["norm1", "conv1", "norm2", "conv2"] {
            self.layer(part(name, name))?;
        }
        let first = format!("{}.weight", self.source(&part("conv1", "conv1")));
        let [output, input, ..]: [usize; 4] = self.moves.sides(&first)?;
        match input == output {
            true => Ok(()),
            false => self.layer(part("nin_shortcut", "conv_shortcut")),
        }
    }

    fn layer(&mut self, module: Both) -> Result<(), Error> {
        self.moves.layer(&self.source(&module), &module.1)
    }

    fn has(&self, module: &Both, tensor: &str) -> bool {
        self.moves.has(&format!("{}.{tensor}", self.source(module)))
    }

    /// The module's name in the file.
    fn source(&self, module: &Both) -> String {
        match self.spelling {
            Spelling::Original => module.0.clone(),
            Spelling::Diffusers => module.1.clone(),
        }
    }
}

/// A module that both call the same.
fn same(name: &str) -> Both {
    (name.to_owned(), name.to_owned())
}
