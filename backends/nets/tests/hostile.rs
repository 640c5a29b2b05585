// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Real configurations, changed a little in a few thousand ways; the fuzz target `network_config` tries more.
#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "the helpers of a test are part of it")]

#[path = "../../../fuzz/bodies/network_config.rs"]
mod body;
#[path = "../../../fuzz/bodies/mutations.rs"]
mod mutations;

use std::fs;
use std::path::{Path, PathBuf};

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
