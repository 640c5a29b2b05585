// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the network hears of a request: its prompts, in chunks of tokens for every text encoder, and what some
//! models want to know beside them.

use std::sync::Arc;

use alice_checkpoint::diffusers::Settings;
use alice_diffusion::ClipTokenizer;
use alice_plugin::InputInfo;

use crate::denoiser::{Prompt, limited};
use crate::engine::{Chunk, Extra, LoadedModel, Seat, Text};
use crate::error::{Error, Result};

/// Why a model cannot be used that paints over a picture.
pub(crate) const NEEDS_PICTURE: &str = "needs an input picture, which this server does not take yet";
/// What SDXL's refiner hears of the beauty of the picture wanted, and of that of the negative prompt: diffusers'
/// defaults.
const AESTHETIC_SCORE: f32 = 6.0;
const NEGATIVE_AESTHETIC_SCORE: f32 = 2.5;

/// Turns texts into what the network of one model hears.
#[derive(Clone, Copy, Debug)]
pub struct Encoder<'a> {
    /// At the device.
    pub seat: &'a Seat,
    /// The model.
    pub model: &'a Arc<LoadedModel>,
    /// One for each of the model's text encoders.
    pub tokenizers: &'a [ClipTokenizer],
    /// How the model's pipeline treats prompts.
    pub settings: Settings,
    /// Height and width of the picture that the model renders, in pixels.
    pub size: (u32, u32),
    /// Seconds that one call may take.
    pub limit_s: u32,
}

impl Encoder<'_> {
    /// The prompt, without the last `clip_skip` of the layers that the model uses; and whether it was too long
    /// and cut.
    ///
    /// # Errors
    /// Whatever the backend says; [`Error::Invalid`] for a model that hears what nobody here can say.
    pub async fn prompt(&self, text: &str, clip_skip: u32) -> Result<(Prompt, bool)> {
        let (chunks, truncated) = self.chunks(text, 1.0);
        Ok((self.encode(chunks, clip_skip, AESTHETIC_SCORE).await?, truncated))
    }

    /// The negative prompt. One that is absent is an empty text, or nothing at all for the models that were
    /// trained so. No layers are left out: diffusers' pipelines leave them out of the prompt alone.
    ///
    /// # Errors
    /// As [`prompt`](Self::prompt).
    pub async fn negative(&self, text: Option<&str>) -> Result<Prompt> {
        let silent = text.is_none() && self.settings.force_zeros_for_empty_prompt;
        let (chunks, _) = self.chunks(text.unwrap_or(""), if silent { 0.0 } else { 1.0 });
        self.encode(chunks, 0, NEGATIVE_AESTHETIC_SCORE).await
    }

    /// One window of tokens for each encoder, all tokens with the same weight, and whether an encoder does not
    /// see the end of the text.
    fn chunks(&self, text: &str, weight: f32) -> (Vec<Chunk>, bool) {
        let windows: Vec<_> = self.tokenizers.iter().map(|tokenizer| tokenizer.window(text)).collect();
        let truncated = windows.iter().any(|window| window.truncated);
        let chunk =
            |(encoder, ids): (u32, Vec<u32>)| Chunk { encoder, weights: vec![weight; ids.len()], ids };
        let ids = windows.into_iter().map(|window| window.ids);
        ((0..).zip(ids).map(chunk).collect(), truncated)
    }

    async fn encode(&self, chunks: Vec<Chunk>, clip_skip: u32, aesthetic_score: f32) -> Result<Prompt> {
        let inputs = self.model.info.inputs.iter();
        let extras = inputs.map(|input| extra(input, self.size, aesthetic_score)).collect::<Result<_>>()?;
        let text = Text { chunks, clip_skip };
        let encoded = limited(self.seat, self.limit_s, self.seat.encode(self.model, text)).await;
        Ok(Prompt { text: encoded?, extras })
    }
}

/// What the model hears in one of its further inputs.
fn extra(input: &InputInfo, (height, width): (u32, u32), aesthetic_score: f32) -> Result<Extra> {
    let (height, width) = (height as f32, width as f32);
    let data = match (input.name.as_str(), input.shape.as_slice()) {
        // As if a picture of this size had been trained on, whole: original size, corner of the crop, size
        // wanted. Podell et al. 2023, arXiv:2307.01952, section 2.2.
        ("time_ids", [6]) => vec![height, width, 0.0, 0.0, height, width],
        ("time_ids", [5]) => vec![height, width, 0.0, 0.0, aesthetic_score],
        ("concat", _) => return Err(Error::invalid("model", NEEDS_PICTURE)),
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
        for (name, shape) in [("concat", [5, 0, 0].as_slice()), ("time_ids", &[7]), ("hint", &[3, 0, 0])] {
            let error = heard(name, shape).unwrap_err().to_string();
            assert!(error.starts_with("`model` needs"), "{error}");
        }
        assert!(heard("concat", &[4, 0, 0]).unwrap_err().to_string().contains("input picture"));
    }
}
