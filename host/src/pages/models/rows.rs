// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Models, and what works beside them, as lines of a list.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::models::Info;
use crate::app::App;
use crate::clock::Timestamp;
use crate::engine::ModelState;
use crate::models::{ControlEntry, EmbeddingEntry, LoraEntry, Model, UpscalerEntry, left_open};
use crate::pages::bytes::Bytes;
use crate::pages::moment::Moment;
use crate::pages::{Visit, badge};
use crate::residence;

/// A model.
#[derive(Debug)]
pub(super) struct ModelRow {
    pub(super) id: String,
    /// The same in an address.
    pub(super) encoded: String,
    pub(super) name: String,
    pub(super) family: &'static str,
    pub(super) few_steps: bool,
    /// It paints over pictures, and cannot paint from words alone.
    pub(super) needs_picture: bool,
    pub(super) is_default: bool,
    pub(super) description: Option<String>,
    /// How large it is on the disk, and its pictures.
    pub(super) size: Bytes,
    pub(super) native: u32,
    /// What it takes when nothing is said.
    pub(super) defaults: String,
    pub(super) used: Option<Moment>,
    pub(super) residing: Vec<Residing>,
    /// Whether there is anything of it to unload.
    pub(super) is_loaded: bool,
    pub(super) pinned: bool,
    /// Whether it lies where it may be deleted.
    pub(super) is_own: bool,
}

/// Where a model is in memory, or on its way there.
#[derive(Debug)]
pub(in crate::pages) struct Residing {
    pub(in crate::pages) device: String,
    pub(in crate::pages) memory: Bytes,
    /// Per cent of it that are loaded, until it is.
    pub(in crate::pages) loading: Option<u64>,
    /// Pictures that are being made with it.
    pub(in crate::pages) users: usize,
}

/// What works beside models.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) id: String,
    pub(super) name: String,
    /// What it is for.
    pub(super) tag: Option<String>,
    pub(super) about: Option<String>,
    pub(super) size: Bytes,
}

impl ModelRow {
    pub(super) fn new(visit: &Visit, model: &Model, used: &BTreeMap<String, Timestamp>) -> Self {
        let app = &visit.app;
        let usual = left_open(Some(model), &app.config.generation);
        let statuses = residence::of(app, model);
        Self {
            id: model.id.clone(),
            encoded: strictly_encoded(&model.id),
            name: model.name.clone(),
            family: badge(model.family),
            few_steps: model.defaults.steps.is_some_and(|steps| steps <= 8),
            needs_picture: model.needs_picture,
            is_default: app.models.default_model().is_some_and(|default| default.id == model.id),
            description: model.sidecar.description.clone(),
            size: Bytes(model.size_bytes),
            native: model.native_size,
            defaults: format!(
                "{} steps · guidance {} · {}",
                usual.steps, usual.guidance_scale, usual.scheduler
            ),
            used: used.get(&model.id).map(|at| visit.moment(*at)),
            residing: residing(app, model),
            is_loaded: !statuses.is_empty(),
            pinned: statuses.iter().any(|status| status.pinned),
            is_own: model.root == app.config.models.directory,
        }
    }
}

/// Where `model` is in memory.
pub(in crate::pages) fn residing(app: &App, model: &Model) -> Vec<Residing> {
    let place = |status: crate::engine::ModelStatus| Residing {
        device: device_name(app, status.request.device),
        memory: Bytes(status.memory_bytes),
        loading: match status.state {
            ModelState::Loading { done, total } => Some((done * 100).checked_div(total).unwrap_or(0)),
            ModelState::Loaded => None,
        },
        users: status.users,
    };
    residence::of(app, model).into_iter().map(place).collect()
}

/// What a device is called.
pub(in crate::pages) fn device_name(app: &App, index: u32) -> String {
    let device = app.backend.devices.iter().find(|device| device.index == index);
    device.map_or_else(|| format!("device {index}"), |device| device.name.clone())
}

/// Everything else that is to be known about a model.
pub(super) fn facts(visit: &Visit, model: &Model, info: &Info) -> Vec<(&'static str, String)> {
    let predicts = match info.prediction {
        "epsilon" => "the noise",
        "v_prediction" => "the velocity (v)",
        "sample" => "the picture",
        _ => "the flow",
    };
    let yes = |yes: bool, text: &str| yes.then(|| text.to_owned());
    let facts = [
        ("Id for programs", Some(model.id.clone())),
        ("On the disk since", i64::try_from(model.created).ok().map(|at| visit.moment(at).to_string())),
        ("Predicts", Some(predicts.to_owned())),
        ("Pictures", yes(info.fixed_size, "in its own size only; others are enlarged")),
        ("Paints", yes(info.needs_picture, "over a picture, not from words alone")),
        ("Autoencoder", yes(info.separate_vae, "another one than its own")),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// `id` as one part of an address: its slashes too.
pub(super) fn strictly_encoded(id: &str) -> String {
    let Ok(encoded) = askama::filters::urlencode_strict(id);
    encoded.to_string()
}

impl Beside {
    pub(super) fn lora(lora: &LoraEntry) -> Self {
        let words = (!lora.trigger.is_empty()).then(|| format!("Say: {}", lora.trigger.join(", ")));
        let about: Vec<_> = lora.description.iter().cloned().chain(words).collect();
        Self {
            id: lora.id.clone(),
            name: lora.name.clone(),
            tag: lora.base.map(|family| format!("for {}", badge(family))),
            about: (!about.is_empty()).then(|| about.join(" · ")),
            size: Bytes(lora.size_bytes),
        }
    }

    pub(super) fn embedding(embedding: &EmbeddingEntry) -> Self {
        Self {
            id: embedding.id.clone(),
            name: embedding.name.clone(),
            tag: None,
            about: None,
            size: Bytes(embedding.size_bytes),
        }
    }

    /// A ControlNet or T2I-Adapter, and how many of these models it suits.
    pub(super) fn control(control: &ControlEntry, models: &[Arc<Model>]) -> Self {
        let suited = models.iter().filter(|model| control.misfit(model).is_none()).count();
        let about = match suited {
            0 => "Suits no model that is here".to_owned(),
            1 => "Suits 1 model".to_owned(),
            suited => format!("Suits {suited} models"),
        };
        Self {
            id: control.id.clone(),
            name: control.name.clone(),
            tag: Some(format!("for {}", badge(control.family))),
            about: Some(about),
            size: Bytes(control.size_bytes),
        }
    }

    pub(super) fn upscaler(upscaler: &UpscalerEntry) -> Self {
        Self {
            id: upscaler.id.clone(),
            name: upscaler.name.clone(),
            tag: Some(format!("{} ×", upscaler.scale)),
            about: None,
            size: Bytes(upscaler.size_bytes),
        }
    }
}
