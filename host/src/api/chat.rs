// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `POST /v1/chat/completions`: the form in which SAM and the other clients of the Python ALICE ask for
//! pictures. The last user message is the prompt; parameters stand in `sam_config`, `samConfig` or, as SAM
//! really sends them, `metadata`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::Fields;
use super::told::Told;
use super::{early, files, json, now_s, wish};
use crate::adapters::Unmatched;
use crate::app::App;
use crate::auth::Actor;
use crate::draft::{Draft, Source};
use crate::error::{Alice, Error, Result};
use crate::gallery::Kept;
use crate::guard::InHand;
use crate::jobs::{self, Attendance};
use crate::task::Task;

mod parameters;

/// Most pictures of one request in this API.
const MAX_COUNT: u32 = 100;

/// What clients send; other fields of OpenAI's chat API are ignored.
#[derive(Debug, Deserialize)]
pub struct ChatRequest {
    model: String,
    messages: Vec<Message>,
    stream: Option<bool>,
    /// The job goes on when its client hangs up.
    detach: Option<bool>,
    #[serde(alias = "samConfig")]
    sam_config: Option<Map<String, Value>>,
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
#[serde(untagged, expecting = "expected a text, or a list of parts")]
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
    let mut wire: ChatRequest = json::parse(&body)?;
    let wish = wish::of(&actor, &uri, &headers, &body, wire.detach == Some(true));
    // The job may wait long.
    drop(body);
    let model = wire.model.clone();
    let (fields, warnings) = parameters::read(wire.sam_config.take(), wire.metadata.take())?;
    let [loras, image] = fields.names(Some("messages"));
    let names = [loras, image, ("prompt", "messages")];
    let asked = async {
        let draft = wire.into_draft(fields)?;
        jobs::ask(&app, &actor, Draft { warnings, ..draft }, MAX_COUNT, wish).await
    };
    let job = asked.await.map_err(|error| error.renamed(&names))?;
    drop(in_hand);
    let shared = app.clone();
    let finish = |job: Attendance| async move {
        let outcome = job.outcome().await?;
        let urls = files::urls(&shared, &actor, &headers, &outcome.kept).await?;
        Ok(Json(ChatResponse::new(&job.task, &outcome.kept, model, urls)))
    };
    Ok(early::answer::<Alice, _, _>(&app, job, finish).await)
}

impl ChatRequest {
    /// The same in ALICE's words.
    fn into_draft(self, fields: Fields) -> Result<Draft> {
        let (prompt, shown) = message(self.messages)?;
        if self.stream == Some(true) {
            return Err(Error::invalid("stream", "is not offered by this version: leave it out"));
        }
        Ok(Draft { model: Some(self.model), prompt, ..fields.into_draft(shown)? })
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
