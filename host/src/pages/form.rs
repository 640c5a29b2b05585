// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The form that asks for pictures: what was typed, what there is to choose from, and the way back from a job
//! to the form that led to it.

use alice_diffusion::Sampler;
use askama::Template;
use serde::Deserialize;

use crate::app::App;
use crate::draft::{Draft, Parameters, Pictures, Request};
use crate::error::{Error, Result};
use crate::jobs::store::Stored;

/// Most pictures of one form.
const MAX_COUNT: u32 = 4;
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
}

/// The form as a page shows it.
#[derive(Template, Debug)]
#[template(path = "parts/ask.html")]
pub(super) struct Ask {
    models: Vec<Choice>,
    schedulers: Vec<Choice>,
    sizes: Vec<Choice>,
    counts: Vec<Choice>,
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

impl Fields {
    /// What the form asks for.
    ///
    /// # Errors
    /// Names the first field that cannot be used.
    pub(super) async fn to_request(&self, app: &App) -> Result<Request> {
        let request = async { self.to_draft()?.settle(app, MAX_COUNT).await };
        request.await.map_err(|error| error.renamed(&[("num_images", "number of pictures")]))
    }

    fn to_draft(&self) -> Result<Draft> {
        let (width, height) = match given(&self.size) {
            None => (None, None),
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
            ..Draft::default()
        })
    }

    /// The seed, if one was chosen.
    pub(super) fn seed(&self) -> Option<u64> {
        given(&self.seed).and_then(|seed| seed.parse().ok())
    }

    /// The form that led to a job. What is the model's own setting was left to it, and is so again. `seed` is the
    /// one that was chosen: a job does not tell it from a random one.
    pub(super) fn of(stored: &Stored, seed: Option<u64>, app: &App) -> Self {
        let asked = &stored.parameters;
        let own = own_settings(&stored.model, app);
        let chosen = |setting: fn(&Parameters) -> String| {
            let value = setting(asked);
            if own.as_ref().is_some_and(|own| setting(own) == value) { String::new() } else { value }
        };
        Self {
            prompt: asked.prompt_with_loras(),
            negative_prompt: asked.negative_prompt.clone().unwrap_or_default(),
            model: stored.model.clone(),
            size: format!("{}x{}", asked.width, asked.height),
            steps: chosen(|parameters| parameters.steps.to_string()),
            guidance_scale: chosen(|parameters| parameters.guidance_scale.to_string()),
            scheduler: chosen(|parameters| parameters.scheduler.clone()),
            seed: seed.map(|seed| seed.to_string()).unwrap_or_default(),
            count: stored.count.to_string(),
        }
    }

    fn has_settings(&self) -> bool {
        let settings =
            [&self.negative_prompt, &self.steps, &self.guidance_scale, &self.seed, &self.scheduler];
        settings.into_iter().any(|setting| !setting.is_empty())
    }
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
            sizes: sizes(app, &fields.size),
            counts: counts.map(|count| choice(&count, count.clone(), &fields.count)).collect(),
            examples: &[],
            fields,
            problem: None,
        }
    }
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
fn sizes(app: &App, chosen: &str) -> Vec<Choice> {
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
    let chosen = chosen.split_once('x').and_then(|(width, height)| {
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
    sizes.into_iter().map(option).collect()
}
