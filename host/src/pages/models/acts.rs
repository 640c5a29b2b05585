// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What is done with models from their pages. The work is that of the API's routes.

use axum::response::Response;
use serde::Deserialize;

use super::{render_list, render_one};
use crate::error::{Error, Result};
use crate::models::{default_model, removal};
use crate::pages::Visit;
use crate::pages::visit::{Sent, read, to};
use crate::residence;

/// What a form names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Named {
    id: String,
    /// `list` from the list.
    back: String,
    /// What is to be deleted: `model`, `lora`, `controlnet` or `upscaler`.
    kind: String,
}

/// `POST /library/refresh`: looks at the files again.
pub async fn refresh(visit: Visit) -> Response {
    match residence::refresh(visit.app.clone()).await {
        Ok(_counts) => to("/library?done=refreshed"),
        Err(error) => render_list(&visit, None, Some(error)).await,
    }
}

/// `POST /library/load`: answers when the model is in memory.
pub async fn load(visit: Visit, form: Sent<Named>) -> Response {
    let named = match read(form) {
        Ok(named) => named,
        Err(error) => return render_list(&visit, None, Some(error)).await,
    };
    let loaded = residence::load(&visit.app, &named.id).await.map(drop);
    after(&visit, &named, "loaded", loaded).await
}

/// `POST /library/unload`.
pub async fn unload(visit: Visit, form: Sent<Named>) -> Response {
    let named = match read(form) {
        Ok(named) => named,
        Err(error) => return render_list(&visit, None, Some(error)).await,
    };
    let unloaded = residence::unload(&visit.app, &named.id).await.map(drop);
    after(&visit, &named, "unloaded", unloaded).await
}

/// `POST /admin/models/default`.
pub async fn make_default(visit: Visit, form: Sent<Named>) -> Response {
    let named = match read(form) {
        Ok(named) => named,
        Err(error) => return render_list(&visit, None, Some(error)).await,
    };
    let made = default_model::make(visit.app.clone(), &visit.actor, named.id.clone()).await.map(drop);
    after(&visit, &named, "default", made).await
}

/// `POST /admin/models/delete`: a model, or what works beside models, goes for good.
pub async fn delete(visit: Visit, form: Sent<Named>) -> Response {
    match delete_named(&visit, form).await {
        Ok(()) => to("/library?done=deleted"),
        Err(error) => render_list(&visit, None, Some(error)).await,
    }
}

async fn delete_named(visit: &Visit, form: Sent<Named>) -> Result<()> {
    let Named { id, kind, .. } = read(form)?;
    let kind = match kind.as_str() {
        "model" => removal::Kind::Model,
        "lora" => removal::Kind::Lora,
        "controlnet" => removal::Kind::Control,
        "upscaler" => removal::Kind::Upscaler,
        _ => return Err(Error::NotFound),
    };
    removal::delete(visit.app.clone(), &visit.actor, kind, id).await.map(drop)
}

/// Back to where the form was, or to the model's page with the problem.
async fn after(visit: &Visit, named: &Named, done: &str, result: Result<()>) -> Response {
    match result {
        Ok(()) if named.back == "list" => to(&format!("/library?done={done}")),
        Ok(()) => to(&format!("/library/{}?done={done}", super::rows::strictly_encoded(&named.id))),
        Err(error) => render_one(visit, &named.id, None, Some(error)).await,
    }
}
