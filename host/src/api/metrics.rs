// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `GET /metrics`: the daemon's counts as the Python ALICE's JSON, or for Prometheus.
//!
//! Everyone may read it, as clients and scrapers without an account do. It names nobody, no prompt and no model.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::app::App;
use crate::metrics::histogram::Reading;
use crate::metrics::snapshot::{self, Snapshot};
use crate::metrics::{Ended, Stage, prometheus};

mod accept;

/// JSON, unless the caller would rather have Prometheus' text.
pub async fn show(State(app): State<App>, headers: HeaderMap) -> Response {
    let snapshot = snapshot::take(&app);
    let varies = [(header::VARY, "accept")];
    match accept::prefers_text(&headers) {
        true => (varies, text(&snapshot)).into_response(),
        false => (varies, Json(Metrics::from(&snapshot))).into_response(),
    }
}

/// Prometheus' text, whatever the caller accepts.
pub async fn prometheus(State(app): State<App>) -> impl IntoResponse {
    text(&snapshot::take(&app))
}

fn text(snapshot: &Snapshot) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], prometheus::write(snapshot))
}

/// First the keys of the Python ALICE, then further ones. Times are in seconds, memory is in bytes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    /// Jobs that wait or are worked on.
    queue_depth: usize,
    active_generations: usize,
    /// No backend tells how busy its device is, for which the Python ALICE says 0.
    gpu_utilization: f64,
    gpu_memory_used: String,
    gpu_memory_total: String,
    models_loaded: usize,
    total_generations: u64,
    /// 0 before the first.
    avg_generation_time: f64,

    waiting_generations: usize,
    failed_generations: u64,
    cancelled_generations: u64,
    refused_generations: u64,
    total_pictures: u64,
    total_steps: u64,
    steps_per_second: Option<f64>,
    wait_seconds: Times,
    stage_seconds: Stages,
    rows_per_batch: Rows,
    memory_bytes: Memory,
    devices: Vec<Device>,
    model_evictions: u64,
    worker_restarts: u64,
    out_of_memory: u64,
    uptime_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Times {
    count: u64,
    sum: f64,
    mean: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stages {
    load: Times,
    adapt: Times,
    encode_text: Times,
    encode_image: Times,
    encode_hint: Times,
    /// One forward pass.
    denoise: Times,
    decode: Times,
    preview: Times,
    upscale: Times,
    keep: Times,
}

/// Forward passes by their rows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rows {
    count: u64,
    mean: Option<f64>,
    /// How many had up to so many rows, and more than the bound before.
    up_to: BTreeMap<u64, u64>,
    /// How many had more than the last bound.
    more: u64,
}

/// `null` is unknown. The devices' memory is that of all of them together.
#[derive(Debug, Serialize)]
struct Memory {
    models: u64,
    device: Option<u64>,
    host: Option<u64>,
}

/// A device and what is on it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    index: u32,
    kind: String,
    /// `null` is unknown.
    memory_bytes: Option<u64>,
    models_loaded: usize,
    model_bytes: u64,
    active_generations: usize,
}

impl From<&snapshot::Device> for Device {
    fn from(device: &snapshot::Device) -> Self {
        Self {
            index: device.index,
            kind: device.kind.clone(),
            memory_bytes: device.bytes,
            models_loaded: device.models,
            model_bytes: device.model_bytes,
            active_generations: device.running,
        }
    }
}

impl From<&Snapshot> for Metrics {
    fn from(snapshot: &Snapshot) -> Self {
        let counted = &snapshot.counted;
        let ended = |how| counted.ended(how).count();
        let gpus = || snapshot.devices.iter().filter(|device| device.kind != "cpu");
        let gibibytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / f64::from(1 << 30));
        Self {
            queue_depth: snapshot.waiting + snapshot.running,
            active_generations: snapshot.running,
            gpu_utilization: 0.0,
            gpu_memory_used: gibibytes(gpus().map(|gpu| gpu.model_bytes).sum()),
            gpu_memory_total: gibibytes(gpus().filter_map(|gpu| gpu.bytes).sum()),
            models_loaded: snapshot.models,
            total_generations: ended(Ended::Done),
            avg_generation_time: counted.ended(Ended::Done).mean().unwrap_or(0.0),
            waiting_generations: snapshot.waiting,
            failed_generations: ended(Ended::Failed),
            cancelled_generations: ended(Ended::Cancelled),
            refused_generations: counted.refusals,
            total_pictures: counted.pictures,
            total_steps: counted.steps,
            steps_per_second: counted.steps_per_second(),
            wait_seconds: Times::from(&counted.waits),
            stage_seconds: Stages::from(snapshot),
            rows_per_batch: Rows::from(&counted.rows),
            memory_bytes: Memory {
                models: snapshot.model_bytes,
                device: snapshot.devices.iter().map(|device| device.bytes).sum(),
                host: snapshot.resident_bytes,
            },
            devices: snapshot.devices.iter().map(Device::from).collect(),
            model_evictions: counted.evictions,
            worker_restarts: counted.restarts,
            out_of_memory: counted.out_of_memory,
            uptime_seconds: snapshot.uptime.as_secs_f64(),
        }
    }
}

impl From<&Reading> for Times {
    fn from(reading: &Reading) -> Self {
        Self { count: reading.count(), sum: reading.sum, mean: reading.mean() }
    }
}

impl From<&Snapshot> for Stages {
    fn from(snapshot: &Snapshot) -> Self {
        let times = |stage| Times::from(snapshot.counted.stage(stage));
        Self {
            load: times(Stage::Load),
            adapt: times(Stage::Adapt),
            encode_text: times(Stage::EncodeText),
            encode_image: times(Stage::EncodeImage),
            encode_hint: times(Stage::EncodeHint),
            denoise: times(Stage::Denoise),
            decode: times(Stage::Decode),
            preview: times(Stage::Preview),
            upscale: times(Stage::Upscale),
            keep: times(Stage::Keep),
        }
    }
}

impl From<&Reading> for Rows {
    fn from(reading: &Reading) -> Self {
        let (bounded, above): (Vec<_>, Vec<_>) =
            reading.buckets.iter().partition(|(bound, _)| bound.is_finite());
        Self {
            count: reading.count(),
            mean: reading.mean(),
            // The bounds of rows are whole numbers.
            up_to: bounded.iter().map(|(bound, count)| (*bound as u64, *count)).collect(),
            more: above.iter().map(|(_, count)| count).sum(),
        }
    }
}
