// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the network hears of a request: its prompts, in chunks of tokens for every text encoder, and what some
//! models want to know beside them.

use std::sync::Arc;

use alice_checkpoint::diffusers::Settings;
use alice_diffusion::ClipTokenizer;
use alice_diffusion::prompt;
use alice_plugin::{Adapter, InputInfo, ModelInfo};

use crate::denoiser::{Prompt, Prompts, limited};
use crate::engine::{Chunk, Extra, LoadedModel, Seat, Text, Versioned};
use crate::error::{Error, Result};

mod words;

pub use self::words::Words;

/// Why a model cannot be used that paints over a picture, where there is none.
pub(crate) const NEEDS_PICTURE: &str = "needs an input picture";
/// The further input that is a picture.
pub(crate) const PICTURE: &str = "concat";
/// What SDXL's refiner hears of the beauty of the picture wanted, and of that of the negative prompt: diffusers'
/// defaults.
const AESTHETIC_SCORE: f32 = 6.0;
const NEGATIVE_AESTHETIC_SCORE: f32 = 2.5;

/// Turns texts into what the network of one model hears.
#[derive(Clone, Debug)]
pub struct Encoder<'a> {
    /// At the device.
    pub seat: &'a Seat,
    /// The model.
    pub model: &'a Arc<LoadedModel>,
    /// One for each of the model's text encoders.
    pub tokenizers: &'a [ClipTokenizer],
    /// The LoRAs that the model has.
    pub adapters: Arc<[Versioned<Adapter>]>,
    /// Textual inversions.
    pub words: &'a Words,
    /// How the model's pipeline treats prompts.
    pub settings: Settings,
    /// Height and width of the picture that the model renders, in pixels.
    pub size: (u32, u32),
    /// Most chunks of a prompt.
    pub most_chunks: usize,
    /// Seconds that one call may take.
    pub limit_s: u32,
}

/// Two prompts are repeated up to so many chunks; beyond that the shorter one gets chunks of an empty text, as in
/// A1111's option for it, because attending to more costs more than it is worth.
const MOST_REPEATED: usize = 32;

/// The chunks of each text encoder.
type Chunks = Vec<Vec<prompt::Chunk>>;

/// A text before it is encoded.
struct Read {
    chunks: Chunks,
    /// Places of the embeddings in it, in the order of their vectors.
    embeddings: Vec<usize>,
}

/// Repeats the chunks of each encoder until there are `count`, a multiple of how many there are.
fn repeat(chunks: &mut Chunks, count: usize) {
    for chunks in chunks {
        *chunks = chunks.iter().cloned().cycle().take(count).collect();
    }
}

/// The smallest number that both divide, which are not 0.
fn least_common_multiple(one: usize, other: usize) -> usize {
    let (mut divisor, mut rest) = (one, other);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    one / divisor * other
}

/// What is particular to one of the two prompts.
#[derive(Clone, Copy)]
struct Manner {
    clip_skip: u32,
    aesthetic_score: f32,
    /// It is nothing at all, and not an empty text.
    silent: bool,
}

