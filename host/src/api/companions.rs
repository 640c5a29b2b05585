// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/v1/controlnets` and `/v1/upscalers`: the networks that work beside models.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::Id;
use super::models::{mebibytes, model_type};
use crate::app::App;
use crate::auth::Actor;
use crate::error::Alice;
use crate::models::{ControlEntry, UpscalerEntry, removal};

/// A list.
#[derive(Debug, Serialize)]
pub struct List<T> {
    object: &'static str,
    data: Vec<T>,
}

/// One ControlNet or T2I-Adapter.
#[derive(Debug, Serialize)]
pub struct Control {
    id: String,
    object: &'static str,
    name: String,
    created: u64,
    size_mb: f64,
    /// `controlnet` or `t2i_adapter`.
    kind: &'static str,
    /// The family of the models that it guides.
    family: &'static str,
    /// The same in the Python ALICE's words.
    base_model: &'static str,
    /// The ids of the models here that it suits.
    models: Vec<String>,
}

/// One upscaler.
#[derive(Debug, Serialize)]
pub struct Upscaler {
    id: String,
    object: &'static str,
    name: String,
    created: u64,
    size_mb: f64,
    /// How many times wider and higher it makes a picture.
    scale: u32,
}

/// What was deleted.
#[derive(Debug, Serialize)]
pub struct Deleted {
    status: &'static str,
    id: String,
}

/// `GET /v1/controlnets`: all ControlNets and T2I-Adapters.
pub async fn controls(State(app): State<App>) -> Json<List<Control>> {
    let models = app.models.all();
    let suited = |control: &ControlEntry| {
        let suited = models.iter().filter(|model| control.misfit(model).is_none());
        suited.map(|model| model.id.clone()).collect()
    };
    let entry = |control: &ControlEntry| Control {
        id: control.id.clone(),
        object: "controlnet",
        name: control.name.clone(),
        created: control.created,
        size_mb: mebibytes(control.size_bytes),
        kind: control.kind.as_str(),
        family: control.family.as_str(),
        base_model: model_type(control.family),
        models: suited(control),
    };
    Json(List { object: "list", data: app.models.controls().iter().map(|control| entry(control)).collect() })
}

/// `GET /v1/upscalers`: all upscalers.
pub async fn upscalers(State(app): State<App>) -> Json<List<Upscaler>> {
    let entry = |upscaler: &UpscalerEntry| Upscaler {
        id: upscaler.id.clone(),
        object: "upscaler",
        name: upscaler.name.clone(),
        created: upscaler.created,
        size_mb: mebibytes(upscaler.size_bytes),
        scale: upscaler.scale,
    };
    let data = app.models.upscalers().iter().map(|upscaler| entry(upscaler)).collect();
    Json(List { object: "list", data })
}

/// `DELETE /v1/controlnets/{id}`: its files go for good. 404 for an unknown one, 409 for one that jobs need.
pub async fn delete_control(
    State(app): State<App>,
    actor: Actor,
    Id(id): Id,
) -> Result<Json<Deleted>, Alice> {
    let id = removal::delete(app, &actor, removal::Kind::Control, id).await?;
    Ok(Json(Deleted { status: "deleted", id }))
}

/// `DELETE /v1/upscalers/{id}`: the file goes for good. 404 for an unknown one, 409 for one that jobs need.
pub async fn delete_upscaler(
    State(app): State<App>,
    actor: Actor,
    Id(id): Id,
) -> Result<Json<Deleted>, Alice> {
    let id = removal::delete(app, &actor, removal::Kind::Upscaler, id).await?;
    Ok(Json(Deleted { status: "deleted", id }))
}
