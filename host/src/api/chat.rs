// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `POST /v1/chat/completions`: the form in which SAM and the other clients of the Python ALICE ask for
//! pictures. The last user message is the prompt; parameters stand in `sam_config`, `samConfig` or, as SAM
//! really sends them, `metadata`.

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::images::request::one_picture;
use super::told::Told;
use super::{early, files, json, now_s, wish};
use crate::adapters::{LoraWish, Unmatched};
use crate::app::App;
use crate::auth::Actor;
use crate::draft::{ControlWish, Draft, HiresWish, Source, Wishes};
use crate::error::{Alice, Error, Result};
use crate::gallery::Kept;
use crate::guard::InHand;
use crate::inputs::ResizeMode;
use crate::jobs::{self, Attendance};
use crate::task::Task;

/// Most pictures of one request in this API.
const MAX_COUNT: u32 = 100;
/// Our names of parameters, and what clients of this API call them.
const NAMES: &[(&str, &str)] = &[("loras", "lora_paths"), ("image", "input_images")];

/// What clients send; other fields of OpenAI's chat API are ignored.
#[derive(Debug, Deserialize)]
pub struct ChatRequest {
    model: String,
    messages: Vec<Message>,
    stream: Option<bool>,
    /// The job goes on when its client hangs up.
    detach: Option<bool>,
    #[serde(alias = "samConfig")]
    sam_config: Option<SamConfig>,
    /// OpenAI defines this as free text pairs, so nothing in it is ever an error.
    metadata: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object with `role` and `content`")]
struct Message {
    role: String,
    content: Option<Content>,
}

/// A message's text, alone or in parts.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a text, or a list of parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object with `type`")]
struct Part {
    r#type: String,
    text: Option<String>,
    image_url: Option<Source>,
}

/// The generation parameters.
#[derive(Debug, Default, Deserialize)]
struct SamConfig {
    negative_prompt: Option<String>,
    steps: Option<i64>,
    guidance_scale: Option<f64>,
    scheduler: Option<String>,
    clip_skip: Option<i64>,
    guidance_rescale: Option<f64>,
    guidance_interval: Option<[f64; 2]>,
    width: Option<i64>,
    height: Option<i64>,
    seed: Option<i128>,
    num_images: Option<i64>,
    /// Ids or names; they are no paths.
    lora_paths: Option<Vec<String>>,
    /// By the places of `lora_paths`; 1 where there is none.
    lora_scales: Option<Vec<f64>>,
    /// The same in the words of the images API; behind `lora_paths`.
    loras: Option<Vec<LoraWish>>,
    /// base64 or data URLs.
    input_images: Option<Vec<Source>>,
    input_image_urls: Option<Vec<Source>>,
    mask: Option<Source>,
    strength: Option<f64>,
    resize_mode: Option<ResizeMode>,
    mask_blur: Option<f64>,
    mask_invert: Option<bool>,
    only_masked: Option<bool>,
    only_masked_padding: Option<i64>,
    image_guidance_scale: Option<f64>,
    controls: Option<Vec<ControlWish>>,
    hires: Option<HiresWish>,
    upscaler: Option<String>,
}

/// What clients get back.
#[derive(Debug, Serialize)]
pub struct ChatResponse {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    choices: [Choice; 1],
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: u32,
    message: Answer,
    finish_reason: &'static str,
    #[serde(rename = "finishReason")]
    finish_reason_camel: &'static str,
}

#[derive(Debug, Serialize)]
struct Answer {
    role: &'static str,
    content: String,
    image_urls: Vec<String>,
    metadata: Metadata,
}

#[derive(Debug, Serialize)]
struct Metadata {
    #[serde(flatten)]
    told: Told,
    /// The seed of each picture.
    seeds: Vec<u64>,
    /// What its client should know of the request.
    warnings: Vec<String>,
    /// The parts of its LoRAs that do not suit the model.
    unmatched: Unmatched,
}

/// Pictures have no tokens; SAM insists on the camel-case names, OpenAI's clients on the others.
#[derive(Debug, Default, Serialize)]
struct Usage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    #[serde(rename = "promptTokens")]
    prompt_tokens_camel: u32,
    #[serde(rename = "completionTokens")]
    completion_tokens_camel: u32,
    #[serde(rename = "totalTokens")]
    total_tokens_camel: u32,
}

