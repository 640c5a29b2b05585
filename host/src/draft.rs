// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! From what a client wrote to what will be done: every open parameter is filled in, every other checked.
//!
//! Each dialect and the web form writes a [`Draft`]; [`Draft::resolve`] is the one place where it becomes a
//! [`Request`].

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;

use alice_diffusion::guidance::Guidance;
use alice_diffusion::prompt::{LoraTag, lora_tag, tidied, without_loras};
use alice_diffusion::{Method, Sampler, Schedule};
use serde::{Deserialize, Serialize};

use crate::adapters::{self, Files, Lora, LoraWish, Unmatched};
use crate::app::App;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::inputs::{Input, Inputs};
use crate::models::{Model, Registry};
use crate::pictures::PrivacyWish;

mod controls;
mod enlargement;
mod hires;
mod sources;
mod unheard;
mod wishes;

pub use controls::ControlWish;
pub(crate) use controls::control_param;
pub use enlargement::{Enlargement, EnlargementWish, Origin, Painted};
pub(crate) use enlargement::{LANCZOS, LANCZOS_SCALE};
pub use hires::HiresWish;
pub use sources::{Pictures, Source};
pub use wishes::Wishes;

use unheard::unheard;
use wishes::{Frame, size_like};

/// Steps that may be asked for.
pub(crate) const STEPS: RangeInclusive<u32> = 1..=150;
/// Guidance scales that may be asked for; up to 1 means no guidance.
pub(crate) const GUIDANCE: RangeInclusive<f32> = 0.0..=20.0;
/// Pixels that a side may have.
pub(crate) const SIDES: RangeInclusive<u32> = 64..=2048;
/// Pixels that a side may have after an upscaler: as many as every browser shows, and such a picture still fits into
/// memory as bytes while its tiles are laid (200 MB).
pub(crate) const MOST_UPSCALED: u32 = 8192;
/// Steps when neither request, configuration nor model says anything: the Python ALICE's default.
pub(crate) const DEFAULT_STEPS: u32 = 25;
/// Guidance scale when nobody says anything.
pub(crate) const DEFAULT_GUIDANCE_SCALE: f32 = 7.5;
/// Sampler when nobody says anything.
pub(crate) const DEFAULT_SAMPLER: Sampler = Sampler::DPMPP_SDE_KARRAS;
/// Sides are a multiple of this many pixels: one latent cell.
const CELL: u32 = 8;

/// What a client asked for, in its own numbers: nothing is checked yet.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Model id, name or alias.
    pub model: Option<String>,
    /// What the picture shows.
    pub prompt: String,
    /// What it does not show.
    pub negative_prompt: Option<String>,
    /// Steps.
    pub steps: Option<i64>,
    /// Guidance scale.
    pub guidance_scale: Option<f64>,
    /// Scheduler name.
    pub scheduler: Option<String>,
    /// Layers to leave out at the end of the text encoders.
    pub clip_skip: Option<i64>,
    /// How much of the guided answer gets back the deviation of the prompt's own.
    pub guidance_rescale: Option<f64>,
    /// First and last part of the run that has guidance.
    pub guidance_interval: Option<[f64; 2]>,
    /// Width in pixels.
    pub width: Option<i64>,
    /// Height in pixels.
    pub height: Option<i64>,
    /// Seed of the first picture; -1 leaves it to the server.
    pub seed: Option<i128>,
    /// Number of pictures.
    pub count: Option<i64>,
    /// LoRAs, before those that the prompt names.
    pub loras: Vec<LoraWish>,
    /// The picture to begin with.
    pub image: Option<Source>,
    /// What of it is painted anew.
    pub mask: Option<Source>,
    /// What is done with the pictures.
    pub wishes: Wishes,
    /// Who is to see what comes of it.
    pub privacy: PrivacyWish,
    /// What its client should know of it already.
    pub warnings: Vec<String>,
}

/// A request that can be done.
#[derive(Clone, Debug)]
pub struct Request {
    /// The model.
    pub model: Arc<Model>,
    /// What the pictures have in common.
    pub parameters: Parameters,
    /// The steps of the sampler that `parameters.scheduler` names: those that are left where there is a picture to
    /// begin with.
    pub schedule: Schedule,
    /// The steps of the second run on a larger picture.
    pub second: Option<Schedule>,
    /// Number of pictures; picture i has the seed `parameters.seed + i`.
    pub count: u32,
    /// The LoRAs and textual inversions that `parameters` names.
    pub files: Files,
    /// What the client should know of its request.
    pub warnings: Vec<String>,
    /// The parts of its LoRAs that do not suit the model.
    pub unmatched: Unmatched,
}

