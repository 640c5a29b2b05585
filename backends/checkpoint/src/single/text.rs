// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The text encoders, in the spelling of transformers or in that of OpenCLIP.
//!
//! Source: OpenCLIP `src/open_clip/transformer.py`, `TextTransformer`, where one matrix makes queries, keys and
//! values and the projection is kept with its columns first; transformers `models/clip/modeling_clip.py`; CompVis
//! `ldm/modules/encoders/modules.py` for which layer the denoiser hears.

use serde_json::json;

use super::{Network, moves::Moves};
use crate::{Error, Listing};

/// Where the one text encoder of Stable Diffusion 1 and 2 is.
pub(super) const PLAIN: &str = "cond_stage_model.";
/// Where SDXL has its first text encoder, or the refiner its only one.
pub(super) const XL_FIRST: &str = "conditioner.embedders.0.";
/// The second.
pub(super) const XL_SECOND: &str = "conditioner.embedders.1.";

/// Width of a head in every text encoder in use.
const HEAD_WIDTH: usize = 64;

/// The lists of layers in every spelling.
const LAYERS: [&str; 3] =
    ["model.transformer.resblocks.", "transformer.text_model.encoder.layers.", "transformer.encoder.layers."];
/// What is kept beside an encoder and not used: tables, the scale of its training, the projection of one whose vector
/// for the whole prompt nobody hears.
const UNUSED_ENDS: [&str; 5] =
    ["position_ids", "logit_scale", "attn_mask", "text_projection", "text_projection.weight"];
/// The half of CLIP that looks at pictures.
const UNUSED_PARTS: [&str; 3] = ["visual.", "vision_model.", "visual_projection."];

/// What a text encoder is like beyond what its tensors show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    activation: &'static str,
    /// Whether the vector that stands for the whole prompt is used.
    pools: bool,
    /// The most layers that are used.
    most_layers: usize,
}

/// OpenAI's, with its own activation.
pub(super) const OPENAI: Kind = Kind { activation: "quick_gelu", pools: false, most_layers: usize::MAX };
/// OpenCLIP's in Stable Diffusion 2, which hears the layer before the last, normalised: diffusers leaves out the
/// last of its 24 layers for that, and some files have only the others.
pub(super) const OPENCLIP: Kind = Kind { activation: "gelu", pools: false, most_layers: 23 };
/// OpenCLIP's in SDXL.
pub(super) const OPENCLIP_POOLED: Kind = Kind { activation: "gelu", pools: true, most_layers: usize::MAX };

/// A text encoder of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditioner {
    /// What the names of its tensors begin with.
    pub(super) slot: &'static str,
    pub(super) kind: Kind,
}

/// Sizes of a text encoder.
struct Sizes {
    layers: usize,
    width: usize,
    inner: usize,
    vocabulary: usize,
    length: usize,
    projection: Option<usize>,
}

impl Conditioner {
    /// Reads the text encoder.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::UnknownFamily`] for parts that are not known here.
    pub(super) fn read(self, listing: &Listing) -> Result<Network, Error> {
        // Everything of the slot, so that what is beside the encoder in it is noticed too.
        let moves = Moves::new(listing, self.slot);
        let (moves, sizes) = if moves.count("model.transformer.resblocks.") > 0 {
            self.openclip(moves)?
        } else if moves.has("transformer.final_layer_norm.weight") {
            self.transformers(moves, "transformer.")?
        } else {
            self.transformers(moves, "transformer.text_model.")?
        };
        let mut config = json!({
            "hidden_size": sizes.width,
            "intermediate_size": sizes.inner,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": (sizes.width / HEAD_WIDTH).max(1),
            "max_position_embeddings": sizes.length,
            "vocab_size": sizes.vocabulary,
            "hidden_act": self.kind.activation,
            // The end token is the last one of the vocabulary.
            "eos_token_id": sizes.vocabulary.saturating_sub(1),
        });
        if let Some(projection) = sizes.projection {
            config["projection_dim"] = projection.into();
        }
        let unused = move |name: &str| {
            let layer = LAYERS
                .iter()
                .find_map(|list| name.strip_prefix(list)?.split('.').next()?.parse::<usize>().ok());
            UNUSED_ENDS.iter().any(|end| name.ends_with(end))
                || UNUSED_PARTS.iter().any(|part| name.contains(part))
                || layer.is_some_and(|layer| layer >= sizes.layers)
        };
        Ok(Network { config, catalog: moves.finish(unused)? })
    }

