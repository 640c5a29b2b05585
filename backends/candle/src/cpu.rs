// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The backend for this machine's processor.

use std::{num::NonZero, sync::Arc, thread};

use alice_nets::NetBackend;
use alice_plugin::{Description, Error, Result, processor};
use candle_core::utils::get_num_threads;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Deserialize;

use crate::CandleOps;

/// Above 0, so that it is chosen where nothing else runs; below every backend that is made for its device.
const SCORE: u32 = 10;

/// What the daemon may tell the backend.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Options {
    /// Number of threads to compute on. Left out: one for each physical core that this process may use.
    threads: Option<NonZero<usize>>,
}

/// The CPU backend.
///
/// `options` is null or an object; its `threads` is the number of threads to compute on (default: the
/// physical cores), unknown members are ignored.
///
/// # Errors
/// `Invalid` for options of another form, `Internal` when the threads cannot be started.
pub fn cpu_backend(options: &serde_json::Value) -> Result<NetBackend<CandleOps>> {
    let options = Option::<Options>::deserialize(options)
        .map_err(|error| Error::invalid(format!("the options of the backend `candle-cpu`: {error}")))?
        .unwrap_or_default();
    let threads = options.threads.map_or_else(cores, NonZero::get);
    let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("candle-{i}")).build();
    let pool = pool.map_err(|error| Error::internal(format!("cannot start {threads} threads: {error}")))?;
    let pool: Arc<ThreadPool> = Arc::new(pool);
    tracing::info!(threads, "candle computes on {threads} threads of the CPU");
    Ok(NetBackend::new(describe, move |_device, _dtype| Ok(CandleOps::cpu(Arc::clone(&pool)))))
}

/// Physical cores, or fewer if this process may not use them all. Two threads on one core get in each
/// other's way, because a matrix product leaves none of the core's units idle.
fn cores() -> usize {
    let allowed = thread::available_parallelism().map_or(1, NonZero::get);
    // This is also the number of parts into which candle cuts a matrix product.
    get_num_threads().min(allowed)
}

fn describe() -> Description {
    Description {
        name: "candle-cpu".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        devices: vec![processor::device()],
        dtypes: vec!["f32".to_owned()],
        families: Vec::new(),
        inputs: Vec::new(),
        score: SCORE,
        reason: None,
        stand_in: false,
    }
}
