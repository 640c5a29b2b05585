// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/v1/embeddings`: the words that prompts may use beside those of the language.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::models::mebibytes;
use crate::app::App;
use crate::models::EmbeddingEntry;

/// The list.
#[derive(Debug, Serialize)]
pub struct EmbeddingList {
    object: &'static str,
    data: Vec<Embedding>,
}

/// One embedding.
#[derive(Debug, Serialize)]
struct Embedding {
    id: String,
    object: &'static str,
    /// The word.
    name: String,
    created: u64,
    size_mb: f64,
}

/// All embeddings.
pub async fn list(State(app): State<App>) -> Json<EmbeddingList> {
    let entry = |embedding: &EmbeddingEntry| Embedding {
        id: embedding.id.clone(),
        object: "embedding",
        name: embedding.name.clone(),
        created: embedding.created,
        size_mb: mebibytes(embedding.size_bytes),
    };
    let data = app.models.embeddings().iter().map(|embedding| entry(embedding)).collect();
    Json(EmbeddingList { object: "list", data })
}
