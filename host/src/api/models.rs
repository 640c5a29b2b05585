// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `GET /v1/models`: the models in OpenAI's list, with the spellings of both OpenAI's and ALICE's clients.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::app::App;
use crate::models::Model;

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
}

/// All models, the default one first found.
pub async fn list(State(app): State<App>) -> Json<ModelList> {
    Json(ModelList {
        object: "list",
        data: app.models.all().iter().map(|model| ModelEntry::new(model)).collect(),
    })
}

impl ModelEntry {
    fn new(model: &Model) -> Self {
        Self {
            id: model.id.clone(),
            object: "model",
            created: model.created,
            owned_by: "alice",
            owned_by_camel: "alice",
            name: model.name.clone(),
            family: model.family.as_str(),
            description: model.sidecar.description.clone(),
        }
    }
}
