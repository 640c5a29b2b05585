// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The form that asks for pictures: what was typed, what there is to choose from, and the way back from a job
//! to the form that led to it.

use alice_diffusion::Sampler;
use askama::Template;
use axum::body::Bytes;
use axum::extract::{Form as Plain, FromRequest, Request};
use axum::http::{HeaderMap, Method, header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::generate::MAX_COUNT;
use super::jobs::Chosen;
use super::visit;
use crate::api::files;
use crate::api::multipart::{self, Form};
use crate::app::App;
use crate::auth::Actor;
use crate::config::Limits;
use crate::draft::{Draft, HiresWish, Parameters, Pictures, Source, Wishes};
use crate::error::{Error, Result};
use crate::gallery::Kept;
use crate::inputs::ResizeMode;
use crate::jobs::stored::Stored;
use crate::pictures;

/// A model of a fixed small size is offered at this multiple of it: pictures one can look at.
const ENLARGEMENT: u32 = 4;

/// Prompts that the built-in model knows, for the first visit.
const EXAMPLES: &[&str] = &["a red apple", "a fox", "a birthday cake", "a flat emoji of a rocket"];

/// The form's fields as they were typed; an empty one is left to the model.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    prompt: String,
    negative_prompt: String,
    model: String,
    size: String,
    steps: String,
    guidance_scale: String,
    scheduler: String,
    seed: String,
    count: String,
    /// The file of a finished picture to begin with.
    source: String,
    strength: String,
    resize_mode: String,
    /// Not empty when only the masked region is to be painted.
    only_masked: String,
    /// How much larger a second run is to be.
    larger: String,
    upscaler: String,
}

/// The form as it was sent.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) fields: Fields,
    /// The picture to begin with that was chosen.
    image: Vec<Bytes>,
    /// What of it is to be painted anew.
    mask: Vec<Bytes>,
}

/// The size of the picture to begin with, among the sizes.
const LIKE_PICTURE: &str = "picture";
/// How much larger a second run may be.
const LARGER: &[(&str, &str)] = &[("", "as painted"), ("1.5", "1.5 × larger"), ("2", "2 × larger")];
/// How the picture comes to another shape.
const RESIZE_MODES: &[(&str, &str)] =
    &[("crop", "cut off what stands out"), ("fit", "fill up what is missing"), ("stretch", "stretch")];
/// Where the slider stands at first: where it counts as not moved.
const STRENGTH: &str = "0.75";

/// The form as a page shows it.
#[derive(Template, Debug)]
#[template(path = "parts/ask.html")]
pub(super) struct Ask {
    models: Vec<Choice>,
    schedulers: Vec<Choice>,
    sizes: Vec<Choice>,
    counts: Vec<Choice>,
    larger: Vec<Choice>,
    /// None but the first when there is none.
    upscalers: Vec<Choice>,
    resize_modes: Vec<Choice>,
    /// What somebody could try who has nothing in mind yet.
    examples: &'static [&'static str],
    fields: Fields,
    problem: Option<String>,
}

/// One option of a list.
#[derive(Debug)]
struct Choice {
    value: String,
    label: String,
    selected: bool,
}

impl Sheet {
    /// A form with files, or one of a page that had none to send.
    ///
    /// # Errors
    /// A body that is no such form, or too large for one.
    pub(super) async fn read(headers: &HeaderMap, body: Bytes, limits: &Limits) -> Result<Self> {
        let Some(boundary) = multipart::boundary(headers)? else {
            let fields = plain(headers, body, limits).await?;
            return Ok(Self { fields, image: Vec::new(), mask: Vec::new() });
        };
        let mut form = Form::read(body, &boundary, limits).await?;
        let (image, mask) = (form.take_files("image"), form.take_files("mask"));
        let texts = form.texts.into_iter().map(|(name, text)| (name, Value::String(text)));
        let fields = serde_json::from_value(texts.collect::<Map<_, _>>().into());
        let fields = fields.map_err(|_| Error::Malformed("the form could not be read".into()))?;
        Ok(Self { fields, image, mask })
    }

