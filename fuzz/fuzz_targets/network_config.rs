// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Whatever is one of the JSON files of a model; the first byte says which model.
#![no_main]

use std::path::Path;

#[path = "../bodies/network_config.rs"]
mod body;
#[path = "../bodies/plain.rs"]
mod plain;

const MODELS: [&str; 3] = ["sd1-inpaint", "sdxl-refiner", "sdxl"];

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Some((&model, rest)) = input.split_first() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
        body::check(&fixtures.join(MODELS[usize::from(model) % MODELS.len()]), rest);
    }
});
