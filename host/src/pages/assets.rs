// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `GET /static/{file}`: the style sheet, the script, the logo and the icons, built into the program. The style sheet and
//! the script are written in several files, one story each, and served as one.

use std::sync::LazyLock;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::{Alice, Error};

/// A file below `templates/static`.
macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../../../templates/static/", $name))
    };
}

/// The text of some files below `templates/static`, one behind the other.
macro_rules! joined {
    ($($name:literal),* $(,)?) => {
        concat!($(include_str!(concat!("../../../templates/static/", $name))),*)
    };
}

/// What every page looks like.
pub(super) const STYLE: &str = joined!(
    "css/10-base.css",
    "css/20-generate.css",
    "css/30-gallery.css",
    "css/40-pages.css",
    "css/45-words.css",
    "css/50-rooms.css",
);

/// What makes the pages better where scripts may run.
pub(super) const SCRIPT: &str = joined!(
    "js/10-forms.js",
    "js/15-prompt.js",
    "js/20-ask.js",
    "js/30-picture.js",
    "js/40-job.js",
    "js/45-words.js",
    "js/50-rooms.js",
    "js/60-gallery.js",
);

/// File name, media type and content of everything that pages refer to.
const ASSETS: &[(&str, &str, &[u8])] = &[
    (STYLE_FILE, "text/css; charset=utf-8", STYLE.as_bytes()),
    (SCRIPT_FILE, "text/javascript; charset=utf-8", SCRIPT.as_bytes()),
    ("logo.svg", "image/svg+xml", file!("logo.svg")),
    ("icon-180.png", "image/png", file!("icon-180.png")),
    ("icon-192.png", "image/png", file!("icon-192.png")),
    ("icon-512.png", "image/png", file!("icon-512.png")),
    ("icon-maskable.png", "image/png", file!("icon-maskable.png")),
    ("guide-apple.webp", "image/webp", file!("guide/apple.webp")),
    ("guide-fox.webp", "image/webp", file!("guide/fox.webp")),
    ("guide-cake.webp", "image/webp", file!("guide/cake.webp")),
    ("guide-rocket.webp", "image/webp", file!("guide/rocket.webp")),
    ("guide-seed-1.webp", "image/webp", file!("guide/seed-1.webp")),
    ("guide-seed-2.webp", "image/webp", file!("guide/seed-2.webp")),
    ("guide-steps-1.webp", "image/webp", file!("guide/steps-1.webp")),
    ("guide-steps-20.webp", "image/webp", file!("guide/steps-20.webp")),
    ("guide-guidance-1.webp", "image/webp", file!("guide/guidance-1.webp")),
    ("guide-guidance-2.webp", "image/webp", file!("guide/guidance-2.webp")),
    ("guide-guidance-8.webp", "image/webp", file!("guide/guidance-8.webp")),
    ("manifest.webmanifest", "application/manifest+json", file!("manifest.webmanifest")),
];

const STYLE_FILE: &str = "alice.css";
const SCRIPT_FILE: &str = "alice.js";

/// The addresses of the style sheet and of the script, which change with what is in them: a page never meets those of
/// another version, and a browser keeps them for as long as they are the same.
pub(super) static ADDRESSES: LazyLock<(String, String)> = LazyLock::new(|| {
    let address = |file: &str, text: &str| format!("/static/{file}?v={}", version(text.as_bytes()));
    (address(STYLE_FILE, STYLE), address(SCRIPT_FILE, SCRIPT))
});

/// What stands behind the name of a file.
#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    v: Option<String>,
}

/// The file, or 404.
pub async fn get(
    file: Result<Path<String>, PathRejection>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Alice> {
    let Path(file) = file.map_err(|_| Error::NotFound)?;
    let (_, kind, content) = ASSETS.iter().find(|(name, ..)| *name == file).ok_or(Error::NotFound)?;
    let Asked { v } = asked.map(|Query(asked)| asked).unwrap_or_default();
    let kept = match v {
        Some(asked) if asked == version(content) => "public, max-age=31536000, immutable",
        // Asked for anew each time, so that a page never meets the script of another version.
        _ => "no-cache",
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static(kept)),
    ];
    Ok((headers, *content).into_response())
}

/// A word that is another one as soon as one byte is.
fn version(content: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(content)[..6])
}
