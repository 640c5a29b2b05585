// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A microscopic Stable Diffusion 1.x on disk, and what diffusers says that it answers.
//!
//! Configurations, names and shapes of tensors and answers are in `micro.json`, which `micro.py` writes.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::testing::numbers;

/// The tensors of one network by name: shape and values.
pub(super) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

#[derive(Deserialize)]
struct Reference {
    unet: Component,
    vae: Component,
    text_encoder: Component,
    answers: Answers,
}

#[derive(Deserialize)]
struct Component {
    config: Map<String, Value>,
    tensors: BTreeMap<String, Vec<usize>>,
}

/// What diffusers computes in double precision, rounded to seven digits.
#[derive(Deserialize)]
pub(super) struct Answers {
    /// The first prompt's embedding.
    pub(super) first: Vec<f32>,
    /// The second prompt's, one layer left out.
    pub(super) second_with_clip_skip: Vec<f32>,
    /// The denoiser's answer to two latents of 3x5 cells at the timesteps 999 and 37.5 with these prompts.
    pub(super) noise: Vec<f32>,
    /// The picture of one latent.
    pub(super) pixels: Vec<u8>,
    /// The posterior of one picture of 6x10 pixels.
    pub(super) mean: Vec<f32>,
    pub(super) deviation: Vec<f32>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("micro.json")).unwrap()
}

pub(super) fn answers() -> Answers {
    reference().answers
}

/// The model's directory; gone when dropped.
pub(super) struct Micro {
    directory: TempDir,
}

impl Micro {
    pub(super) fn new() -> Self {
        let micro = Self { directory: tempfile::tempdir().unwrap() };
        let text_encoder = ["transformers", "CLIPTextModel"];
        let index = json!({ "_class_name": "StableDiffusionPipeline", "text_encoder": text_encoder });
        fs::write(micro.path().join("model_index.json"), index.to_string()).unwrap();
        let reference = reference();
        for (name, component) in
            [("unet", reference.unet), ("vae", reference.vae), ("text_encoder", reference.text_encoder)]
        {
            fs::create_dir(micro.path().join(name)).unwrap();
            micro.write_config(name, &component.config);
            micro.write_tensors(name, &filled(component.tensors));
        }
        micro
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// This model with another value in a configuration.
    pub(super) fn with_config(self, component: &str, key: &str, value: Value) -> Self {
        let text = fs::read(self.path().join(component).join("config.json")).unwrap();
        let mut config: Map<String, Value> = serde_json::from_slice(&text).unwrap();
        config.insert(key.to_owned(), value);
        self.write_config(component, &config);
        self
    }

    /// This model with tensors changed, added or taken away.
    pub(super) fn with_tensors(self, component: &str, change: impl FnOnce(Tensors) -> Tensors) -> Self {
        self.write_tensors(component, &change(tensors(component)));
        self
    }

    fn write_config(&self, component: &str, config: &Map<String, Value>) {
        let path = self.path().join(component).join("config.json");
        fs::write(path, serde_json::to_vec(config).unwrap()).unwrap();
    }

    fn write_tensors(&self, component: &str, tensors: &Tensors) {
        write(&self.path().join(component).join("model.safetensors"), tensors);
    }
}

/// Writes a safetensors file.
pub(super) fn write(path: &Path, tensors: &Tensors) {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, (shape, values)) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let offsets = [start, data.len()];
        header.insert(name.clone(), json!({ "dtype": "F32", "shape": shape, "data_offsets": offsets }));
    }
    let header = serde_json::to_vec(&header).unwrap();
    let file = [&(header.len() as u64).to_le_bytes(), &header[..], &data].concat();
    fs::write(path, file).unwrap();
}

/// The tensors of a network.
pub(super) fn tensors(component: &str) -> Tensors {
    let reference = reference();
    filled(match component {
        "unet" => reference.unet.tensors,
        "vae" => reference.vae.tensors,
        _ => reference.text_encoder.tensors,
    })
}

/// The weights that `micro.py` gives the tensors of these shapes.
fn filled(shapes: BTreeMap<String, Vec<usize>>) -> Tensors {
    let fill = |(index, (name, shape)): (usize, (String, Vec<usize>))| {
        let numbers = numbers(&shape, index as u64);
        let values = numbers.map(|value| match shape.len() {
            1 if name.ends_with("weight") => 1.0 + value / 4.0,
            1 => value / 4.0,
            _ => value / 2.0,
        });
        let values = values.to_f32();
        (name, (shape, values))
    };
    shapes.into_iter().enumerate().map(fill).collect()
}
