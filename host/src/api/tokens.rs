// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `POST /v1/tokens`: how much of what a model reads at once a prompt takes, before anything is painted.

use std::sync::Arc;

use alice_diffusion::prompt::{parse, without_loras};
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::json::{Body, parse_optional};
use crate::app::App;
use crate::error::{Alice, Error, Result};
use crate::models::Model;

/// What is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Id, name or alias; the default model when it is left out.
    model: Option<String>,
    prompt: String,
    negative_prompt: String,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct Counted {
    object: &'static str,
    /// The model's id.
    model: String,
    prompt: Count,
    negative_prompt: Count,
}

/// One text, as the text encoder that takes most tokens for it reads it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Count {
    /// Tokens, without those of `<lora:...>`; a textual inversion counts as the words of its name.
    tokens: usize,
    /// Windows of the text encoder that they take; 0 where there is no text.
    chunks: usize,
    /// Tokens that one window has room for.
    tokens_per_chunk: usize,
}

/// The tokens of both texts.
pub async fn count(State(app): State<App>, body: Body) -> std::result::Result<Json<Counted>, Alice> {
    let asked: Asked = parse_optional(&body)?;
    let limit = app.config.limits.prompt_bytes;
    for (param, text) in [("prompt", &asked.prompt), ("negative_prompt", &asked.negative_prompt)] {
        if text.len() > limit {
            return Err(Error::invalid(param, format!("has more than {limit} bytes")).into());
        }
    }
    let model = app.models.find(asked.model.as_deref())?;
    let most = app.config.limits.prompt_chunks;
    let read = tokio::task::spawn_blocking(move || counted(&model, &asked, most)).await;
    Ok(Json(read.map_err(anyhow::Error::from).map_err(Error::from)??))
}

fn counted(model: &Arc<Model>, asked: &Asked, most: usize) -> Result<Counted> {
    Ok(Counted {
        object: "tokens",
        model: model.id.clone(),
        prompt: count_of(model, "prompt", &asked.prompt, most)?,
        negative_prompt: count_of(model, "negative_prompt", &asked.negative_prompt, most)?,
    })
}

fn count_of(model: &Model, param: &'static str, text: &str, most: usize) -> Result<Count> {
    let wrong = |error: alice_diffusion::Error| Error::invalid(param, error.to_string());
    let encoders = model.text_encoders()?;
    let tokenizers = model.tokenizers(&encoders)?;
    let (text, _loras) = without_loras(text).map_err(wrong)?;
    let parts = parse(&text).map_err(wrong)?;
    let mut largest = Count::default();
    for (tokenizer, encoder) in tokenizers.iter().zip(&encoders) {
        let chunks = tokenizer.chunks(&parts, encoder.vocab_size, most).map_err(wrong)?;
        let tokens = chunks.iter().map(|chunk| tokenizer.spoken(chunk)).sum();
        let count = Count {
            tokens,
            chunks: if text.trim().is_empty() { 0 } else { chunks.len() },
            tokens_per_chunk: tokenizer.room(),
        };
        if count.tokens >= largest.tokens {
            largest = count;
        }
    }
    Ok(largest)
}
