// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/v1/gallery`: finding and looking after pictures, in the words of the Python ALICE and with some of our own.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::Id;
use crate::app::App;
use crate::auth::Actor;
use crate::error::{Alice, Error, Result};
use crate::pictures::{self, Picture, Privacy, Scope, Sort, Statistics, Viewer};

mod change;
mod export;
mod item;

pub use change::{bulk, delete, restore, set_favourite, set_privacy, set_tags};
pub use export::export;

use item::{Item, items};

/// Pictures of a list whose query names no number.
const DEFAULT_LIMIT: i64 = 100;
/// Most pictures of one list: as many as an answer can well hold. `total` tells whether there are more.
const MAX_LIMIT: u32 = 10_000;

/// Which pictures.
#[derive(Debug, Default, Deserialize)]
pub struct Wanted {
    /// 0 or less: all.
    limit: Option<i64>,
    offset: Option<i64>,
    /// With what others have made public.
    include_public: Option<bool>,
    /// With what not everybody may see.
    include_private: Option<bool>,
    /// Between commas.
    tags: Option<String>,
    search: Option<String>,
    /// An id or a bare name.
    model: Option<String>,
    #[serde(default)]
    favourite: bool,
    /// The caller's trash.
    #[serde(default)]
    trashed: bool,
    sort: Option<Order>,
}

/// Their order.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Newest,
    Oldest,
    Largest,
    Smallest,
}

/// A list of pictures.
#[derive(Debug, Serialize)]
pub struct GalleryList {
    object: &'static str,
    data: Vec<Item>,
    total: u64,
    limit: i64,
    offset: u64,
}

/// How often each tag is used.
#[derive(Debug, Serialize)]
pub struct TagList {
    tags: Vec<Tag>,
    total: usize,
}

#[derive(Debug, Serialize)]
struct Tag {
    name: String,
    count: u64,
}

/// What the gallery is set to.
#[derive(Debug, Serialize)]
pub struct Settings {
    page_size: u32,
    public_image_expiration_hours: u32,
    trash_days: Option<u32>,
}

/// What was cleaned up.
#[derive(Debug, Serialize)]
pub struct Cleaned {
    success: bool,
    /// How many pictures ceased to be public, went to the trash, or went for good.
    cleaned: u64,
}

impl Wanted {
    /// The same in our words.
    fn into_query(self) -> pictures::Query {
        let scope = match (self.trashed, self.include_public) {
            (true, _) => Scope::Trash,
            (false, Some(false)) => Scope::Mine,
            (false, _) => Scope::All,
        };
        let sort = match self.sort.unwrap_or(Order::Newest) {
            Order::Newest => Sort::Newest,
            Order::Oldest => Sort::Oldest,
            Order::Largest => Sort::Largest,
            Order::Smallest => Sort::Smallest,
        };
        let tags = self.tags.unwrap_or_default();
        let tags = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned);
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        pictures::Query {
            scope,
            search: self.search.unwrap_or_default(),
            tags: tags.collect(),
            model: self.model.filter(|model| !model.is_empty()),
            favourite: self.favourite,
            privacy: (self.include_private == Some(false)).then_some(Privacy::Public),
            sort,
            limit: Some(
                u32::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(MAX_LIMIT).min(MAX_LIMIT),
            ),
            offset: u64::try_from(self.offset.unwrap_or(0)).unwrap_or(0),
        }
    }
}

/// `GET /v1/gallery`: the pictures that the caller may see, the newest first; administrators may see all.
///
/// # Errors
/// 422 about a query that cannot be read.
pub async fn list(
    State(app): State<App>,
    actor: Actor,
    headers: HeaderMap,
    query: std::result::Result<Query<Wanted>, QueryRejection>,
) -> std::result::Result<Json<GalleryList>, Alice> {
    let wanted = understood(query)?;
    let limit = wanted.limit.unwrap_or(DEFAULT_LIMIT);
    let (viewer, query) = (Viewer::of(&actor, &app.clock), wanted.into_query());
    let offset = query.offset;
    let viewing = viewer.clone();
    let page = app.database.read(move |connection| pictures::page(connection, &viewing, &query)).await?;
    let data = items(&app, &viewer, &headers, page.pictures).await?;
    Ok(Json(GalleryList { object: "list", data, total: page.total, limit, offset }))
}

/// `GET /v1/gallery/{id}`: one picture. 404 when it is not there, or not for the caller to see.
pub async fn show(
    State(app): State<App>,
    actor: Actor,
    headers: HeaderMap,
    Id(id): Id,
) -> std::result::Result<Json<Item>, Alice> {
    let viewer = Viewer::of(&actor, &app.clock);
    let viewing = viewer.clone();
    let found = app.database.read(move |connection| pictures::find(connection, &viewing, &id)).await?;
    Ok(Json(one(&app, &viewer, &headers, found).await?))
}

/// `GET /v1/gallery/tags`: the tags of all pictures that the caller may see, the most frequent first.
pub async fn tags(State(app): State<App>, actor: Actor) -> std::result::Result<Json<TagList>, Alice> {
    let viewer = Viewer::of(&actor, &app.clock);
    let tags = app.database.read(move |connection| pictures::tags(connection, &viewer)).await?;
    let tags: Vec<_> = tags.into_iter().map(|(name, count)| Tag { name, count }).collect();
    Ok(Json(TagList { total: tags.len(), tags }))
}

/// `GET /v1/gallery/stats`: how many pictures there are of each kind.
pub async fn stats(State(app): State<App>, actor: Actor) -> std::result::Result<Json<Statistics>, Alice> {
    let viewer = Viewer::of(&actor, &app.clock);
    Ok(Json(app.database.read(move |connection| pictures::statistics(connection, &viewer)).await?))
}

/// `GET /v1/gallery/config`: what the gallery is set to.
pub async fn config(State(app): State<App>) -> Json<Settings> {
    let storage = &app.config.storage;
    Json(Settings {
        page_size: storage.gallery_page_size,
        public_image_expiration_hours: storage.public_image_expiration_hours,
        trash_days: storage.trash_days,
    })
}

/// `POST /v1/gallery/cleanup`: does at once what is done every hour.
pub async fn clean_up(State(app): State<App>) -> std::result::Result<Json<Cleaned>, Alice> {
    Ok(Json(Cleaned { success: true, cleaned: pictures::tidy(&app).await? }))
}

/// A picture as clients read it.
async fn one(app: &App, viewer: &Viewer, headers: &HeaderMap, picture: Picture) -> Result<Item> {
    items(app, viewer, headers, vec![picture]).await?.pop().ok_or(Error::NotFound)
}

fn understood<T>(query: std::result::Result<Query<T>, QueryRejection>) -> Result<T> {
    query.map(|Query(query)| query).map_err(|rejection| Error::Malformed(rejection.body_text()))
}
