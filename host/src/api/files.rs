// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `GET /images/{file}` and `GET /thumbnails/{file}`: finished pictures, large and small, and the addresses under which clients find them.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;

use axum::body::{Body, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::{Stream, stream};
use tracing::debug;

use crate::app::App;
use crate::auth::Actor;
use crate::error::{Alice, Error};
use crate::gallery::{Gallery, Kept};
use crate::pictures::{self, Signature, Signer, Visibility};

/// Bytes of a file that are read at once: a multiple of three, so that pieces in base64 one after the other are the
/// file in base64.
pub(super) const PIECE: usize = 192 << 10;

/// The picture, or 404: also when it is there and the caller may not see it.
pub async fn image(
    State(app): State<App>,
    actor: Actor,
    file: Result<Path<String>, PathRejection>,
    signature: Result<Query<Signature>, QueryRejection>,
) -> Result<Response, Alice> {
    let Path(file) = file.map_err(|_| Error::NotFound)?;
    let kept = Kept::named(&file).ok_or(Error::NotFound)?;
    let signature = signature.ok().map(|Query(signature)| signature);
    let visibility = pictures::authorize(&app, &actor, &kept, signature).await?;
    let (file, length) = open(&app.gallery, &kept).await?;
    let cache = match visibility {
        Visibility::Private => "private, no-store",
        // The name is the secret: no cache beside the reader's own may keep what it shows.
        Visibility::Shared => "private, max-age=31536000, immutable",
    };
    Ok(shown("image/png", cache, file, length))
}

/// `GET /thumbnails/{file}`: a small copy of a picture, for whoever may see the picture. It never changes; whoever has
/// seen it may keep it.
pub async fn thumbnail(
    State(app): State<App>,
    actor: Actor,
    file: Result<Path<String>, PathRejection>,
    signature: Result<Query<Signature>, QueryRejection>,
) -> Result<Response, Alice> {
    let Path(file) = file.map_err(|_| Error::NotFound)?;
    let id = file.strip_suffix(".webp").ok_or(Error::NotFound)?;
    let kept = Kept::named(&format!("{id}.png")).ok_or(Error::NotFound)?;
    let signature = signature.ok().map(|Query(signature)| signature);
    pictures::authorize(&app, &actor, &kept, signature).await?;
    let (kind, cache, file, length) = match app.thumbnails.get(&app.gallery, &kept).await {
        Ok(small) => {
            let (file, length) = small.ok_or(Error::NotFound)?;
            ("image/webp", "private, max-age=31536000, immutable", file, length)
        }
        Err(cause) => {
            debug!("A picture is shown large, because it cannot be made small: {cause:#}");
            let (file, length) = open(&app.gallery, &kept).await?;
            // Another time it may be small.
            ("image/png", "private, no-store", file, length)
        }
    };
    Ok(shown(kind, cache, file, length))
}

/// The answer that is a picture's file of `length` bytes, which may be kept as `cache` says.
fn shown(kind: &'static str, cache: &'static str, file: File, length: u64) -> Response {
    let length = length.to_string();
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_LENGTH, length.as_str()),
        (header::CACHE_CONTROL, cache),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
    ];
    // Pages of other sites may show a picture whose address they were given.
    let pieces = Body::from_stream(pieces(file));
    (headers, [("cross-origin-resource-policy", "cross-origin")], pieces).into_response()
}

/// The file of a kept picture, and how many bytes it has.
///
/// # Errors
/// [`Error::NotFound`] if it is gone; what the disk says.
pub(super) async fn open(gallery: &Gallery, kept: &Kept) -> crate::error::Result<(File, u64)> {
    let (gallery, kept) = (gallery.clone(), kept.clone());
    let found = tokio::task::spawn_blocking(move || gallery.find(&kept)).await;
    found.map_err(anyhow::Error::from)??.ok_or(Error::NotFound)
}

/// What is in a file, which is read as its reader takes it: a large picture is never in memory as a whole, however many
/// look at it. All pieces but the last are [`PIECE`] bytes long.
pub(super) fn pieces(file: File) -> impl Stream<Item = io::Result<Vec<u8>>> {
    stream::try_unfold(file, async |file| {
        let read = tokio::task::spawn_blocking(move || piece(file)).await;
        read.map_err(io::Error::other)?
    })
}

/// The next piece of a file, with the file; `None` at its end.
fn piece(file: File) -> io::Result<Option<(Vec<u8>, File)>> {
    let mut piece = Vec::new();
    let count = (&file).take(PIECE as u64).read_to_end(&mut piece)?;
    Ok((count > 0).then_some((piece, file)))
}

/// A kept picture as one that comes with a request, and counts as such until it is read.
///
/// # Errors
/// Those of `open`, and [`Error::NoRoom`].
pub async fn as_input(app: &App, kept: &Kept) -> crate::error::Result<Bytes> {
    let (gallery, kept) = (app.gallery.clone(), kept.clone());
    let mut share = app.inputs.in_hand().share();
    let read = move || {
        let (mut file, length) = gallery.find(&kept)?.ok_or(Error::NotFound)?;
        // Before it is in memory: however many ask at once, only as much is as may be.
        share.grow_to(length)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(anyhow::Error::from)?;
        share.with(bytes)
    };
    tokio::task::spawn_blocking(read).await.map_err(anyhow::Error::from)?
}

/// The address of this server as the client called it: the forwarded scheme and the `Host`; without one the
/// configured address. Nobody but that client gets to see it.
pub(crate) fn base_url(headers: &HeaderMap, host: IpAddr, port: u16) -> String {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = if text("x-forwarded-proto") == Some("https") { "https" } else { "http" };
    match text(header::HOST.as_str()) {
        Some(host) => format!("{scheme}://{host}"),
        None => format!("{scheme}://{}", std::net::SocketAddr::new(host, port)),
    }
}

/// The address of this server as this client calls it: see `base_url`.
pub fn base(app: &App, headers: &HeaderMap) -> String {
    base_url(headers, app.config.server.host, app.config.server.port)
}

/// The addresses of pictures, which open without credentials for `server.picture_link_hours`. A picture
/// that was made without an account needs no signature.
///
/// # Errors
/// When the database fails.
pub async fn urls(
    app: &App,
    actor: &Actor,
    headers: &HeaderMap,
    pictures: impl IntoIterator<Item = &Kept>,
) -> crate::error::Result<Vec<String>> {
    let base = base(app, headers);
    let signer = match actor.account() {
        None => None,
        Some(_) => Some(Signer::new(app).await?),
    };
    let url = |kept: &Kept| {
        let plain = format!("{base}/images/{}", kept.file);
        match &signer {
            None => plain,
            Some(signer) => format!("{plain}?{}", signer.query(kept)),
        }
    };
    Ok(pictures.into_iter().map(url).collect())
}
