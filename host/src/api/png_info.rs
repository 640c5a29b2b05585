// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `POST /v1/png-info` and, as A1111 calls it, `/sdapi/v1/png-info`: what a picture carries of how it was made.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::json;
use super::multipart::{self, Form};
use crate::app::App;
use crate::error::{Alice, Error, Result};
use crate::guard::InHand;
use crate::infotext::{self, Parsed, carried};
use crate::inputs;

/// What clients send, unless it is a form with a file.
#[derive(Debug, Deserialize)]
struct PngInfoRequest {
    /// Base64, or a data URL.
    image: String,
}

/// What the picture carries.
#[derive(Debug, Serialize)]
pub struct PngInfoResponse {
    /// The `parameters` text; empty if there is none.
    info: String,
    /// All texts by their names.
    items: Map<String, Value>,
    /// What the text says, by A1111's names.
    parameters: Map<String, Value>,
    /// The same by ours.
    request: Request,
}

/// What the text says, by the names of requests for pictures.
#[derive(Debug, Default, Serialize)]
struct Request {
    prompt: String,
    negative_prompt: Option<String>,
    model: Option<String>,
    steps: Option<u32>,
    guidance_scale: Option<f64>,
    scheduler: Option<String>,
    seed: Option<u64>,
    width: Option<u32>,
    height: Option<u32>,
    clip_skip: Option<u32>,
    strength: Option<f64>,
}

/// The picture's texts. One that carries none is no error.
///
/// # Errors
/// 400 about what is no PNG.
pub async fn read(
    State(app): State<App>,
    headers: HeaderMap,
    _in_hand: InHand,
    body: json::Body,
) -> std::result::Result<Json<PngInfoResponse>, Alice> {
    let file = match multipart::boundary(&headers)? {
        Some(boundary) => of_form(Form::read(body, &boundary, &app.config.limits).await?)?,
        None => inputs::from_text(&json::parse::<PngInfoRequest>(&body)?.image)?,
    };
    let told = tokio::task::spawn_blocking(move || tell(&file)).await.map_err(anyhow::Error::from);
    Ok(Json(told.map_err(Error::from)??))
}

fn of_form(mut form: Form) -> Result<Bytes> {
    form.take_files("image").pop().ok_or_else(|| Error::invalid("image", "must be a file"))
}

fn tell(file: &[u8]) -> Result<PngInfoResponse> {
    if !file.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Err(Error::invalid("image", "must be a PNG file"));
    }
    let items: Map<_, _> =
        carried::texts(file).into_iter().map(|(name, text)| (name, Value::from(text))).collect();
    let info = items.get("parameters").and_then(Value::as_str).unwrap_or_default().to_owned();
    let parsed = infotext::read(&info);
    let parameters = by_name(&parsed);
    let request = if info.is_empty() { Request::default() } else { Request::from(parsed) };
    Ok(PngInfoResponse { info, items, parameters, request })
}

fn by_name(parsed: &Parsed) -> Map<String, Value> {
    let prompts =
        [("Prompt", Some(parsed.prompt.clone())), ("Negative prompt", parsed.negative_prompt.clone())];
    let prompts = prompts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?)));
    let all = prompts.chain(parsed.pairs.iter().cloned());
    all.filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name, Value::from(text))).collect()
}

impl From<Parsed> for Request {
    fn from(parsed: Parsed) -> Self {
        // The text counts the layers used from 1.
        let clip_skip = parsed.value("Clip skip").and_then(|skip| skip.parse::<u32>().ok()?.checked_sub(1));
        Self {
            clip_skip,
            model: parsed.model,
            steps: parsed.steps,
            guidance_scale: parsed.guidance_scale,
            scheduler: parsed.sampler.map(|sampler| sampler.name()),
            seed: parsed.seed,
            width: parsed.size.map(|(width, _)| width),
            height: parsed.size.map(|(_, height)| height),
            strength: parsed.strength,
            prompt: parsed.prompt,
            negative_prompt: parsed.negative_prompt,
        }
    }
}
