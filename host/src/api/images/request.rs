// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What clients of OpenAI's image API send, with ALICE's parameters beside OpenAI's: the same fields for a picture from
//! text, from a picture, and for a variation of one.

use axum::body::Bytes;
use serde::Deserialize;

use crate::adapters::LoraWish;
use crate::draft::{ControlWish, Draft, HiresWish, Source, Wishes, whole};
use crate::error::{Error, Result};
use crate::inputs::ResizeMode;

/// Most unfinished pictures of each picture that can be asked for.
const MAX_PARTIALS: u32 = 3;

/// Which of the three routes a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// From text, and with ALICE's fields from a picture too.
    Generation,
    /// From a picture, as a text says.
    Edit,
    /// From a picture alone.
    Variation,
}

/// What clients send. Fields that are not named here are ignored, as OpenAI ignores `user`.
#[derive(Debug, Deserialize)]
pub(super) struct ImageRequest {
    #[serde(default)]
    prompt: String,
    model: Option<String>,
    n: Option<i64>,
    size: Option<String>,
    pub(super) response_format: Option<ResponseFormat>,
    output_format: Option<String>,
    background: Option<String>,
    stream: Option<bool>,
    partial_images: Option<i64>,
    // ALICE's own parameters, as in the chat form.
    negative_prompt: Option<String>,
    steps: Option<i64>,
    guidance_scale: Option<f64>,
    scheduler: Option<String>,
    clip_skip: Option<i64>,
    guidance_rescale: Option<f64>,
    guidance_interval: Option<[f64; 2]>,
    width: Option<i64>,
    height: Option<i64>,
    seed: Option<i128>,
    loras: Option<Vec<LoraWish>>,
    /// The job goes on when its client hangs up.
    pub(super) detach: Option<bool>,
    // Pictures: OpenAI's name for them in JSON, and those of the chat form.
    images: Option<Vec<Source>>,
    input_images: Option<Vec<Source>>,
    input_image_urls: Option<Vec<Source>>,
    mask: Option<Source>,
    strength: Option<f64>,
    resize_mode: Option<ResizeMode>,
    mask_blur: Option<f64>,
    mask_invert: Option<bool>,
    only_masked: Option<bool>,
    only_masked_padding: Option<i64>,
    image_guidance_scale: Option<f64>,
    controls: Option<Vec<ControlWish>>,
    hires: Option<HiresWish>,
    upscaler: Option<String>,
    /// The files of a form, which are no JSON.
    #[serde(skip)]
    files: Files,
}

/// The pictures that came as files of a form.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// `image` and `image[]`.
    pub(super) images: Vec<Bytes>,
    /// `mask`.
    pub(super) mask: Option<Bytes>,
    /// `control_image` and `control_image[]`: for the entries of `controls` without a picture, in their order.
    pub(super) controls: Vec<Bytes>,
}

/// How pictures come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ResponseFormat {
    /// In the answer itself: the default, because many clients cannot fetch a URL of this server.
    #[default]
    B64Json,
    /// As an address on this server.
    Url,
}

impl ImageRequest {
    /// The same with the files of a form.
    pub(super) fn with(self, files: Files) -> Self {
        Self { files, ..self }
    }

    /// Our names of parameters, and what this request calls them.
    pub(super) fn names(&self) -> Vec<(&'static str, &'static str)> {
        let mut names = vec![("num_images", "n")];
        if self.size.is_some() {
            names.extend([("width", "size"), ("height", "size")]);
        }
        names.push(("image", self.name_of_images()));
        names
    }

