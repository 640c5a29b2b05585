// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `model_index.json`: the pipeline that a directory was saved from, its parts and its settings.

use serde::Deserialize;

/// Pipelines with one text encoder. Those of one group share their networks and their text encoding; what
/// differs is what they do with pictures, and the channels that the UNet takes beside the latent for it.
const ONE_ENCODER: [&str; 4] = [
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionInstructPix2PixPipeline",
];
/// Pipelines whose UNet also hears a pooled vector and sizes.
const XL: [&str; 3] =
    ["StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"];

/// The text encoders that a directory can have, with their tokenizers, in the order in which they are used.
const TEXT_ENCODERS: [(&str, &str); 2] = [("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")];

/// A text encoder of a model, by its directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextEncoder {
    /// The network: `text_encoder` or `text_encoder_2`.
    pub component: &'static str,
    /// Its tokenizer: `tokenizer` or `tokenizer_2`.
    pub tokenizer: &'static str,
    /// Whether it ends in a projection, which makes the one vector that stands for the whole prompt.
    pub projection: bool,
}

/// What a pipeline does beside its networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether an absent negative prompt is zeros instead of an encoded empty one. Without a word in the file
    /// true for the pipelines of SDXL, and false for the others, which know no such thing.
    pub force_zeros_for_empty_prompt: bool,
    /// It was distilled to a few steps without guidance, as far as its file says so: tensors do not tell.
    pub few_steps: bool,
}

/// The file as it stands.
#[derive(Deserialize)]
pub(super) struct Index {
    #[serde(rename = "_class_name")]
    pub(super) class_name: String,
    #[serde(default)]
    text_encoder: Option<Part>,
    #[serde(default)]
    text_encoder_2: Option<Part>,
    force_zeros_for_empty_prompt: Option<bool>,
}

/// Library and class; nulls when the pipeline can have such a part and this one has not.
type Part = (Option<String>, Option<String>);

impl Index {
    /// Whether the pipeline is one that is known here.
    pub(super) fn is_known(&self) -> bool {
        self.is_xl() || ONE_ENCODER.contains(&self.class_name.as_str())
    }

    /// Whether the pipeline is one of SDXL.
    pub(super) fn is_xl(&self) -> bool {
        XL.contains(&self.class_name.as_str())
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            force_zeros_for_empty_prompt: self.force_zeros_for_empty_prompt.unwrap_or(self.is_xl()),
            few_steps: false,
        }
    }

    /// The text encoders, or the class of one that is not known here.
    pub(super) fn text_encoders(&self) -> Result<Vec<TextEncoder>, &str> {
        let classes = [&self.text_encoder, &self.text_encoder_2].map(|part| part.as_ref()?.1.as_deref());
        let mut encoders = Vec::new();
        for ((component, tokenizer), class) in TEXT_ENCODERS.into_iter().zip(classes) {
            let projection = match class {
                None => continue,
                Some("CLIPTextModel") => false,
                Some("CLIPTextModelWithProjection") => true,
                Some(other) => return Err(other),
            };
            encoders.push(TextEncoder { component, tokenizer, projection });
        }
        Ok(encoders)
    }
}