/// What a picture was made with, as it is told to clients and written into the picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// What the picture shows, without the tags of LoRAs.
    pub prompt: String,
    /// What it does not show; `None` was left out, an empty one was written.
    pub negative_prompt: Option<String>,
    /// Steps.
    pub steps: u32,
    /// Guidance scale.
    pub guidance_scale: f32,
    /// How much of the guided answer got back the deviation of the prompt's own, which guidance inflates: 0
    /// (nothing) to 1 (all).
    pub guidance_rescale: f32,
    /// The part of the run that had guidance, from 0 (its beginning) to 1 (its end).
    pub guidance_interval: [f64; 2],
    /// Layers left out at the end of the text encoders for the prompt, of those that the model uses.
    pub clip_skip: u32,
    /// Seed of the (first) picture.
    pub seed: u64,
    /// The model's name.
    pub model: String,
    /// The scheduler's name.
    pub scheduler: String,
    /// Width of the picture in pixels.
    pub width: u32,
    /// Height of the picture in pixels.
    pub height: u32,
    /// Width at which the model rendered; smaller than `width` when the picture was enlarged.
    pub rendered_width: u32,
    /// Height at which the model rendered.
    pub rendered_height: u32,
    /// The LoRAs that the model had.
    #[serde(default)]
    pub loras: Vec<Lora>,
    /// The words of the prompts that were textual inversions.
    #[serde(default)]
    pub embeddings: Vec<String>,
    /// The pictures that came with it.
    #[serde(default, skip_serializing_if = "Inputs::is_empty")]
    pub inputs: Inputs,
}

impl Parameters {
    /// Whether the picture was enlarged after the model had rendered it.
    pub fn enlarged(&self) -> bool {
        let Inputs { start, hires, .. } = &self.inputs;
        let last = hires
            .as_ref()
            .map_or((self.rendered_width, self.rendered_height), |hires| (hires.width, hires.height));
        // A region is put back into its picture.
        start.as_ref().is_none_or(|start| start.region().is_none()) && (self.width, self.height) != last
    }

    /// Steps that each picture took: those that its strength left of the first run, and those of the second.
    pub fn steps_taken(&self) -> u32 {
        let Ok(sampler) = self.scheduler.parse::<Sampler>() else { return self.steps };
        let taken = |steps: u32, strength| {
            u32::try_from(sampler.steps_taken(steps as usize, strength)).unwrap_or(u32::MAX)
        };
        let Inputs { start, hires, .. } = &self.inputs;
        let first = taken(self.steps, start.as_ref().map_or(1.0, |start| start.strength));
        first + hires.as_ref().map_or(0, |hires| taken(hires.steps, hires.strength))
    }

    /// The prompt with the tags of its LoRAs, as it can be asked for again.
    pub fn prompt_with_loras(&self) -> String {
        let tags = self.loras.iter().map(Lora::tag);
        let words = Some(self.prompt.clone()).filter(|prompt| !prompt.is_empty());
        words.into_iter().chain(tags).collect::<Vec<_>>().join(" ")
    }

    /// How strongly the run follows its prompt, and when.
    pub fn guidance(&self) -> Guidance {
        let [begin, end] = self.guidance_interval;
        Guidance { scale: self.guidance_scale, rescale: self.guidance_rescale, interval: (begin, end) }
    }
}

impl Request {
    /// The request that had these parameters.
    ///
    /// # Errors
    /// When the model cannot be sampled so any more, and when a LoRA, a textual inversion or a network beside the model
    /// is gone.
    pub fn again(models: &Registry, model: Arc<Model>, parameters: Parameters, count: u32) -> Result<Self> {
        let sampler: Sampler = parameters.scheduler.parse().map_err(unusable_scheduler)?;
        let schedule = |steps: u32, strength| {
            Schedule::from_strength(sampler, &model.scheduler, steps as usize, strength)
        };
        let Inputs { start, hires, .. } = &parameters.inputs;
        let strength = start.as_ref().map_or(1.0, |start| start.strength);
        let first = schedule(parameters.steps, strength).map_err(unusable_scheduler)?;
        let second = hires.as_ref().map(|hires| schedule(hires.steps, hires.strength)).transpose();
        let second = second.map_err(|error| Error::invalid("hires", format!("cannot be done: {error}")))?;
        let files = Files::of(models, &parameters)?;
        models.have(&parameters.inputs)?;
        let (warnings, unmatched) = (Vec::new(), Unmatched::new());
        Ok(Self { model, parameters, schedule: first, second, count, files, warnings, unmatched })
    }