    /// What the picture to begin with is called, or would be.
    fn name_of_images(&self) -> &'static str {
        match self {
            Self { input_images: Some(_), .. } => "input_images",
            Self { input_image_urls: Some(_), .. } => "input_image_urls",
            Self { images: Some(_), .. } => "images",
            _ => "image",
        }
    }

    /// For a stream, the number of unfinished pictures that it brings of each picture; what is said about
    /// those without a stream is only checked.
    pub(super) fn partials(&self) -> Result<Option<u32>> {
        let partials = whole("partial_images", self.partial_images, 0..=MAX_PARTIALS)?.unwrap_or(0);
        let stream = self.stream == Some(true);
        let url = self.response_format == Some(ResponseFormat::Url);
        refuse(stream && url, "response_format", "must be `b64_json` in a stream")?;
        Ok(stream.then_some(partials))
    }

    /// The same in ALICE's words.
    pub(super) fn into_draft(mut self, kind: Kind) -> Result<Draft> {
        let png = self.output_format.as_deref().is_none_or(|format| format == "png");
        refuse(!png, "output_format", "must be `png`: this version writes no other")?;
        let transparent = self.background.as_deref() == Some("transparent");
        refuse(transparent, "background", "cannot be `transparent`: the models paint a background")?;
        let (width, height) = match self.size.as_deref() {
            None | Some("auto" | "") => (self.width, self.height),
            Some(size) => {
                let (width, height) = sides(size)?;
                (self.width.or(Some(width)), self.height.or(Some(height)))
            }
        };
        let image = self.take_image()?;
        refuse(image.is_none() && kind != Kind::Generation, "image", "must be given")?;
        let mask = self.files.mask.take().map(Source::File).or(self.mask);
        let controls = with_files(self.controls.unwrap_or_default(), self.files.controls)?;
        Ok(Draft {
            model: self.model,
            prompt: self.prompt,
            negative_prompt: self.negative_prompt,
            steps: self.steps,
            guidance_scale: self.guidance_scale,
            scheduler: self.scheduler,
            clip_skip: self.clip_skip,
            guidance_rescale: self.guidance_rescale,
            guidance_interval: self.guidance_interval,
            width,
            height,
            seed: self.seed,
            count: self.n,
            loras: self.loras.unwrap_or_default(),
            image,
            mask,
            wishes: Wishes {
                strength: self.strength,
                resize_mode: self.resize_mode,
                mask_blur: self.mask_blur,
                mask_invert: self.mask_invert,
                only_masked: self.only_masked,
                only_masked_padding: self.only_masked_padding,
                image_guidance_scale: self.image_guidance_scale,
                controls,
                hires: self.hires,
                upscaler: self.upscaler,
                wordless: kind == Kind::Variation,
            },
        })
    }

    /// The one picture to begin with.
    fn take_image(&mut self) -> Result<Option<Source>> {
        let name = self.name_of_images();
        let lists = [self.input_images.take(), self.input_image_urls.take(), self.images.take()];
        let written = lists.into_iter().flatten().flatten();
        let files = self.files.images.drain(..).map(Source::File);
        one_picture(written.chain(files), name)
    }
}

/// The only one of `pictures`, if there is one.
///
/// # Errors
/// When there are several: a picture that silently lacks some of what it was to be made of would be worse.
pub(in crate::api) fn one_picture(
    pictures: impl IntoIterator<Item = Source>,
    param: &str,
) -> Result<Option<Source>> {
    let mut pictures = pictures.into_iter();
    let first = pictures.next();
    match pictures.count() {
        0 => Ok(first),
        more => {
            let problem = format!("holds {} pictures, and the models here begin with one", more + 1);
            Err(Error::invalid(param, problem))
        }
    }
}

/// Gives those of `controls` that lack a picture the next of `files`.
fn with_files(mut controls: Vec<ControlWish>, files: Vec<Bytes>) -> Result<Vec<ControlWish>> {
    let mut files = files.into_iter().map(Source::File);
    for control in controls.iter_mut().filter(|control| control.image.is_none()) {
        control.image = files.next();
    }
    let left = files.next().is_some();
    refuse(left, "control_image", "holds more pictures than `controls` has entries without one")?;
    Ok(controls)
}

fn refuse(bad: bool, param: &str, problem: &str) -> Result<()> {
    if bad { Err(Error::invalid(param, problem)) } else { Ok(()) }
}

/// Width and height of `WxH`.
fn sides(size: &str) -> Result<(i64, i64)> {
    let sides =
        size.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    sides.ok_or_else(|| Error::invalid("size", "must be `auto` or `<width>x<height>` in pixels"))
}
