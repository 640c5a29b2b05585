// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The HTTP API, one file a resource.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::error::{Alice, Error};

pub mod auth;
pub mod chat;
pub mod companions;
mod early;
pub mod embeddings;
mod fields;
pub mod files;
mod filled;
pub mod gallery;
pub mod health;
pub mod images;
pub mod jobs;
pub mod json;
pub mod loras;
pub mod metrics;
pub mod models;
pub mod multipart;
pub mod png_info;
mod sse;
pub mod tokens;
mod told;
mod wish;

/// How often something is sent while there is nothing to say: proxies and clients end connections on which
/// nothing comes for a minute.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Asks nginx and those who follow it to hand on what comes at once.
const UNBUFFERED: (&str, &str) = ("x-accel-buffering", "no");
/// The header that names the job which a request has led to.
const JOB: &str = "x-alice-job";

/// The one name in a route's path. What is no text names nothing.
#[derive(Debug)]
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Alice;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Alice> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id)).map_err(|_| Alice(Error::NotFound))
    }
}

/// Seconds since 1970, for clients.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}
