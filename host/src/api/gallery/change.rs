// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Changes of pictures: who sees them, their tags, favourites, the trash; one at a time and many at once.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};

use super::item::is_open;
use super::understood;
use crate::api::auth::Seconds;
use crate::api::{Id, json};
use crate::app::App;
use crate::auth::Actor;
use crate::clock::Timestamp;
use crate::error::{Alice, Error, Result};
use crate::pictures::{self, Picture, Viewer, publicity};

/// Most pictures that are changed at once.
const MOST: usize = 1000;

/// It is done.
#[derive(Debug, Serialize)]
pub struct Done {
    success: bool,
}

const DONE: Done = Done { success: true };

/// Who is to see a picture.
#[derive(Debug, Deserialize)]
struct PrivacyRequest {
    #[serde(alias = "isPublic")]
    is_public: bool,
    #[serde(alias = "expiresInHours")]
    expires_in_hours: Option<i64>,
}

/// Who sees it now.
#[derive(Debug, Serialize)]
pub struct PrivacyResponse {
    success: bool,
    is_public: bool,
    expires_at: Option<Seconds>,
}

/// The tags of a picture.
#[derive(Debug, Deserialize)]
struct TagsRequest {
    tags: Vec<String>,
}

/// Its tags now.
#[derive(Debug, Serialize)]
pub struct TagsResponse {
    success: bool,
    tags: Vec<String>,
}

/// Whether a picture is among the favourites.
#[derive(Debug, Deserialize)]
struct FavouriteRequest {
    favourite: bool,
}

/// What becomes of a deleted picture.
#[derive(Debug, Default, Deserialize)]
pub struct DeleteQuery {
    /// It does not go to the trash.
    #[serde(default)]
    permanent: bool,
}

/// A change of many pictures.
#[derive(Debug, Deserialize)]
struct BulkRequest {
    ids: Vec<String>,
    action: Action,
    /// For `tag` and `untag`.
    #[serde(default)]
    tags: Vec<String>,
    /// For `publish`.
    #[serde(alias = "expiresInHours")]
    expires_in_hours: Option<i64>,
}

/// What is done to them.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Publish,
    Withdraw,
    Favourite,
    Unfavourite,
    Tag,
    Untag,
    Trash,
    Restore,
    Delete,
}

/// The pictures that were changed. Others are not there, or not the caller's to change.
#[derive(Debug, Serialize)]
pub struct BulkResponse {
    success: bool,
    changed: Vec<String>,
}

/// `PATCH /v1/gallery/{id}/privacy`, for its owner and administrators.
///
/// # Errors
/// 404, 403; 422 about hours that are not 1 to 168.
pub async fn set_privacy(
    State(app): State<App>,
    actor: Actor,
    Id(id): Id,
    body: json::Body,
) -> std::result::Result<Json<PrivacyResponse>, Alice> {
    let wire: PrivacyRequest = json::parse(&body)?;
    let viewer = Viewer::of(&actor, &app.clock);
    let until = until(&app, wire.expires_in_hours)?;
    let changed = app.database.write(move |transaction| {
        let ids = [changeable(transaction, &viewer, &id)?.id];
        match wire.is_public {
            true => pictures::publish(transaction, &viewer, &ids, Some(until))?,
            false => pictures::withdraw(transaction, &viewer, &ids)?,
        };
        let picture = pictures::find(transaction, &viewer, &id)?;
        Ok((is_open(&picture, &viewer), picture.public_until))
    });
    let (is_public, until) = changed.await?;
    Ok(Json(PrivacyResponse { success: true, is_public, expires_at: until.map(Seconds::from) }))
}

/// `PATCH /v1/gallery/{id}/tags`, for its owner alone.
///
/// # Errors
/// 404, 403; 400 about tags that are too long or too many.
pub async fn set_tags(
    State(app): State<App>,
    actor: Actor,
    Id(id): Id,
    body: json::Body,
) -> std::result::Result<Json<TagsResponse>, Alice> {
    let TagsRequest { tags } = json::parse(&body)?;
    let viewer = Viewer::of(&actor, &app.clock);
    let set = move |transaction: &Transaction<'_>| pictures::set_tags(transaction, &viewer, &id, &tags);
    Ok(Json(TagsResponse { success: true, tags: app.database.write(set).await? }))
}

/// `PATCH /v1/gallery/{id}/favourite`, for its owner alone.
///
/// # Errors
/// 404, 403.
pub async fn set_favourite(
    State(app): State<App>,
    actor: Actor,
    Id(id): Id,
    body: json::Body,
) -> std::result::Result<Json<Done>, Alice> {
    let FavouriteRequest { favourite } = json::parse(&body)?;
    let viewer = Viewer::of(&actor, &app.clock);
    app.database
        .write(move |transaction| {
            if !pictures::find(transaction, &viewer, &id)?.is_owned_by(&viewer) {
                return Err(Error::Forbidden("only its owner has a picture among the favourites"));
            }
            pictures::set_favourite(transaction, &viewer, &[id], favourite).map(drop)
        })
        .await?;
    Ok(Json(DONE))
}

