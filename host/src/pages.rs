// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The pages that people see: rendered here, complete without JavaScript.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use tracing::error;

pub mod assets;
pub mod generate;

/// A page, or a plain sentence if its template fails.
fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(cause) => {
            error!(%cause, "A page could not be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "This page could not be rendered.").into_response()
        }
    }
}
