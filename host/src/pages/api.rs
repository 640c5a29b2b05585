// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `GET /api`: how programs ask for pictures, with this server's own address in every example.

use askama::Template;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::{Frame, Visit};
use crate::api::files;

/// The page.
#[derive(Template)]
#[template(path = "api.html")]
struct Page {
    frame: Frame,
    /// This server, as the browser calls it, without a slash at the end.
    base: String,
    /// Whether programs must show a key.
    needs_key: bool,
    /// What examples show as the key.
    key: &'static str,
    /// The id of the model that a request gets which names none.
    model: String,
    /// Its name alone.
    model_name: String,
    /// Hours for which the address of a picture in an answer opens without a key.
    link_hours: u32,
}

/// The page.
pub async fn show(visit: Visit, headers: HeaderMap) -> Response {
    let app = &visit.app;
    let needs_key = !app.config.server.allows_anonymous();
    let model = app.models.default_model();
    let page = Page {
        frame: visit.frame(),
        base: files::base_url(&headers, app.config.server.host, app.config.server.port),
        needs_key,
        key: if needs_key { "alice_YOUR_KEY" } else { "unused" },
        model: model.as_ref().map_or_else(|| "sd/your-model".to_owned(), |model| model.id.clone()),
        link_hours: app.config.server.picture_link_hours,
        model_name: model.map_or_else(|| "your-model".to_owned(), |model| model.name.clone()),
    };
    super::page(StatusCode::OK, &page)
}