    /// Steps of one picture: those of both its runs.
    pub fn steps(&self) -> usize {
        let second = self.second.as_ref().map_or(0, |schedule| schedule.points().len());
        self.schedule.points().len() + second
    }

    /// Whether everything is still there that it is to be made with.
    ///
    /// # Errors
    /// Names what has been deleted meanwhile.
    pub(crate) fn still_stands(&self, models: &Registry) -> Result<()> {
        match models.exactly(&self.model.id).is_some_and(|model| model.path == self.model.path) {
            true => {
                Files::of(models, &self.parameters)?;
                models.have(&self.parameters.inputs)
            }
            false => Err(Error::ModelGone { id: self.model.id.clone() }),
        }
    }
}

impl Draft {
    /// Whether pictures come with it.
    pub(crate) fn has_pictures(&self) -> bool {
        let steers = self.wishes.controls.iter().any(|control| control.image.is_some());
        self.image.is_some() || self.mask.is_some() || steers
    }

    /// As [`resolve`](Self::resolve), with the pictures that come with it, which are read and kept.
    ///
    /// Whatever can be refused without a look into a picture is refused before one is read.
    ///
    /// # Errors
    /// Names the first parameter that cannot be used. Nothing is kept then.
    pub async fn settle(mut self, app: &App, max_count: u32) -> Result<Request> {
        let controls = self.wishes.take_controls()?;
        let pictures = Pictures { image: self.image.take(), mask: self.mask.take(), controls };
        let unread = pictures.stand_ins();
        let request = self.clone().resolve(&app.models, &app.config, max_count, &unread)?;
        let count = pictures.count();
        if count == 0 {
            return Ok(request);
        }
        let param = if pictures.image.is_some() { "image" } else { "controls" };
        few_enough(param, count, &app.config)?;
        let taken = pictures.take_in(app).await?;
        self.resolve(&app.models, &app.config, max_count, &taken)
    }

