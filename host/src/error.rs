// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Everything that a request can fail of, and how it is said to a client. Status codes live here alone.

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::{error, info};

/// Most characters of what a client is told: long enough for a list of models.
const LONGEST_SENTENCE: usize = 2000;

/// What most functions behind a request give back.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request failed. The text of each is fit for the client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A parameter that cannot be used.
    #[error("`{param}` {problem}")]
    Invalid {
        /// The parameter, as the client spells it.
        param: String,
        /// What it may be.
        problem: String,
    },
    /// A number outside its range.
    #[error("`{param}` must be {range}")]
    OutOfRange {
        /// The parameter, as the client spells it.
        param: String,
        /// From where to where.
        range: String,
    },
    /// A body that is not what the route takes.
    #[error("{0}")]
    Malformed(String),
    /// One field of the body has another type than this route takes.
    #[error("`{param}` cannot be used: {problem}")]
    Unreadable {
        /// The field, with the way to it.
        param: String,
        /// What stands there and what was expected.
        problem: String,
    },
    /// A body over the limit.
    #[error("the request's body is larger than the {limit} bytes that this server accepts")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// No model of that name.
    #[error("the model `{asked}` does not exist; available: {available}")]
    NoModel {
        /// The name that was asked for.
        asked: String,
        /// The ids there are.
        available: String,
    },
    /// A file of that name is there, and cannot be offered.
    #[error("the {kind} `{asked}` is not offered: {problem}")]
    Refused {
        /// What the client named with it: `model`, `lora`, `controlnet` or `upscaler`.
        kind: &'static str,
        /// The parameter that names it, as the client spells it.
        param: String,
        /// The name that was asked for.
        asked: String,
        /// What is wrong with the file.
        problem: String,
        /// Its format can carry a program.
        is_unsafe: bool,
    },
    /// The model of a job has been deleted.
    #[error("the model `{id}` is no longer there")]
    ModelGone {
        /// Its id.
        id: String,
    },
    /// A picture that came with a job's request has been removed.
    #[error("a picture that came with this request is no longer there")]
    InputGone,
    /// A picture that came with a job's request and was read cannot be brought into what the job needs.
    #[error("a picture that came with this request {problem}")]
    InputUnusable {
        /// What is wrong with it.
        problem: String,
    },
    /// All pictures of all requests have as many bytes as they may (`limits.input_bytes_in_hand` in memory,
    /// `limits.input_bytes_on_disk` on the disk).
    #[error(
        "the pictures of other requests take all the room there is; try again in {retry_after_s} seconds"
    )]
    NoRoom {
        /// When there should be some.
        retry_after_s: u64,
    },
    /// No LoRA of that name, or several.
    #[error("the LoRA `{asked}` {problem}")]
    Lora {
        /// The parameter that names it.
        param: String,
        /// The name that was asked for.
        asked: String,
        /// Why it is not clear which one that is.
        problem: String,
    },
    /// No LoRA of that name, where it is not part of a picture that is asked for.
    #[error("the LoRA `{asked}` does not exist")]
    NoLora {
        /// The name that was asked for.
        asked: String,
    },
    /// No ControlNet or upscaler of that name, where it is not part of a picture that is asked for.
    #[error("the {kind} `{asked}` does not exist")]
    NoCompanion {
        /// What it should have been.
        kind: &'static str,
        /// The name that was asked for.
        asked: String,
    },
    /// A LoRA whose file cannot be used with the model.
    #[error("the LoRA `{id}` cannot be used: {problem}")]
    LoraUnusable {
        /// Its id.
        id: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A textual inversion that a job needs.
    #[error("the embedding `{name}` {problem}")]
    Embedding {
        /// Its name.
        name: String,
        /// What has become of it.
        problem: String,
    },
    /// A model whose files cannot be used.
    #[error("the model `{id}` cannot be used: {problem}")]
    Model {
        /// Its id.
        id: String,
        /// What is wrong with its files.
        problem: String,
    },
    /// No page, picture or route of that name.
    #[error("Not Found")]
    NotFound,
    /// A route that does not know the method.
    #[error("Method Not Allowed")]
    Method,
    /// A host name that is not this server's.
    #[error("this server does not answer to the name in the Host header; add it to `server.hostnames`")]
    Host,
    /// A request that another web site made.
    #[error("requests from other web sites are refused")]
    CrossSite,
    /// Nobody has made the first account yet, and the server is closed until then.
    #[error("this server is not set up yet: open /setup with the token that it has printed")]
    NotSetUp,
    /// Nobody is known to ask, or with something that is not valid (any more).
    #[error("{0}")]
    Unauthorized(&'static str),
    /// Somebody asks who may not.
    #[error("{0}")]
    Forbidden(&'static str),
    /// Something is there already, or still needed.
    #[error("{0}")]
    Conflict(String),
    /// One caller asks too often.
    #[error("too many requests; try again in {retry_after_s} seconds")]
    TooOften {
        /// When one more will be taken.
        retry_after_s: u64,
    },
    /// A body that did not come.
    #[error("the request's body did not arrive in time")]
    BodyTimeout,
    /// The line is full.
    #[error("too many requests are waiting; try again later")]
    Busy {
        /// When a place should be free.
        retry_after_s: u64,
    },
    /// One caller has as many jobs in line as one may have (`limits.waiting_per_caller`).
    #[error("you have as many requests waiting as one caller may have; try again in {retry_after_s} seconds")]
    TooManyJobs {
        /// When one more should be taken.
        retry_after_s: u64,
    },
    /// One caller watches as many jobs as one may (`limits.event_streams_per_caller`).
    #[error("you have {limit} event streams open, as many as one caller may have; close one")]
    TooManyStreams {
        /// The limit.
        limit: usize,
    },
    /// An account has as many pictures as it may (`storage.quota_gb`, or what an administrator has set).
    #[error(
        "your pictures take {} MB, and {} MB is all that they may: delete some, also from the trash",
        .used / 1_000_000,
        .quota / 1_000_000
    )]
    OverQuota {
        /// Bytes that they have.
        used: u64,
        /// Bytes that they may have.
        quota: u64,
    },
    /// The disk of the finished pictures is full.
    #[error("the server's disk is full; delete pictures, or ask whoever runs it to make room")]
    DiskFull,
    /// Somebody who may do so has cancelled the job.
    #[error("the job was cancelled")]
    Cancelled,
    /// The daemon has died again and again while it worked on this job and no other.
    #[error("the server went down {strikes} times while it worked on this alone; it is not tried again")]
    Interrupted {
        /// How often.
        strikes: u32,
    },
    /// Why a job failed. It was logged where it happened.
    #[error("{0}")]
    Job(Arc<Error>),
    /// No step was finished for too long.
    #[error("no step was finished within {limit_s} seconds (`generation.request_timeout`)")]
    Timeout {
        /// The limit.
        limit_s: u32,
    },
    /// The backend refused or failed.
    #[error("the backend failed: {0}")]
    Backend(#[from] alice_plugin::Error),
    /// A fault of the daemon or its disk; the cause goes to the log only.
    #[error("Internal server error")]
    Internal(#[from] anyhow::Error),
}

impl From<rusqlite::Error> for Error {
    fn from(cause: rusqlite::Error) -> Self {
        Self::Internal(anyhow::Error::from(cause).context("the database failed"))
    }
}

impl Error {
    /// [`Error::Invalid`].
    pub fn invalid(param: &str, problem: impl Into<String>) -> Self {
        Self::Invalid { param: param.to_owned(), problem: problem.into() }
    }

    /// [`Error::OutOfRange`].
    pub fn out_of_range(param: &str, range: impl Into<String>) -> Self {
        Self::OutOfRange { param: param.to_owned(), range: range.into() }
    }

    /// The same error about a parameter that this client knows by another name.
    #[must_use]
    pub fn renamed<Ours: AsRef<str>>(self, names: &[(Ours, &str)]) -> Self {
        let rename = |param: String| {
            names
                .iter()
                .find(|(ours, _)| ours.as_ref() == param)
                .map_or(param, |(_, theirs)| (*theirs).to_owned())
        };
        match self {
            Self::Invalid { param, problem } => Self::Invalid { param: rename(param), problem },
            Self::OutOfRange { param, range } => Self::OutOfRange { param: rename(param), range },
            Self::Lora { param, asked, problem } => Self::Lora { param: rename(param), asked, problem },
            Self::Refused { kind, param, asked, problem, is_unsafe } => {
                Self::Refused { kind, param: rename(param), asked, problem, is_unsafe }
            }
            other => other,
        }
    }

    /// The same about a LoRA that stands in the parameter `param`.
    pub fn about(self, param: &str) -> Self {
        match self {
            Self::Lora { asked, problem, .. } => Self::Lora { param: param.to_owned(), asked, problem },
            Self::Refused { kind: kind @ "lora", asked, problem, is_unsafe, .. } => {
                Self::Refused { kind, param: param.to_owned(), asked, problem, is_unsafe }
            }
            other => other,
        }
    }

    /// The status that a page answers with; what is not the client's doing is logged.
    pub fn answered_by_page(&self) -> StatusCode {
        self.log();
        self.status()
    }

    pub(crate) fn status(&self) -> StatusCode {
        use alice_plugin::ErrorKind;
        match self {
            Self::Invalid { .. }
            | Self::OutOfRange { .. }
            | Self::Malformed(_)
            | Self::Unreadable { .. }
            | Self::Lora { .. }
            | Self::LoraUnusable { .. }
            | Self::Embedding { .. }
            | Self::InputUnusable { .. }
            | Self::Refused { kind: "lora" | "controlnet" | "upscaler", .. } => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoModel { .. }
            | Self::ModelGone { .. }
            | Self::InputGone
            | Self::NoLora { .. }
            | Self::NoCompanion { .. }
            | Self::Refused { .. }
            | Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::CrossSite | Self::NotSetUp | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::TooOften { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooManyJobs { .. } | Self::TooManyStreams { .. } | Self::OverQuota { .. } => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
            Self::Busy { .. } | Self::NoRoom { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Cancelled => client_closed_request(),
            Self::Job(cause) => cause.status(),
            Self::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Backend(error) if error.kind == ErrorKind::OutOfMemory => StatusCode::SERVICE_UNAVAILABLE,
            Self::Backend(_) | Self::Model { .. } | Self::Interrupted { .. } | Self::Internal(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    /// A word for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid_value",
            Self::OutOfRange { .. } => "out_of_range",
            Self::Malformed(_) | Self::Unreadable { .. } => "invalid_json",
            Self::TooLarge { .. } => "request_too_large",
            Self::NoModel { .. } | Self::ModelGone { .. } => "model_not_found",
            Self::InputGone => "input_gone",
            Self::InputUnusable { .. } => "input_unusable",
            Self::Refused { is_unsafe: true, .. } => "unsafe_format",
            Self::Refused { kind: "lora", .. } => "lora_unusable",
            Self::Refused { kind: "controlnet", .. } => "controlnet_unusable",
            Self::Refused { kind: "upscaler", .. } => "upscaler_unusable",
            Self::Refused { .. } => "model_unusable",
            Self::NoCompanion { .. } => "not_found",
            Self::Lora { .. } | Self::NoLora { .. } => "lora_not_found",
            Self::LoraUnusable { .. } => "lora_unusable",
            Self::Embedding { .. } => "embedding_unusable",
            Self::Model { .. } => "model_unusable",
            Self::NotFound => "not_found",
            Self::Method => "method_not_allowed",
            Self::Host => "misdirected_request",
            Self::CrossSite => "cross_site",
            Self::NotSetUp => "not_set_up",
            // OpenAI's word for a key that is missing or wrong.
            Self::Unauthorized(_) => "invalid_api_key",
            Self::Forbidden(_) => "forbidden",
            Self::Conflict(_) => "conflict",
            Self::TooOften { .. } => "rate_limit_exceeded",
            Self::BodyTimeout => "body_timeout",
            Self::Busy { .. } | Self::NoRoom { .. } => "server_busy",
            Self::TooManyJobs { .. } => "too_many_jobs",
            Self::TooManyStreams { .. } => "too_many_streams",
            // OpenAI's word for somebody who has used up what is theirs.
            Self::OverQuota { .. } => "insufficient_quota",
            Self::DiskFull => "disk_full",
            Self::Cancelled => "cancelled",
            Self::Interrupted { .. } => "interrupted",
            Self::Job(cause) => cause.code(),
            Self::Timeout { .. } => "timeout",
            Self::Backend(_) => "backend_error",
            Self::Internal(_) => "internal_error",
        }
    }

    fn param(&self) -> Option<&str> {
        match self {
            Self::Invalid { param, .. } | Self::OutOfRange { param, .. } | Self::Unreadable { param, .. } => {
                Some(param)
            }
            Self::NoModel { .. } | Self::ModelGone { .. } => Some("model"),
            Self::Refused { param, .. } | Self::Lora { param, .. } => Some(param),
            Self::LoraUnusable { .. } => Some("loras"),
            Self::Job(cause) => cause.param(),
            _ => None,
        }
    }

    /// Logs what is not the client's doing, once, where it is answered.
    fn log(&self) {
        match self {
            Self::Internal(cause) => error!("A request failed: {cause:#}"),
            Self::Backend(_) | Self::Model { .. } | Self::Timeout { .. } => {
                error!("A request failed: {self}")
            }
            _ => {}
        }
    }

    /// What the log says of it: of a fault of the daemon's own, which clients hear nothing about, the whole story.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::Internal(cause) => format!("{cause:#}"),
            Self::Job(cause) => cause.cause(),
            other => other.to_string(),
        }
    }

    /// Logs why a job failed. Whoever waits for it is told with [`Error::Job`], which is not logged again. What a
    /// client asked for and cannot have is no fault of this server.
    pub(crate) fn log_of_job(&self, id: &str) {
        let cause = self.cause();
        match self.status().is_client_error() {
            true => info!(job.id = %id, "Job `{id}` failed: {cause}"),
            false => error!(job.id = %id, "Job `{id}` failed: {cause}"),
        }
    }

    /// When to try again, if that can help.
    fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Busy { retry_after_s }
            | Self::NoRoom { retry_after_s }
            | Self::TooOften { retry_after_s }
            | Self::TooManyJobs { retry_after_s } => Some(*retry_after_s),
            _ => None,
        }
    }

    /// The sentence for a client. What it sent may stand in it, and may be a whole picture.
    fn told(&self) -> String {
        let whole = self.to_string();
        match whole.char_indices().nth(LONGEST_SENTENCE) {
            Some((end, _)) => format!("{}…", &whole[..end]),
            None => whole,
        }
    }

    fn body(&self, kind: &'static str, code: String) -> Body {
        let message = self.told();
        let detail = message.clone();
        Body { error: Inner { message, r#type: kind, code, param: self.param().map(str::to_owned) }, detail }
    }

    fn respond(&self, status: StatusCode, body: Body) -> Response {
        self.log();
        let mut response = (status, Json(body)).into_response();
        if let Some(retry_after_s) = self.retry_after_s() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
        }
        if let Self::Unauthorized(_) = self {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // A retry of a request that is wrong, or that the device failed, only costs the caller time.
        if self.retry_after_s().is_none() {
            let name = HeaderName::from_static("x-should-retry");
            response.headers_mut().insert(name, HeaderValue::from_static("false"));
        }
        response
    }
}

/// What nginx made the custom for a request whose client is gone, and the Python ALICE answers then.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
}

/// The JSON of every error, in every dialect.
#[derive(Debug, Serialize)]
pub struct Body {
    error: Inner,
    /// The message again, where clients of the Python ALICE look for it.
    detail: String,
}

#[derive(Debug, Serialize)]
struct Inner {
    message: String,
    r#type: &'static str,
    code: String,
    param: Option<String>,
}

/// An [`Error`] in the words of OpenAI's API.
#[derive(Debug)]
pub struct OpenAi(pub Error);

impl From<Error> for OpenAi {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl OpenAi {
    /// The error as JSON, for an answer that has begun already. What is not the client's doing is logged.
    pub fn told(&self) -> Body {
        self.0.log();
        self.body()
    }

    fn body(&self) -> Body {
        let client = self.0.status().is_client_error();
        let kind = if client { "invalid_request_error" } else { "server_error" };
        self.0.body(kind, self.0.code().to_owned())
    }
}

impl IntoResponse for OpenAi {
    fn into_response(self) -> Response {
        self.0.respond(self.0.status(), self.body())
    }
}

/// An [`Error`] in the words of the Python ALICE: the code is the status, and a body that does not fit the
/// schema or a number outside its range is a 422.
#[derive(Debug)]
pub struct Alice(pub Error);

impl From<Error> for Alice {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Alice {
    fn into_response(self) -> Response {
        let status = match self.0 {
            Error::Malformed(_) | Error::Unreadable { .. } | Error::OutOfRange { .. } => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            _ => self.0.status(),
        };
        let kind = if matches!(self.0, Error::Internal(_)) { "internal_error" } else { "api_error" };
        self.0.respond(status, self.0.body(kind, status.as_u16().to_string()))
    }
}
