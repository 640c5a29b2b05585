// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/gallery/trash`: pictures that wait to be brought back, or to go for good.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::address::{Filter, Way};
use super::done::{Done, Notice, after};
use super::tile::{Pager, Tile};
use super::{Address, held, page_size, viewer, words};
use crate::pages::visit::to;
use crate::pages::{self, Frame, Place, Visit};
use crate::pictures::{self, Query as Wanted, Scope};

/// The page.
#[derive(Template)]
#[template(path = "trash.html")]
struct Page {
    frame: Frame,
    count: String,
    scopes: Vec<Way>,
    notice: Option<Notice>,
    /// When pictures in the trash go for good.
    rule: String,
    tiles: Vec<Tile>,
    pager: Option<Pager>,
    here: String,
}

/// `GET /gallery/trash`.
pub async fn show(visit: Visit, filter: Address<Filter>, done: Address<Done>) -> Response {
    let (filter, done) = (held(filter), held(done));
    let (viewer, config) = (viewer(&visit), &visit.app.config.storage);
    let size = page_size(&visit.app.config);
    let offset = (filter.page() - 1).saturating_mul(size.into());
    let wanted = Wanted { scope: Scope::Trash, limit: Some(size), offset, ..Wanted::default() };
    let looker = viewer.clone();
    let found = visit.app.database.read(move |connection| pictures::page(connection, &looker, &wanted)).await;
    visit.answer(found.map(|found| {
        let here = filter.at(PATH, filter.page());
        let tiles = found.pictures.iter().enumerate();
        let page = Page {
            frame: visit.frame().at(Place::Gallery),
            count: words::pictures(found.total),
            scopes: Filter::default().shelves(&visit.actor, None),
            notice: done.notice(&here),
            rule: rule(config.trash_days),
            tiles: tiles
                .map(|(place, picture)| Tile::in_trash(&viewer, config.trash_days, place, picture))
                .collect(),
            pager: Pager::new(&filter, PATH, found.total, size),
            here,
        };
        pages::page(StatusCode::OK, &page)
    }))
}

/// Where it is.
const PATH: &str = "/gallery/trash";

/// `POST /gallery/trash`: everything in it goes for good.
pub async fn empty(visit: Visit) -> Response {
    let viewer = viewer(&visit);
    let emptied = async {
        let work = move |transaction: &rusqlite::Transaction<'_>| pictures::empty_trash(transaction, &viewer);
        let gone = visit.app.database.write(work).await?;
        pictures::sweep(&visit.app).await?;
        Ok(to(&after(PATH, "delete", &gone)))
    };
    visit.answer(emptied.await)
}

fn rule(days: Option<u32>) -> String {
    match days {
        None => "Pictures stay here until you delete them.".to_owned(),
        Some(1) => "Pictures go for good one day after they came here.".to_owned(),
        Some(days) => format!("Pictures go for good {days} days after they came here."),
    }
}
