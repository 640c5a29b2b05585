// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/library`: the models, and what works beside them: what they are, where they are loaded, and what may be done with
//! them. Everybody sees and uses them; what changes files or the configuration is an administrator's.

use askama::Template;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use serde::Deserialize;

use super::{Frame, Place, Visit, sentence};
use crate::api::Id;
use crate::api::models::Info;
use crate::error::{Error, Result};
use crate::jobs::throughput;

pub mod acts;
mod rows;

use rows::{Beside, ModelRow};
pub(super) use rows::{Residing, device_name, residing};

/// The list.
#[derive(Template)]
#[template(path = "models.html")]
struct List {
    frame: Frame,
    models: Vec<ModelRow>,
    /// What works beside models: the title of each kind, a word about it, and its entries.
    kinds: Vec<BesideKind>,
    /// Whether there is nothing of some kind.
    lacks_some: bool,
    said: Option<String>,
    problem: Option<String>,
}

/// One kind of what works beside models.
struct BesideKind {
    title: &'static str,
    about: &'static str,
    /// How a form names the kind; `None` for one that is not deleted here.
    kind: Option<&'static str>,
    entries: Vec<Beside>,
}

/// One model.
#[derive(Template)]
#[template(path = "model.html")]
struct One {
    frame: Frame,
    model: ModelRow,
    facts: Vec<(&'static str, String)>,
    /// Sizes that it paints well, and the form with each.
    sizes: Vec<(String, String)>,
    trigger: Vec<String>,
    said: Option<String>,
    problem: Option<String>,
}

/// What was just done.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Done {
    done: String,
}

/// The query of either page.
type Address = std::result::Result<Query<Done>, QueryRejection>;

/// `GET /library`.
pub async fn list(visit: Visit, address: Address) -> Response {
    render_list(&visit, said(&visit, address), None).await
}

/// `GET /library/{id}`.
pub async fn show(visit: Visit, Id(id): Id, address: Address) -> Response {
    render_one(&visit, &id, said(&visit, address), None).await
}

/// What the page says was done.
fn said(visit: &Visit, address: Address) -> Option<String> {
    let Query(Done { done }) = address.ok()?;
    let said = match done.as_str() {
        "refreshed" => match visit.app.models.all().len() {
            1 => "Looked again: there is 1 model.".to_owned(),
            count => format!("Looked again: there are {count} models."),
        },
        "loaded" => "It is in memory.".to_owned(),
        "unloaded" => "It is out of memory. It comes back with the next picture that needs it.".to_owned(),
        "default" => "It paints from now on when nobody chooses a model.".to_owned(),
        "deleted" => "It is deleted.".to_owned(),
        _ => return None,
    };
    Some(said)
}

async fn render_list(visit: &Visit, said: Option<String>, problem: Option<Error>) -> Response {
    let used = visit.app.database.read(throughput::last_used).await;
    visit.answer(used.map(|used| {
        let app = &visit.app;
        let models = app.models.all().iter().map(|model| ModelRow::new(visit, model, &used)).collect();
        let kinds = beside(visit);
        let page = List {
            frame: visit.frame().at(Place::Models),
            models,
            lacks_some: kinds.iter().any(|kind| kind.entries.is_empty()),
            kinds,
            said,
            problem: problem.as_ref().map(sentence),
        };
        super::page_about(problem.as_ref(), &page)
    }))
}

/// What works beside models, by kinds.
fn beside(visit: &Visit) -> Vec<BesideKind> {
    let models = &visit.app.models;
    vec![
        BesideKind {
            title: "LoRAs",
            about: "Small files that teach a model a subject or a style. Choose them under the prompt.",
            kind: Some("lora"),
            entries: models.loras().iter().map(|lora| Beside::lora(lora)).collect(),
        },
        BesideKind {
            title: "Embeddings",
            about: "Words that a prompt may use. Write the name where you would write the word.",
            kind: None,
            entries: models.embeddings().iter().map(|embedding| Beside::embedding(embedding)).collect(),
        },
        BesideKind {
            title: "ControlNets and T2I-Adapters",
            about: "They hold a picture to the lines, depth or pose of another one.",
            kind: Some("controlnet"),
            entries: models
                .controls()
                .iter()
                .map(|control| Beside::control(control, &models.all()))
                .collect(),
        },
        BesideKind {
            title: "Upscalers",
            about: "They make finished pictures larger, with more detail.",
            kind: Some("upscaler"),
            entries: models.upscalers().iter().map(|upscaler| Beside::upscaler(upscaler)).collect(),
        },
    ]
}

async fn render_one(visit: &Visit, id: &str, said: Option<String>, problem: Option<Error>) -> Response {
    visit.answer(one(visit, id, said, problem).await)
}

async fn one(visit: &Visit, id: &str, said: Option<String>, problem: Option<Error>) -> Result<Response> {
    let Some(model) = visit.app.models.exactly(id) else { return Err(problem.unwrap_or(Error::NotFound)) };
    let used = visit.app.database.read(throughput::last_used).await?;
    let info = Info::new(&model);
    let row = ModelRow::new(visit, &model, &used);
    let form = |width: u32, height: u32| {
        format!("/?model={}&size={width}x{height}", rows::strictly_encoded(&model.id))
    };
    let sizes = info.recommended_resolutions.iter();
    let page = One {
        frame: visit.frame().at(Place::Models),
        facts: rows::facts(visit, &model, &info),
        sizes: sizes.map(|size| (size.label.clone(), form(size.width, size.height))).collect(),
        trigger: info.trigger,
        model: row,
        said,
        problem: problem.as_ref().map(sentence),
    };
    Ok(super::page_about(problem.as_ref(), &page))
}
