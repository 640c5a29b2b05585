// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a client wants done with its pictures, in its own numbers, and how that becomes [`Inputs`].

use alice_diffusion::Sampler;

use super::controls::{ControlWish, control_param, fit};
use super::hires::{HiresWish, upscaler};
use super::{CELL, Pictures, SIDES, Source, whole, within};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::inputs::{self, Control, Hires, Input, Inputs, Mask, MaskPolarity, ResizeMode, Start, Tones};
use crate::models::{Model, Registry, Takes};

/// How far back to noise a picture goes when nobody says it: diffusers' and A1111's default.
const DEFAULT_STRENGTH: f64 = 0.75;
/// The fewest steps of which a strength that nobody has asked for leaves one.
pub(super) const FEWEST_STEPS: u32 = 2;
/// A1111's defaults, in pixels.
const DEFAULT_MASK_BLUR: f64 = 4.0;
const DEFAULT_PADDING: u32 = 32;

/// What a client wants done with them.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// The part of the way to noise that the picture goes back.
    pub strength: Option<f64>,
    /// How it comes to the size wanted.
    pub resize_mode: Option<ResizeMode>,
    /// Deviation of the blur of the mask's edges, in pixels.
    pub mask_blur: Option<f64>,
    /// Black is painted anew.
    pub mask_invert: Option<bool>,
    /// Only the masked region is rendered.
    pub only_masked: Option<bool>,
    /// With so many pixels around it.
    pub only_masked_padding: Option<i64>,
    /// How strongly a model that edits as it is told follows the picture.
    pub image_guidance_scale: Option<f64>,
    /// What the pictures that steer are for, by their places.
    pub controls: Vec<ControlWish>,
    /// A second run, larger.
    pub hires: Option<HiresWish>,
    /// What enlarges the finished picture.
    pub upscaler: Option<String>,
    /// The picture says enough: there need be no prompt.
    pub wordless: bool,
}

/// What is known of a request when its pictures' turn has come.
pub(super) struct Frame<'a> {
    pub(super) models: &'a Registry,
    pub(super) config: &'a Config,
    pub(super) model: &'a Model,
    pub(super) sampler: Sampler,
    pub(super) steps: u32,
    /// Width and height of the first run.
    pub(super) size: (u32, u32),
}

/// The size of a picture that is made of `image`, where `asked` leaves it open: its shape, with as many pixels as
/// a square of the side `native` or as near to that as sides may be, in whole latent cells.
///
/// # Errors
/// A shape that no picture can have.
pub(super) fn size_like(image: &Input, native: u32, asked: (Option<u32>, Option<u32>)) -> Result<(u32, u32)> {
    let (least, most) = (f64::from(*SIDES.start()), f64::from(*SIDES.end()));
    let shape = f64::from(image.width) / f64::from(image.height);
    let side = |pixels: f64| (pixels / f64::from(CELL)).round() as u32 * CELL;
    let size = match asked {
        (Some(width), Some(height)) => return Ok((width, height)),
        (Some(width), None) => (width, side(f64::from(width) / shape)),
        (None, Some(height)) => (side(f64::from(height) * shape), height),
        (None, None) => {
            let (width, height) = (f64::from(native) * shape.sqrt(), f64::from(native) / shape.sqrt());
            let scale = (most / width.max(height)).min(1.0).max(least / width.min(height));
            (side(width * scale), side(height * scale))
        }
    };
    if SIDES.contains(&size.0) && SIDES.contains(&size.1) {
        return Ok(size);
    }
    let problem = format!(
        "is {} x {} pixels; painted in that shape, a side would not be {least} to {most}: say `width` and `height`",
        image.width, image.height
    );
    Err(Error::invalid("image", problem))
}

impl Wishes {
    /// Takes the pictures that steer out of the wishes that brought them.
    ///
    /// # Errors
    /// Names the wish that brought none.
    pub(super) fn take_controls(&mut self) -> Result<Vec<Source>> {
        let controls = self.controls.iter_mut().enumerate();
        controls
            .map(|(place, control)| {
                let missing = || Error::invalid(&control_param(place, "image"), "must be given");
                control.image.take().ok_or_else(missing)
            })
            .collect()
    }

    /// Whether the picture goes back as far as usual, because nobody says how far.
    pub(super) fn is_usual(&self, model: &Model, pictures: &Pictures<Input>) -> bool {
        self.strength.is_none() && pictures.image.is_some() && model.takes != Takes::Picture
    }

