// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/v1/models`: the models in OpenAI's list, with the spellings of both OpenAI's and ALICE's clients, what is to be
//! known about one, and the acts that bring one into memory, out of it, and off the disk.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Serialize;

use super::Id;
use crate::app::App;
use crate::auth::Actor;
use crate::engine::{ModelState, ModelStatus};
use crate::error::{Alice, Error};
use crate::models::{Counts, LeftOpen, Model, left_open, removal};
use crate::pages::reads_pages;
use crate::residence;

mod info;

pub(crate) use info::{Info, model_type, sizes};

/// The list.
#[derive(Debug, Serialize)]
pub struct ModelList {
    object: &'static str,
    data: Vec<ModelEntry>,
}

/// One model.
#[derive(Debug, Serialize)]
pub struct ModelEntry {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    #[serde(rename = "ownedBy")]
    owned_by_camel: &'static str,
    /// Bare name, which some clients read instead of the id.
    name: String,
    family: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(flatten)]
    residence: Residence,
}

/// Where a model is.
#[derive(Debug, Serialize)]
struct Residence {
    /// `unloaded` (on the disk only), `loading` or `loaded`.
    state: &'static str,
    /// How much of it is loaded, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<f64>,
    /// What it takes of the device's memory, over all devices.
    memory_bytes: u64,
    /// Pictures that are being made with it.
    users: usize,
    /// It is never unloaded to make room, or because it is idle.
    pinned: bool,
}

/// What there is after another look.
#[derive(Debug, Serialize)]
pub struct Refreshed {
    status: &'static str,
    models_found: usize,
    loras_found: usize,
    embeddings_found: usize,
    controlnets_found: usize,
    upscalers_found: usize,
}

/// What was deleted.
#[derive(Debug, Serialize)]
pub struct Deleted {
    status: &'static str,
    model_id: String,
}

/// All models, the default one first found.
pub async fn list(State(app): State<App>) -> Json<ModelList> {
    let entry = |model: &Model| ModelEntry::new(&app, model);
    Json(ModelList { object: "list", data: app.models.all().iter().map(|model| entry(model)).collect() })
}

/// `GET /models`: the list for clients whose base address lacks the version, and for a browser, in whose address
/// somebody has typed it, the way to the page of the models.
pub async fn list_or_page(app: State<App>, headers: HeaderMap) -> Response {
    match reads_pages(&headers) {
        true => Redirect::to("/library").into_response(),
        false => list(app).await.into_response(),
    }
}

/// `POST /v1/models/refresh`: looks at the files again, and answers with how many of each there are.
pub async fn refresh(State(app): State<App>) -> Result<Json<Refreshed>, Alice> {
    let Counts { models, loras, embeddings, controls, upscalers } = residence::refresh(app).await?;
    Ok(Json(Refreshed {
        status: "ok",
        models_found: models,
        loras_found: loras,
        embeddings_found: embeddings,
        controlnets_found: controls,
        upscalers_found: upscalers,
    }))
}

/// `GET /v1/models/{id}/info`: what is to be known about a model; without `/info` its entry in the list. Ids hold
/// slashes.
pub async fn show(State(app): State<App>, Id(path): Id) -> Result<Response, Alice> {
    // A model may be called `info` itself.
    let whole = app.models.exactly(&path);
    if let (None, Some(id)) = (&whole, path.strip_suffix("/info")) {
        return Ok(Json(Info::new(&*app.models.find(Some(id))?)).into_response());
    }
    Ok(Json(ModelEntry::new(&app, &*app.models.find(Some(&path))?)).into_response())
}

/// `DELETE /v1/models/{id}`: the model's files go for good. Only an id or a whole name will do. 404 for an unknown
/// one, 403 for the built-in one, 409 for one that jobs or the configuration need.
pub async fn delete(State(app): State<App>, actor: Actor, Id(id): Id) -> Result<Json<Deleted>, Alice> {
    let model_id = removal::delete(app, &actor, removal::Kind::Model, id).await?;
    Ok(Json(Deleted { status: "deleted", model_id }))
}

/// `GET /v1/generation/defaults`: what a request gets that names no model and leaves everything open.
pub async fn defaults(State(app): State<App>) -> Json<LeftOpen> {
    Json(left_open(app.models.default_model().as_deref(), &app.config.generation))
}

/// `POST /v1/models/{id}/load` and `/unload`; ids hold slashes.
///
/// Loading answers when the model is in memory: 404 for an unknown one, 503 for one that does not fit, saying
/// what it needs and what is free. Unloading answers 409 while pictures are being made with it.
pub async fn act(State(app): State<App>, Id(path): Id) -> Result<Json<ModelEntry>, Alice> {
    let (id, act) = path.rsplit_once('/').ok_or(Error::NotFound)?;
    let model = match act {
        "load" => residence::load(&app, id).await?,
        "unload" => residence::unload(&app, id).await?,
        _ => return Err(Alice(Error::NotFound)),
    };
    Ok(Json(ModelEntry::new(&app, &model)))
}

/// Bytes in MiB, to a tenth.
pub(super) fn mebibytes(bytes: u64) -> f64 {
    (bytes as f64 / f64::from(1 << 20) * 10.0).round() / 10.0
}

impl ModelEntry {
    fn new(app: &App, model: &Model) -> Self {
        Self {
            id: model.id.clone(),
            object: "model",
            created: model.created,
            owned_by: "alice",
            owned_by_camel: "alice",
            name: model.name.clone(),
            family: model.family.as_str(),
            description: model.sidecar.description.clone(),
            residence: Residence::new(model, &residence::of(app, model)),
        }
    }
}

impl Residence {
    /// Of a model that is on these devices, or on its way to them. An older version of its files takes memory and
    /// has users as long as pictures are made with it, but is not what is asked for now.
    fn new(model: &Model, statuses: &[ModelStatus]) -> Self {
        let present: Vec<_> = statuses.iter().filter(|status| status.version == model.version).collect();
        let loaded = present.iter().any(|status| matches!(status.state, ModelState::Loaded));
        let progress = present.iter().find_map(|status| match status.state {
            ModelState::Loading { done, total } if total > 0 => Some(done as f64 / total as f64),
            _ => None,
        });
        let state = match (loaded, present.is_empty()) {
            (true, _) => "loaded",
            (false, false) => "loading",
            (false, true) => "unloaded",
        };
        Self {
            state,
            progress: progress.filter(|_| !loaded),
            memory_bytes: statuses.iter().map(|status| status.memory_bytes).sum(),
            users: statuses.iter().map(|status| status.users).sum(),
            pinned: present.iter().any(|status| status.pinned),
        }
    }
}
