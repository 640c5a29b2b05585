// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Which models are in memory because somebody said so: the pinned ones and the configured default from the
//! start, others on request. All the rest come and go with the jobs that need them (`engine.rs`).

use std::sync::Arc;

use alice_plugin::LoadRequest;
use futures::future::join_all;
use tracing::{error, info};

use crate::app::App;
use crate::engine::{Engine, ModelState, ModelStatus, Unload, Versioned};
use crate::error::{Error, Result};
use crate::generate::{load_request, unusable};
use crate::models::{Counts, Model, Turn};

/// Where `model` is: on these devices, or on its way to them, in whatever version of its files.
pub fn of(app: &App, model: &Model) -> Vec<ModelStatus> {
    let wanted = load_request(model);
    let all = app.engines.all().iter().flat_map(|engine| engine.models());
    all.filter(|status| status.request.files == wanted.what.files).collect()
}

/// Looks at the files again. Models whose files are others now go when nobody uses them; pinned ones come back.
/// What has begun is brought to its end also when nobody waits any more.
///
/// # Errors
/// As [`Registry::refresh`](crate::models::Registry::refresh).
pub async fn refresh(app: App) -> Result<Counts> {
    let work = async move {
        let counts = app.models.refresh().await?;
        let turn = app.models.turn().await;
        offer(&app, &turn);
        Ok(counts)
    };
    tokio::spawn(work).await.map_err(anyhow::Error::from)?
}

/// Tells the engines which models there are after a look, whose turn is not over: they hear of the looks in their
/// order.
pub(crate) fn offer(app: &App, _turn: &Turn) {
    let mut offered: Vec<_> = app.models.all().iter().map(|model| load_request(model)).collect();
    offered.extend(app.models.controls().iter().map(|control| control.load_request()));
    offered.extend(app.models.upscalers().iter().map(|upscaler| upscaler.load_request()));
    let is_offered = |status: &ModelStatus| {
        let what = LoadRequest { device: 0, ..status.request.clone() };
        offered.contains(&Versioned { what, version: status.version })
    };
    let statuses = app.engines.all().iter().flat_map(|engine| engine.models());
    // One on its way may be a pinned one, which nobody knows before it is there.
    let may_be_pinned =
        |status: &ModelStatus| status.pinned || matches!(status.state, ModelState::Loading { .. });
    let lost: Vec<_> = statuses.filter(|status| may_be_pinned(status) && !is_offered(status)).collect();
    for engine in app.engines.all() {
        engine.offer(offered.iter().cloned());
    }
    // Whoever unloaded a pinned model by request does not get it back by this.
    let pinned = app.config.models.pinned.iter();
    for (name, model) in pinned.filter_map(|name| Some((name.clone(), app.models.find(Some(name)).ok()?))) {
        if lost.iter().any(|status| status.request.files == model.files) {
            let app = app.clone();
            tokio::spawn(async move { warm(&app, &name, true).await });
        }
    }
}

/// Loads the model that is called `id`, and waits until it is in memory.
///
/// # Errors
/// [`Error::NoModel`]; what the backend says, among it that the model does not fit.
pub async fn load(app: &App, id: &str) -> Result<Arc<Model>> {
    let model = app.models.find(Some(id))?;
    bring(app, &model, false).await?;
    Ok(model)
}

/// Unloads the model that is called `id` from every device.
///
/// # Errors
/// [`Error::NoModel`]; [`Error::Conflict`] while pictures are being made with it.
pub async fn unload(app: &App, id: &str) -> Result<Arc<Model>> {
    let model = app.models.find(Some(id))?;
    unload_model(app, &model).await?;
    Ok(model)
}

/// Unloads `model` from every device.
///
/// # Errors
/// [`Error::Conflict`] while pictures are being made with it.
pub(crate) async fn unload_model(app: &App, model: &Model) -> Result<()> {
    unload_network(app, &model.id, &load_request(model).what).await
}

/// Unloads what `request` asks for, which clients call `id`, from every device.
///
/// # Errors
/// [`Error::Conflict`] while pictures are being made with it.
pub(crate) async fn unload_network(app: &App, id: &str, request: &LoadRequest) -> Result<()> {
    for engine in app.engines.all() {
        match engine.unload(request.clone()).await? {
            Unload::Done | Unload::NotLoaded => {}
            Unload::InUse => {
                let message = format!("pictures are being made with `{id}`; it can go when they are done");
                return Err(Error::Conflict(message));
            }
        }
    }
    Ok(())
}

/// Loads the pinned models and, if one is configured, the default one. A failure is told in the log: the
/// daemon serves with what there is.
async fn warm_up(app: &App) {
    pin(app).await;
    if let Some(name) = &app.config.models.default_model {
        warm(app, name, false).await;
    }
}

/// Loads the pinned models; `false` if one of them failed.
async fn pin(app: &App) -> bool {
    let mut all = true;
    for name in &app.config.models.pinned {
        all &= warm(app, name, true).await;
    }
    all
}

async fn warm(app: &App, name: &str, pin: bool) -> bool {
    let brought = match app.models.find(Some(name)) {
        Ok(model) => bring(app, &model, pin).await,
        Err(error) => Err(error),
    };
    match &brought {
        Ok(()) => info!("`{name}` is in memory{}", if pin { " and stays there" } else { "" }),
        Err(cause) => error!("`{name}` cannot be brought into memory: {}", cause.cause()),
    }
    brought.is_ok()
}

/// Loads what is to be in memory from the start, and brings the pinned models back whenever a backend has died and
/// taken them along. Never ends.
pub async fn keep(app: &App) {
    // A backend may die of the first loads already.
    let deaths: Vec<_> = app.engines.all().iter().map(Engine::deaths).collect();
    warm_up(app).await;
    let watches = deaths.into_iter().map(|mut deaths| async move {
        while deaths.changed().await.is_ok() {
            let brought = pin(app).await;
            if !brought {
                // A model that a backend dies of would be loaded for ever.
                deaths.mark_unchanged();
            }
        }
    });
    join_all(watches).await;
}

async fn bring(app: &App, model: &Model, pinned: bool) -> Result<()> {
    let wanted = load_request(model);
    let loaded = app.engines.home(&wanted).load(wanted.clone(), pinned).await;
    loaded.map(drop).map_err(|error| unusable(&model.id, Error::Backend(error)))
}