    /// What the form asks for.
    ///
    /// # Errors
    /// Names the first field that cannot be used.
    pub(super) async fn into_draft(self, app: &App, actor: &Actor) -> Result<Draft> {
        let Self { fields, image, mask } = self;
        let (image, mask) = (the_only("image", image)?, the_only("mask", mask)?);
        let image = match image {
            Some(image) => Some(image),
            None => fields.finished_picture(app, actor).await?,
        };
        let mut draft = fields.to_draft()?;
        if image.is_none() {
            // Slider and list stand somewhere also when there is no picture for them.
            draft.wishes = Wishes { strength: None, resize_mode: None, only_masked: None, ..draft.wishes };
        }
        Ok(Draft { image: image.map(Source::File), mask: mask.map(Source::File), ..draft })
    }
}

/// The only one of the files that were chosen as `name`.
///
/// # Errors
/// More than one.
fn the_only(name: &str, mut files: Vec<Bytes>) -> Result<Option<Bytes>> {
    match files.len() {
        0 | 1 => Ok(files.pop()),
        more => Err(Error::invalid(name, format!("holds {more} pictures, and one can be taken"))),
    }
}

/// The fields of a form without files.
async fn plain(headers: &HeaderMap, body: Bytes, limits: &Limits) -> Result<Fields> {
    if body.len() > limits.body_bytes {
        return Err(Error::TooLarge { limit: limits.body_bytes });
    }
    let mut request = Request::new(body.into());
    *request.method_mut() = Method::POST;
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        request.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
    }
    visit::read(Plain::from_request(request, &()).await)
}

