// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What is tried when the device has run out of memory, and what is said when nothing is left to try.
//!
//! Evaluations: half the batch, and so on down to one; then the rows of one evaluation apart
//! (`Curve::halve`). Pictures, decoded, encoded or made larger: whole, then in tiles. Whoever makes a large one larger asks for it
//! piece by piece already. Before either, models that nobody uses go.

use alice_plugin::{Error, ErrorKind, LatentShape, LoadRequest};

use super::{LoadedModel, Versioned};

/// Sides of the tiles in which a picture is decoded or encoded, in cells, largest first. Smaller ones would consist of
/// seams.
const CELLS: [u32; 2] = [64, 32];
/// The same for pictures that are made larger, in their own pixels.
const PIXELS: [u32; 4] = [512, 256, 128, 64];

/// What can be done in tiles when it does not fit whole. What is remembered of one counts for its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Large {
    /// Decoding a latent of this shape.
    Decode(LatentShape),
    /// Encoding a picture whose latent has this shape.
    EncodeImage(LatentShape),
    /// Making a picture larger.
    Upscale { width: u32, height: u32 },
}

impl Large {
    /// The next smaller tile after `tile`, where `None` is the whole.
    pub(super) fn smaller_tile(self, tile: Option<u32>) -> Option<u32> {
        let (longest, tiles) = match self {
            Self::Decode(shape) | Self::EncodeImage(shape) => {
                (shape.height.max(shape.width), CELLS.as_slice())
            }
            Self::Upscale { width, height } => (width.max(height), PIXELS.as_slice()),
        };
        let side = tile.unwrap_or(longest);
        tiles.iter().copied().find(|&smaller| smaller < side)
    }

    /// It does not fit, in tiles of this side at last.
    pub(super) fn too_large(self, model: &LoadedModel, tile: Option<u32>, error: &Error) -> Error {
        let (what, unit) = match self {
            Self::Decode(shape) => (format!("decode a picture of {}", size(model, shape)), "cells"),
            Self::EncodeImage(shape) => (format!("encode a picture of {}", size(model, shape)), "cells"),
            Self::Upscale { width, height } => {
                let factor = model.info.latent_scale;
                (format!("make a picture of {width}x{height} pixels {factor} times larger"), "pixels")
            }
        };
        let tiles = tile.map(|tile| format!(", not even in tiles of {tile} {unit}")).unwrap_or_default();
        no_memory(format!(
            "the device's memory is too small to {what}{tiles}: {error}; choose a smaller size"
        ))
    }
}

/// Not even one row of an evaluation fits.
pub(super) fn row_too_large(model: &LoadedModel, shape: LatentShape, tokens: usize, error: &Error) -> Error {
    let what = format!("one row of {} with {tokens} tokens", size(model, shape));
    no_memory(format!("the device's memory does not hold {what}: {error}; choose a smaller size"))
}

/// Models do not fit into `free` bytes together.
pub(super) fn models_too_large(wanted: &[Versioned<LoadRequest>], needs: u64, free: u64) -> Error {
    let names: Vec<_> = wanted.iter().map(|model| format!("`{}`", name(&model.what))).collect();
    let (needs, free) = (amount(needs), amount(free));
    no_memory(match names.as_slice() {
        [name] => format!("model {name} needs {needs}, {free} can be had for it"),
        names => {
            format!("the models {} need {needs} together, {free} can be had for them", names.join(", "))
        }
    })
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
        let latent = |height, width| Large::Decode(LatentShape { channels: 4, height, width });
        assert_eq!(latent(128, 96).smaller_tile(None), Some(64));
        assert_eq!(latent(128, 96).smaller_tile(Some(64)), Some(32));
        assert_eq!(latent(128, 96).smaller_tile(Some(32)), None);
        assert_eq!(latent(64, 64).smaller_tile(None), Some(32), "64 cells are the whole latent");
        assert_eq!(latent(32, 16).smaller_tile(None), None);
        let picture = |width, height| Large::Upscale { width, height };
        assert_eq!(picture(1024, 600).smaller_tile(None), Some(512));
        assert_eq!(picture(256, 200).smaller_tile(None), Some(128));
        assert_eq!(picture(256, 200).smaller_tile(Some(128)), Some(64));
        assert_eq!(picture(100, 120).smaller_tile(None), Some(64));
        assert_eq!(picture(256, 200).smaller_tile(Some(64)), None);
    }

    #[test]
    fn a_model_that_cannot_fit_hears_both_numbers() {
        let files = ModelFiles::Diffusers { path: "/models/sdxl".into() };
        let request = LoadRequest { files, family: "sdxl".into(), vae: None, dtype: "f16".into(), device: 0 };
        let files = ModelFiles::SingleFile { path: "/controls/canny.safetensors".into() };
        let control = LoadRequest { files, family: "controlnet".into(), ..request.clone() };
        let error = models_too_large(&[request.clone().into()], 6_940_000_000, 412_000_000);
        assert_eq!(error.message, "model `sdxl` needs 6.9 GB, 412.0 MB can be had for it");
        assert_eq!(error.kind, ErrorKind::OutOfMemory);
        let error = models_too_large(&[request.into(), control.into()], 9_440_000_000, 8_000_000_000);
        let expected =
            "the models `sdxl`, `canny.safetensors` need 9.4 GB together, 8.0 GB can be had for them";
        assert_eq!(error.message, expected);
    }
}
