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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use alice_plugin::ModelFiles;

    use super::*;

    #[test]
    fn networks_beside_a_model_are_expected_to_take_what_their_tensors_hold() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
        let backend = Description {
            name: "any".into(),
            version: "1".into(),
            devices: Vec::new(),
            dtypes: vec!["bf16".into()],
            families: Vec::new(),
            inputs: Vec::new(),
            score: 1,
            reason: None,
            stand_in: false,
        };
        let bytes = |file: bool, path: &str, family: &str, dtype: &str| {
            let path = fixtures.join(path);
            let files = if file { ModelFiles::SingleFile { path } } else { ModelFiles::Diffusers { path } };
            let request =
                LoadRequest { files, family: family.into(), vae: None, dtype: dtype.into(), device: 0 };
            expected(&request, &backend)
        };
        // The values are what the safetensors headers of the files say.
        assert_eq!(bytes(false, "controls/controlnet-sd1-eps", "controlnet", "f32"), 4 * 239_824);
        assert_eq!(bytes(false, "controls/t2i-light-sd1-eps", "t2i_adapter", "f16"), 2 * 9_228);
        assert_eq!(bytes(true, "files/controlnet-file-sd1.safetensors", "controlnet", "auto"), 2 * 499_120);
        assert_eq!(bytes(true, "upscalers/old-x4.safetensors", "upscaler", "f32"), 4 * 25_387);
        assert_eq!(bytes(true, "upscalers/real-x4.safetensors", "controlnet", "f32"), 0, "another kind");
        assert_eq!(bytes(true, "nothing.safetensors", "upscaler", "f32"), 0);
    }
}