    /// Fills in what is open (from the configuration, else the model) and checks the rest. `pictures` are those that
    /// come with it.
    ///
    /// # Errors
    /// Names the first parameter that cannot be used.
    pub fn resolve(
        self,
        models: &Registry,
        config: &Config,
        max_count: u32,
        pictures: &Pictures<Input>,
    ) -> Result<Request> {
        let prompt = text("prompt", self.prompt, config)?;
        if prompt.is_empty() && !self.wishes.wordless {
            return Err(Error::invalid("prompt", "must not be empty"));
        }
        let negative_prompt =
            self.negative_prompt.map(|negative| text("negative_prompt", negative, config)).transpose()?;
        if negative_prompt.as_deref().is_some_and(|text| lora_tag(text).is_some()) {
            return Err(Error::invalid("negative_prompt", "names a LoRA, which belongs into the prompt"));
        }
        let wrong = |error: alice_diffusion::Error| Error::invalid("prompt", error.to_string());
        let (bare, tags) = without_loras(&prompt).map_err(wrong)?;
        if lora_tag(&bare).is_some() {
            return Err(Error::invalid("prompt", "names a LoRA around another one"));
        }
        // Tidied also where LoRAs come beside it: the picture's text writes them as tags, and must ask for the same
        // when it is pasted.
        let prompt = if tags.is_empty() && self.loras.is_empty() { prompt } else { tidied(&bare) };
        let model = models.find(self.model.as_deref())?;
        let tags = tags.into_iter().map(|LoraTag { name, scale }| ("prompt", LoraWish { name, scale }));
        let wishes = self.loras.into_iter().map(|wish| ("loras", wish)).chain(tags);
        let loras = adapters::chosen(models, config, wishes)?;
        let texts =
            [("prompt", prompt.as_str()), ("negative_prompt", negative_prompt.as_deref().unwrap_or(""))];
        let (embeddings, of_words) = adapters::named(models, &texts)?;
        let (generation, defaults) = (&config.generation, &model.defaults);
        let sampler = match self.scheduler.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => name.parse().map_err(unusable_scheduler)?,
            None => default_sampler(&model, generation.default_scheduler.as_deref()),
        };
        let steps = whole("steps", self.steps, STEPS)?;
        let steps = steps.or(generation.default_steps).or(defaults.steps).unwrap_or(DEFAULT_STEPS);
        let steps = self.wishes.enough(steps, &model, pictures);
        let guidance_scale =
            within("guidance_scale", self.guidance_scale.map(|scale| scale as f32), GUIDANCE)?;
        let guidance_rescale = within("guidance_rescale", self.guidance_rescale, 0.0..=1.0)?.unwrap_or(0.0);
        let clip_skip = whole("clip_skip", self.clip_skip, 0..=model.most_clip_skip)?;
        let clip_skip = clip_skip.or(defaults.clip_skip).unwrap_or(0);
        let asked = (whole("width", self.width, SIDES)?, whole("height", self.height, SIDES)?);
        let size = size(&model, config, asked, pictures.image.as_ref())?;
        let native = (model.native_size, model.native_size);
        let rendered = if model.sidecar.fixed_size { native } else { size };
        let unheard = unheard(&self.wishes, &model, pictures, self.steps);
        let frame = Frame { models, config, model: &model, sampler, steps, size: rendered };
        let inputs = self.wishes.settle(&frame, pictures)?;
        // One that paints in one size only is asked for another one to be enlarged to it.
        let is_fixed = model.sidecar.fixed_size && asked != (None, None);
        let scale = match &inputs.upscaler {
            Some(id) if !is_fixed => models.upscaler(id)?.scale,
            _ => 1,
        };
        let (width, height) = finished_size(&inputs, size, scale)?;
        let parameters = Parameters {
            prompt,
            negative_prompt,
            steps,
            guidance_scale: guidance_scale
                .or(generation.default_guidance_scale)
                .or(defaults.guidance_scale)
                .unwrap_or(DEFAULT_GUIDANCE_SCALE),
            guidance_rescale: guidance_rescale as f32,
            guidance_interval: interval(self.guidance_interval)?,
            clip_skip,
            seed: seed(self.seed)?,
            model: model.name.clone(),
            scheduler: sampler.name(),
            width,
            height,
            rendered_width: rendered.0,
            rendered_height: rendered.1,
            loras,
            embeddings,
            inputs,
        };
        let count = whole("num_images", self.count, 1..=max_count)?.unwrap_or(1);
        let pixels = u64::from(count) * u64::from(width) * u64::from(height);
        // They are made and sent a few at a time, but most clients hold an answer in base64 as a whole.
        if scale > 1 && pixels > u64::from(MOST_UPSCALED).pow(2) {
            let problem =
                format!("would make {count} pictures of {width} x {height} pixels, too many for one request");
            return Err(Error::invalid("upscaler", problem));
        }
        let warnings = [self.warnings, of_words, unheard].concat();
        Ok(Request { warnings, ..Request::again(models, model, parameters, count)? })
    }
}

/// Width and height of a picture for which `asked` may leave them open: those of the configuration or the model, or
/// with a picture to begin with its shape.
///
/// # Errors
/// Names a picture whose shape none can have.
fn size(
    model: &Model,
    config: &Config,
    asked: (Option<u32>, Option<u32>),
    image: Option<&Input>,
) -> Result<(u32, u32)> {
    let generation = &config.generation;
    let (width, height) = match image {
        Some(image) if !model.sidecar.fixed_size => size_like(image, model.native_size, asked)?,
        Some(_) => (asked.0.unwrap_or(model.native_size), asked.1.unwrap_or(model.native_size)),
        None => {
            let width = asked.0.or(generation.default_width).or(model.defaults.width);
            let height = asked.1.or(generation.default_height).or(model.defaults.height);
            (width.unwrap_or(model.native_size), height.unwrap_or(model.native_size))
        }
    };
    Ok((width.next_multiple_of(CELL), height.next_multiple_of(CELL)))
}

/// Whether so many pictures may come with a request, of which the first stands in `param`.
fn few_enough(param: &str, count: usize, config: &Config) -> Result<()> {
    let most = config.limits.input_pictures;
    if count <= most {
        return Ok(());
    }
    let problem = format!("is one of {count} pictures; {most} may come (`limits.input_pictures`)");
    Err(Error::invalid(param, problem))
}