/// Text in, addresses of pictures out.
///
/// 400 without a prompt, 404 for an unknown model, 422 for a body that does not fit, 429 when the caller and 503
/// when everybody has as many jobs waiting as may wait. Dropping the request cancels the work, unless it is to
/// go on.
pub async fn create(
    State(app): State<App>,
    actor: Actor,
    uri: Uri,
    headers: HeaderMap,
    in_hand: InHand,
    body: json::Body,
) -> std::result::Result<Response, Alice> {
    let wire: ChatRequest = json::parse(&body)?;
    let wish = wish::of(&actor, &uri, &headers, &body, wire.detach == Some(true));
    // The job may wait long.
    drop(body);
    let model = wire.model.clone();
    let asked = async { jobs::ask(&app, &actor, wire.into_draft()?, MAX_COUNT, wish).await };
    let job = asked.await.map_err(|error| error.renamed(NAMES))?;
    drop(in_hand);
    let shared = app.clone();
    let finish = |job: Attendance| async move {
        let outcome = job.outcome().await?;
        let urls = files::urls(&shared, &actor, &headers, &outcome.kept).await?;
        Ok(ChatResponse::new(&job.task, &outcome.kept, model, urls))
    };
    Ok(early::answer::<Alice, _, _>(&app, job, finish).await)
}

impl ChatRequest {
    fn into_draft(self) -> Result<Draft> {
        let (prompt, shown) = message(self.messages)?;
        if self.stream == Some(true) {
            return Err(Error::invalid("stream", "is not offered by this version: leave it out"));
        }
        let from_metadata = self.metadata.map(SamConfig::lenient).transpose()?.unwrap_or_default();
        let mut config = self.sam_config.unwrap_or_default().or(from_metadata);
        let loras = config.take_loras()?;
        let lists = [config.input_images.take(), config.input_image_urls.take(), Some(shown)];
        let image = one_picture(lists.into_iter().flatten().flatten(), "input_images")?;
        Ok(Draft {
            model: Some(self.model),
            prompt,
            negative_prompt: config.negative_prompt,
            steps: config.steps,
            guidance_scale: config.guidance_scale,
            scheduler: config.scheduler,
            clip_skip: config.clip_skip,
            guidance_rescale: config.guidance_rescale,
            guidance_interval: config.guidance_interval,
            width: config.width,
            height: config.height,
            seed: config.seed,
            count: config.num_images,
            loras,
            image,
            mask: config.mask,
            wishes: Wishes {
                strength: config.strength,
                resize_mode: config.resize_mode,
                mask_blur: config.mask_blur,
                mask_invert: config.mask_invert,
                only_masked: config.only_masked,
                only_masked_padding: config.only_masked_padding,
                image_guidance_scale: config.image_guidance_scale,
                controls: config.controls.unwrap_or_default(),
                hires: config.hires,
                upscaler: config.upscaler,
                wordless: false,
            },
        })
    }
}

/// The text of the last user message, and the pictures in it.
fn message(messages: Vec<Message>) -> Result<(String, Vec<Source>)> {
    let missing = || Error::invalid("messages", "must hold a user message with text");
    let message = messages.into_iter().rfind(|message| message.role == "user").ok_or_else(missing)?;
    let parts = match message.content.ok_or_else(missing)? {
        Content::Text(text) => return Ok((text, Vec::new())),
        Content::Parts(parts) => parts,
    };
    let (mut texts, mut pictures) = (Vec::new(), Vec::new());
    for part in parts {
        match (part.r#type.as_str(), part.text, part.image_url) {
            ("text", text, _) => texts.extend(text),
            ("image_url", _, Some(picture)) => pictures.push(picture),
            _ => return Err(Error::invalid("messages", "may hold parts `text` and `image_url` only")),
        }
    }
    Ok((texts.join("\n"), pictures))
}

