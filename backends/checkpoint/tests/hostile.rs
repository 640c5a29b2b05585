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

use alice_checkpoint::control::ControlFile;
use alice_checkpoint::upscaler::UpscalerFile;
use alice_checkpoint::{Checkpoint, TensorSet};
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

/// Reads every value of `set`, which are as many as were counted without it.
fn read_all(set: &TensorSet, counted: u64) {
    let values = set.names().map(|name| {
        let tensor = set.tensor(name).unwrap();
        let values = tensor.shape.iter().product::<usize>();
        assert_eq!(tensor.bytes.len(), 2 * values, "{name}");
        values as u64
    });
    assert_eq!(values.sum::<u64>(), counted);
}

/// A ControlNet, a T2I-Adapter and an upscaler, each in the spelling of its first release.
fn beside() -> [Tensors; 3] {
    let mut all = [Tensors::new(), Tensors::new(), Tensors::new()];
    let layer = |all: &mut Tensors, name: &str, weight: &[usize]| {
        all.push((format!("{name}.weight"), weight.to_vec()));
        all.push((format!("{name}.bias"), vec![weight[0]]));
    };
    let [control, adapter, upscaler] = &mut all;
    let first_half = |name: &str| !name.starts_with("output_blocks.") && !name.starts_with("out.");
    control.extend(SD1.unet().into_iter().filter(|(name, _)| first_half(name)));
    (0..8).for_each(|place| layer(control, &format!("input_hint_block.{}", 2 * place), &[8, 8, 3, 3]));
    (0..12).for_each(|place| layer(control, &format!("zero_convs.{place}.0"), &[8, 8, 1, 1]));
    layer(control, "middle_block_out.0", &[8, 8, 1, 1]);
    layer(adapter, "conv_in", &[8, 192, 3, 3]);
    for place in 0..8 {
        layer(adapter, &format!("body.{place}.block1"), &[8, 8, 3, 3]);
        layer(adapter, &format!("body.{place}.block2"), &[8, 8, 1, 1]);
    }
    for place in [2, 4] {
        layer(adapter, &format!("body.{place}.in_conv"), &[8, 8, 1, 1]);
    }
    layer(upscaler, "model.0", &[8, 3, 3, 3]);
    for (dense, place) in (1..=3).flat_map(|dense| (1..=5).map(move |place| (dense, place))) {
        layer(upscaler, &format!("model.1.sub.0.RDB{dense}.conv{place}.0"), &[8, 8, 3, 3]);
    }
    for place in ["1.sub.1", "3", "6", "8"] {
        layer(upscaler, &format!("model.{place}"), &[8, 8, 3, 3]);
    }
    layer(upscaler, "model.10", &[3, 8, 3, 3]);
    all
}

#[test]
fn changed_networks_beside_a_model_are_refused_or_read_as_they_are_described() {
    let mut chance = Chance::new(4);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("network");
    let mut taken = 0;
    for network in beside() {
        for round in 0..300 {
            let mut tensors = network.clone();
            (0..round.min(1 + chance.below(3))).for_each(|_| change(&mut chance, &mut tensors));
            published::write(&path, &tensors, &json!({}));
            match ControlFile::open(&path) {
                Ok(control) => {
                    assert!(control.config::<Value>().unwrap().is_object());
                    read_all(&control.weights().unwrap(), control.values().unwrap());
                    taken += 1;
                }
                Err(error) => body::is_a_sentence(&error.to_string()),
            }
            match UpscalerFile::open(&path) {
                Ok(upscaler) => {
                    assert!([1, 2, 4, 8].contains(&upscaler.scale()));
                    read_all(&upscaler.weights().unwrap(), upscaler.values());
                    taken += 1;
                }
                Err(error) => body::is_a_sentence(&error.to_string()),
            }
        }
    }
    assert!(taken > 3, "not even the networks themselves were taken");
}
