// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Real headers, changed a little in a few thousand ways; the fuzz target of the same name tries more.
#![expect(clippy::unwrap_used, reason = "the helpers of a test are part of it")]

#[path = "../../../fuzz/bodies/safetensors.rs"]
mod body;
#[path = "../../../fuzz/bodies/mutations.rs"]
mod mutations;

use std::fs;

use mutations::Chance;

const ROUNDS: usize = 4000;

/// The header of a model of the repository, and how many bytes of data follow it.
fn header(path: &str) -> (Vec<u8>, usize) {
    let mut file = fs::read(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let data = file.len() - 8 - length;
    file.truncate(8 + length);
    (file, data)
}

#[test]
fn changed_headers_are_refused_or_describe_what_is_there() {
    let mut chance = Chance::new(1);
    for path in [
        "tests/fixtures/alice-emoji.safetensors",
        "tests/fixtures/sd1-inpaint/text_encoder/model.safetensors",
    ] {
        let (header, data) = header(path);
        body::check(&[header.clone(), vec![0; data]].concat());
        for _ in 0..ROUNDS {
            let mut file = mutations::bytes(&mut chance, &header);
            // A stated length that fits lets a change behind it be seen.
            if chance.below(4) > 0 && file.len() >= 8 {
                let length = file.len() as u64 - 8;
                file[..8].copy_from_slice(&length.to_le_bytes());
            }
            file.resize(file.len() + data, 0);
            body::check(&file);
        }
    }
}

#[test]
fn changed_entries_are_refused_or_describe_what_is_there() {
    let mut chance = Chance::new(2);
    let (header, data) = header("tests/fixtures/sd1-inpaint/text_encoder/model.safetensors");
    let text = std::str::from_utf8(&header[8..]).unwrap();
    for _ in 0..ROUNDS {
        let json = mutations::json(&mut chance, text);
        let mut file = (json.len() as u64).to_le_bytes().to_vec();
        file.extend(json.bytes());
        file.resize(file.len() + data, 0);
        body::check(&file);
    }
}
