// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How large a model will be on the device, as far as its files tell.

use alice_checkpoint::diffusers::Directory;
use alice_plugin::{Description, LoadRequest, ModelFiles};

/// Bytes that the weights will take in the number format in which they will be loaded; 0 for files that cannot be
/// read, about which loading them will say more.
pub(super) fn expected(request: &LoadRequest, backend: &Description) -> u64 {
    let ModelFiles::Diffusers { path } = &request.files;
    let Ok(directory) = Directory::open(path) else { return 0 };
    let encoders = directory.text_encoders().unwrap_or_default();
    let components = encoders.iter().map(|encoder| encoder.component).chain(["unet", "vae"]);
    let values: u64 = components.map(|component| values(&directory, component)).sum();
    values.saturating_mul(bytes_of_value(request, backend))
}

/// How many values the weights of one network are.
fn values(directory: &Directory, component: &str) -> u64 {
    let Ok(file) = directory.weights(component) else { return 0 };
    let tensors = file.names().filter_map(|name| file.tensor(name).ok());
    tensors.map(|tensor| tensor.shape.iter().map(|&side| side as u64).product::<u64>()).sum()
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
