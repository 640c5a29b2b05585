// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A request for pictures as a form with files: every parameter is a text there.

use super::request::{Files, ImageRequest};
use crate::api::fields;
use crate::api::multipart::{As, Form};
use crate::error::{Error, Result};

/// What the form asks for.
///
/// # Errors
/// Names the field that cannot be read, or that holds more pictures than it may.
pub(super) fn request(mut form: Form) -> Result<ImageRequest> {
    let images = form.take_files("image");
    let mut masks = form.take_files("mask");
    if masks.len() > 1 {
        return Err(Error::invalid("mask", format!("holds {} pictures, and may hold one", masks.len())));
    }
    let files = Files { images, mask: masks.pop(), controls: form.take_files("control_image") };
    if let Some((name, _)) = form.files.first() {
        let problem = "is a file; files may be `image`, `image[]`, `mask` and `control_image`";
        return Err(Error::invalid(name, problem));
    }
    Ok(ImageRequest::read(&form.into_json(kind)?)?.with(files))
}

/// What the text of this name is.
fn kind(name: &str) -> Option<As> {
    match name {
        "n" | "partial_images" => Some(As::Number),
        "stream" | "detach" => Some(As::Truth),
        shared => fields::kind(shared),
    }
}
