// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The models on disk, and the LoRAs, embeddings, ControlNets and upscalers beside them: what there is, what it is
//! called, and what it says about how it wants to be used.
//!
//! What a file is, its own tensors say (`alice_checkpoint`); its name says only what it is called. Files are looked
//! at when the daemon starts and when somebody asks for it (`POST /v1/models/refresh`), never in between.

mod adapters;
mod companions;
pub mod default_model;
mod defaults;
mod entry;
mod files;
mod kind;
mod model;
mod names;
mod registry;
pub mod removal;
mod scan;
mod shelf;
pub mod sidecar;
mod sizes;
mod tokenizers;
mod walk;

pub use adapters::{EmbeddingEntry, LoraEntry};
pub use companions::{ControlEntry, UpscalerEntry};
pub use defaults::{Defaults, LeftOpen, left_open};
pub use model::{Model, parse_scheduler, read_scheduler};
pub(crate) use registry::Turn;
pub use registry::{Counts, Registry};
pub use sidecar::Sidecar;
pub use sizes::Takes;
pub use tokenizers::read_tokenizers;
