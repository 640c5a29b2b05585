// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `GET /images/{file}`: finished pictures, and the addresses under which clients find them.

use std::net::IpAddr;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::error::{Alice, Error};
use crate::gallery::Kept;

/// The picture, or 404.
pub async fn image(
    State(app): State<App>,
    file: Result<Path<String>, PathRejection>,
) -> Result<Response, Alice> {
    let Path(file) = file.map_err(|_| Error::NotFound)?;
    let gallery = app.gallery.clone();
    let read = tokio::task::spawn_blocking(move || gallery.read(&file)).await;
    let bytes = read.map_err(anyhow::Error::from).and_then(|read| read).map_err(Error::from)?;
    let bytes = bytes.ok_or(Error::NotFound)?;
    // The name is the secret: no cache beside the reader's own may keep what it shows.
    let headers = [
        (header::CONTENT_TYPE, "image/png"),
        (header::CACHE_CONTROL, "private, max-age=31536000, immutable"),
    ];
    Ok((headers, bytes).into_response())
}

/// The address of this server as the client called it: the forwarded scheme and the `Host` that the guard has
/// let through; without one the configured address.
pub fn base_url(headers: &HeaderMap, host: IpAddr, port: u16) -> String {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = if text("x-forwarded-proto") == Some("https") { "https" } else { "http" };
    match text(header::HOST.as_str()) {
        Some(host) => format!("{scheme}://{host}"),
        None => format!("{scheme}://{}", std::net::SocketAddr::new(host, port)),
    }
}

/// The address of a kept picture.
pub fn url(base: &str, kept: &Kept) -> String {
    format!("{base}/images/{}", kept.file)
}
