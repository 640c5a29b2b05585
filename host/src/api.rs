// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The HTTP API, one file a resource.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::error::{Alice, Error};

pub mod auth;
pub mod chat;
pub mod files;
pub mod health;
pub mod images;
pub mod json;
pub mod metrics;
pub mod models;

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
