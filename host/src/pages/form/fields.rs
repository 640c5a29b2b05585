// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The fields of the form as they were typed: what they ask for, and how they look for a job that there is already.

use std::collections::BTreeMap;

use axum::body::Bytes;
use serde::Deserialize;

use super::choices::{ENLARGEMENT, LIKE_PICTURE, RESIZE_MODES, STRENGTH};
use crate::adapters::LoraWish;
use crate::api::files;
use crate::app::App;
use crate::auth::Actor;
use crate::draft::{Draft, HiresWish, Parameters, Pictures, Wishes};
use crate::error::{Error, Result};
use crate::gallery::Kept;
use crate::inputs::ResizeMode;
use crate::jobs::stored::Stored;
use crate::pages::jobs::Chosen;
use crate::pictures::{self, PrivacyWish};

/// What stands before a LoRA's id in the name of the field of its weight.
pub(super) const LORA: &str = "lora.";

/// The form's fields as they were typed; an empty one is left to the model.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    pub(super) prompt: String,
    pub(super) negative_prompt: String,
    pub(super) model: String,
    pub(super) size: String,
    /// A size of one's own, which wins over the list.
    pub(super) width: String,
    pub(super) height: String,
    pub(super) steps: String,
    pub(super) guidance_scale: String,
    pub(super) scheduler: String,
    pub(super) seed: String,
    pub(super) count: String,
    /// The file of a finished picture to begin with.
    pub(super) source: String,
    pub(super) strength: String,
    pub(super) resize_mode: String,
    /// Not empty when only the masked region is to be painted.
    pub(super) only_masked: String,
    /// How much larger a second run is to be.
    pub(super) larger: String,
    pub(super) upscaler: String,
    /// Hours for which everybody may see the pictures; empty: nobody else may.
    pub(super) share: String,
    /// Everything else: the weights of LoRAs, under `lora.` and the id.
    #[serde(flatten)]
    pub(super) others: BTreeMap<String, String>,
}

impl Fields {
    /// What they ask for, without pictures.
    ///
    /// # Errors
    /// Names the first field that cannot be used.
    pub(super) fn to_draft(&self, app: &App) -> Result<Draft> {
        let (width, height) = self.wanted_size(app)?;
        Ok(Draft {
            model: given(&self.model).map(str::to_owned),
            prompt: self.prompt.clone(),
            negative_prompt: given(&self.negative_prompt).map(str::to_owned),
            steps: number("steps", &self.steps)?,
            guidance_scale: number("guidance_scale", &self.guidance_scale)?,
            scheduler: given(&self.scheduler).map(str::to_owned),
            width,
            height,
            seed: number("seed", &self.seed)?,
            count: number("num_images", &self.count)?,
            loras: self.loras()?,
            privacy: self.privacy()?,
            wishes: Wishes {
                strength: number("strength", moved(&self.strength, STRENGTH))?,
                resize_mode: self.resize_mode()?,
                only_masked: Some(!self.only_masked.is_empty()),
                hires: number("larger", &self.larger)?
                    .map(|scale| HiresWish { scale: Some(scale), ..HiresWish::default() }),
                upscaler: given(&self.upscaler).map(str::to_owned),
                ..Wishes::default()
            },
            ..Draft::default()
        })
    }

    /// What they ask for, one picture with a seed of its own.
    ///
    /// # Errors
    /// As [`to_draft`](Self::to_draft).
    pub(in crate::pages) fn varied(self, app: &App) -> Result<Draft> {
        Self { seed: String::new(), count: String::new(), ..self }.to_draft(app)
    }

    /// The same with a finished picture to begin with, if `other` names one.
    pub(in crate::pages) fn beginning_like(self, other: &Self) -> Self {
        Self { source: other.source.clone(), ..self }
    }

    /// Width and height, where the form says them. A model of a fixed small size paints in that, and the picture is made
    /// so much larger that one can look at it.
    fn wanted_size(&self, app: &App) -> Result<(Option<i64>, Option<i64>)> {
        let own = (number("width", &self.width)?, number("height", &self.height)?);
        if own != (None, None) {
            return Ok(own);
        }
        match given(&self.size) {
            Some(LIKE_PICTURE) => Ok((None, None)),
            Some(size) => {
                let (width, height) = size.split_once('x').unwrap_or((size, size));
                Ok((number("width", width)?, number("height", height)?))
            }
            None => {
                let model = app.models.find(given(&self.model)).ok();
                let side = model.filter(|model| model.sidecar.fixed_size);
                let side = side.map(|model| i64::from(model.native_size * ENLARGEMENT));
                Ok((side, side))
            }
        }
    }

    /// The LoRAs that have a weight.
    fn loras(&self) -> Result<Vec<LoraWish>> {
        let weights = self.lora_weights().filter_map(|(id, weight)| Some((id, given(weight)?)));
        let wish = |(id, weight): (&str, &str)| {
            let scale = number::<f64>("loras", weight)?.unwrap_or_default();
            Ok(LoraWish { name: id.to_owned(), scale })
        };
        let wishes = weights.map(wish).collect::<Result<Vec<_>>>()?;
        Ok(wishes.into_iter().filter(|wish| wish.scale != 0.0).collect())
    }

    /// The ids of LoRAs and what was typed as their weights.
    fn lora_weights(&self) -> impl Iterator<Item = (&str, &str)> {
        let weights = self.others.iter();
        weights.filter_map(|(name, weight)| Some((name.strip_prefix(LORA)?, weight.as_str())))
    }

    /// What was typed as the weight of the LoRA with this id.
    pub(super) fn weight(&self, id: &str) -> String {
        self.others.get(&format!("{LORA}{id}")).cloned().unwrap_or_default()
    }

