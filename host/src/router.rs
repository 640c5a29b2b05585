// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Every URL of the program.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{get, post};

use crate::api::{chat, files, health, images, models};
use crate::app::App;
use crate::error::{Alice, Error};
use crate::{guard, pages};

/// The routes, with what guards them all.
pub fn router(app: App) -> Router {
    let limit = app.config.limits.body_bytes;
    Router::new()
        .merge(api())
        // Clients whose base URL lacks the version call the same routes at the root.
        .nest("/v1", api())
        .route("/", get(pages::generate::show).post(pages::generate::submit))
        .route("/static/{file}", get(pages::assets::get))
        .route("/images/{file}", get(files::image))
        .route("/health", get(health::health))
        .route("/api/health", get(health::health))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .fallback(async || Alice(Error::NotFound))
        .method_not_allowed_fallback(async || Alice(Error::Method))
        .layer(DefaultBodyLimit::max(limit))
        .layer(middleware::from_fn_with_state(app.clone(), guard::check))
        .layer(middleware::from_fn(guard::add_headers))
        .with_state(app)
}

/// The routes that exist under `/v1` and at the root.
fn api() -> Router<App> {
    Router::new()
        // Some clients ask with OPTIONS whether the route exists before they use it.
        .route("/images/generations", post(images::create).options(async || StatusCode::NO_CONTENT))
        .route("/chat/completions", post(chat::create))
        .route("/models", get(models::list))
}