impl Encoder<'_> {
    /// The prompt, without the last `clip_skip` of the layers that the model uses; and the negative prompt, if it has
    /// a say (`Some`). One that is absent is an empty text, or nothing at all for the models that were trained so. No
    /// layers are left out of it: diffusers' pipelines leave them out of the prompt alone. Both become equally long by
    /// being repeated, which changes nothing: a network that attends to vectors several times hears them once.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a prompt of too many chunks, and for a model that hears what nobody here can say;
    /// whatever the backend says.
    pub async fn prompts(
        &self,
        text: &str,
        negative: Option<Option<&str>>,
        clip_skip: u32,
    ) -> Result<Prompts> {
        let mut text = self.read("prompt", text)?;
        let mut against =
            negative.map(|text| self.read("negative_prompt", text.unwrap_or(""))).transpose()?;
        let both = || [&text].into_iter().chain(&against).flat_map(|read| &read.chunks);
        let longest = both().map(Vec::len).max().unwrap_or(1);
        let common = both().map(Vec::len).fold(1, least_common_multiple);
        for read in [&mut text].into_iter().chain(&mut against) {
            match common <= MOST_REPEATED {
                true => repeat(&mut read.chunks, common),
                false => self.lengthen(&mut read.chunks, longest),
            }
        }
        let manner = Manner { clip_skip, aesthetic_score: AESTHETIC_SCORE, silent: false };
        let conditional = self.encode(text, manner).await?;
        let silent = negative == Some(None) && self.settings.force_zeros_for_empty_prompt;
        let manner = Manner { clip_skip: 0, aesthetic_score: NEGATIVE_AESTHETIC_SCORE, silent };
        let unconditional = match against {
            Some(read) => Some(self.encode(read, manner).await?),
            None => None,
        };
        Ok(Prompts { conditional, unconditional, edit: None })
    }

    /// The windows of a text for each encoder.
    fn read(&self, param: &str, text: &str) -> Result<Read> {
        let wrong = |error: alice_diffusion::Error| Error::invalid(param, error.to_string());
        let (parts, embeddings) = self.words.place(prompt::parse(text).map_err(wrong)?);
        let encoders = self.tokenizers.iter().zip(&self.model.info.text_encoders);
        let chunks = encoders
            .map(|(tokenizer, encoder)| tokenizer.chunks(&parts, encoder.vocab_size, self.most_chunks));
        Ok(Read { chunks: chunks.collect::<alice_diffusion::Result<_>>().map_err(wrong)?, embeddings })
    }

    /// Adds chunks of an empty text until there are so many for each encoder.
    fn lengthen(&self, chunks: &mut Chunks, count: usize) {
        for (chunks, tokenizer) in chunks.iter_mut().zip(self.tokenizers) {
            chunks.resize_with(count, || tokenizer.empty_chunk());
        }
    }

    async fn encode(&self, read: Read, manner: Manner) -> Result<Prompt> {
        let info = &self.model.info;
        let extras = extras(info, self.size, manner.aesthetic_score)?;
        let chunk = |encoder: u32, prompt::Chunk { ids, mut weights }| {
            if manner.silent {
                weights.fill(0.0);
            }
            Chunk { encoder, ids, weights }
        };
        let encoders = (0..).zip(read.chunks);
        let chunks =
            encoders.flat_map(|(encoder, chunks)| chunks.into_iter().map(move |part| chunk(encoder, part)));
        let text = Text {
            chunks: chunks.collect(),
            clip_skip: manner.clip_skip,
            extra_rows: self.words.rows(&read.embeddings, &info.text_encoders)?,
            adapters: self.adapters.clone(),
        };
        let encoded = limited(self.seat, self.limit_s, self.seat.encode(self.model, text)).await;
        Ok(Prompt { text: encoded?, extras })
    }
}

impl Prompts {
    /// The same for a picture of another height and width in pixels.
    ///
    /// # Errors
    /// As [`Encoder::prompts`].
    pub(crate) fn sized(&self, info: &ModelInfo, size: (u32, u32)) -> Result<Self> {
        let sized = |prompt: &Prompt, score| -> Result<Prompt> {
            Ok(Prompt { text: prompt.text.clone(), extras: extras(info, size, score)? })
        };
        let unconditional = self.unconditional.as_ref();
        Ok(Self {
            conditional: sized(&self.conditional, AESTHETIC_SCORE)?,
            unconditional: unconditional.map(|prompt| sized(prompt, NEGATIVE_AESTHETIC_SCORE)).transpose()?,
            edit: None,
        })
    }
}

/// What the model hears in its further inputs, but for a picture.
fn extras(info: &ModelInfo, size: (u32, u32), aesthetic_score: f32) -> Result<Arc<[Extra]>> {
    let others = info.inputs.iter().filter(|input| input.name != PICTURE);
    others.map(|input| extra(input, size, aesthetic_score)).collect()
}

/// What the model hears in one of its further inputs.
fn extra(input: &InputInfo, (height, width): (u32, u32), aesthetic_score: f32) -> Result<Extra> {
    let (height, width) = (height as f32, width as f32);
    let data = match (input.name.as_str(), input.shape.as_slice()) {
        // As if a picture of this size had been trained on, whole: original size, corner of the crop, size
        // wanted. Podell et al. 2023, arXiv:2307.01952, section 2.2.
        ("time_ids", [6]) => vec![height, width, 0.0, 0.0, height, width],
        ("time_ids", [5]) => vec![height, width, 0.0, 0.0, aesthetic_score],
        (name, shape) => {
            let problem = format!("needs the input `{name}` {shape:?}, which this server does not know");
            return Err(Error::invalid("model", problem));
        }
    };
    Ok(Extra { name: input.name.clone(), shape: input.shape.clone(), data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(name: &str, shape: &[u32]) -> Result<Vec<f32>> {
        let input = InputInfo { name: name.into(), shape: shape.into() };
        extra(&input, (768, 1024), NEGATIVE_AESTHETIC_SCORE).map(|extra| extra.data)
    }

    #[test]
    fn sdxl_hears_height_before_width_and_its_refiner_a_score() {
        assert_eq!(heard("time_ids", &[6]).unwrap(), [768.0, 1024.0, 0.0, 0.0, 768.0, 1024.0]);
        assert_eq!(heard("time_ids", &[5]).unwrap(), [768.0, 1024.0, 0.0, 0.0, 2.5]);
    }

    #[test]
    fn an_input_that_nobody_here_can_give_is_an_error_about_the_model() {
        for (name, shape) in [("time_ids", [7].as_slice()), ("hint", &[3, 0, 0])] {
            let error = heard(name, shape).unwrap_err().to_string();
            assert!(error.starts_with("`model` needs"), "{error}");
        }
    }
}
