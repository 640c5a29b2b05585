// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Real headers, changed a little in a few thousand ways; the fuzz target of the same name tries more.
#![expect(clippy::unwrap_used, reason = "the helpers of a test are part of it")]

#[path = "../../../fuzz/bodies/safetensors.rs"]
mod body;
#[path = "../../../fuzz/bodies/mutations.rs"]
mod mutations;
#[path = "../src/single/tests/published.rs"]
mod published;

use std::fs;

use alice_checkpoint::Checkpoint;
use mutations::Chance;
use published::{REFINER, SD1, SD2, SDXL, Tensors};
use serde_json::{Value, json};

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

/// Takes one tensor away, calls it otherwise or gives it another shape.
fn change(chance: &mut Chance, tensors: &mut Tensors) {
    let (place, other) = (chance.below(tensors.len()), chance.below(tensors.len()));
    match chance.below(6) {
        0 => drop(tensors.remove(place)),
        1 => tensors[place].0 = format!("{}{}", tensors[place].0, chance.pick(&["", "x", ".0", ".weight"])),
        2 => {
            let (digit, instead) =
                (chance.pick(&["0", "1", "2"]), chance.pick(&["0", "7", "99999999999", "-1"]));
            tensors[place].0 = tensors[place].0.replacen(digit, instead, 1);
        }
        3 => {
            let name = std::mem::take(&mut tensors[place].0);
            tensors[place].0 = std::mem::replace(&mut tensors[other].0, name);
        }
        4 => {
            tensors[place].1 =
                chance.pick::<&[usize]>(&[&[], &[0], &[1], &[0, 3, 0], &[2, 2, 2, 2, 2]]).to_vec()
        }
        _ => {
            for side in &mut tensors[place].1 {
                *side = chance.pick(&[*side, 0, 1, 3, *side + 1]);
            }
        }
    }
}

/// Opens a file and, if it is taken for a model, reads everything of it but the largest tensors' values.
fn read_model(path: &std::path::Path) {
    let checkpoint = match Checkpoint::open(path) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return body::is_a_sentence(&error.to_string()),
    };
    for component in checkpoint.components().unwrap() {
        let Ok(config) = checkpoint.config::<Value>(component) else {
            assert_eq!(component, "vae", "only the autoencoder may be missing");
            continue;
        };
        assert!(config.is_object());
        let set = checkpoint.weights(component).unwrap();
        let values = set.names().map(|name| {
            let tensor = set.tensor(name).unwrap();
            let values = tensor.shape.iter().product::<usize>();
            assert_eq!(tensor.bytes.len(), 2 * values, "{name}");
            values as u64
        });
        assert_eq!(values.sum::<u64>(), checkpoint.values(component).unwrap());
        assert!(checkpoint.layers(component).unwrap().len() <= set.names().count());
    }
    checkpoint.scheduler_config().unwrap();
}

#[test]
fn changed_single_files_are_refused_or_read_as_they_are_described() {
    let mut chance = Chance::new(3);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model");
    for sizes in [SD1, SD2, SDXL, REFINER] {
        for _ in 0..60 {
            let mut tensors = sizes.tensors();
            for _ in 0..=chance.below(3) {
                change(&mut chance, &mut tensors);
            }
            published::write(&path, &tensors, &json!({}));
            read_model(&path);
        }
    }
}
