// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Any bytes as the file of a ControlNet or T2I-Adapter: refused with a sentence, or its values are those that were
//! counted and the network sees a picture.

use std::path::Path;

use alice_checkpoint::control::ControlFile;
use alice_plugin::{Backend, LatentShape, ModelFiles, Result, Uncontrolled};

use super::plain::{is_a_sentence, loaded};
use super::written::written;

/// Opens `bytes` as a file, reads all of it and shows the network a picture.
pub(crate) fn check(bytes: &[u8]) {
    let path = written(bytes);
    let file = match ControlFile::open(&path) {
        Ok(file) => file,
        Err(error) => return is_a_sentence(&error.to_string()),
    };
    let set = file.weights().expect("what was listed can be mapped");
    let values = set.names().map(|name| set.tensor(name).expect("a listed tensor is there").shape);
    let values = values.map(|shape| shape.iter().product::<usize>() as u64);
    assert_eq!(values.sum::<u64>(), file.values().expect("they were counted before"));
    if let Err(error) = look(&path, file.kind().as_str()) {
        is_a_sentence(&error.message);
    }
}

/// Encodes a picture of four cells.
fn look(path: &Path, family: &str) -> Result<()> {
    let (mut backend, model, info) = loaded(ModelFiles::SingleFile { path: path.to_owned() }, family)?;
    let shape = LatentShape { channels: info.latent_channels, height: 2, width: 2 };
    let pixels = vec![9; 3 * (2 * info.latent_scale as usize).pow(2)];
    backend.encode_hint(model, shape, &pixels, &Uncontrolled).map(drop)
}
