// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What clients are told that was done: the parameters in use, in the words in which they are asked for.

use serde::Serialize;

use crate::draft::{Enlargement, Parameters};
use crate::inputs::{Control, Enlarger, Hires, Inputs, MaskPolarity, Preprocessor, ResizeMode, Start};
use crate::task::Task;

/// What was done.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Told {
    /// Pictures were painted.
    Painted(Box<Painted>),
    /// A picture was made larger.
    Enlarged(Enlarged),
}

/// What a picture was made with.
#[derive(Debug, Serialize)]
pub(super) struct Painted {
    #[serde(flatten)]
    parameters: Parameters,
    /// `txt2img`, or with a picture to begin with `img2img`.
    mode: &'static str,
    /// Pictures to begin with, as the Python ALICE counts them: neither masks nor pictures that steer.
    input_image_count: Option<u32>,
    /// The picture was rendered smaller and enlarged to the size asked for.
    enlarged: bool,
    #[serde(flatten)]
    start: Option<Begun>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    controls: Vec<Steered>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hires: Option<Again>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upscaler: Option<String>,
}

/// How a picture was made larger.
#[derive(Debug, Serialize)]
pub(super) struct Enlarged {
    mode: &'static str,
    /// An upscaler's id, or the filter's name.
    upscaler: String,
    scale: f64,
    width: u32,
    height: u32,
    input_width: u32,
    input_height: u32,
}

/// What was done with the picture to begin with.
#[derive(Debug, Serialize)]
struct Begun {
    /// Not of a model that sees the picture at every step, which begins with noise alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    strength: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_guidance_scale: Option<f32>,
    resize_mode: ResizeMode,
    #[serde(flatten)]
    mask: Option<Masked>,
}

#[derive(Debug, Serialize)]
struct Masked {
    /// Which pixels of the mask were painted anew.
    mask_polarity: MaskPolarity,
    mask_blur: f32,
    only_masked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    only_masked_padding: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Steered {
    model: String,
    preprocessor: Option<Preprocessor>,
    resize_mode: ResizeMode,
    strength: f32,
    start: f64,
    end: f64,
}

#[derive(Debug, Serialize)]
struct Again {
    width: u32,
    height: u32,
    upscaler: String,
    strength: f64,
    steps: u32,
}

impl Told {
    /// What clients are told of `task`.
    pub(super) fn of(task: &Task) -> Self {
        match task {
            Task::Paint(request) => Self::Painted(Box::new(Painted::from(&request.parameters))),
            Task::Enlarge(enlargement) => Self::Enlarged(Enlarged::from(&**enlargement)),
        }
    }
}

impl From<&Enlargement> for Enlarged {
    fn from(enlargement: &Enlargement) -> Self {
        let Enlargement { input, scale, width, height, .. } = enlargement;
        Self {
            mode: "upscale",
            upscaler: enlargement.means().to_owned(),
            scale: *scale,
            width: *width,
            height: *height,
            input_width: input.width,
            input_height: input.height,
        }
    }
}

impl From<&Parameters> for Painted {
    fn from(parameters: &Parameters) -> Self {
        let Inputs { start, controls, hires, upscaler } = parameters.inputs.clone();
        Self {
            enlarged: parameters.enlarged(),
            // Under which names the pictures lie here is nobody's business.
            parameters: Parameters { inputs: Inputs::default(), ..parameters.clone() },
            mode: if start.is_some() { "img2img" } else { "txt2img" },
            input_image_count: start.is_some().then_some(1),
            start: start.map(Begun::from),
            controls: controls.into_iter().map(Steered::from).collect(),
            hires: hires.map(Again::from),
            upscaler,
        }
    }
}

impl From<Start> for Begun {
    fn from(start: Start) -> Self {
        let mask = start.mask.map(|mask| Masked {
            mask_polarity: mask.polarity,
            mask_blur: mask.blur,
            only_masked: mask.only_masked.is_some(),
            only_masked_padding: mask.only_masked,
        });
        Self {
            strength: start.image_guidance_scale.is_none().then_some(start.strength),
            image_guidance_scale: start.image_guidance_scale,
            resize_mode: start.resize_mode,
            mask,
        }
    }
}

impl From<Control> for Steered {
    fn from(control: Control) -> Self {
        let [start, end] = control.interval;
        Self {
            model: control.model,
            preprocessor: control.preprocessor,
            resize_mode: control.resize_mode,
            strength: control.strength,
            start,
            end,
        }
    }
}

impl From<Hires> for Again {
    fn from(hires: Hires) -> Self {
        let upscaler = match hires.enlarger {
            Enlarger::Latent => "latent".to_owned(),
            Enlarger::LatentBicubic => "latent_bicubic".to_owned(),
            Enlarger::Lanczos => "lanczos".to_owned(),
            Enlarger::Model(id) => id,
        };
        Self {
            width: hires.width,
            height: hires.height,
            upscaler,
            strength: hires.strength,
            steps: hires.steps,
        }
    }
}