impl SamConfig {
    /// The known fields of `metadata` that have usable values; numbers may be text. Everything else is
    /// somebody else's.
    ///
    /// # Errors
    /// LoRAs and pictures that cannot be read: what is painted would silently be without them.
    fn lenient(metadata: Value) -> Result<Self> {
        let Value::Object(fields) = metadata else { return Ok(Self::default()) };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let pictures = |name: &str| -> Result<Option<Vec<Source>>> {
            let texts = readable(&fields, name, texts)?;
            Ok(texts.map(|texts| texts.into_iter().filter(|text| !text.is_empty()).map(Source::of).collect()))
        };
        Ok(Self {
            negative_prompt: text("negative_prompt"),
            steps: number(&fields, "steps"),
            guidance_scale: number(&fields, "guidance_scale").filter(|scale: &f64| scale.is_finite()),
            scheduler: text("scheduler"),
            clip_skip: number(&fields, "clip_skip"),
            guidance_rescale: number(&fields, "guidance_rescale").filter(|rescale: &f64| rescale.is_finite()),
            guidance_interval: fields
                .get("guidance_interval")
                .and_then(|pair| serde_json::from_value(pair.clone()).ok()),
            width: number(&fields, "width"),
            height: number(&fields, "height"),
            seed: number(&fields, "seed"),
            num_images: number(&fields, "num_images"),
            lora_paths: readable(&fields, "lora_paths", texts)?,
            lora_scales: readable(&fields, "lora_scales", numbers)?,
            loras: readable(&fields, "loras", wishes)?,
            input_images: pictures("input_images")?,
            input_image_urls: pictures("input_image_urls")?,
            mask: text("mask").filter(|text| !text.is_empty()).map(Source::of),
            strength: number(&fields, "strength").filter(|strength: &f64| strength.is_finite()),
            resize_mode: fields.get("resize_mode").and_then(|mode| serde_json::from_value(mode.clone()).ok()),
            mask_blur: number(&fields, "mask_blur").filter(|blur: &f64| blur.is_finite()),
            mask_invert: truth(&fields, "mask_invert"),
            only_masked: truth(&fields, "only_masked"),
            only_masked_padding: number(&fields, "only_masked_padding"),
            image_guidance_scale: number(&fields, "image_guidance_scale")
                .filter(|scale: &f64| scale.is_finite()),
            controls: readable(&fields, "controls", nested)?,
            hires: readable(&fields, "hires", nested)?,
            upscaler: text("upscaler"),
        })
    }

    /// Field by field: ours, else `other`'s.
    fn or(self, other: Self) -> Self {
        Self {
            negative_prompt: self.negative_prompt.or(other.negative_prompt),
            steps: self.steps.or(other.steps),
            guidance_scale: self.guidance_scale.or(other.guidance_scale),
            scheduler: self.scheduler.or(other.scheduler),
            clip_skip: self.clip_skip.or(other.clip_skip),
            guidance_rescale: self.guidance_rescale.or(other.guidance_rescale),
            guidance_interval: self.guidance_interval.or(other.guidance_interval),
            width: self.width.or(other.width),
            height: self.height.or(other.height),
            seed: self.seed.or(other.seed),
            num_images: self.num_images.or(other.num_images),
            // Scales belong to the paths beside them.
            lora_scales: match self.lora_paths.is_some() {
                true => self.lora_scales,
                false => self.lora_scales.or(other.lora_scales),
            },
            lora_paths: self.lora_paths.or(other.lora_paths),
            loras: self.loras.or(other.loras),
            input_images: self.input_images.or(other.input_images),
            input_image_urls: self.input_image_urls.or(other.input_image_urls),
            mask: self.mask.or(other.mask),
            strength: self.strength.or(other.strength),
            resize_mode: self.resize_mode.or(other.resize_mode),
            mask_blur: self.mask_blur.or(other.mask_blur),
            mask_invert: self.mask_invert.or(other.mask_invert),
            only_masked: self.only_masked.or(other.only_masked),
            only_masked_padding: self.only_masked_padding.or(other.only_masked_padding),
            image_guidance_scale: self.image_guidance_scale.or(other.image_guidance_scale),
            controls: self.controls.or(other.controls),
            hires: self.hires.or(other.hires),
            upscaler: self.upscaler.or(other.upscaler),
        }
    }

