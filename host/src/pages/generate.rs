// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/`: the form, the picture and what it was made with.

use std::sync::Arc;

use alice_diffusion::Sampler;
use askama::Template;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::Frame;
use crate::app::App;
use crate::auth::Actor;
use crate::draft::Draft;
use crate::error::{Error, Result};
use crate::generate::Outcome;
use crate::jobs::{self, Leave, Wish};

/// Most pictures of one form.
const MAX_COUNT: u32 = 4;
/// A model of a fixed small size is offered at this multiple of it: pictures one can look at.
const ENLARGEMENT: u32 = 4;

/// Prompts that the built-in model knows, for the first visit.
const EXAMPLES: &[&str] = &["a red apple", "a fox", "a birthday cake", "a flat emoji of a rocket"];

/// The page with everything that it shows.
#[derive(Template)]
#[template(path = "generate.html")]
struct Page {
    frame: Frame,
    models: Vec<Choice>,
    schedulers: Vec<Choice>,
    sizes: Vec<Choice>,
    counts: Vec<Choice>,
    examples: &'static [&'static str],
    form: Fields,
    error: Option<String>,
    result: Option<Shown>,
}

/// One option of a list.
struct Choice {
    value: String,
    label: String,
    selected: bool,
}

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

/// The result of a form.
struct Shown {
    pictures: Vec<ShownPicture>,
    /// Name and value, in the order in which they are shown.
    parameters: Vec<(&'static str, String)>,
    note: Option<String>,
    took: String,
}

struct ShownPicture {
    url: String,
    seed: u64,
    width: u32,
    height: u32,
}

/// The form, filled in from the address.
pub async fn show(
    State(app): State<App>,
    actor: Actor,
    query: std::result::Result<Query<Fields>, QueryRejection>,
) -> Response {
    let fields = query.map(|Query(fields)| fields).unwrap_or_default();
    render(&app, &actor, StatusCode::OK, fields, None, None)
}

/// Makes the pictures and shows them above the same form; a problem is said there too, and nothing typed is
/// lost.
pub async fn submit(
    State(app): State<App>,
    actor: Actor,
    form: std::result::Result<Form<Fields>, FormRejection>,
) -> Response {
    let Ok(Form(fields)) = form else {
        let message = "The form could not be read; the prompt may be too long.".to_owned();
        return render(&app, &actor, StatusCode::BAD_REQUEST, Fields::default(), Some(message), None);
    };
    match make(&app, &actor, &fields).await {
        Ok(outcome) => render(&app, &actor, StatusCode::OK, fields, None, Some(Shown::new(&outcome))),
        Err(error) => {
            let status = error.answered_by_page();
            render(&app, &actor, status, fields, Some(error.to_string()), None)
        }
    }
}

async fn make(app: &App, actor: &Actor, fields: &Fields) -> Result<Arc<Outcome>> {
    let request = fields.to_draft()?.resolve(&app.models, &app.config, MAX_COUNT)?;
    jobs::submit(app, actor, request, Wish::plain(Leave::Cancel)).await?.outcome().await
}

impl Fields {
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
}

fn given(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

fn number<T: std::str::FromStr>(param: &str, text: &str) -> Result<Option<T>> {
    let parse = |text: &str| text.parse().map_err(|_| Error::invalid(param, "must be a number"));
    given(text).map(parse).transpose()
}

impl Shown {
    fn new(outcome: &Outcome) -> Self {
        let parameters = &outcome.pictures[0].parameters;
        let mut shown = vec![("Prompt", parameters.prompt.clone())];
        shown.extend(parameters.negative_prompt.clone().map(|text| ("Negative prompt", text)));
        let mut size = format!("{} × {}", parameters.width, parameters.height);
        if parameters.enlarged() {
            size +=
                &format!(", enlarged from {} × {}", parameters.rendered_width, parameters.rendered_height);
        }
        shown.extend([
            ("Model", parameters.model.clone()),
            ("Steps", parameters.steps.to_string()),
            ("Scheduler", parameters.scheduler.clone()),
            ("Guidance", parameters.guidance_scale.to_string()),
            ("Size", size),
        ]);
        let note =
            outcome.truncated.then(|| "The end of the prompt is longer than this model reads.".to_owned());
        let pictures = outcome.pictures.iter().map(|picture| ShownPicture {
            url: format!("/images/{}", picture.kept.file),
            seed: picture.parameters.seed,
            width: picture.parameters.width,
            height: picture.parameters.height,
        });
        Self {
            pictures: pictures.collect(),
            parameters: shown,
            note,
            took: format!("{:.1} s", outcome.took_s),
        }
    }
}

fn render(
    app: &App,
    actor: &Actor,
    status: StatusCode,
    form: Fields,
    error: Option<String>,
    result: Option<Shown>,
) -> Response {
    let choice = |value: &str, label: String, chosen: &str| Choice {
        value: value.to_owned(),
        label,
        selected: value == chosen,
    };
    let models = app.models.all().iter().map(|model| choice(&model.id, model.name.clone(), &form.model));
    let mut schedulers = vec![choice("", "the model's own".into(), &form.scheduler)];
    let fits_a_model =
        |sampler: &Sampler| app.models.all().iter().any(|model| sampler.fits(&model.scheduler));
    schedulers.extend(Sampler::listed().filter(fits_a_model).map(|sampler| {
        let label = match sampler.schedule_label() {
            "Automatic" => sampler.label().to_owned(),
            schedule => format!("{} {schedule}", sampler.label()),
        };
        choice(&sampler.name(), label, &form.scheduler)
    }));
    let page = Page {
        frame: Frame::new(app, Some(actor)),
        models: models.collect(),
        schedulers,
        sizes: sizes(app, &form.size),
        counts: (1..=MAX_COUNT).map(|n| n.to_string()).map(|n| choice(&n, n.clone(), &form.count)).collect(),
        examples: EXAMPLES,
        form,
        error,
        result,
    };
    super::page(status, &page)
}

/// Sizes worth offering: the default model's own and, when it has only one, its enlargements.
fn sizes(app: &App, chosen: &str) -> Vec<Choice> {
    let model = app.models.default_model();
    let native = model.map_or(512, |model| model.native_size);
    let fixed = model.is_some_and(|model| model.sidecar.fixed_size);
    let options = if fixed {
        let large = native * ENLARGEMENT;
        [large, native, large * 2].map(|side| (side, side)).to_vec()
    } else {
        let (long, short) = (native * 3 / 2, native);
        vec![(native, native), (short, long), (long, short)]
    };
    options
        .into_iter()
        .map(|(width, height)| {
            let value = format!("{width}x{height}");
            let label = if fixed && width == native {
                format!("{width} × {height}, as painted")
            } else {
                format!("{width} × {height}")
            };
            Choice { selected: value == chosen, value, label }
        })
        .collect()
}
