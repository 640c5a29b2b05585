// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The pictures of a draft: what a client wants done with them, in its own numbers, and how that becomes [`Inputs`].

use alice_checkpoint::Family;
use alice_checkpoint::control::ControlKind;
use axum::body::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{CELL, SIDES, STEPS, upscaled_size, whole, within};
use crate::app::App;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::inputs::{
    self, Control, Enlarger, Hires, Input, Inputs, Lease, Mask, MaskPolarity, Preprocessor, ResizeMode, Start,
};
use crate::models::{Model, Registry, Takes};

/// How far back to noise a picture goes when nobody says it: diffusers' and A1111's default.
const DEFAULT_STRENGTH: f64 = 0.75;
/// The same of a second run that begins with an enlarged latent, which is blurred, and with an enlarged picture.
const DEFAULT_HIRES_STRENGTHS: [f64; 2] = [0.7, 0.5];
/// A1111's defaults, in pixels.
const DEFAULT_MASK_BLUR: f64 = 4.0;
const DEFAULT_PADDING: u32 = 32;
/// How much larger a second run may be.
const HIRES_SCALES: std::ops::RangeInclusive<f64> = 1.0..=4.0;

/// A picture as a client handed it over. Nothing has looked into it.
#[derive(Clone, Deserialize)]
#[serde(try_from = "Written")]
pub enum Source {
    /// A file.
    File(Bytes),
    /// base64, or a data URL.
    Text(String),
    /// Where it is to be had.
    Address(String),
}

/// How a picture may stand in JSON: as a text, or as OpenAI has it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "base64, a data URL, or an object with `image_url`")]
enum Written {
    Text(String),
    Reference { image_url: Option<Address>, url: Option<String>, file_id: Option<IgnoredAny> },
}

/// An address, alone or as in OpenAI's chat messages.
#[derive(Deserialize)]
#[serde(untagged, expecting = "an address, or an object with `url`")]
enum Address {
    Text(String),
    Object { url: String },
}

/// The pictures of a request.
#[derive(Clone, Debug)]
pub struct Pictures<T> {
    /// The picture to begin with.
    pub image: Option<T>,
    /// What of it is painted anew.
    pub mask: Option<T>,
    /// Those that steer, by their places.
    pub controls: Vec<T>,
}

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

/// What a picture that steers is for.
#[derive(Clone, Debug, Deserialize)]
pub struct ControlWish {
    /// Id or name of the ControlNet or T2I-Adapter.
    pub model: String,
    /// The picture, until it is taken from here.
    pub image: Option<Source>,
    /// What is done to it first; `none` is nothing.
    pub preprocessor: Option<String>,
    /// How it comes to the size wanted.
    pub resize_mode: Option<ResizeMode>,
    /// How strongly it steers.
    pub strength: Option<f64>,
    /// From which part of the run on.
    pub start: Option<f64>,
    /// Up to which part of the run.
    pub end: Option<f64>,
}

/// A second run, larger.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(expecting = "an object with `scale`, or with `width` and `height`")]
pub struct HiresWish {
    /// How much larger.
    pub scale: Option<f64>,
    /// Or how wide.
    pub width: Option<i64>,
    /// And how high.
    pub height: Option<i64>,
    /// `latent`, `latent_bicubic`, `lanczos`, or id or name of an upscaler.
    pub upscaler: Option<String>,
    /// The part of the way to noise that the enlarged picture goes back.
    pub strength: Option<f64>,
    /// Steps; as many as the first run's when nobody says it.
    pub steps: Option<i64>,
}

/// What is known of a request when its pictures' turn has come.
pub(super) struct Frame<'a> {
    pub(super) models: &'a Registry,
    pub(super) config: &'a Config,
    pub(super) model: &'a Model,
    pub(super) steps: u32,
    /// Width and height of the first run.
    pub(super) size: (u32, u32),
}

impl Source {
    /// What a client means by this text: an address, or the picture itself.
    pub fn of(text: String) -> Self {
        let begins = |with: &str| text.get(..with.len()).is_some_and(|text| text.eq_ignore_ascii_case(with));
        if begins("http://") || begins("https://") { Self::Address(text) } else { Self::Text(text) }
    }

