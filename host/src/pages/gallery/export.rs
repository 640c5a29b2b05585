// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/gallery/export`: many pictures as one zip file, all that an address means or those that were selected.

use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use url::form_urlencoded::parse;

use super::address::Filter;
use super::done::after;
use super::{Address, held, viewer, wanted};
use crate::archive;
use crate::error::{Error, Result};
use crate::pages::Visit;
use crate::pages::visit::to;
use crate::pictures::{self, Picture, Query as Wanted};

/// `GET /gallery/export`: all pictures that the gallery at the same address shows, on all of its pages.
pub async fn export(visit: Visit, filter: Address<Filter>) -> Response {
    let (filter, viewer) = (held(filter), viewer(&visit));
    let wanted = wanted(&filter, filter.shelf(&visit.actor), &visit.app.config);
    let wanted = Wanted { limit: None, offset: 0, ..wanted };
    let found = visit.app.database.read(move |connection| pictures::page(connection, &viewer, &wanted)).await;
    let archive = found.map(|found| packed(&visit, &found.pictures));
    visit.answer(archive)
}

/// `POST /gallery/export`: those that were selected.
pub async fn export_selected(visit: Visit, body: Bytes) -> Response {
    let (mut ids, mut back) = (Vec::new(), String::new());
    for (name, value) in parse(&body) {
        match name.as_ref() {
            "id" => ids.push(value.into_owned()),
            "back" => back = value.into_owned(),
            _ => {}
        }
    }
    if ids.is_empty() {
        return to(&after(&back, "none", &[]));
    }
    let viewer = viewer(&visit);
    let found: Result<Vec<Picture>> =
        visit.app.database.read(move |connection| pictures::find_all(connection, &viewer, &ids)).await;
    visit.answer(
        found.and_then(
            |found| {
                if found.is_empty() { Err(Error::NotFound) } else { Ok(packed(&visit, &found)) }
            },
        ),
    )
}

/// The answer that holds the files of `pictures`.
fn packed(visit: &Visit, pictures: &[Picture]) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/zip"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"alice-pictures.zip\""),
    ];
    let sources = pictures.iter().map(Picture::in_archive).collect();
    (headers, archive::stream(visit.app.gallery.clone(), sources)).into_response()
}
