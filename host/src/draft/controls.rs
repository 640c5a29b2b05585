// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a client wants of pictures that steer, in its own numbers, and how that becomes [`Control`]s.

use alice_checkpoint::Family;
use alice_checkpoint::control::ControlKind;
use serde::Deserialize;

use super::wishes::{Frame, given};
use super::{CELL, Source, within};
use crate::error::{Error, Result};
use crate::inputs::{Control, Input, Preprocessor, ResizeMode};
use crate::models::Registry;

/// What a picture that steers is for.
#[derive(Clone, Debug, Deserialize)]
#[serde(expecting = "an object with `model` and `image`")]
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

impl ControlWish {
    pub(super) fn settle(&self, frame: &Frame<'_>, place: usize, input: &Input) -> Result<Control> {
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

/// How the parameter `field` of the picture at `place` is called.
pub(crate) fn control_param(place: usize, field: &str) -> String {
    format!("controls[{place}].{field}")
}

/// The id of the ControlNet or T2I-Adapter `name`, which stands in `param` and suits the model.
fn control_model(frame: &Frame<'_>, param: &str, name: &str) -> Result<String> {
    let found = frame.models.control(name).map_err(|error| error.renamed(&[("controls", param)]))?;
    match found.misfit(frame.model) {
        None => Ok(found.id.clone()),
        Some(misfit) => Err(Error::invalid(param, format!("cannot be used: {misfit}"))),
    }
}

/// Whether the networks of `controls` can see a picture of this size: SDXL's adapters halve its latent once.
pub(super) fn fit(models: &Registry, controls: &[Control], (width, height): (u32, u32)) -> Result<()> {
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