    async fn bytes(self, app: &App) -> Result<Bytes> {
        match self {
            Self::File(bytes) => Ok(bytes),
            Self::Text(text) => inputs::from_text(&text),
            Self::Address(address) => app.inputs.fetch(&address).await,
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Pictures are nobody's business.
        formatter.write_str("Source")
    }
}

impl TryFrom<Written> for Source {
    type Error = &'static str;

    fn try_from(written: Written) -> std::result::Result<Self, Self::Error> {
        match written {
            Written::Text(text)
            | Written::Reference {
                image_url: Some(Address::Text(text) | Address::Object { url: text }),
                ..
            }
            | Written::Reference { url: Some(text), .. } => Ok(Self::of(text)),
            Written::Reference { file_id: Some(_), .. } => Err(
                "`file_id` names a file that only OpenAI has: send the picture as a data URL in `image_url`",
            ),
            Written::Reference { .. } => Err("expected `image_url`"),
        }
    }
}

impl<T> Default for Pictures<T> {
    fn default() -> Self {
        Self { image: None, mask: None, controls: Vec::new() }
    }
}

impl<T> Pictures<T> {
    /// How many there are.
    pub fn count(&self) -> usize {
        usize::from(self.image.is_some()) + usize::from(self.mask.is_some()) + self.controls.len()
    }
}

impl Pictures<Source> {
    /// What stands for them as long as nobody has looked into them.
    pub(super) fn stand_ins(&self) -> Pictures<Input> {
        let (width, height) = (*SIDES.start(), *SIDES.start());
        let stand_in = |_: &Source| Input {
            name: String::new(),
            width,
            height,
            has_alpha: false,
            lease: Lease::default(),
        };
        Pictures {
            image: self.image.as_ref().map(stand_in),
            mask: self.mask.as_ref().map(stand_in),
            controls: self.controls.iter().map(stand_in).collect(),
        }
    }

