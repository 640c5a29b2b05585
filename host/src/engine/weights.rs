// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How large a model will be on the device, as far as its files tell.

use alice_checkpoint::control::ControlFile;
use alice_checkpoint::upscaler::UpscalerFile;
use alice_checkpoint::{Checkpoint, Error};
use alice_plugin::{Description, LoadRequest};

/// The least bytes of a text encoder's value: networks in less than f32 have their text encoders in f32 all the same.
const TEXT_BYTES: u64 = 4;
/// The same of autoencoders and upscalers, which are never in less than 16 bits.
const PICTURE_BYTES: u64 = 2;

/// Bytes that the weights will take in the number format in which they will be loaded; 0 for files that cannot be
/// read, about which loading them will say more.
pub(super) fn expected(request: &LoadRequest, backend: &Description) -> u64 {
    let (path, each) = (request.files.path(), bytes_of_value(request, backend));
    let bytes = |values: u64| values.saturating_mul(each);
    let bytes = match request.family.as_str() {
        "controlnet" | "t2i_adapter" => ControlFile::open(path).and_then(|file| file.values()).map(bytes),
        "upscaler" => {
            UpscalerFile::open(path).map(|file| file.values().saturating_mul(each.max(PICTURE_BYTES)))
        }
        _ => bytes_of_model(request, each),
    };
    bytes.unwrap_or(0)
}

/// Bytes of all parts of a model that makes pictures, whose values take `each` bytes.
fn bytes_of_model(request: &LoadRequest, each: u64) -> Result<u64, Error> {
    let checkpoint = Checkpoint::open(request.files.path())?;
    let checkpoint = match &request.vae {
        Some(vae) => checkpoint.with_vae(vae)?,
        None => checkpoint,
    };
    let components = checkpoint.components().unwrap_or_default();
    let bytes = |component: &&str| {
        let each = match *component {
            text if text.starts_with("text_encoder") => each.max(TEXT_BYTES),
            "vae" => each.max(PICTURE_BYTES),
            _ => each,
        };
        checkpoint.values(component).unwrap_or(0).saturating_mul(each)
    };
    Ok(components.iter().map(bytes).fold(0, u64::saturating_add))
}

/// Bytes of one value in the number format that is asked for, which is the backend's first unless it is named.
fn bytes_of_value(request: &LoadRequest, backend: &Description) -> u64 {
    let dtype = match request.dtype.as_str() {
        "auto" => backend.dtypes.first().map_or("f32", String::as_str),
        named => named,
    };
    match dtype {
        "int8" => 1,
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

    #[test]
    fn text_encoders_are_expected_in_f32() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/sd1-eps");
        let checkpoint = Checkpoint::open(&path).unwrap();
        let [text, unet, vae] = ["text_encoder", "unet", "vae"].map(|name| checkpoint.values(name).unwrap());
        let bytes = |each| {
            let files = ModelFiles::Diffusers { path: path.clone() };
            let request =
                LoadRequest { files, family: "sd1".into(), vae: None, dtype: "auto".into(), device: 0 };
            bytes_of_model(&request, each).unwrap()
        };
        assert_eq!(bytes(2), 4 * text + 2 * (unet + vae));
        assert_eq!(bytes(8), 8 * (text + unet + vae));
    }
}
