// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a run begins with: noise alone, or a picture, of which a part may be kept.
//!
//! A picture's noise is drawn from its seed in the order of diffusers' pipelines: for the latent of the picture, the
//! noise that is added to it, for the latent of the picture without what is painted anew, then whatever the sampler
//! draws. Sources: diffusers `pipelines/stable_diffusion/pipeline_stable_diffusion_img2img.py`, `..._inpaint.py` and
//! `..._instruct_pix2pix.py`.

use std::sync::Arc;

use alice_diffusion::{Kept, Latent, LatentShape, Noise, Posterior, Schedule};

use crate::denoiser::{Prompts, contract_shape, limited};
use crate::engine::{Extra, LoadedModel, Pixels, Seat};
use crate::error::{Error, Result};
use crate::inputs::shape::PAINTED;
use crate::models::Takes;
use crate::prompts::{NEEDS_PICTURE, PICTURE};

/// A picture to begin with, in the pixels of the model's latents.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// `[height, width, 3]`.
    pub rgb: &'a [u8],
    /// `[height, width]`: what is painted anew, 0 (nothing) to 255; all of it where there is none.
    pub mask: Option<&'a [u8]>,
    /// The part of the way to noise that it goes back, above 0; 1 is all of it.
    pub strength: f64,
    /// How strongly a model that edits as it is told follows the picture.
    pub image_guidance_scale: f32,
    /// What its autoencoder's latents are multiplied with, for a model that edits as it is told: it hears them as they
    /// are.
    pub latent_scaling: f32,
}

/// A picture to begin with, as the model sees it. Many pictures can begin with it.
#[derive(Clone, Debug)]
pub struct Canvas {
    shape: LatentShape,
    way: Way,
    strength: f64,
}

/// What becomes of the picture.
#[derive(Clone, Debug)]
enum Way {
    /// Noise is added to it.
    Begin(Posterior),
    /// The same, and what the mask does not cover is put back after each step.
    Keep { picture: Posterior, mask: Vec<f32> },
    /// The network sees the mask and what it does not cover. Without the picture itself the run begins with noise.
    Inpaint { picture: Option<Posterior>, mask: Vec<f32>, masked: Posterior },
    /// The network sees the picture, in the autoencoder's own numbers.
    Edit { picture: Latent, image_guidance_scale: f32 },
}

/// One picture's run before its first step.
#[derive(Debug)]
pub struct Beginning {
    /// The first latent.
    pub first: Latent,
    /// What is put back after each step.
    pub kept: Option<Kept>,
    /// The prompts, with what the network sees of a picture.
    pub prompts: Prompts,
}

/// What the loaded model takes beside the latent.
fn takes(model: &LoadedModel) -> Takes {
    let channels = model.info.inputs.iter().find(|input| input.name == PICTURE).map(|input| input.shape[0]);
    Takes::of(model.info.latent_channels, channels.unwrap_or(0))
}

/// The beginning of a run from noise alone.
///
/// # Errors
/// For a model that must see a picture.
pub fn from_noise(
    model: &LoadedModel,
    schedule: &Schedule,
    noise: &mut Noise,
    shape: LatentShape,
    prompts: &Prompts,
) -> Result<Beginning> {
    if takes(model) != Takes::Latent {
        return Err(Error::invalid("model", NEEDS_PICTURE));
    }
    let first = schedule.begin_with_noise(&noise.latent(shape));
    Ok(Beginning { first, kept: None, prompts: prompts.clone() })
}

impl Canvas {
    /// Lets the model look at a picture that makes a latent of `shape`.
    ///
    /// A model for inpainting without a mask paints everything anew, and sees nothing of the picture but its noise.
    ///
    /// # Errors
    /// Whatever the backend says; a call that takes longer than `limit_s` seconds.
    pub async fn new(
        seat: &Seat,
        model: &Arc<LoadedModel>,
        limit_s: u32,
        shape: LatentShape,
        original: Original<'_>,
    ) -> Result<Self> {
        let look = async |pixels: Pixels| -> Result<Posterior> {
            let encoded = seat.encode_image(model, contract_shape(shape)?, pixels);
            let (mean, deviation) = limited(seat, limit_s, encoded).await?;
            let latent = |values| Latent { shape, values };
            Ok(Posterior { mean: latent(mean), deviation: latent(deviation) })
        };
        let Original { rgb, mask, strength, image_guidance_scale, latent_scaling } = original;
        let width = shape.width * model.info.latent_scale as usize;
        let cells = |mask: &[u8]| latent_mask(mask, width, shape);
        let whole = || Pixels::Rgb(rgb.to_vec());
        let way = match (takes(model), mask) {
            (Takes::Latent, None) => Way::Begin(look(whole()).await?),
            (Takes::Latent, Some(mask)) => Way::Keep { picture: look(whole()).await?, mask: cells(mask) },
            (Takes::MaskedPicture, mask) => {
                let everything = vec![u8::MAX; rgb.len() / 3];
                let mask = mask.unwrap_or(&everything);
                let picture = if strength < 1.0 { Some(look(whole()).await?) } else { None };
                let masked = look(seen(rgb, mask)).await?;
                Way::Inpaint { picture, mask: cells(mask), masked }
            }
            (Takes::Unknown, _) => {
                let problem = "takes channels beside the latent which this server cannot give";
                return Err(Error::invalid("model", problem));
            }
            (Takes::Picture, _) => {
                let mut picture = look(whole()).await?.mean;
                picture.values.iter_mut().for_each(|value| *value /= latent_scaling);
                Way::Edit { picture, image_guidance_scale }
            }
        };
        Ok(Self { shape, way, strength })
    }