    /// Reads and keeps all of them.
    pub(super) async fn take_in(self, app: &App) -> Result<Pictures<Input>> {
        let mut taken = Pictures::default();
        if let Some(source) = self.image {
            taken.image = Some(take(app, source, "image").await?);
        }
        if let Some(source) = self.mask {
            taken.mask = Some(take(app, source, "mask").await?);
        }
        for (place, source) in self.controls.into_iter().enumerate() {
            taken.controls.push(take(app, source, &control_param(place, "image")).await?);
        }
        Ok(taken)
    }
}

/// Reads and keeps the picture that stands in `param`.
async fn take(app: &App, source: Source, param: &str) -> Result<Input> {
    let taken = async { app.inputs.take(source.bytes(app).await?).await };
    taken.await.map_err(|error| error.renamed(&[("image", param)]))
}

fn control_param(place: usize, field: &str) -> String {
    format!("controls[{place}].{field}")
}

/// The size of a picture that is made of `image`, where `asked` leaves it open: its shape, with as many pixels as
/// a square of the side `native`, in whole latent cells.
pub(super) fn size_like(image: &Input, native: u32, asked: (Option<u32>, Option<u32>)) -> (u32, u32) {
    let side = |pixels: f64| {
        let cells = (pixels / f64::from(CELL)).round();
        ((cells as u32).saturating_mul(CELL)).clamp(*SIDES.start(), *SIDES.end())
    };
    let shape = f64::from(image.width) / f64::from(image.height);
    let native = f64::from(native);
    match asked {
        (Some(width), Some(height)) => (width, height),
        (Some(width), None) => (width, side(f64::from(width) / shape)),
        (None, Some(height)) => (side(f64::from(height) * shape), height),
        (None, None) => (side(native * shape.sqrt()), side(native / shape.sqrt())),
    }
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
        if !controls.is_empty() && start.as_ref().is_some_and(|start| start.region().is_some()) {
            let problem = "cannot be used with `only_masked`: it is not known which part of them is meant";
            return Err(Error::invalid("controls", problem));
        }
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
        leaves_steps("strength", strength, frame.steps)?;
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
        let polarity = match (mask.has_alpha, self.mask_invert == Some(true)) {
            (true, false) => MaskPolarity::Transparent,
            (false, false) => MaskPolarity::White,
            (false, true) => MaskPolarity::Black,
            (true, true) => {
                let problem =
                    "goes with a mask in black and white: of this one the transparent part is painted";
                return Err(Error::invalid("mask_invert", problem));
            }
        };
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

/// Of `steps`, the part `strength` is taken, which diffusers rounds down.
fn leaves_steps(param: &str, strength: f64, steps: u32) -> Result<()> {
    if (f64::from(steps) * strength) as u32 > 0 {
        return Ok(());
    }
    let least = (100.0 / f64::from(steps)).ceil() / 100.0;
    Err(Error::invalid(param, format!("leaves none of {steps} steps; with {least} one is left")))
}

impl ControlWish {
    fn settle(&self, frame: &Frame<'_>, place: usize, input: &Input) -> Result<Control> {
        let param = |field| control_param(place, field);
        let model = control_model(frame, &param("model"), &self.model)?;
        let preprocessor = match given(self.preprocessor.as_deref()) {
            None => None,
            Some(name) if name.eq_ignore_ascii_case("none") => None,
            Some(name) if name.eq_ignore_ascii_case("canny") => Some(Preprocessor::Canny),
            Some(_) => return Err(Error::invalid(&param("preprocessor"), "must be `canny` or `none`")),
        };
        let strength = within(&param("strength"), self.strength, 0.0..=2.0)?.unwrap_or(1.0);
        let start = within(&param("start"), self.start, 0.0..=1.0)?.unwrap_or(0.0);
        let end = within(&param("end"), self.end, 0.0..=1.0)?.unwrap_or(1.0);
        if start > end {
            return Err(Error::invalid(
                &param("start"),
                format!("must not be after `end`: {start} is after {end}"),
            ));
        }
        Ok(Control {
            model,
            input: input.clone(),
            preprocessor,
            resize_mode: self.resize_mode.unwrap_or_default(),
            strength: strength as f32,
            interval: [start, end],
        })
    }
}

impl HiresWish {
    fn settle(&self, frame: &Frame<'_>) -> Result<Hires> {
        if frame.model.sidecar.fixed_size {
            let problem = format!("cannot be used: `{}` paints in one size only", frame.model.name);
            return Err(Error::invalid("hires", problem));
        }
        let enlarger = match given(self.upscaler.as_deref()) {
            None => Enlarger::Latent,
            Some(name) => enlarger(frame.models, name)?,
        };
        let of_latent = matches!(enlarger, Enlarger::Latent | Enlarger::LatentBicubic);
        let [usual_of_latent, usual_of_picture] = DEFAULT_HIRES_STRENGTHS;
        let usual = if of_latent { usual_of_latent } else { usual_of_picture };
        let strength = within("hires.strength", self.strength, 0.0..=1.0)?.unwrap_or(usual);
        let steps = whole("hires.steps", self.steps, STEPS)?.unwrap_or(frame.steps);
        leaves_steps("hires.strength", strength, steps)?;
        let (width, height) = self.size(frame.size)?;
        if let Enlarger::Model(id) = &enlarger {
            upscaled_size("hires.upscaler", frame.size, frame.models.upscaler(id)?.scale)?;
        }
        Ok(Hires { width, height, enlarger, strength, steps })
    }

    /// The size of the second run after a first one of the size `first`.
    fn size(&self, first: (u32, u32)) -> Result<(u32, u32)> {
        let scale = within("hires.scale", self.scale, HIRES_SCALES)?;
        let width = whole("hires.width", self.width, SIDES)?.map(|side| side.next_multiple_of(CELL));
        let height = whole("hires.height", self.height, SIDES)?.map(|side| side.next_multiple_of(CELL));
        let scaled = |side: u32, scale: f64| {
            let cells = (f64::from(side) * scale / f64::from(CELL)).round();
            cells as u32 * CELL
        };
        let size = match (scale, width, height) {
            (Some(scale), None, None) => (scaled(first.0, scale), scaled(first.1, scale)),
            (None, Some(width), Some(height)) => (width, height),
            (None, None, None) => (scaled(first.0, 2.0), scaled(first.1, 2.0)),
            _ => return Err(Error::invalid("hires", "must have either `scale`, or `width` and `height`")),
        };
        let (width, height) = size;
        if width < first.0 || height < first.1 {
            let problem =
                format!("must not be smaller than {} x {}, not {width} x {height}", first.0, first.1);
            return Err(Error::invalid("hires", problem));
        }
        if !SIDES.contains(&width) || !SIDES.contains(&height) {
            let problem = format!("asks for {width} x {height} pixels; a side may have {}", SIDES.end());
            return Err(Error::invalid("hires", problem));
        }
        Ok(size)
    }
}

fn enlarger(models: &Registry, name: &str) -> Result<Enlarger> {
    let word: String =
        name.to_lowercase().chars().map(|sign| if "-_ ".contains(sign) { '_' } else { sign }).collect();
    match word.as_str() {
        "latent" => Ok(Enlarger::Latent),
        "latent_bicubic" => Ok(Enlarger::LatentBicubic),
        "lanczos" => Ok(Enlarger::Lanczos),
        _ => upscaler(models, "hires.upscaler", name).map(Enlarger::Model),
    }
}

/// The id of the upscaler `name`, which stands in `param`.
fn upscaler(models: &Registry, param: &str, name: &str) -> Result<String> {
    let found = models.upscaler(name).map_err(|error| error.renamed(&[("upscaler", param)]))?;
    Ok(found.id.clone())
}

/// The id of the ControlNet or T2I-Adapter `name`, which stands in `param` and suits the model.
fn control_model(frame: &Frame<'_>, param: &str, name: &str) -> Result<String> {
    let found = frame.models.control(name).map_err(|error| error.renamed(&[("controls", param)]))?;
    if found.family == frame.model.family {
        return Ok(found.id.clone());
    }
    let (own, models) = (found.family.as_str(), frame.model.family.as_str());
    let problem =
        format!("cannot be used: `{}` is made for models of the kind {own}, not {models}", found.id);
    Err(Error::invalid(param, problem))
}

/// Whether the networks of `controls` can see a picture of this size: SDXL's adapters halve its latent once.
fn fit(models: &Registry, controls: &[Control], (width, height): (u32, u32)) -> Result<()> {
    for (place, control) in controls.iter().enumerate() {
        let network = models.control(&control.model)?;
        let folds = network.kind == ControlKind::T2iAdapter && network.family == Family::Sdxl;
        if folds && (width % (2 * CELL) != 0 || height % (2 * CELL) != 0) {
            let problem = format!(
                "cannot be used with {width} x {height} pixels: `{}` wants multiples of {}",
                network.id,
                2 * CELL
            );
            return Err(Error::invalid(&control_param(place, "model"), problem));
        }
    }
    Ok(())
}

fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_size_has_the_pictures_shape_and_as_many_pixels_as_the_model_paints_best() {
        let size = |width, height, asked| {
            let name = String::new();
            size_like(&Input { name, width, height, has_alpha: false, lease: Lease::default() }, 512, asked)
        };
        assert_eq!(size(300, 300, (None, None)), (512, 512));
        assert_eq!(size(3000, 2000, (None, None)), (624, 416));
        assert_eq!(size(2000, 3000, (None, None)), (416, 624));
        assert_eq!(size(3000, 2000, (Some(768), None)), (768, 512));
        assert_eq!(size(3000, 2000, (None, Some(500))), (752, 500), "rounded up later");
        assert_eq!(size(3000, 2000, (Some(64), Some(2048))), (64, 2048));
        assert_eq!(size(8192, 1, (None, None)), (2048, 64), "no side is out of range");
        assert_eq!(size(1, 8192, (None, Some(2048))), (64, 2048));
    }

    #[test]
    fn a_strength_is_of_use_if_a_step_is_left() {
        leaves_steps("strength", 0.05, 20).unwrap();
        leaves_steps("strength", 1.0, 1).unwrap();
        for (strength, steps) in [(0.0, 150), (0.049, 20), (0.99, 1)] {
            leaves_steps("strength", strength, steps).unwrap_err();
        }
    }

    #[test]
    fn pictures_stand_in_json_as_texts_or_as_openai_has_them() {
        let read = |json: &str| serde_json::from_str::<Source>(json);
        for json in [
            "\"aGk=\"",
            "{\"image_url\": \"data:,\"}",
            "{\"image_url\": {\"url\": \"aGk=\"}}",
            "{\"url\": \"aGk=\"}",
        ] {
            assert!(matches!(read(json), Ok(Source::Text(_))), "{json}");
        }
        let address = read("{\"image_url\": \"HTTPS://example.com/a.png\"}");
        assert!(matches!(address, Ok(Source::Address(_))));
        assert!(read("{\"file_id\": \"file-1\"}").unwrap_err().to_string().contains("only OpenAI has"));
        for json in ["{}", "7", "[]", "{\"image_url\": 7}"] {
            read(json).unwrap_err();
        }
    }
}
