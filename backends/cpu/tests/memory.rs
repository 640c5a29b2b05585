// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The most memory that loading a model in one file costs, measured in a process that does nothing else: the file as
//! it is mapped and the weights as the networks keep them, and never a second copy of either.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "the helpers of a test are part of it")]

#[path = "../../../tests/tensors.rs"]
#[allow(dead_code, reason = "other tests need the rest of it")]
mod tensors;

use std::{env, fs, path::Path, process::Command};

use alice_backend_cpu::cpu_backend;
use alice_checkpoint::Checkpoint;
use alice_plugin::{Backend as _, LoadRequest, ModelFiles, Uncontrolled};
use serde_json::json;
use tensors::RawTensor;

/// Says to the process that measures which file it is to load.
const FILE: &str = "ALICE_TEST_FILE_TO_LOAD";
/// What the second text encoder of SDXL is made of here, so that the file has a hundred megabytes: layers, and
/// channels inside each.
const LAYERS: usize = 12;
const INNER: usize = 16_384;
/// The width of that encoder in the fixture.
const WIDTH: usize = 128;
const ENCODER: &str = "conditioner.embedders.1.model.transformer.resblocks.";
/// What else a process needs, and a layer that is being converted, in MiB. A second copy of the file would be 110.
const SLACK_MIB: u64 = 48;

/// The process's peak memory in MiB.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Small numbers in f16, of either sign.
fn random(shape: &[usize], state: &mut u64) -> RawTensor {
    let mut bytes = Vec::new();
    for _ in 0..shape.iter().product::<usize>() {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bits = (*state >> 48) as u16;
        bytes.extend(((bits & 0x83ff) | 0x2000).to_le_bytes());
    }
    RawTensor { dtype: "F16".into(), shape: shape.iter().map(|side| *side as u64).collect(), bytes }
}

/// Writes an SDXL whose second text encoder is large.
fn write_large(path: &Path) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    let mut tensors = tensors::whole(&fixtures, "file-sdxl");
    let first = format!("{ENCODER}0.");
    let layer: Vec<_> = tensors
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(&first)?.to_owned(), tensor.clone())))
        .collect();
    let mut state = 11;
    for index in 0..LAYERS {
        for (name, tensor) in &layer {
            let tensor = match name.as_str() {
                "mlp.c_fc.weight" => random(&[INNER, WIDTH], &mut state),
                "mlp.c_fc.bias" => random(&[INNER], &mut state),
                "mlp.c_proj.weight" => random(&[WIDTH, INNER], &mut state),
                _ => tensor.clone(),
            };
            tensors.insert(format!("{ENCODER}{index}.{name}"), tensor);
        }
    }
    tensors::write(path, &tensors);
}

/// Loads the file and looks at what it cost.
fn load(path: &Path) {
    let checkpoint = Checkpoint::open(path).unwrap();
    let values = checkpoint.components().unwrap().into_iter().map(|part| checkpoint.values(part).unwrap());
    let (weights, file) = ((values.sum::<u64>() * 4) >> 20, fs::metadata(path).unwrap().len() >> 20);
    assert!(file > 100 && weights > 200, "{file} {weights}");
    let request = LoadRequest {
        files: ModelFiles::SingleFile { path: path.to_owned() },
        family: checkpoint.family().to_string(),
        vae: None,
        dtype: "f32".into(),
        device: 0,
    };
    let mut backend = cpu_backend(&json!({"threads": 1})).unwrap();
    backend.load(&request, &Uncontrolled).unwrap();
    let peak = peak_mib();
    assert!(
        peak > weights && peak <= file + weights + SLACK_MIB,
        "the peak was {peak} MiB, for a file of {file} and weights of {weights}"
    );
}

#[test]
fn loading_a_single_file_never_holds_a_second_copy_of_it_or_of_its_weights() {
    if let Some(path) = env::var_os(FILE) {
        return load(Path::new(&path));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.safetensors");
    write_large(&path);
    let loaded = Command::new(env::current_exe().unwrap())
        .args(["--exact", "loading_a_single_file_never_holds_a_second_copy_of_it_or_of_its_weights"])
        .env(FILE, &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&loaded.stdout);
    assert!(loaded.status.success() && said.contains("1 passed"), "{said}");
}
