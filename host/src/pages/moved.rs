// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `GET /web/{file}`: the pages of the Python ALICE, which people have kept the addresses of, lead to those that took
//! their place.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};

use crate::app::App;
use crate::error::Error;

/// What was at each address, and what is there now.
const MOVED: &[(&str, &str)] = &[
    ("index.html", "/status"),
    ("generate.html", "/"),
    ("gallery.html", "/gallery"),
    ("models.html", "/library"),
    ("download.html", "/library"),
    ("prompting.html", "/guide"),
    ("admin.html", "/admin"),
    ("login.html", "/login"),
    ("style.css", "/static/alice.css"),
    ("app.js", "/static/alice.js"),
    ("alice-logo.png", "/static/icon-192.png"),
];

/// The page that is there now.
pub async fn find(State(app): State<App>, file: Result<Path<String>, PathRejection>) -> Response {
    let file = file.map(|Path(file)| file).unwrap_or_default();
    match MOVED.iter().find(|(old, _)| *old == file) {
        Some((_, new)) => Redirect::temporary(new).into_response(),
        None => super::problem(&app, None, &Error::NotFound),
    }
}

/// `/web` itself.
pub async fn begin() -> Response {
    Redirect::temporary("/").into_response()
}
