// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A request for pictures as a form with files: every parameter is a text there.

use super::request::{Files, ImageRequest};
use crate::api::json;
use crate::api::multipart::{As, Form};
use crate::error::{Error, Result};

/// Texts that are base64, data URLs or addresses of pictures; there may be several of each.
const LISTS: &[&str] = &["images", "input_images", "input_image_urls"];

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
    // A picture may also be a text there: base64 or a data URL.
    for (name, _) in form.texts.iter_mut().filter(|(name, _)| name == "image") {
        "input_images".clone_into(name);
    }
    let wire: ImageRequest = json::parse(&form.into_json(LISTS, kind)?)?;
    Ok(wire.with(files))
}

/// What the text of this name is.
fn kind(name: &str) -> Option<As> {
    match name {
        "n"
        | "partial_images"
        | "steps"
        | "guidance_scale"
        | "clip_skip"
        | "guidance_rescale"
        | "width"
        | "height"
        | "seed"
        | "strength"
        | "mask_blur"
        | "only_masked_padding"
        | "image_guidance_scale" => Some(As::Number),
        "stream" | "detach" | "mask_invert" | "only_masked" => Some(As::Truth),
        "guidance_interval" | "loras" | "controls" | "hires" => Some(As::Json),
        _ => None,
    }
}
