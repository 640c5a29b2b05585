// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A picture that is to be made larger, and nothing else: what a client asked for, and what will be done.

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Parameters, Pictures, Source, few_enough, upscaled_size, within, within_reach};
use crate::app::App;
use crate::error::{Error, Result};
use crate::generate::enlarge;
use crate::inputs::Input;
use crate::models::{Registry, UpscalerEntry};
use crate::pictures::PrivacyWish;

/// How many times as large a picture may become.
const SCALES: RangeInclusive<f64> = 1.0..=8.0;
/// The same when nobody says it and no network does.
pub(crate) const LANCZOS_SCALE: u32 = 2;
/// The filter, where an upscaler may be named.
pub(crate) const LANCZOS: &str = "lanczos";

/// What a client asked for: nothing is checked yet.
#[derive(Clone, Debug, Default)]
pub struct EnlargementWish {
    /// The picture.
    pub image: Option<Source>,
    /// Id or name of an upscaler, or `lanczos`.
    pub upscaler: Option<String>,
    /// How many times as wide and high it is to be.
    pub scale: Option<f64>,
    /// What is known of a picture of this server.
    pub origin: Option<Origin>,
    /// Who is to see what comes of it.
    pub privacy: PrivacyWish,
}

/// A picture that can be made larger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Enlargement {
    /// The picture.
    pub input: Input,
    /// The id of the upscaler; without one Lanczos' filter does it alone.
    pub upscaler: Option<String>,
    /// How many times as wide and high the upscaler makes it; 1 without one.
    pub factor: u32,
    /// The same as it is wanted: what the upscaler does not do is left to Lanczos' filter.
    pub scale: f64,
    /// Pixels from left to right at the end.
    pub width: u32,
    /// Pixels from top to bottom at the end.
    pub height: u32,
    /// What is known of a picture of this server.
    pub origin: Option<Origin>,
}

/// What is known of a picture of this server that is made larger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The `parameters` text that it carries.
    pub text: String,
    /// What it was painted with, unless it was sent by somebody.
    pub painted: Option<Painted>,
}

/// What a picture was painted with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Painted {
    /// The model's id.
    pub model: String,
    /// What it was made with; `seed` is its own.
    pub parameters: Parameters,
}

/// What makes the picture larger.
enum Means {
    Network { id: String, scale: u32 },
    Lanczos,
}

impl EnlargementWish {
    /// What will be done. The picture is read and kept after everything else is known to be right.
    ///
    /// # Errors
    /// Names the first parameter that cannot be used. Nothing is kept then.
    pub async fn settle(self, app: &App) -> Result<Enlargement> {
        let Self { image, upscaler, scale, origin, privacy: _ } = self;
        let scale = within("scale", scale, SCALES)?;
        let means = Means::named(&app.models, upscaler.as_deref())?;
        let pictures = Pictures { image, ..Pictures::default() };
        few_enough("image", pictures.count(), &app.config)?;
        let taken = pictures.take_in(app).await?.image;
        let input = taken.ok_or_else(|| Error::invalid("image", "must be given"))?;
        means.applied(input, scale, origin)
    }
}

impl Means {
    /// What a client means by `asked`; the first upscaler by name when it says nothing.
    fn named(models: &Registry, asked: Option<&str>) -> Result<Self> {
        let network = |entry: &UpscalerEntry| Self::Network { id: entry.id.clone(), scale: entry.scale };
        match asked.map(str::trim).filter(|name| !name.is_empty()) {
            Some(name) if name.eq_ignore_ascii_case(LANCZOS) => Ok(Self::Lanczos),
            Some(name) => Ok(network(&*models.upscaler(name)?)),
            None => models.upscalers().first().map(|entry| network(entry)).ok_or_else(|| {
                let problem =
                    format!("must be `{LANCZOS}`, which adds no detail: this server has no upscaler");
                Error::invalid("upscaler", problem)
            }),
        }
    }

    /// What becomes of `input`.
    fn applied(self, input: Input, asked: Option<f64>, origin: Option<Origin>) -> Result<Enlargement> {
        let (upscaler, factor, usual) = match self {
            Self::Network { id, scale } => (Some(id), scale, scale),
            Self::Lanczos => (None, 1, LANCZOS_SCALE),
        };
        let size = (input.width, input.height);
        // It comes to be as large as the network makes it, also where less is wanted.
        upscaled_size("image", size, factor)?;
        let scale = asked.unwrap_or(f64::from(usual));
        let param = if asked.is_some() { "scale" } else { "image" };
        let side = |pixels: u32| (f64::from(pixels) * scale).round() as u32;
        let (width, height) = within_reach(param, (side(size.0), side(size.1)))?;
        Ok(Enlargement { input, upscaler, factor, scale, width, height, origin })
    }
}

impl Enlargement {
    /// Tiles that the upscaler makes larger, each of which is a step of the job. The filter takes one.
    pub fn steps(&self) -> u32 {
        let size = (self.input.width, self.input.height);
        if self.upscaler.is_some() { enlarge::tiles(size, self.factor) } else { 1 }
    }

    /// The word for what makes it larger: the upscaler's id, or the filter's name.
    pub fn means(&self) -> &str {
        self.upscaler.as_deref().unwrap_or(LANCZOS)
    }

    /// Its upscaler, if it has one.
    ///
    /// # Errors
    /// [`Error::ModelGone`], also when another one has its id now: by another factor it would make a picture that may be
    /// larger than any may become.
    pub(crate) fn network(&self, models: &Registry) -> Result<Option<Arc<UpscalerEntry>>> {
        let Some(id) = &self.upscaler else { return Ok(None) };
        let found = models.exactly_upscaler(id).filter(|entry| entry.id == *id && entry.scale == self.factor);
        found.map(Some).ok_or_else(|| Error::ModelGone { id: id.clone() })
    }

    /// Whether its upscaler is still there.
    ///
    /// # Errors
    /// As [`network`](Self::network).
    pub(crate) fn still_stands(&self, models: &Registry) -> Result<()> {
        self.network(models).map(drop)
    }
}
