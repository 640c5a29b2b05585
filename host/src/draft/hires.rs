// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a client wants of a second, larger run, in its own numbers, and how that becomes [`Hires`].

use std::ops::RangeInclusive;

use serde::Deserialize;

use super::wishes::{FEWEST_STEPS, Frame, given, leaves_steps};
use super::{CELL, SIDES, STEPS, upscaled_size, whole, within};
use crate::error::{Error, Result};
use crate::inputs::{Enlarger, Hires};
use crate::models::Registry;

/// How far back to noise an enlarged picture goes when nobody says it: one whose latent was enlarged, which is blurred,
/// and one whose pixels were.
pub(super) const DEFAULT_STRENGTHS: [f64; 2] = [0.7, 0.5];
/// How much larger a second run may be.
const SCALES: RangeInclusive<f64> = 1.0..=4.0;

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

impl HiresWish {
    pub(super) fn settle(&self, frame: &Frame<'_>) -> Result<Hires> {
        if frame.model.sidecar.fixed_size {
            let problem = format!("cannot be used: `{}` paints in one size only", frame.model.name);
            return Err(Error::invalid("hires", problem));
        }
        let enlarger = match given(self.upscaler.as_deref()) {
            None => Enlarger::Latent,
            Some(name) => enlarger(frame.models, name)?,
        };
        let of_latent = matches!(enlarger, Enlarger::Latent | Enlarger::LatentBicubic);
        let [usual_of_latent, usual_of_picture] = DEFAULT_STRENGTHS;
        let usual = if of_latent { usual_of_latent } else { usual_of_picture };
        let strength = within("hires.strength", self.strength, 0.0..=1.0)?;
        let steps = whole("hires.steps", self.steps, STEPS)?.unwrap_or(frame.steps);
        let (strength, steps) = match strength {
            Some(strength) => (strength, steps),
            None => (usual, steps.max(FEWEST_STEPS)),
        };
        leaves_steps("hires.strength", strength, steps, frame.sampler)?;
        let (width, height) = self.size(frame.size)?;
        if let Enlarger::Model(id) = &enlarger {
            upscaled_size("hires.upscaler", frame.size, frame.models.upscaler(id)?.scale)?;
        }
        Ok(Hires { width, height, enlarger, strength, steps })
    }

    /// The size of the second run after a first one of the size `first`.
    fn size(&self, first: (u32, u32)) -> Result<(u32, u32)> {
        let scale = within("hires.scale", self.scale, SCALES)?;
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
pub(super) fn upscaler(models: &Registry, param: &str, name: &str) -> Result<String> {
    let found = models.upscaler(name).map_err(|error| error.renamed(&[("upscaler", param)]))?;
    Ok(found.id.clone())
}
