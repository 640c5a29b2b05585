// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What changes a model without being one: LoRAs and textual-inversion embeddings.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use alice_checkpoint::Family;

use super::entry::{Entry, entry};
use super::names::Wish;
use super::sidecar::{self, Subject};
use super::{files, model};

/// A LoRA on disk.
#[derive(Clone, Debug)]
pub struct LoraEntry {
    /// `lora/<name>`, as clients of the Python ALICE know it.
    pub id: String,
    /// Usually the file's name without its ending.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The family of the models that it was made for, where its tensors tell.
    pub base: Option<Family>,
    /// Seconds since 1970 when it was put here.
    pub created: u64,
    /// How large the file is.
    pub size_bytes: u64,
    /// A number that changes whenever the file does.
    pub version: u64,
    /// One sentence for people, out of its sidecar.
    pub description: Option<String>,
    /// Words that a prompt should have for it to be seen, out of its sidecar.
    pub trigger: Vec<String>,
    /// The directory of models in which it was found.
    pub(super) root: PathBuf,
    /// What is odd about its sidecar, for the log.
    pub(super) warnings: Vec<String>,
    pub(super) wish: Wish,
    pub(super) stamp: u64,
}

/// A textual-inversion embedding on disk.
#[derive(Clone, Debug)]
pub struct EmbeddingEntry {
    /// `embedding/<name>`.
    pub id: String,
    /// The word that a prompt calls it by: usually the file's name without its ending.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Seconds since 1970 when it was put here.
    pub created: u64,
    /// How large the file is.
    pub size_bytes: u64,
    pub(super) wish: Wish,
    pub(super) stamp: u64,
}

impl LoraEntry {
    /// Of the file at `path`, which was made for models of the family `base` and had this [`stamp`] before anything
    /// of it was read.
    ///
    /// # Errors
    /// A sidecar that cannot be used.
    pub(super) fn new(
        path: &Path,
        root: &Path,
        base: Option<Family>,
        wish: Wish,
        metadata: &Metadata,
        stamp: u64,
    ) -> anyhow::Result<Self> {
        let (sidecar, warnings) = sidecar::read(&sidecar::beside(path), Subject::Lora)?;
        let name = wish.first().to_owned();
        Ok(Self {
            id: format!("lora/{name}"),
            name,
            path: path.to_owned(),
            base,
            created: model::created(metadata),
            size_bytes: metadata.len(),
            version: files::stamp([path]),
            description: sidecar.description,
            trigger: sidecar.trigger,
            root: root.to_owned(),
            warnings,
            wish,
            stamp,
        })
    }
}

entry!(LoraEntry, "lora");

impl EmbeddingEntry {
    /// Of the file at `path`, which had this [`stamp`] before anything of it was read.
    pub(super) fn new(path: &Path, wish: Wish, metadata: &Metadata, stamp: u64) -> Self {
        let name = wish.first().to_owned();
        Self {
            id: format!("embedding/{name}"),
            name,
            path: path.to_owned(),
            created: model::created(metadata),
            size_bytes: metadata.len(),
            wish,
            stamp,
        }
    }
}

entry!(EmbeddingEntry, "embedding");

/// Changes when the file at `path`, or what its owner says about it, does.
pub(super) fn stamp(path: &Path) -> u64 {
    let sidecars = sidecar::beside(path);
    files::stamp(std::iter::once(path).chain(sidecars.iter().map(PathBuf::as_path)))
}
