// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Real configurations and files of networks beside a model, changed a little in a few thousand ways; the fuzz targets
//! `network_config`, `control` and `upscaler` try more.
#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "the helpers of a test are part of it")]

#[path = "../../../fuzz/bodies/network_config.rs"]
mod body;
#[path = "../../../fuzz/bodies/control.rs"]
mod control;
#[path = "../../../fuzz/bodies/mutations.rs"]
mod mutations;
#[path = "../../../fuzz/bodies/plain.rs"]
mod plain;
#[path = "../../../fuzz/bodies/upscaler.rs"]
mod upscaler;
#[path = "../../../fuzz/bodies/written.rs"]
mod written;

use std::fs;
use std::path::{Path, PathBuf};

use alice_checkpoint::control::ControlFile;
use alice_nets::NetBackend;
use alice_nets::testing::Plain;
use alice_plugin::{
    Backend as _, Description, Device, LatentShape, LoadRequest, ModelFiles, Result, Uncontrolled,
};

use mutations::Chance;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

fn changed_files_are_refused_or_run(model: &str, files: &[&str], seed: u64, rounds: usize) {
    let directory = fixture(model);
    let files =
        files.iter().map(|file| fs::read_to_string(directory.join(file)).unwrap()).collect::<Vec<_>>();
    let mut chance = Chance::new(seed);
    for _ in 0..rounds {
        let which = chance.below(files.len());
        let changed = match chance.below(5) {
            0 => mutations::bytes(&mut chance, files[which].as_bytes()),
            _ => mutations::json(&mut chance, &files[which]).into_bytes(),
        };
        body::check(&directory, &[vec![which as u8], changed].concat());
    }
}

#[test]
fn changed_configurations_of_an_inpainting_model_are_refused_or_run() {
    let files = ["unet/config.json", "vae/config.json", "text_encoder/config.json", "model_index.json"];
    changed_files_are_refused_or_run("sd1-inpaint", &files, 5, 200);
}

#[test]
fn changed_configurations_of_sdxl_are_refused_or_run() {
    let networks =
        ["unet/config.json", "vae/config.json", "text_encoder/config.json", "text_encoder_2/config.json"];
    changed_files_are_refused_or_run("sdxl", &[&networks[..], &["model_index.json"]].concat(), 6, 120);
}

/// Loads the network beside a model in `path` and encodes a picture of four cells with it, if that works.
fn load_and_encode(path: &Path) -> Result<()> {
    let device =
        Device { index: 0, name: String::new(), kind: "cpu".into(), memory_total: None, memory_free: None };
    let description = Description {
        name: "plain".into(),
        version: "1".into(),
        devices: vec![device],
        dtypes: vec!["f32".into()],
        families: Vec::new(),
        inputs: Vec::new(),
        score: 1,
        reason: None,
        stand_in: false,
    };
    let mut backend = NetBackend::new(move || description.clone(), |_, _| Ok(Plain));
    let kind = ControlFile::open(path).map_or("controlnet", |file| file.kind().as_str());
    let request = LoadRequest {
        files: ModelFiles::Diffusers { path: path.to_owned() },
        family: kind.to_owned(),
        vae: None,
        dtype: "f32".to_owned(),
        device: 0,
    };
    let (model, info) = backend.load(&request, &Uncontrolled)?;
    let shape = LatentShape { channels: info.latent_channels, height: 2, width: 2 };
    let pixels = vec![9; 3 * (2 * info.latent_scale as usize).pow(2)];
    backend.encode_hint(model, shape, &pixels, &Uncontrolled).map(drop)
}

#[test]
fn changed_configurations_of_controlnets_and_adapters_are_refused_or_run() {
    let mut chance = Chance::new(7);
    for network in ["controlnet-sdxl", "t2i-full-sdxl", "t2i-light-sd1-eps"] {
        let original = fixture("controls").join(network);
        let copy = tempfile::tempdir().unwrap();
        for file in fs::read_dir(&original).unwrap().flatten() {
            fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        let text = fs::read_to_string(original.join("config.json")).unwrap();
        for _ in 0..150 {
            let changed = match chance.below(5) {
                0 => mutations::bytes(&mut chance, text.as_bytes()),
                _ => mutations::json(&mut chance, &text).into_bytes(),
            };
            fs::write(copy.path().join("config.json"), changed).unwrap();
            if let Err(error) = load_and_encode(copy.path()) {
                assert!(!error.message.is_empty() && error.message.len() < 1000, "{error}");
            }
        }
    }
}

/// The file at `path` with its header changed a little.
fn with_changed_header(chance: &mut Chance, path: &Path) -> Vec<u8> {
    let file = fs::read(path).unwrap();
    let (length, rest) = file.split_at(8);
    let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let changed = match chance.below(5) {
        0 => mutations::bytes(chance, header),
        _ => mutations::json(chance, std::str::from_utf8(header).unwrap()).into_bytes(),
    };
    [&(changed.len() as u64).to_le_bytes()[..], &changed, data].concat()
}

#[test]
fn changed_files_of_networks_beside_a_model_are_refused_or_run() {
    let mut chance = Chance::new(8);
    for network in ["controlnet-sd1-eps", "t2i-full-sdxl", "t2i-light-sd1-eps"] {
        let path = fixture("controls").join(network).join("diffusion_pytorch_model.safetensors");
        control::check(&fs::read(&path).unwrap());
        (0..150).for_each(|_| control::check(&with_changed_header(&mut chance, &path)));
    }
    for network in ["bsrgan-x4", "old-x8", "real-x1", "real-x2"] {
        let path = fixture("upscalers").join(network).with_extension("safetensors");
        upscaler::check(&fs::read(&path).unwrap());
        (0..150).for_each(|_| upscaler::check(&with_changed_header(&mut chance, &path)));
    }
}
