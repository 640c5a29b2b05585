// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The backend for this machine's processor.

use std::{fmt, num::NonZero, sync::Arc};

use alice_nets::NetBackend;
use alice_plugin::{Description, Error, Result, processor};
use serde::Deserialize;

use crate::{
    isa::Isa,
    ops::{CpuOps, Format},
    threads::{Threads, cores},
};

/// Above that of `candle-cpu`, which computes on the same processor more slowly; below every backend that is made for
/// another device.
const SCORE: u32 = 20;

/// What the daemon may tell the backend.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Options {
    /// Number of threads to compute on. Left out: one for each physical core that this process may use.
    threads: Option<NonZero<usize>>,
    /// The number format that `auto` stands for.
    dtype: Dtype,
    /// The name of the instruction set. Left out: `ALICE_CPU_ISA`, else the best one.
    isa: Option<String>,
}

/// A number format, or the choice of one.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Dtype {
    /// The fastest one whose pictures are as near to those in f32 as PyTorch's in bf16 (docs/PARITY.md).
    #[default]
    Auto,
    F32,
    Bf16,
    /// Coarser: never taken unless it is asked for.
    Int8,
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        })
    }
}

/// The CPU backend.
///
/// `options` is null or an object; its `threads` is the number of threads to compute on (default: the
/// physical cores), its `dtype` (`auto`, `f32`, `bf16`, `int8`) the number format of models that ask for none: bf16 where the
/// processor multiplies it, else f32; its `isa` the instruction set, in the place of `ALICE_CPU_ISA`. Unknown members are
/// ignored.
///
/// # Errors
/// `Invalid` for options of another form, `Unsupported` for an instruction set that this processor does not have and
/// for a number format that it does not multiply, `Internal` when the threads cannot be started.
pub fn cpu_backend(options: &serde_json::Value) -> Result<NetBackend<CpuOps>> {
    let options = Option::<Options>::deserialize(options)
        .map_err(|error| Error::invalid(format!("the options of the backend `cpu`: {error}")))?
        .unwrap_or_default();
    let threads = options.threads.map_or_else(cores, NonZero::get);
    let isa = options.isa.as_deref().map_or_else(Isa::chosen, |name| Isa::named(name, "`isa`"))?;
    let dtypes = dtypes(isa, options.dtype)?;
    let pool = Arc::new(Threads::new(threads)?);
    tracing::info!(threads, %isa, "The backend `cpu` computes on {threads} threads with {isa}");
    let open = move |_device: u32, dtype: &str| {
        let format = match dtype {
            "int8" => Format::Int8,
            "bf16" => Format::Bf16,
            _ => Format::F32,
        };
        CpuOps::new(isa, format, Arc::clone(&pool))
    };
    Ok(NetBackend::new(move || describe(dtypes), open))
}

/// The number formats, the one that `auto` stands for first.
fn dtypes(isa: Isa, wanted: Dtype) -> Result<&'static [&'static str]> {
    match (wanted, isa.has_bf16(), isa.has_int8()) {
        (Dtype::Int8, _, true) => Ok(&["int8", "bf16", "f32"]),
        (Dtype::Auto | Dtype::Bf16, true, true) => Ok(&["bf16", "f32", "int8"]),
        (Dtype::F32, true, true) => Ok(&["f32", "bf16", "int8"]),
        (Dtype::Auto | Dtype::Bf16, true, false) => Ok(&["bf16", "f32"]),
        (Dtype::F32, true, false) => Ok(&["f32", "bf16"]),
        (Dtype::Auto | Dtype::F32, false, _) => Ok(&["f32"]),
        (Dtype::Bf16, false, _) | (Dtype::Int8, _, false) => {
            let message = format!("the backend `cpu` was asked for {wanted}, which {isa} does not multiply");
            Err(Error::unsupported(message))
        }
    }
}

fn describe(dtypes: &[&str]) -> Description {
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
