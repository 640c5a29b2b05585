// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `GET /static/{file}`: the style sheet, the script and the logo, built into the program.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::error::{Alice, Error};

/// File name, media type and content of everything that pages refer to.
const ASSETS: &[(&str, &str, &str)] = &[
    ("alice.css", "text/css; charset=utf-8", include_str!("../../../templates/static/alice.css")),
    ("alice.js", "text/javascript; charset=utf-8", include_str!("../../../templates/static/alice.js")),
    ("logo.svg", "image/svg+xml", include_str!("../../../templates/static/logo.svg")),
];

/// The file, or 404.
pub async fn get(file: Result<Path<String>, PathRejection>) -> Result<Response, Alice> {
    let Path(file) = file.map_err(|_| Error::NotFound)?;
    let (_, kind, content) = ASSETS.iter().find(|(name, ..)| *name == file).ok_or(Error::NotFound)?;
    // Asked for anew each time, so that a page never meets the script of another version.
    Ok(([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "no-cache")], *content).into_response())
}
