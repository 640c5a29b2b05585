// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How large a model will be on the device, as far as its files tell.

use alice_checkpoint::control::ControlFile;
use alice_checkpoint::upscaler::UpscalerFile;
use alice_checkpoint::{Checkpoint, Error};
use alice_plugin::{Description, LoadRequest};

/// Bytes that the weights will take in the number format in which they will be loaded; 0 for files that cannot be
/// read, about which loading them will say more.
pub(super) fn expected(request: &LoadRequest, backend: &Description) -> u64 {
    let path = request.files.path();
    let values = match request.family.as_str() {
        "controlnet" | "t2i_adapter" => ControlFile::open(path).and_then(|file| file.values()),
        "upscaler" => UpscalerFile::open(path).map(|file| file.values()),
        _ => values_of_model(request),
    };
    values.unwrap_or(0).saturating_mul(bytes_of_value(request, backend))
}

/// Values in all parts of a model that makes pictures.
fn values_of_model(request: &LoadRequest) -> Result<u64, Error> {
    let checkpoint = Checkpoint::open(request.files.path())?;
    let checkpoint = match &request.vae {
        Some(vae) => checkpoint.with_vae(vae)?,
        None => checkpoint,
    };
    let components = checkpoint.components().unwrap_or_default();
    Ok(components.iter().map(|component| checkpoint.values(component).unwrap_or(0)).sum())
}

/// Bytes of one value in the number format that is asked for, which is the backend's first unless it is named.
fn bytes_of_value(request: &LoadRequest, backend: &Description) -> u64 {
    let dtype = match request.dtype.as_str() {
        "auto" => backend.dtypes.first().map_or("f32", String::as_str),
        named => named,
    };
    match dtype {
        "f16" | "bf16" => 2,
        "f64" => 8,
        _ => 4,
    }
}
