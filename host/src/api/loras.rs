// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/v1/loras`: the LoRAs, in the list of the Python ALICE.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::Id;
use super::models::model_type;
use crate::app::App;
use crate::auth::Actor;
use crate::error::Alice;
use crate::models::{LoraEntry, removal};

/// The list.
#[derive(Debug, Serialize)]
pub struct LoraList {
    object: &'static str,
    data: Vec<Lora>,
}

/// One LoRA.
#[derive(Debug, Serialize)]
struct Lora {
    id: String,
    object: &'static str,
    name: String,
    created: u64,
    /// Whole MiB, as the Python ALICE counts.
    #[serde(rename = "sizeMb")]
    size_mb_camel: u64,
    size_mb: u64,
    /// The Python ALICE's word for the family of the models that it was made for; `null` where its tensors do not
    /// tell.
    #[serde(rename = "baseModel")]
    base_model_camel: Option<&'static str>,
    base_model: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Words that a prompt should have for it to be seen.
    trigger: Vec<String>,
}

/// What was deleted.
#[derive(Debug, Serialize)]
pub struct Deleted {
    status: &'static str,
    lora_id: String,
}

/// All LoRAs.
pub async fn list(State(app): State<App>) -> Json<LoraList> {
    let data = app.models.loras().iter().map(|lora| Lora::new(lora)).collect();
    Json(LoraList { object: "list", data })
}

/// `DELETE /v1/loras/{id}`: the file goes for good. 404 for an unknown one, 409 for one that jobs need.
pub async fn delete(State(app): State<App>, actor: Actor, Id(id): Id) -> Result<Json<Deleted>, Alice> {
    let lora_id = removal::delete(app, &actor, removal::Kind::Lora, id).await?;
    Ok(Json(Deleted { status: "deleted", lora_id }))
}

impl Lora {
    fn new(lora: &LoraEntry) -> Self {
        let (size_mb, base_model) = (lora.size_bytes >> 20, lora.base.map(model_type));
        Self {
            id: lora.id.clone(),
            object: "lora",
            name: lora.name.clone(),
            created: lora.created,
            size_mb_camel: size_mb,
            size_mb,
            base_model_camel: base_model,
            base_model,
            description: lora.description.clone(),
            trigger: lora.trigger.clone(),
        }
    }
}
