// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `GET /v1/gallery/export`: many pictures in one zip, which is written while it is read.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::Response;
use serde::Deserialize;

use super::{MAX_LIMIT, Wanted, understood};
use crate::app::App;
use crate::archive;
use crate::auth::Actor;
use crate::error::{Alice, Error, Result};
use crate::pictures::{self, Picture, Viewer};

/// Which pictures, one by one.
#[derive(Debug, Deserialize)]
struct Named {
    /// Between commas.
    ids: Option<String>,
}

/// The pictures that `ids` names, or those that the other words of the query mean, as for the list; without `limit`
/// all of them.
///
/// # Errors
/// 404 if there are none; 422 about a query that cannot be read.
pub async fn export(
    State(app): State<App>,
    actor: Actor,
    uri: Uri,
    query: std::result::Result<Query<Wanted>, QueryRejection>,
) -> std::result::Result<Response, Alice> {
    let wanted = understood(query)?;
    let Named { ids } = understood(Query::try_from_uri(&uri))?;
    let viewer = Viewer::of(&actor, &app.clock);
    let sources = match ids {
        Some(ids) => named(&app, viewer, &ids).await?,
        None => {
            let limit = wanted.limit.filter(|limit| *limit > 0);
            let most = limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
            all(&app, viewer, wanted.into_query(), most).await?
        }
    };
    Ok(archive::answer(&app, sources)?)
}

async fn named(app: &App, viewer: Viewer, ids: &str) -> Result<Vec<archive::Source>> {
    let ids: Vec<_> = ids.split(',').map(|id| id.trim().to_owned()).collect();
    if ids.len() > MAX_LIMIT as usize {
        return Err(Error::invalid("ids", format!("may be at most {MAX_LIMIT}")));
    }
    let found = app.database.read(move |connection| pictures::find_all(connection, &viewer, &ids)).await?;
    Ok(found.iter().map(Picture::in_archive).collect())
}

/// What `query` means.
async fn all(
    app: &App,
    viewer: Viewer,
    query: pictures::Query,
    most: Option<u32>,
) -> Result<Vec<archive::Source>> {
    let query = pictures::Query { limit: most, ..query };
    app.database.read(move |connection| pictures::sources(connection, &viewer, &query)).await
}
