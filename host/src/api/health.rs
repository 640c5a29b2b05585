// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Whether the daemon lives and serves: `/livez`, `/readyz`, and `/health` as ALICE's clients read it.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::app::App;

/// One word.
#[derive(Debug, Serialize)]
pub struct Status {
    status: &'static str,
}

/// The daemon's loops turn.
pub async fn live() -> Json<Status> {
    Json(Status { status: "alive" })
}

/// Requests are served, with or without a model in memory.
pub async fn ready() -> Json<Status> {
    Json(Status { status: "ready" })
}

/// Everything SAM's health check reads, in both spellings.
#[derive(Debug, Serialize)]
pub struct Health {
    status: &'static str,
    version: &'static str,
    #[serde(rename = "gpuAvailable")]
    gpu_available_camel: bool,
    gpu_available: bool,
    #[serde(rename = "gpuStatsAvailable")]
    gpu_stats_available: bool,
    #[serde(rename = "modelsLoaded")]
    models_loaded_camel: usize,
    models_loaded: usize,
    #[serde(rename = "uptimeSeconds")]
    uptime_seconds: f64,
    backend: String,
}

/// The daemon at a glance.
pub async fn health(State(app): State<App>) -> Json<Health> {
    let gpu = app.backend.devices.iter().any(|device| device.kind != "cpu");
    let loaded = app.engines.models_loaded();
    Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        gpu_available_camel: gpu,
        gpu_available: gpu,
        gpu_stats_available: false,
        models_loaded_camel: loaded,
        models_loaded: loaded,
        uptime_seconds: app.started.elapsed().as_secs_f64(),
        backend: app.backend.name.clone(),
    })
}
