// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The backend for this machine's processor.

use std::{num::NonZero, sync::Arc};

use alice_nets::NetBackend;
use alice_plugin::{Description, Error, Result, processor};
use serde::Deserialize;

use crate::{
    isa::Isa,
    ops::{CpuOps, Format},
    threads::{Threads, cores},
};

/// Below that of `candle-cpu`, which stays the default until this one has been measured beside it in whole requests.
const SCORE: u32 = 9;

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
/// `Invalid` for options of another form, `Unsupported` for an instruction set that this processor does not have,
/// `Internal` when the threads cannot be started.
pub fn cpu_backend(options: &serde_json::Value) -> Result<NetBackend<CpuOps>> {
    let options = Option::<Options>::deserialize(options)
        .map_err(|error| Error::invalid(format!("the options of the backend `cpu`: {error}")))?
        .unwrap_or_default();
    let threads = options.threads.map_or_else(cores, NonZero::get);
    let isa = Isa::chosen()?;
    let pool = Arc::new(Threads::new(threads)?);
    tracing::info!(threads, %isa, "The backend `cpu` computes on {threads} threads with {isa}");
    let open = move |_device: u32, dtype: &str| {
        let format = if dtype == "bf16" { Format::Bf16 } else { Format::F32 };
        Ok(CpuOps::new(isa, format, Arc::clone(&pool)))
    };
    Ok(NetBackend::new(move || describe(isa), open))
}

fn describe(isa: Isa) -> Description {
    let dtypes: &[&str] = if isa.has_bf16() { &["f32", "bf16"] } else { &["f32"] };
    Description {
        name: "cpu".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        devices: vec![processor::device()],
        dtypes: dtypes.iter().map(|dtype| (*dtype).to_owned()).collect(),
        families: Vec::new(),
        inputs: Vec::new(),
        score: SCORE,
        reason: None,
        stand_in: false,
    }
}
