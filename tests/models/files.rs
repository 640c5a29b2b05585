// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Directories of models for tests: the built-in model under other names, and small files of other kinds.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::harness::source;

/// The built-in model at `path`, file by file, so that each may be changed.
pub(crate) fn copy_model(path: &Path) {
    let from = source("models/alice-emoji");
    for part in ["", "scheduler", "text_encoder", "tokenizer", "unet", "vae"] {
        fs::create_dir_all(path.join(part)).unwrap();
        for entry in fs::read_dir(from.join(part)).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_file() {
                symlink(&entry, path.join(part).join(entry.file_name().unwrap())).unwrap();
            }
        }
    }
    // The sidecar is the test's to write.
    fs::remove_file(path.join("model_config.yaml")).unwrap();
}

/// A sound safetensors file of zeros with tensors of these names and shapes.
pub(crate) fn safetensors(path: &Path, tensors: &[(&str, &[usize])]) {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let begin = end;
        end += 4 * shape.iter().product::<usize>();
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, end]});
        header.insert((*name).to_owned(), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + end, 0);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A LoRA of one layer, in kohya's spelling.
pub(crate) fn lora(path: &Path) {
    let layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";
    let (down, up) = (format!("{layer}.lora_down.weight"), format!("{layer}.lora_up.weight"));
    safetensors(path, &[(&down, &[4, 320]), (&up, &[320, 4])]);
}

/// An embedding of two vectors, in A1111's spelling.
pub(crate) fn embedding(path: &Path) {
    safetensors(path, &[("emb_params", &[2, 768])]);
}

/// What `torch.save` writes first, older and newer.
pub(crate) fn pickles(directory: &Path) {
    fs::write(directory.join("old.ckpt"), b"\x80\x02}q\x00X\x05\x00\x00\x00modelq\x01.").unwrap();
    fs::write(directory.join("disguised.safetensors"), b"PK\x03\x04\x00\x00archive/data.pkl").unwrap();
}
