// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What diffusers answers: cases in a JSON file, tensors in a safetensors file beside it, and the small
//! random models that they belong to. `tests/fixtures/make.py` writes all of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use alice_checkpoint::TensorFile;
use anyhow::Context;
use serde::Deserialize;

/// The models that have references in a directory of fixtures.
pub const MODELS: [&str; 7] =
    ["sd1-eps", "sd2-v", "sdxl", "sdxl-refiner", "sd1-inpaint", "sd1-pix2pix", "sdxl-inpaint"];

/// The references of one model.
#[derive(Debug)]
pub struct Reference {
    /// The model's name.
    pub name: String,
    /// Its directory.
    pub model: PathBuf,
    /// What was asked.
    pub cases: Cases,
    tensors: TensorFile,
}

/// What was asked of the reference implementation.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cases {
    /// Prompts and their tokens.
    pub texts: Vec<Text>,
    /// Evaluations of the denoiser.
    pub denoise: Vec<Denoise>,
    /// Latents to decode.
    pub decode: Vec<Batch>,
    /// Pictures to encode.
    pub encode: Vec<Batch>,
    /// Full runs, from prompt and seed to picture.
    pub runs: Vec<Run>,
}

/// A prompt.
#[derive(Debug, Deserialize)]
pub struct Text {
    /// By which other cases call it.
    pub name: String,
    /// As typed, chunk by chunk.
    pub prompts: Vec<String>,
    /// Layers left out at the end.
    pub clip_skip: u32,
    /// The weight of every token: 1, or 0 for zeros in the prompt's place.
    pub weight: f32,
    /// For each text encoder the chunks' tokens by transformers.
    pub ids: Vec<Vec<Vec<u32>>>,
}

/// One evaluation of several rows.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Denoise {
    pub name: String,
    pub height: u32,
    pub width: u32,
    pub rows: Vec<Row>,
}

/// One row of an evaluation.
#[derive(Debug, Deserialize)]
pub struct Row {
    /// In training units.
    pub timestep: f32,
    /// A [`Text::name`].
    pub text: String,
    /// The sizes that the model hears, if it hears any.
    #[serde(default)]
    pub time_ids: Vec<f32>,
}

/// A batch of a size in latent cells.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Batch {
    pub name: String,
    pub rows: usize,
    pub height: u32,
    pub width: u32,
}

/// A full run.
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Run {
    pub name: String,
    pub sampler: String,
    /// What the run is about beside its sampler; empty when it is about the sampler alone.
    pub feature: String,
    pub steps: usize,
    pub guidance: f32,
    pub guidance_rescale: f32,
    pub guidance_interval: (f64, f64),
    pub clip_skip: u32,
    pub seed: u64,
    pub prompt: String,
    pub negative_prompt: Option<String>,
    pub width: u32,
    pub height: u32,
    /// The scheduler configuration, where it differs from the model's own file.
    pub scheduler: Option<serde_json::Value>,
    /// The part of the way to noise that its picture goes back.
    #[serde(default)]
    pub strength: f64,
    /// How strongly it follows the picture that it edits.
    #[serde(default)]
    pub image_guidance_scale: Option<f32>,
    /// The networks that steer it.
    #[serde(default)]
    pub controls: Vec<Steer>,
    /// PSNR of what a wrong implementation would paint, by what is wrong with it. Empty for a model that was
    /// trained to be robust.
    #[serde(default)]
    pub neighbours_db: BTreeMap<String, f64>,
}

/// A network that steers a run, from one part of its steps to another.
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Steer {
    pub name: String,
    pub strength: f32,
    pub start: f64,
    pub end: f64,
}

impl Reference {
    /// The references called `name` in `fixtures`, for the model in `model`.
    ///
    /// # Errors
    /// Says which file is missing or damaged.
    pub fn open(fixtures: &Path, name: &str, model: PathBuf) -> anyhow::Result<Self> {
        let path = fixtures.join(format!("{name}.json"));
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let cases =
            serde_json::from_slice(&text).with_context(|| format!("cannot use {}", path.display()))?;
        let tensors = TensorFile::open(&path.with_extension("safetensors"))?;
        Ok(Self { name: name.to_owned(), model, cases, tensors })
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains(name)
    }

    /// The numbers of a tensor.
    ///
    /// # Errors
    /// When it is not there.
    pub fn numbers(&self, name: &str) -> anyhow::Result<Vec<f32>> {
        Ok(self.tensors.tensor(name)?.to_f32()?)
    }

    /// The bytes of a picture.
    ///
    /// # Errors
    /// When it is not there.
    pub fn pixels(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        Ok(self.tensors.tensor(name)?.bytes.to_vec())
    }
}
