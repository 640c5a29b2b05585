// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What changes a model without being one: LoRAs and textual-inversion embeddings.

use std::path::PathBuf;

use alice_checkpoint::Family;

/// A LoRA on disk.
#[derive(Debug)]
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
    /// One sentence for people, out of its sidecar.
    pub description: Option<String>,
    /// Words that a prompt should have for it to be seen, out of its sidecar.
    pub trigger: Vec<String>,
}

/// A textual-inversion embedding on disk.
#[derive(Debug)]
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
}
