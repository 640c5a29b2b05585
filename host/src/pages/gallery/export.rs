// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/gallery/export`: many pictures as one zip file, all that an address means or those that were selected.

use axum::body::Bytes;
use axum::response::Response;
use url::form_urlencoded::parse;

use super::address::Filter;
use super::done::after;
use super::{Address, held, viewer, wanted};
use crate::archive;
use crate::pages::Visit;
use crate::pages::visit::to;
use crate::pictures::{self, Picture, Query as Wanted};

/// `GET /gallery/export`: all pictures that the gallery at the same address shows, on all of its pages.
pub async fn export(visit: Visit, filter: Address<Filter>) -> Response {
    let (filter, viewer) = (held(filter), viewer(&visit));
    let wanted = wanted(&filter, filter.shelf(&visit.actor), &visit.app.config);
    let wanted = Wanted { limit: None, offset: 0, ..wanted };
    let sources = visit.app.database.read(move |connection| pictures::sources(connection, &viewer, &wanted));
    let archive = sources.await.and_then(|sources| archive::answer(&visit.app, sources));
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
    let found =
        visit.app.database.read(move |connection| pictures::find_all(connection, &viewer, &ids)).await;
    let sources = found.map(|found| found.iter().map(Picture::in_archive).collect());
    visit.answer(sources.and_then(|sources| archive::answer(&visit.app, sources)))
}