impl Fields {
    fn to_draft(&self) -> Result<Draft> {
        let (width, height) = match given(&self.size) {
            None | Some(LIKE_PICTURE) => (None, None),
            Some(size) => {
                let (width, height) = size.split_once('x').unwrap_or((size, size));
                (number("width", width)?, number("height", height)?)
            }
        };
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

    fn resize_mode(&self) -> Result<Option<ResizeMode>> {
        let mode = given(moved(&self.resize_mode, RESIZE_MODES[0].0))
            .map(|mode| serde_json::from_value(mode.into()));
        mode.transpose().map_err(|_| Error::invalid("resize_mode", "must be one of the list"))
    }

    /// The finished picture that the form names.
    async fn finished_picture(&self, app: &App, actor: &Actor) -> Result<Option<Bytes>> {
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
    pub(super) fn chosen(&self) -> Chosen {
        let source = given(&self.source).filter(|file| Kept::named(file).is_some());
        Chosen { seed: self.seed(), source: source.map(str::to_owned) }
    }

    /// The seed, if one was chosen.
    fn seed(&self) -> Option<u64> {
        given(&self.seed).and_then(|seed| seed.parse().ok())
    }

    /// The form that led to a job, or to the picture that it makes larger; an empty one where that was sent. What is the
    /// model's own setting was left to it, and is so again. `was` is what the job does not tell.
    pub(super) fn of(stored: &Stored, was: &Chosen, app: &App) -> Self {
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
        }
    }

    /// The address of the finished picture to begin with.
    fn source_address(&self) -> Option<String> {
        Kept::named(self.source.trim()).map(|kept| format!("/images/{}", kept.file))
    }

    /// Where the slider stands.
    fn slider(&self) -> &str {
        given(&self.strength).unwrap_or(STRENGTH)
    }

    fn has_settings(&self) -> bool {
        let settings = [
            &self.negative_prompt,
            &self.steps,
            &self.guidance_scale,
            &self.seed,
            &self.scheduler,
            &self.larger,
            &self.upscaler,
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

fn given(text: &str) -> Option<&str> {
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

impl Ask {
    /// The form for somebody who comes to ask, perhaps by an address that fills it in, or for the second time
    /// because of a `problem`.
    pub(super) fn first(app: &App, fields: Fields, problem: Option<String>) -> Self {
        Self { examples: EXAMPLES, problem, ..Self::again(app, fields) }
    }

    /// The form beside what came of it.
    pub(super) fn again(app: &App, fields: Fields) -> Self {
        let models = app.models.all();
        let counts = (1..=MAX_COUNT).map(|count| count.to_string());
        Self {
            models: models.iter().map(|model| choice(&model.id, model.name.clone(), &fields.model)).collect(),
            schedulers: schedulers(app, &fields.scheduler),
            sizes: sizes(app, &fields),
            counts: counts.map(|count| choice(&count, count.clone(), &fields.count)).collect(),
            larger: listed(LARGER, &fields.larger),
            upscalers: upscalers(app, &fields.upscaler),
            resize_modes: listed(RESIZE_MODES, &fields.resize_mode),
            examples: &[],
            fields,
            problem: None,
        }
    }
}

fn upscalers(app: &App, chosen: &str) -> Vec<Choice> {
    let upscalers = app.models.upscalers();
    let named = upscalers
        .iter()
        .map(|upscaler| choice(&upscaler.id, format!("{} ({} ×)", upscaler.name, upscaler.scale), chosen));
    std::iter::once(choice("", "none".into(), chosen)).chain(named).collect()
}

fn listed(list: &[(&str, &str)], chosen: &str) -> Vec<Choice> {
    list.iter().map(|(value, label)| choice(value, (*label).to_owned(), chosen)).collect()
}

fn choice(value: &str, label: String, chosen: &str) -> Choice {
    Choice { value: value.to_owned(), label, selected: value == chosen }
}

fn schedulers(app: &App, chosen: &str) -> Vec<Choice> {
    let models = app.models.all();
    let fits_a_model = |sampler: &Sampler| models.iter().any(|model| sampler.fits(&model.scheduler));
    let named = Sampler::listed().filter(fits_a_model).map(|sampler| {
        let label = match sampler.schedule_label() {
            "Automatic" => sampler.label().to_owned(),
            schedule => format!("{} {schedule}", sampler.label()),
        };
        choice(&sampler.name(), label, chosen)
    });
    std::iter::once(choice("", "the model's own".into(), chosen)).chain(named).collect()
}

/// Sizes worth offering: the default model's own and, when it has only one, its enlargements; and what was
/// chosen before, wherever that came from.
fn sizes(app: &App, fields: &Fields) -> Vec<Choice> {
    let chosen = fields.size.as_str();
    let model = app.models.default_model();
    let native = model.as_ref().map_or(512, |model| model.native_size);
    let fixed = model.is_some_and(|model| model.sidecar.fixed_size);
    let mut sizes = if fixed {
        let large = native * ENLARGEMENT;
        [large, native, large * 2].map(|side| (side, side)).to_vec()
    } else {
        let (long, short) = (native * 3 / 2, native);
        vec![(native, native), (short, long), (long, short)]
    };
    let chosen: Option<(u32, u32)> = chosen.split_once('x').and_then(|(width, height)| {
        Some((width.trim().parse::<u32>().ok()?, height.trim().parse::<u32>().ok()?))
    });
    sizes.extend(chosen.filter(|chosen| !sizes.contains(chosen)));
    let option = |(width, height): (u32, u32)| {
        let painted = if fixed && (width, height) == (native, native) { ", as painted" } else { "" };
        Choice {
            value: format!("{width}x{height}"),
            label: format!("{width} × {height}{painted}"),
            selected: chosen == Some((width, height)),
        }
    };
    let like_picture = Choice {
        value: LIKE_PICTURE.to_owned(),
        label: "like the picture".to_owned(),
        selected: fields.size == LIKE_PICTURE || (fields.size.is_empty() && !fields.source.is_empty()),
    };
    sizes.into_iter().map(option).chain([like_picture]).collect()
}
