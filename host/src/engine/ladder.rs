// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What is tried when the device has run out of memory, and what is said when nothing is left to try.
//!
//! Evaluations: half the batch, and so on down to one; then the rows of one evaluation apart
//! (`Curve::halve`). Pictures: whole, then in tiles. Before either, models that nobody uses go.

use alice_plugin::{Error, ErrorKind, LatentShape, LoadRequest};

use super::LoadedModel;

/// Sides of the tiles in which a picture is decoded, in cells, largest first. Smaller ones would consist of seams.
const TILES: [u32; 2] = [64, 32];

/// The next smaller tile after `tile`, where `None` is the whole latent.
pub(super) fn smaller_tile(shape: LatentShape, tile: Option<u32>) -> Option<u32> {
    let side = tile.unwrap_or(shape.height.max(shape.width));
    TILES.into_iter().find(|&smaller| smaller < side)
}

/// Not even one row of an evaluation fits.
pub(super) fn row_too_large(model: &LoadedModel, shape: LatentShape, tokens: usize, error: &Error) -> Error {
    let what = format!("one row of {} with {tokens} tokens", size(model, shape));
    no_memory(format!("the device's memory does not hold {what}: {error}; choose a smaller size"))
}

/// Not even small tiles of a picture fit.
pub(super) fn picture_too_large(model: &LoadedModel, shape: LatentShape, error: &Error) -> Error {
    let tile = TILES.last().copied().unwrap_or_default();
    let what = format!("a picture of {}, not even in tiles of {tile} cells", size(model, shape));
    no_memory(format!("the device's memory is too small to decode {what}: {error}; choose a smaller size"))
}

/// A model does not fit into `free` bytes.
pub(super) fn model_too_large(request: &LoadRequest, needs: u64, free: u64) -> Error {
    no_memory(format!(
        "model `{}` needs {}, {} can be had for it",
        name(request),
        amount(needs),
        amount(free)
    ))
}

/// A model did not fit, whatever its files let expect.
pub(super) fn model_did_not_fit(
    request: &LoadRequest,
    needs: u64,
    free: Option<u64>,
    error: &Error,
) -> Error {
    let free = free.map_or_else(|| "an unknown amount".to_owned(), amount);
    no_memory(format!(
        "model `{}`, about {} of weights, does not fit into {free}: {error}",
        name(request),
        amount(needs)
    ))
}

fn no_memory(message: String) -> Error {
    Error::new(ErrorKind::OutOfMemory, message)
}

fn size(model: &LoadedModel, shape: LatentShape) -> String {
    let LatentShape { height, width, .. } = shape;
    let scale = model.info.latent_scale;
    format!("{}x{} pixels ({width}x{height} cells)", width * scale, height * scale)
}

/// What people call the model: its directory.
fn name(request: &LoadRequest) -> String {
    let path = request.files.path();
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Bytes for a person.
fn amount(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use alice_plugin::ModelFiles;

    use super::*;

    #[test]
    fn tiles_are_always_smaller_than_what_did_not_fit() {
        let shape = |height, width| LatentShape { channels: 4, height, width };
        assert_eq!(smaller_tile(shape(128, 96), None), Some(64));
        assert_eq!(smaller_tile(shape(128, 96), Some(64)), Some(32));
        assert_eq!(smaller_tile(shape(128, 96), Some(32)), None);
        assert_eq!(smaller_tile(shape(64, 64), None), Some(32), "64 cells are the whole latent");
        assert_eq!(smaller_tile(shape(32, 16), None), None);
    }

    #[test]
    fn a_model_that_cannot_fit_hears_both_numbers() {
        let files = ModelFiles::Diffusers { path: "/models/sdxl".into() };
        let request = LoadRequest { files, family: "sdxl".into(), vae: None, dtype: "f16".into(), device: 0 };
        let error = model_too_large(&request, 6_940_000_000, 412_000_000);
        assert_eq!(error.message, "model `sdxl` needs 6.9 GB, 412.0 MB can be had for it");
        assert_eq!(error.kind, ErrorKind::OutOfMemory);
    }
}