    /// So many `steps`, or as many as leave one of the usual strength: nobody can be told to change what nobody has said.
    pub(super) fn enough(&self, steps: u32, model: &Model, pictures: &Pictures<Input>) -> u32 {
        if self.is_usual(model, pictures) { steps.max(FEWEST_STEPS) } else { steps }
    }

    /// What is to be done with `pictures`.
    ///
    /// # Errors
    /// Names the first parameter that cannot be used.
    pub(super) fn settle(self, frame: &Frame<'_>, pictures: &Pictures<Input>) -> Result<Inputs> {
        suits(frame.model, pictures)?;
        let controls = self.controls(frame, &pictures.controls)?;
        let hires = self.hires(frame, pictures)?;
        let second = hires.as_ref().map(|hires| (hires.width, hires.height));
        for size in [frame.size].into_iter().chain(second) {
            fit(frame.models, &controls, size)?;
        }
        let upscaler = given(self.upscaler.as_deref()).map(|name| upscaler(frame.models, "upscaler", name));
        let start = self.start(frame, pictures)?;
        Ok(Inputs { start, controls, hires, upscaler: upscaler.transpose()? })
    }

    fn start(&self, frame: &Frame<'_>, pictures: &Pictures<Input>) -> Result<Option<Start>> {
        let strength = within("strength", self.strength, 0.0..=1.0)?;
        let image_guidance_scale = within("image_guidance_scale", self.image_guidance_scale, 0.0..=20.0)?
            .unwrap_or(inputs::DEFAULT_IMAGE_GUIDANCE_SCALE);
        let mask = self.mask(pictures)?;
        let Some(image) = &pictures.image else { return Ok(None) };
        // Such a model sees the picture at every step and begins with noise alone.
        let told = frame.model.takes == Takes::Picture;
        let strength = if told { 1.0 } else { strength.unwrap_or(DEFAULT_STRENGTH) };
        leaves_steps("strength", strength, frame.steps, frame.sampler)?;
        Ok(Some(Start {
            input: image.clone(),
            strength,
            resize_mode: self.resize_mode.unwrap_or_default(),
            mask,
            image_guidance_scale: told.then_some(image_guidance_scale as f32),
        }))
    }

    fn mask(&self, pictures: &Pictures<Input>) -> Result<Option<Mask>> {
        let blur = within("mask_blur", self.mask_blur, 0.0..=64.0)?.unwrap_or(DEFAULT_MASK_BLUR);
        let padding = whole("only_masked_padding", self.only_masked_padding, 0..=512)?;
        let (Some(image), Some(mask)) = (&pictures.image, &pictures.mask) else { return Ok(None) };
        if (mask.width, mask.height) != (image.width, image.height) {
            let problem = format!(
                "is {} x {} pixels and the picture {} x {}: both must be of the same size",
                mask.width, mask.height, image.width, image.height
            );
            return Err(Error::invalid("mask", problem));
        }
        let polarity = polarity(mask.tones, self.mask_invert == Some(true))?;
        let only_masked = (self.only_masked == Some(true)).then_some(padding.unwrap_or(DEFAULT_PADDING));
        Ok(Some(Mask { input: mask.clone(), polarity, blur: blur as f32, only_masked }))
    }

    fn controls(&self, frame: &Frame<'_>, pictures: &[Input]) -> Result<Vec<Control>> {
        let most = frame.config.limits.controls;
        if self.controls.len() > most {
            return Err(Error::invalid("controls", format!("may be at most {most} (`limits.controls`)")));
        }
        let controls = self.controls.iter().zip(pictures).enumerate();
        controls.map(|(place, (wish, input))| wish.settle(frame, place, input)).collect()
    }

    fn hires(&self, frame: &Frame<'_>, pictures: &Pictures<Input>) -> Result<Option<Hires>> {
        let Some(wish) = &self.hires else { return Ok(None) };
        if pictures.image.is_some() {
            return Err(Error::invalid("hires", "cannot be used with a picture to begin with"));
        }
        wish.settle(frame).map(Some)
    }
}

/// How a mask of these tones is read.
///
/// # Errors
/// Names the mask of which nothing would be painted anew, and what does not go with it.
fn polarity(tones: Tones, inverted: bool) -> Result<MaskPolarity> {
    let nothing = |tone| {
        let problem = format!("covers nothing of the picture: no pixel of it is transparent or {tone}");
        Err(Error::invalid("mask", problem))
    };
    match (tones.transparent, inverted) {
        (true, false) => Ok(MaskPolarity::Transparent),
        (true, true) => {
            let problem = "goes with a mask in black and white: of this one the transparent part is painted";
            Err(Error::invalid("mask_invert", problem))
        }
        (false, false) if !tones.white => nothing("white"),
        (false, true) if !tones.black => nothing("black"),
        (false, false) => Ok(MaskPolarity::White),
        (false, true) => Ok(MaskPolarity::Black),
    }
}