    /// The beginning of one picture's run along `schedule`, which is that of the picture's strength.
    pub fn begin(&self, schedule: &Schedule, noise: &mut Noise, prompts: &Prompts) -> Beginning {
        match &self.way {
            Way::Begin(picture) => {
                let picture = picture.draw(noise);
                let first = schedule.begin_with_picture(&picture, &noise.latent(self.shape));
                Beginning { first, kept: None, prompts: prompts.clone() }
            }
            Way::Keep { picture: posterior, mask } => {
                let picture = posterior.draw(noise);
                let drawn = noise.latent(self.shape);
                let first = self.first(schedule, Some(&picture), &drawn);
                // diffusers draws a latent of the masked picture here too, and has no use for it.
                posterior.draw(noise);
                let kept = Kept { picture, noise: drawn, mask: mask.clone() };
                Beginning { first, kept: Some(kept), prompts: prompts.clone() }
            }
            Way::Inpaint { picture, mask, masked } => {
                let picture = picture.as_ref().map(|picture| picture.draw(noise));
                let first = self.first(schedule, picture.as_ref(), &noise.latent(self.shape));
                let seen = [mask.as_slice(), &masked.draw(noise).values].concat();
                Beginning { first, kept: None, prompts: prompts.with(&self.seen(seen)) }
            }
            Way::Edit { picture, image_guidance_scale } => {
                let first = schedule.begin_with_noise(&noise.latent(self.shape));
                let seen = self.seen(picture.values.clone());
                Beginning { first, kept: None, prompts: prompts.editing(&seen, *image_guidance_scale) }
            }
        }
    }

    /// The first latent of an inpainting run: at full strength it begins with noise alone.
    fn first(&self, schedule: &Schedule, picture: Option<&Latent>, noise: &Latent) -> Latent {
        match picture.filter(|_| self.strength < 1.0) {
            Some(picture) => schedule.begin_with_picture(picture, noise),
            None => schedule.begin_with_noise(noise),
        }
    }

    /// What the network sees of the picture, some planes of the latent's size.
    fn seen(&self, data: Vec<f32>) -> Extra {
        let LatentShape { height, width, .. } = self.shape;
        let sizes = [data.len() / (height * width).max(1), height, width];
        Extra { name: PICTURE.to_owned(), shape: sizes.map(|size| size as u32).to_vec(), data }
    }
}

/// For each cell of the latent whether it is painted anew, 1 or 0: as the pixel in its upper left corner. `width` are
/// the mask's pixels from left to right.
fn latent_mask(mask: &[u8], width: usize, shape: LatentShape) -> Vec<f32> {
    let scale = width / shape.width.max(1);
    let rows = mask.chunks_exact(width.max(1)).step_by(scale.max(1)).take(shape.height);
    let cells = rows.flat_map(|row| row.iter().step_by(scale.max(1)));
    cells.map(|&pixel| if pixel >= PAINTED { 1.0 } else { 0.0 }).collect()
}

/// The picture of which the network sees nothing that is painted anew.
fn seen(rgb: &[u8], mask: &[u8]) -> Pixels {
    let (pixels, _) = rgb.as_chunks::<3>();
    let alpha = |mask: u8| if mask >= PAINTED { 0 } else { u8::MAX };
    let pixels =
        pixels.iter().zip(mask).flat_map(|(&[red, green, blue], &mask)| [red, green, blue, alpha(mask)]);
    Pixels::Rgba(pixels.collect())
}

#[cfg(test)]
mod tests {
    use alice_diffusion::{Method, SchedulerConfig};

    use super::*;
    use crate::denoiser::Prompt;
    use crate::engine::Text;

    const SHAPE: LatentShape = LatentShape { channels: 4, height: 2, width: 2 };

    fn latent(value: f32) -> Latent {
        Latent { shape: SHAPE, values: vec![value; SHAPE.len()] }
    }

    fn posterior(mean: f32, deviation: f32) -> Posterior {
        Posterior { mean: latent(mean), deviation: latent(deviation) }
    }