/// `DELETE /v1/gallery/{id}`, for its owner and administrators: to the trash, or with `?permanent=true` for good.
///
/// # Errors
/// 404, 403; 409 about a picture that cannot go for good while its job makes others.
pub async fn delete(
    State(app): State<App>,
    actor: Actor,
    Id(id): Id,
    query: std::result::Result<Query<DeleteQuery>, QueryRejection>,
) -> std::result::Result<Json<Done>, Alice> {
    let DeleteQuery { permanent } = understood(query)?;
    let (viewer, now) = (Viewer::of(&actor, &app.clock), app.clock.now());
    app.database
        .write(move |transaction| {
            let ids = [changeable(transaction, &viewer, &id)?.id];
            match permanent {
                false => pictures::trash(transaction, &viewer, &ids, now).map(drop),
                true if pictures::delete(transaction, &viewer, &ids)?.is_empty() => Err(Error::Conflict(
                    "the job of this picture is not over; it can be deleted then".to_owned(),
                )),
                true => Ok(()),
            }
        })
        .await?;
    pictures::sweep(&app).await?;
    Ok(Json(DONE))
}

/// `POST /v1/gallery/{id}/restore`: takes a picture out of the trash.
///
/// # Errors
/// 404, 403.
pub async fn restore(
    State(app): State<App>,
    actor: Actor,
    Id(id): Id,
) -> std::result::Result<Json<Done>, Alice> {
    let viewer = Viewer::of(&actor, &app.clock);
    app.database
        .write(move |transaction| {
            let ids = [changeable(transaction, &viewer, &id)?.id];
            pictures::restore(transaction, &viewer, &ids).map(drop)
        })
        .await?;
    Ok(Json(DONE))
}

/// `POST /v1/gallery/bulk`: one change of many pictures.
///
/// # Errors
/// 404 if none of them is the caller's to change; 400 about tags; 422 about hours.
pub async fn bulk(
    State(app): State<App>,
    actor: Actor,
    body: json::Body,
) -> std::result::Result<Json<BulkResponse>, Alice> {
    let wire: BulkRequest = json::parse(&body)?;
    if wire.ids.len() > MOST {
        return Err(Error::invalid("ids", format!("may be at most {MOST}")).into());
    }
    let until = until(&app, wire.expires_in_hours)?;
    let (viewer, now) = (Viewer::of(&actor, &app.clock), app.clock.now());
    let act = move |transaction: &Transaction<'_>| {
        let changed = wire.act(transaction, &viewer, until, now)?;
        pictures::the_one(&changed)?;
        Ok(changed)
    };
    let changed = app.database.write(act).await?;
    pictures::sweep(&app).await?;
    Ok(Json(BulkResponse { success: true, changed }))
}

impl BulkRequest {
    fn act(
        &self,
        transaction: &Transaction<'_>,
        viewer: &Viewer,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<String>> {
        let Self { ids, action, tags, .. } = self;
        match action {
            Action::Publish => pictures::publish(transaction, viewer, ids, Some(until)),
            Action::Withdraw => pictures::withdraw(transaction, viewer, ids),
            Action::Favourite => pictures::set_favourite(transaction, viewer, ids, true),
            Action::Unfavourite => pictures::set_favourite(transaction, viewer, ids, false),
            Action::Tag => pictures::add_tags(transaction, viewer, ids, tags),
            Action::Untag => pictures::remove_tags(transaction, viewer, ids, tags),
            Action::Trash => pictures::trash(transaction, viewer, ids, now),
            Action::Restore => pictures::restore(transaction, viewer, ids),
            Action::Delete => pictures::delete(transaction, viewer, ids),
        }
    }
}

/// The picture `id`, which `viewer` may change.
fn changeable(transaction: &Transaction<'_>, viewer: &Viewer, id: &str) -> Result<Picture> {
    let picture = pictures::find(transaction, viewer, id)?;
    match picture.may_be_changed_by(viewer) {
        true => Ok(picture),
        false => Err(Error::Forbidden("this picture is somebody else's")),
    }
}

/// When a picture ceases to be public that is made so now.
fn until(app: &App, hours: Option<i64>) -> Result<Timestamp> {
    let hours = publicity::hours("expires_in_hours", hours)?;
    Ok(pictures::until(app.clock.now(), hours.unwrap_or(app.config.storage.public_image_expiration_hours)))
}
