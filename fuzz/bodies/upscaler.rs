// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Any bytes as the file of an upscaler: refused with a sentence, or it makes a picture as many times larger as it says.

use std::path::Path;

use alice_checkpoint::upscaler::UpscalerFile;
use alice_plugin::{Backend, ModelFiles, Result, Uncontrolled, UpscaleOptions};

use super::plain::{is_a_sentence, loaded};
use super::written::written;

/// Height and width of the picture, no multiples of what some networks fold.
const SIDES: [u32; 2] = [3, 5];

/// Opens `bytes` as a file, reads all of it and makes a picture larger with it.
pub(crate) fn check(bytes: &[u8]) {
    let path = written(bytes);
    let file = match UpscalerFile::open(&path) {
        Ok(file) => file,
        Err(error) => return is_a_sentence(&error.to_string()),
    };
    assert!([1, 2, 4, 8].contains(&file.scale()) && [1, 2, 4].contains(&file.unshuffle()));
    let set = file.weights().expect("what was listed can be mapped");
    let values = set.names().map(|name| set.tensor(name).expect("a listed tensor is there").shape);
    let values = values.map(|shape| shape.iter().product::<usize>() as u64);
    assert_eq!(values.sum::<u64>(), file.values());
    if let Err(error) = enlarge(&path, file.scale()) {
        is_a_sentence(&error.message);
    }
}

fn enlarge(path: &Path, scale: usize) -> Result<()> {
    let (mut backend, model, info) = loaded(ModelFiles::SingleFile { path: path.to_owned() }, "upscaler")?;
    assert_eq!(info.latent_scale as usize, scale);
    let [height, width] = SIDES;
    let pixels = 3 * height as usize * width as usize;
    let mut out = vec![0; pixels * scale * scale];
    let options = UpscaleOptions { tile: None };
    backend.upscale(model, height, width, &vec![100; pixels], &options, &mut out, &Uncontrolled)
}