    fn schedule(strength: f64) -> Schedule {
        Schedule::from_strength(Method::Euler.into(), &SchedulerConfig::default(), 10, strength).unwrap()
    }

    fn prompts() -> Prompts {
        let text =
            Text { chunks: Vec::new(), clip_skip: 0, extra_rows: Arc::default(), adapters: Arc::default() };
        let prompt = Prompt { text: text.into(), extras: Arc::default() };
        Prompts { conditional: prompt.clone(), unconditional: Some(prompt), edit: None }
    }

    /// The first latents of noise of the seed 5.
    fn draws() -> [Latent; 4] {
        let mut noise = Noise::new(5);
        std::array::from_fn(|_| noise.latent(SHAPE))
    }

    /// The beginning of a run, and the latent that is drawn next.
    fn begun(way: Way, strength: f64) -> (Beginning, Latent) {
        let canvas = Canvas { shape: SHAPE, way, strength };
        let mut noise = Noise::new(5);
        let beginning = canvas.begin(&schedule(strength), &mut noise, &prompts());
        (beginning, noise.latent(SHAPE))
    }

    #[test]
    fn the_latent_of_the_picture_is_drawn_before_the_noise_that_is_added() {
        let [first, second, third, _] = draws();
        let (beginning, next) = begun(Way::Begin(posterior(1.0, 0.5)), 0.6);
        let picture =
            Latent { shape: SHAPE, values: first.values.iter().map(|noise| 1.0 + 0.5 * noise).collect() };
        assert_eq!(beginning.first, schedule(0.6).begin_with_picture(&picture, &second));
        assert!(beginning.kept.is_none() && next == third);
    }

    #[test]
    fn inpainting_at_full_strength_begins_with_noise_and_draws_for_the_masked_picture_too() {
        let [first, second, third, fourth] = draws();
        let (beginning, next) = begun(Way::Keep { picture: posterior(1.0, 0.5), mask: vec![1.0; 4] }, 1.0);
        assert_eq!(beginning.first, schedule(1.0).begin_with_noise(&second));
        let kept = beginning.kept.unwrap();
        assert_eq!((kept.noise, kept.picture.values[0]), (second.clone(), 1.0 + 0.5 * first.values[0]));
        assert_eq!(next, fourth);
        // The tiny autoencoder leaves nothing to chance.
        let (_, next) = begun(Way::Keep { picture: posterior(1.0, 0.0), mask: vec![1.0; 4] }, 1.0);
        assert_eq!(next, second);
        let masked = Way::Inpaint { picture: None, mask: vec![1.0; 4], masked: posterior(2.0, 1.0) };
        let (beginning, next) = begun(masked, 1.0);
        assert_eq!(beginning.first, schedule(1.0).begin_with_noise(&first));
        let seen = &beginning.prompts.unconditional.unwrap().extras[0];
        assert_eq!((seen.name.as_str(), seen.shape.as_slice()), ("concat", [5, 2, 2].as_slice()));
        assert_eq!((seen.data[0], seen.data[4]), (1.0, 2.0 + second.values[0]));
        assert_eq!(next, third);
    }

    #[test]
    fn an_edit_is_heard_three_ways_unless_its_picture_counts_less_than_once() {
        let edit = |strength| begun(Way::Edit { picture: latent(3.0), image_guidance_scale: strength }, 1.0);
        let (beginning, next) = edit(1.5);
        let [first, second, ..] = draws();
        assert_eq!((beginning.first, next), (schedule(1.0).begin_with_noise(&first), second));
        let heard = |prompt: &Prompt| prompt.extras[0].data[0];
        let prompts = beginning.prompts;
        let (edited, strength) = prompts.edit.unwrap();
        assert_eq!((heard(&prompts.conditional), heard(&edited), strength), (3.0, 3.0, 1.5));
        assert_eq!(heard(&prompts.unconditional.unwrap()), 0.0);
        let prompts = edit(0.9).0.prompts;
        assert!(prompts.edit.is_none() && prompts.unconditional.is_none());
    }

    #[test]
    fn a_cell_is_painted_when_the_pixel_in_its_corner_is() {
        let shape = LatentShape { channels: 4, height: 2, width: 3 };
        let mut mask = vec![0; 4 * 6];
        mask[2] = 128;
        mask[6] = 255; // Not the corner of a cell.
        mask[2 * 6] = 127;
        mask[2 * 6 + 4] = 255;
        assert_eq!(latent_mask(&mask, 6, shape), [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn the_network_sees_nothing_of_what_is_painted_anew() {
        let seen = seen(&[1, 2, 3, 4, 5, 6, 7, 8, 9], &[0, 128, 127]);
        assert_eq!(seen, Pixels::Rgba(vec![1, 2, 3, 255, 4, 5, 6, 0, 7, 8, 9, 255]));
    }
}
