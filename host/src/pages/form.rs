// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The form that asks for pictures, as it is shown and as it is sent.
//!
//! ```text
//! form/fields.rs    what was typed, what it asks for, and the way back from a job
//! form/choices.rs   what there is to choose from
//! form/restored.rs  the form as a picture's own text fills it in
//! ```

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Form as Plain, FromRequest, Request};
use axum::http::{HeaderMap, Method, header};
use serde_json::{Map, Value};

use self::choices::{Choice, Offered, OfferedLora, Shapes};
use super::visit;
use crate::api::multipart::{self, Form};
use crate::app::App;
use crate::auth::Actor;
use crate::config::Limits;
use crate::draft::{Draft, Source, Wishes};
use crate::error::{Error, Result};
use crate::infotext::carried;

mod choices;
mod fields;
mod restored;

pub(super) use fields::Fields;

/// Prompts that the built-in model knows, for the first visit.
const EXAMPLES: &[&str] = &["a red apple", "a fox", "a birthday cake", "a flat emoji of a rocket"];

/// The form as it was sent.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) fields: Fields,
    /// The picture to begin with that was chosen.
    image: Vec<Bytes>,
    /// What of it is to be painted anew.
    mask: Vec<Bytes>,
}

/// The form as a page shows it.
#[derive(Template, Debug)]
#[template(path = "parts/ask.html")]
pub(super) struct Ask {
    models: Vec<Offered>,
    loras: Vec<OfferedLora>,
    schedulers: Vec<Choice>,
    /// Sizes that are no model's.
    sizes: Vec<Choice>,
    shapes: Vec<Shapes>,
    counts: Vec<Choice>,
    larger: Vec<Choice>,
    /// None but the first when there is none.
    upscalers: Vec<Choice>,
    resize_modes: Vec<Choice>,
    /// Who may see the pictures; empty for those without an account, whose pictures are everybody's here.
    shares: Vec<Choice>,
    /// The seed of the latest picture.
    latest_seed: Option<u64>,
    /// What somebody could try who has nothing in mind yet.
    examples: &'static [&'static str],
    fields: Fields,
    problem: Option<String>,
    /// What there is to know of how it was filled in.
    notes: Vec<String>,
}

impl Ask {
    /// The form for somebody who comes to ask, perhaps by an address that fills it in, or for the second time
    /// because of a `problem`.
    pub(super) fn first(app: &App, actor: &Actor, fields: Fields, problem: Option<String>) -> Self {
        Self { examples: EXAMPLES, problem, ..Self::again(app, actor, fields) }
    }

    /// The form beside what came of it.
    pub(super) fn again(app: &App, actor: &Actor, fields: Fields) -> Self {
        let shapes = choices::shapes(app, &fields);
        Self {
            models: choices::offered_models(app, &fields),
            loras: choices::loras(app, &fields),
            schedulers: choices::schedulers(app, &fields.scheduler),
            sizes: choices::other_sizes(&fields, &shapes),
            shapes,
            counts: choices::counts(&fields.count),
            larger: choices::larger(&fields.larger),
            upscalers: choices::upscalers(app, &fields.upscaler),
            resize_modes: choices::resize_modes(&fields.resize_mode),
            shares: actor.account().map(|_| choices::shares(&fields.share)).unwrap_or_default(),
            latest_seed: None,
            examples: &[],
            fields,
            problem: None,
            notes: Vec::new(),
        }
    }

    /// The same with what there is to know of how it was filled in.
    pub(super) fn with_notes(self, notes: Vec<String>) -> Self {
        Self { notes, ..self }
    }

    /// The same beside a picture with this seed.
    pub(super) fn after_seed(self, seed: Option<u64>) -> Self {
        Self { latest_seed: seed, ..self }
    }

    /// The chosen model.
    fn model(&self) -> Option<&Offered> {
        self.models.iter().find(|model| model.selected)
    }

    /// How many LoRAs have a weight.
    fn loras_used(&self) -> usize {
        self.loras.iter().filter(|lora| !lora.weight.is_empty()).count()
    }
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

    /// The settings that the picture to begin with carries, as its text.
    ///
    /// # Errors
    /// Says that there is no picture, or that it carries none.
    pub(super) async fn carried(self, app: &App, actor: &Actor) -> Result<String> {
        let image = match the_only("image", self.image)? {
            Some(image) => Some(image),
            None => self.fields.finished_picture(app, actor).await?,
        };
        let image = image.ok_or_else(|| Error::invalid("image", "is missing: choose one first"))?;
        let read = move || carried::parameters(&image);
        let text = tokio::task::spawn_blocking(read).await.map_err(anyhow::Error::from)?;
        text.ok_or_else(|| {
            Error::invalid("image", "carries no settings: it may have been saved by another program")
        })
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
        let mut draft = fields.to_draft(app)?;
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