    /// In the spelling of transformers, where `within` is around everything but the projection.
    fn transformers<'a>(&self, mut moves: Moves<'a>, within: &str) -> Result<(Moves<'a>, Sizes), Error> {
        let tokens = format!("{within}embeddings.token_embedding");
        let places = format!("{within}embeddings.position_embedding");
        moves.weight(&tokens, "text_model.embeddings.token_embedding")?;
        moves.weight(&places, "text_model.embeddings.position_embedding")?;
        let layers = self.layers(moves.count(&format!("{within}encoder.layers.")));
        for layer in 0..layers {
            let (from, to) =
                (format!("{within}encoder.layers.{layer}"), format!("text_model.encoder.layers.{layer}"));
            for part in [
                "layer_norm1",
                "self_attn.q_proj",
                "self_attn.k_proj",
                "self_attn.v_proj",
                "self_attn.out_proj",
                "layer_norm2",
                "mlp.fc1",
                "mlp.fc2",
            ] {
                moves.layer(&format!("{from}.{part}"), &format!("{to}.{part}"))?;
            }
        }
        moves.layer(&format!("{within}final_layer_norm"), "text_model.final_layer_norm")?;
        let projection = match self.kind.pools {
            true => {
                moves.weight("transformer.text_projection", "text_projection")?;
                Some(moves.side("transformer.text_projection.weight", 0)?)
            }
            false => None,
        };
        let [vocabulary, width] = moves.sides(&format!("{tokens}.weight"))?;
        let length = moves.side(&format!("{places}.weight"), 0)?;
        let inner = moves.side(&format!("{within}encoder.layers.0.mlp.fc1.weight"), 0)?;
        Ok((moves, Sizes { layers, width, inner, vocabulary, length, projection }))
    }

    /// In the spelling of OpenCLIP.
    fn openclip<'a>(&self, mut moves: Moves<'a>) -> Result<(Moves<'a>, Sizes), Error> {
        let embeddings = "text_model.embeddings";
        moves.weight("model.token_embedding", &format!("{embeddings}.token_embedding"))?;
        moves.tensor("model.positional_embedding", format!("{embeddings}.position_embedding.weight"))?;
        let layers = self.layers(moves.count("model.transformer.resblocks."));
        for layer in 0..layers {
            let (from, to) = (
                format!("model.transformer.resblocks.{layer}"),
                format!("text_model.encoder.layers.{layer}"),
            );
            for (original, ours) in [
                ("ln_1", "layer_norm1"),
                ("attn.out_proj", "self_attn.out_proj"),
                ("ln_2", "layer_norm2"),
                ("mlp.c_fc", "mlp.fc1"),
                ("mlp.c_proj", "mlp.fc2"),
            ] {
                moves.layer(&format!("{from}.{original}"), &format!("{to}.{ours}"))?;
            }
            for kind in ["weight", "bias"] {
                let parts =
                    ["q_proj", "k_proj", "v_proj"].map(|part| format!("{to}.self_attn.{part}.{kind}"));
                moves.split(&format!("{from}.attn.in_proj_{kind}"), parts)?;
            }
        }
        moves.layer("model.ln_final", "text_model.final_layer_norm")?;
        let projection = match (self.kind.pools, moves.has("model.text_projection.weight")) {
            (false, _) => None,
            // Some files keep it as a layer, rows first.
            (true, true) => {
                moves.weight("model.text_projection", "text_projection")?;
                Some(moves.side("model.text_projection.weight", 0)?)
            }
            (true, false) => {
                moves.transposed("model.text_projection", "text_projection.weight".to_owned())?;
                Some(moves.side("model.text_projection", 1)?)
            }
        };
        let [vocabulary, width] = moves.sides("model.token_embedding.weight")?;
        let length = moves.side("model.positional_embedding", 0)?;
        let inner = moves.side("model.transformer.resblocks.0.mlp.c_fc.weight", 0)?;
        Ok((moves, Sizes { layers, width, inner, vocabulary, length, projection }))
    }

    /// The number of layers that are used, of `there` in the file; at least one, so that a sentence can name what
    /// the first one lacks.
    fn layers(&self, there: usize) -> usize {
        there.clamp(1, self.kind.most_layers)
    }
}