/// The size of a picture that the upscaler in `param` makes `scale` times as large.
fn upscaled_size(param: &str, (width, height): (u32, u32), scale: u32) -> Result<(u32, u32)> {
    let size = (width.saturating_mul(scale), height.saturating_mul(scale));
    if scale > 1 { within_reach(param, size) } else { Ok(size) }
}

/// A size that what stands in `param` asks of an upscaler or of Lanczos' filter.
fn within_reach(param: &str, (width, height): (u32, u32)) -> Result<(u32, u32)> {
    if width.max(height) <= MOST_UPSCALED {
        return Ok((width, height));
    }
    let problem = format!("would make it {width} x {height} pixels; a side may have {MOST_UPSCALED}");
    Err(Error::invalid(param, problem))
}

/// The size of the finished picture, of which `asked` is the size that was asked for, when an upscaler makes it
/// `scale` times as large.
fn finished_size(inputs: &Inputs, asked: (u32, u32), scale: u32) -> Result<(u32, u32)> {
    let of_region = inputs.start.as_ref().filter(|start| start.region().is_some());
    let size = match (of_region, &inputs.hires) {
        // What is rendered is put back into the picture.
        (Some(start), _) => (start.input.width, start.input.height),
        (None, Some(hires)) => (hires.width, hires.height),
        (None, None) => asked,
    };
    upscaled_size("upscaler", size, scale)
}

/// A text without white space around it, within the limit.
fn text(param: &str, text: String, config: &Config) -> Result<String> {
    let limit = config.limits.prompt_bytes;
    if text.len() > limit {
        return Err(Error::invalid(param, format!("is {} bytes long, the limit is {limit}", text.len())));
    }
    // It would end the text that pictures carry of their prompt.
    if text.contains('\0') {
        return Err(Error::invalid(param, "holds a character of no width and no meaning (NUL)"));
    }
    Ok(text.trim().to_owned())
}

/// The operator's, else the model's own, else the daemon's: the first that can sample the model. Names were
/// checked where they were read.
pub(crate) fn default_sampler(model: &Model, configured: Option<&str>) -> Sampler {
    let named = [configured, model.defaults.scheduler.as_deref()];
    let named = named.into_iter().flatten().filter_map(|name| name.parse().ok());
    let mut wishes = named.chain(model.scheduler.sampler()).chain([DEFAULT_SAMPLER]);
    wishes.find(|sampler| sampler.fits(&model.scheduler)).unwrap_or(Method::FlowMatchEuler.into())
}

/// What is wrong with a scheduler, or with its number of steps.
fn unusable_scheduler(error: alice_diffusion::Error) -> Error {
    let param = match error {
        alice_diffusion::Error::Steps { .. } => "steps",
        alice_diffusion::Error::NoSteps { .. } => "strength",
        _ => "scheduler",
    };
    Error::invalid(param, format!("cannot be used: {error}"))
}

/// The part of the run that has guidance: all of it, unless the request says otherwise.
fn interval(asked: Option<[f64; 2]>) -> Result<[f64; 2]> {
    let [begin, end] = asked.unwrap_or([0.0, 1.0]);
    if 0.0 <= begin && begin <= end && end <= 1.0 {
        return Ok([begin, end]);
    }
    Err(Error::out_of_range("guidance_interval", format!("two rising numbers in 0 to 1, not {begin}, {end}")))
}

/// A value inside its range, if there is one. NaN is in no range.
pub(crate) fn within<T: PartialOrd + Display>(
    param: &str,
    value: Option<T>,
    range: RangeInclusive<T>,
) -> Result<Option<T>> {
    match value {
        Some(value) if !range.contains(&value) => {
            let (least, most) = range.into_inner();
            Err(Error::out_of_range(param, format!("{least} to {most}, not {value}")))
        }
        value => Ok(value),
    }
}

/// As [`within`], for a whole number as wide as clients may send it.
pub(crate) fn whole(param: &str, value: Option<i64>, range: RangeInclusive<u32>) -> Result<Option<u32>> {
    let wide = i64::from(*range.start())..=i64::from(*range.end());
    Ok(within(param, value, wide)?.and_then(|value| u32::try_from(value).ok()))
}

/// The given seed, or a random one below 2^32, which every program can repeat.
fn seed(value: Option<i128>) -> Result<u64> {
    match value {
        None | Some(-1) => {
            let seed = getrandom::u32().map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
            Ok(u64::from(seed))
        }
        Some(seed) => u64::try_from(seed).map_err(|_| Error::out_of_range("seed", "-1 or 0 to 2^64-1")),
    }
}