    fn privacy(&self) -> Result<PrivacyWish> {
        let hours = number("expiration_hours", &self.share)?;
        let word = if hours.is_some() { "public" } else { "private" };
        Ok(PrivacyWish { privacy: Some(word.to_owned()), expiration_hours: hours })
    }

    fn resize_mode(&self) -> Result<Option<ResizeMode>> {
        let mode = given(moved(&self.resize_mode, RESIZE_MODES[0].0))
            .map(|mode| serde_json::from_value(mode.into()));
        mode.transpose().map_err(|_| Error::invalid("resize_mode", "must be one of the list"))
    }

    /// The finished picture that the form names.
    pub(super) async fn finished_picture(&self, app: &App, actor: &Actor) -> Result<Option<Bytes>> {
        let Some(file) = given(&self.source) else { return Ok(None) };
        let gone = || Error::invalid("image", "is not there any more");
        let kept = Kept::named(file).ok_or_else(gone)?;
        let read = async {
            pictures::authorize(app, actor, &kept, None).await?;
            files::as_input(app, &kept).await
        };
        match read.await {
            Ok(file) => Ok(Some(file)),
            Err(Error::NotFound) => Err(gone()),
            Err(other) => Err(other),
        }
    }

    /// What a job does not tell of the form that led to it.
    pub(in crate::pages) fn chosen(&self) -> Chosen {
        let source = given(&self.source).filter(|file| Kept::named(file).is_some());
        Chosen { seed: self.seed(), source: source.map(str::to_owned) }
    }

    /// The seed, if one was chosen.
    fn seed(&self) -> Option<u64> {
        given(&self.seed).and_then(|seed| seed.parse().ok())
    }

    /// The form that led to a job, or to the picture that it makes larger; an empty one where that was sent. What is the
    /// model's own setting was left to it, and is so again. `was` is what the job does not tell.
    pub(in crate::pages) fn of(stored: &Stored, was: &Chosen, app: &App) -> Self {
        let Some((model, asked)) = stored.painted() else { return Self::default() };
        let own = own_settings(model, app);
        let chosen = |setting: fn(&Parameters) -> String| {
            let value = setting(asked);
            if own.as_ref().is_some_and(|own| setting(own) == value) { String::new() } else { value }
        };
        let start = asked.inputs.start.as_ref();
        let larger = asked.inputs.hires.as_ref().map(|hires| {
            let scale = f64::from(hires.width) / f64::from(asked.rendered_width);
            ((scale * 10.0).round() / 10.0).to_string()
        });
        // The size before the second run.
        let (width, height) = match larger.is_some() || asked.inputs.upscaler.is_some() {
            true => (asked.rendered_width, asked.rendered_height),
            false => (asked.width, asked.height),
        };
        Self {
            prompt: asked.prompt_with_loras(),
            negative_prompt: asked.negative_prompt.clone().unwrap_or_default(),
            model: model.clone(),
            size: format!("{width}x{height}"),
            steps: chosen(|parameters| parameters.steps.to_string()),
            guidance_scale: chosen(|parameters| parameters.guidance_scale.to_string()),
            scheduler: chosen(|parameters| parameters.scheduler.clone()),
            seed: was.seed.map(|seed| seed.to_string()).unwrap_or_default(),
            count: stored.count().to_string(),
            source: was.source.clone().unwrap_or_default(),
            strength: start.map(|start| start.strength.to_string()).unwrap_or_default(),
            resize_mode: start.map(|start| word(start.resize_mode)).unwrap_or_default(),
            only_masked: String::new(),
            larger: larger.unwrap_or_default(),
            upscaler: asked.inputs.upscaler.clone().unwrap_or_default(),
            ..Self::default()
        }
    }

    /// The address of the finished picture to begin with.
    pub(in crate::pages) fn source_address(&self) -> Option<String> {
        Kept::named(self.source.trim()).map(|kept| format!("/images/{}", kept.file))
    }

    /// Where the slider stands.
    pub(in crate::pages) fn slider(&self) -> &str {
        given(&self.strength).unwrap_or(STRENGTH)
    }

    pub(in crate::pages) fn has_settings(&self) -> bool {
        let settings = [
            &self.negative_prompt,
            &self.steps,
            &self.guidance_scale,
            &self.seed,
            &self.scheduler,
            &self.larger,
            &self.upscaler,
            &self.width,
            &self.height,
            &self.share,
        ];
        settings.into_iter().any(|setting| !setting.is_empty())
    }
}

/// The word for a way to resize.
fn word(mode: ResizeMode) -> String {
    match mode {
        ResizeMode::Crop => "crop",
        ResizeMode::Fit => "fit",
        ResizeMode::Stretch => "stretch",
    }
    .to_owned()
}

/// What a request gets that leaves everything to the model; `None` if the model is gone.
fn own_settings(model: &str, app: &App) -> Option<Parameters> {
    let draft =
        Draft { model: Some(model.to_owned()), prompt: "any".into(), seed: Some(0), ..Draft::default() };
    Some(draft.resolve(&app.models, &app.config, 1, &Pictures::default()).ok()?.parameters)
}

pub(super) fn given(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

/// What of a slider or list that always says something counts as said: nothing where it stands at its `first` place.
fn moved<'a>(text: &'a str, first: &str) -> &'a str {
    if text.trim() == first { "" } else { text }
}

fn number<T: std::str::FromStr>(param: &str, text: &str) -> Result<Option<T>> {
    let parse = |text: &str| text.parse().map_err(|_| Error::invalid(param, "must be a number"));
    given(text).map(parse).transpose()
}
