// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A picture of the gallery as clients read it.

use axum::http::HeaderMap;
use serde::Serialize;

use crate::api::auth::Seconds;
use crate::api::files;
use crate::app::App;
use crate::error::Result;
use crate::pictures::{Mode, Picture, Signer, Viewer};

/// A picture. The fields up to `tags` are those of the Python ALICE.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    id: String,
    filename: String,
    url: String,
    thumbnail_url: String,
    /// Others may see it too.
    is_public: bool,
    created_at: Seconds,
    /// When it ceases to be public.
    expires_at: Option<Seconds>,
    is_owner: bool,
    prompt: String,
    negative_prompt: Option<String>,
    model: Option<String>,
    steps: Option<u32>,
    guidance_scale: Option<f64>,
    width: u32,
    height: u32,
    seed: Option<u64>,
    scheduler: Option<String>,
    /// Seconds.
    generation_time: Option<f64>,
    loras: Vec<String>,
    lora_scales: Vec<f32>,
    tags: Vec<String>,
    favourite: bool,
    trashed_at: Option<Seconds>,
    /// It was made without an account: whoever may use the server sees and changes it.
    shared: bool,
    /// The owner's name, for administrators.
    owner: Option<String>,
    mode: Option<Mode>,
    family: Option<String>,
    bytes: u64,
    job: Option<String>,
}

/// `pictures` as clients read them. Addresses of private ones work without credentials for a while.
pub(super) async fn items(
    app: &App,
    viewer: &Viewer,
    headers: &HeaderMap,
    pictures: Vec<Picture>,
) -> Result<Vec<Item>> {
    let base = files::base_url(headers, app.config.server.host, app.config.server.port);
    // What somebody else has made public is so no longer than its owner wants.
    let signs = |picture: &Picture| !picture.is_shared() && picture.may_be_changed_by(viewer);
    let signer = if pictures.iter().any(signs) { Some(Signer::new(app).await?) } else { None };
    let item = |picture: Picture| {
        let signed = signer.as_ref().filter(|_| signs(&picture)).map(|signer| signer.query(&picture.kept()));
        let query = signed.map(|query| format!("?{query}")).unwrap_or_default();
        Item::new(viewer, &base, &query, picture)
    };
    Ok(pictures.into_iter().map(item).collect())
}

impl Item {
    fn new(viewer: &Viewer, base: &str, query: &str, picture: Picture) -> Self {
        let filename = picture.kept().file;
        let is_public = is_open(&picture, viewer);
        let until = picture.public_until.filter(|_| picture.is_public(viewer));
        let (owns, shared) = (picture.is_owned_by(viewer), picture.is_shared());
        let Picture { id, details, .. } = picture;
        Self {
            url: format!("{base}/images/{filename}{query}"),
            thumbnail_url: format!("{base}/thumbnails/{id}.webp{query}"),
            id,
            filename,
            is_public,
            created_at: picture.created_at.into(),
            expires_at: until.map(Seconds::from),
            // As upstream has it: nobody without an account is an owner.
            is_owner: owns && viewer.account().is_some(),
            prompt: details.prompt,
            negative_prompt: Some(details.negative_prompt).filter(|text| !text.is_empty()),
            model: details.model.or(details.model_name),
            steps: details.steps,
            guidance_scale: details.guidance,
            width: details.width,
            height: details.height,
            seed: details.seed,
            scheduler: details.scheduler,
            generation_time: picture.took_ms.map(|ms| ms as f64 / 1000.0),
            loras: details.loras.iter().map(|lora| lora.id.clone()).collect(),
            lora_scales: details.loras.iter().map(|lora| lora.scale).collect(),
            tags: picture.tags,
            favourite: picture.favourite && owns,
            trashed_at: picture.trashed_at.map(Seconds::from),
            shared,
            owner: picture.owner.filter(|_| viewer.is_admin()),
            mode: details.mode,
            family: details.family,
            bytes: details.bytes,
            job: picture.job.filter(|_| viewer.may_change(picture.account)),
        }
    }
}

/// Whether others may see it too.
pub(super) fn is_open(picture: &Picture, viewer: &Viewer) -> bool {
    picture.is_shared() || picture.is_public(viewer)
}