    /// The LoRAs that it asks for.
    fn take_loras(&mut self) -> Result<Vec<LoraWish>> {
        let paths = self.lora_paths.take().unwrap_or_default();
        let scales = self.lora_scales.take().unwrap_or_default();
        if scales.len() > paths.len() {
            return Err(Error::out_of_range("lora_scales", "no longer than `lora_paths`"));
        }
        let scales = scales.into_iter().chain(std::iter::repeat(1.0));
        let wishes = paths.into_iter().zip(scales).map(|(name, scale)| LoraWish { name, scale });
        Ok(wishes.chain(self.loras.take().unwrap_or_default()).collect())
    }
}

/// A field that is absent (or null), or can be read.
fn readable<T>(
    fields: &Map<String, Value>,
    name: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Option<T>> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(Error::invalid(name, "cannot be read: it is no list of the kind that it should be")),
        },
    }
}

/// A list of texts, or what OpenAI's metadata can hold of it: a text with such a list as JSON, or the only entry.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) if text.trim_start().starts_with('[') => texts(&serde_json::from_str(text).ok()?),
        Value::String(text) if text.trim().is_empty() => Some(Vec::new()),
        Value::String(text) => Some(vec![text.clone()]),
        other => other.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
    }
}

/// The same of numbers, each written as a number or as text.
fn numbers(value: &Value) -> Option<Vec<f64>> {
    match value {
        Value::String(text) if text.trim_start().starts_with('[') => {
            numbers(&serde_json::from_str(text).ok()?)
        }
        Value::Array(list) => list.iter().map(one_number).collect(),
        other => Some(vec![one_number(other)?]),
    }
}

fn one_number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    }
}

/// The same of LoRAs, whose scales may be text too.
fn wishes(value: &Value) -> Option<Vec<LoraWish>> {
    let wish = |value: &Value| {
        let fields = value.as_object()?;
        let field = |names: [&str; 2]| names.into_iter().find_map(|name| fields.get(name));
        let name = field(["name", "id"])?.as_str()?.to_owned();
        let scale = field(["scale", "weight"]).map_or(Some(1.0), one_number)?;
        Some(LoraWish { name, scale })
    };
    match value {
        Value::String(text) => wishes(&serde_json::from_str(text).ok().filter(Value::is_array)?),
        other => other.as_array()?.iter().map(wish).collect(),
    }
}

/// Something that has parts, or the text of its JSON.
fn nested<T: DeserializeOwned>(value: &Value) -> Option<T> {
    match value {
        Value::String(text) => serde_json::from_str(text).ok(),
        other => serde_json::from_value(other.clone()).ok(),
    }
}

/// Yes or no, perhaps as text.
fn truth(fields: &Map<String, Value>, name: &str) -> Option<bool> {
    match fields.get(name)? {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => text.trim().to_lowercase().parse().ok(),
        _ => None,
    }
}

/// A number, written as a number or as text.
fn number<T: std::str::FromStr>(fields: &Map<String, Value>, name: &str) -> Option<T> {
    match fields.get(name)? {
        Value::Number(number) => number.to_string().trim_end_matches(".0").parse().ok(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

impl ChatResponse {
    /// The answer with the addresses of the pictures `kept`, which `task` has led to.
    fn new(task: &Task, kept: &[Kept], model: String, urls: Vec<String>) -> Self {
        let plural = if kept.len() == 1 { "image" } else { "images" };
        let metadata = Metadata {
            told: Told::of(task),
            seeds: (0..task.count()).filter_map(|place| task.seed(place)).collect(),
            warnings: task.warnings().to_vec(),
            unmatched: task.unmatched().clone(),
        };
        let message = Answer {
            role: "assistant",
            content: format!("Generated {} {plural}.", kept.len()),
            image_urls: urls,
            metadata,
        };
        let id = kept[0].file.chars().take(12).collect::<String>();
        Self {
            id: format!("chatcmpl-{id}"),
            object: "chat.completion",
            created: now_s(),
            model,
            choices: [Choice { index: 0, message, finish_reason: "stop", finish_reason_camel: "stop" }],
            usage: Usage::default(),
        }
    }
}
