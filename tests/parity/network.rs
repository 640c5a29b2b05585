// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A model on the backend `cpu`, asked without the engine.

use std::path::{Path, PathBuf};

use alice::models::read_tokenizers;
use alice_checkpoint::Checkpoint;
use alice_diffusion::ClipTokenizer;
use alice_plugin::load::{Plugin, PluginBackend};
use alice_plugin::{
    Adapter, Backend, ConditioningHandle, DecodeOptions, DenoiseRow, EncodeOptions, LatentShape, LoadRequest,
    ModelFiles, ModelHandle, ModelInfo, NamedTensor, TextChunk, TextPart, TextRequest, Uncontrolled,
};
use serde_json::{Value, json};

use crate::harness::plugin;

/// A loaded model.
pub(crate) struct Network {
    backend: PluginBackend,
    model: ModelHandle,
    pub(crate) info: ModelInfo,
    /// One for each text encoder.
    pub(crate) tokenizers: Vec<ClipTokenizer>,
}

/// The windows of one text encoder: ids and weights.
pub(crate) type Windows = Vec<(Vec<u32>, Vec<f32>)>;

impl Network {
    /// The model at `path`, with another autoencoder if there is one.
    pub(crate) fn load(path: &Path, vae: Option<PathBuf>) -> Self {
        Self::load_as(path, vae, "f32", &json!({"threads": 1}))
    }

    /// The same in another number format, by a backend with these options.
    pub(crate) fn load_as(path: &Path, vae: Option<PathBuf>, dtype: &str, options: &Value) -> Self {
        let checkpoint = Checkpoint::open(path).unwrap();
        let path = path.to_owned();
        let files =
            if path.is_dir() { ModelFiles::Diffusers { path } } else { ModelFiles::SingleFile { path } };
        let family = checkpoint.family().to_string();
        let request = LoadRequest { files, family, vae, dtype: dtype.into(), device: 0 };
        let mut backend = Plugin::open(&plugin("cpu")).unwrap().start(options).unwrap();
        let (model, info) = backend.load(&request, &Uncontrolled).unwrap();
        let tokenizers = read_tokenizers(&checkpoint, &info.text_encoders).unwrap();
        Self { backend, model, info, tokenizers }
    }

    /// Makes the model behave as with exactly these LoRAs.
    pub(crate) fn adapt(&mut self, adapters: &[Adapter]) {
        self.backend.adapt(self.model, adapters, &Uncontrolled).unwrap();
    }

    /// Encodes the windows of each text encoder; `rows` are the vectors of embeddings for each.
    pub(crate) fn encode(
        &mut self,
        encoders: &[Windows],
        rows: &[Vec<f32>],
        clip_skip: u32,
    ) -> ConditioningHandle {
        let chunks: Vec<_> = (0..)
            .zip(encoders)
            .flat_map(|(encoder, windows)| {
                windows.iter().map(move |(ids, weights)| TextChunk { encoder, ids, weights })
            })
            .collect();
        let names: Vec<_> = (0..rows.len()).map(|encoder| format!("rows.{encoder}")).collect();
        let sizes = self.info.text_encoders.iter().zip(rows);
        let shapes: Vec<_> = sizes
            .map(|(encoder, rows)| [rows.len() as u32 / encoder.hidden_size, encoder.hidden_size])
            .collect();
        let extra = names.iter().zip(&shapes).zip(rows);
        let extra_rows: Vec<_> =
            extra.map(|((name, shape), data)| NamedTensor { name, shape, data }).collect();
        let request = TextRequest { chunks: &chunks, extra_rows: &extra_rows, clip_skip };
        self.backend.encode_text(self.model, &request, &Uncontrolled).unwrap()
    }

    /// A part of an encoded prompt; none where the model has no such part.
    pub(crate) fn read(&mut self, conditioning: ConditioningHandle, part: TextPart) -> Option<Vec<f32>> {
        let read = self.backend.read_text(conditioning, part);
        assert!(part == TextPart::Pooled || read.is_ok(), "{read:?}");
        read.ok()
    }

    /// One evaluation of one row. `inputs` are the further inputs by name.
    pub(crate) fn denoise(
        &mut self,
        size: (u32, u32),
        latent: &[f32],
        timestep: f32,
        conditioning: ConditioningHandle,
        inputs: &[(&str, &[f32])],
    ) -> Vec<f32> {
        let shape = self.shape(size);
        let shapes: Vec<_> = self.info.inputs.iter().map(|input| input.shape_for(shape)).collect();
        let declared = self.info.inputs.iter().zip(&shapes);
        let extras: Vec<_> = declared
            .map(|(input, shape)| {
                let data = inputs.iter().find(|(name, _)| *name == input.name).unwrap().1;
                NamedTensor { name: &input.name, shape, data }
            })
            .collect();
        let row = DenoiseRow { latent, timestep, conditioning, extras: &extras, hints: &[] };
        let mut out = vec![0.0; LatentShape { channels: self.info.output_channels, ..shape }.len()];
        self.backend.denoise(self.model, shape, &[row], &mut out, &Uncontrolled).unwrap();
        out
    }

    /// The picture of a latent, `[height, width, 3]`.
    pub(crate) fn decode(&mut self, size: (u32, u32), latent: &[f32]) -> Vec<u8> {
        let shape = self.shape(size);
        let mut out = vec![0; (size.0 * size.1 * self.info.latent_scale.pow(2) * 3) as usize];
        let options = DecodeOptions::default();
        self.backend.decode(self.model, shape, latent, &options, &mut out, &Uncontrolled).unwrap();
        out
    }

    /// Mean and deviation of a picture's latent.
    pub(crate) fn encode_image(&mut self, size: (u32, u32), pixels: &[u8]) -> (Vec<f32>, Vec<f32>) {
        let shape = self.shape(size);
        let (mut mean, mut deviation) = (vec![0.0; shape.len()], vec![0.0; shape.len()]);
        self.backend
            .encode_image(
                self.model,
                shape,
                pixels,
                &EncodeOptions::default(),
                &mut mean,
                &mut deviation,
                &Uncontrolled,
            )
            .unwrap();
        (mean, deviation)
    }

    fn shape(&self, (height, width): (u32, u32)) -> LatentShape {
        LatentShape { channels: self.info.latent_channels, height, width }
    }
}

/// How near `found` comes to `expected` in dB: the ratio of the answer's power to the difference's. Less than nothing
/// for another length, or if a value is no number.
pub(crate) fn signal(expected: &[f32], found: &[f32]) -> f64 {
    if expected.len() != found.len() || found.iter().any(|value| !value.is_finite()) {
        return f64::NEG_INFINITY;
    }
    let power: f64 = expected.iter().map(|value| f64::from(*value).powi(2)).sum();
    let squares = expected.iter().zip(found).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    match squares.sum::<f64>() {
        0.0 => f64::INFINITY,
        squares => 10.0 * (power / squares).log10(),
    }
}