/// Whether `model` can do anything with `pictures`.
fn suits(model: &Model, pictures: &Pictures<Input>) -> Result<()> {
    let (image, mask) = (pictures.image.is_some(), pictures.mask.is_some());
    let name = &model.name;
    match model.takes {
        _ if mask && !image => Err(Error::invalid("mask", "needs the picture that it is for")),
        Takes::Unknown => Err(Error::invalid(
            "model",
            "paints by something beside its prompt that this server does not know",
        )),
        Takes::Picture | Takes::MaskedPicture if !image => Err(Error::invalid(
            "model",
            format!("needs an input picture: `{name}` does not paint from text alone"),
        )),
        Takes::Picture if mask => Err(Error::invalid(
            "mask",
            format!("cannot be used: `{name}` changes the whole picture as it is told"),
        )),
        _ => Ok(()),
    }
}

/// Of `steps`, the part `strength` is taken, which most samplers round down.
pub(super) fn leaves_steps(param: &str, strength: f64, steps: u32, sampler: Sampler) -> Result<()> {
    if sampler.steps_taken(steps as usize, strength) > 0 {
        return Ok(());
    }
    let least = (100.0 / f64::from(steps)).ceil() / 100.0;
    Err(Error::invalid(param, format!("leaves none of {steps} steps; with {least} one is left")))
}

pub(super) fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use alice_diffusion::Method;

    use super::super::hires;
    use super::*;

    #[test]
    fn an_open_size_has_the_pictures_shape_and_as_many_pixels_as_the_model_paints_best() {
        let size = |width, height, asked| {
            size_like(&Input { width, height, ..Input::default() }, 512, asked)
                .map_err(|error| error.to_string())
        };
        assert_eq!(size(300, 300, (None, None)), Ok((512, 512)));
        assert_eq!(size(3000, 2000, (None, None)), Ok((624, 416)));
        assert_eq!(size(2000, 3000, (None, None)), Ok((416, 624)));
        assert_eq!(size(3000, 2000, (Some(768), None)), Ok((768, 512)));
        assert_eq!(size(3000, 2000, (None, Some(500))), Ok((752, 500)), "rounded up later");
        assert_eq!(size(3000, 2000, (Some(64), Some(2048))), Ok((64, 2048)));
        assert_eq!(size(2000, 100, (None, None)), Ok((2048, 104)), "not longer than may be");
        assert_eq!(size(100, 3200, (None, None)), Ok((64, 2048)));
        for (width, height, asked) in
            [(4000, 20, (None, None)), (1, 8192, (None, None)), (4000, 20, (Some(512), None))]
        {
            let refused = size(width, height, asked).unwrap_err();
            assert!(refused.starts_with(&format!("`image` is {width} x {height} pixels")), "{refused}");
        }
    }

    #[test]
    fn a_strength_is_of_use_if_a_step_is_left() {
        let leaves = |strength, steps| leaves_steps("strength", strength, steps, Method::Euler.into());
        leaves(0.05, 20).unwrap();
        leaves(1.0, 1).unwrap();
        for (strength, steps) in [(0.0, 150), (0.049, 20), (0.99, 1)] {
            leaves(strength, steps).unwrap_err();
        }
        // Flow matching rounds up.
        leaves_steps("strength", 0.01, 1, Method::FlowMatchEuler.into()).unwrap();
        for usual in [DEFAULT_STRENGTH].into_iter().chain(hires::DEFAULT_STRENGTHS) {
            leaves(usual, FEWEST_STEPS).unwrap();
        }
    }

    #[test]
    fn a_mask_is_transparent_where_it_really_is_and_covers_something() {
        let tones = |transparent, white, black| Tones { transparent, white, black };
        let read = |tones, inverted| polarity(tones, inverted).map_err(|error| error.to_string());
        assert_eq!(read(tones(true, true, true), false).unwrap(), MaskPolarity::Transparent);
        assert_eq!(read(tones(false, true, true), false).unwrap(), MaskPolarity::White);
        assert_eq!(read(tones(false, true, true), true).unwrap(), MaskPolarity::Black);
        assert!(read(tones(true, true, true), true).unwrap_err().starts_with("`mask_invert` goes with"));
        for (tones, inverted) in [(tones(false, false, true), false), (tones(false, true, false), true)] {
            assert!(read(tones, inverted).unwrap_err().starts_with("`mask` covers nothing"), "{tones:?}");
        }
    }
}
