// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The backend alone: the calls that a picture needs, each by itself, without a daemon around them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use alice_diffusion::{LatentShape as SamplerShape, Noise};
use alice_plugin::load::{Plugin, PluginBackend};
use alice_plugin::{
    Backend, ConditioningHandle, DecodeOptions, DenoiseRow, LatentShape, LoadRequest, ModelHandle, ModelInfo,
    NamedTensor, TextChunk, TextRequest, Uncontrolled,
};
use anyhow::Context;
use serde_json::Value;

use super::report::Times;
use crate::draft::Request;
use crate::generate;

/// An instance of the backend with the model on it.
pub(super) struct Bare {
    backend: PluginBackend,
    model: ModelHandle,
    /// What the backend says of the model.
    pub(super) info: ModelInfo,
    /// Seconds that loading it took, once; what of its files the system had in memory was not read again.
    pub(super) load_s: f64,
    shape: LatentShape,
    /// One window of token ids for each text encoder.
    ids: Vec<Vec<u32>>,
    /// A timestep in the middle of the picture's run.
    timestep: f32,
}

impl Bare {
    /// Starts an instance and loads the model.
    ///
    /// # Errors
    /// What the backend says, and a model whose tokenizers cannot be used.
    pub(super) fn load(
        plugin: &Plugin,
        options: &Value,
        request: &Request,
        dtype: &str,
    ) -> anyhow::Result<Self> {
        let model = &request.model;
        let load = LoadRequest { dtype: dtype.to_owned(), ..generate::load_request(model).what };
        let mut backend = plugin.start(options)?;
        let began = Instant::now();
        let (handle, info) = backend
            .load(&load, &Uncontrolled)
            .with_context(|| format!("the backend cannot load `{}`", model.id))?;
        let load_s = began.elapsed().as_secs_f64();
        let scale = info.latent_scale.max(1);
        let shape = LatentShape {
            channels: info.latent_channels,
            height: request.parameters.rendered_height.div_ceil(scale),
            width: request.parameters.rendered_width.div_ceil(scale),
        };
        let tokenizers = model.tokenizers(&info.text_encoders)?;
        let ids = tokenizers.iter().map(|tokenizer| tokenizer.window(super::PROMPT).ids).collect();
        let points = request.schedule.points();
        let timestep = points.len() / 2;
        let timestep = request.schedule.points().nth(timestep).context("a schedule without steps")?.t;
        Ok(Self { backend, model: handle, info, load_s, shape, ids, timestep })
    }

    /// Median seconds of encoding the prompt.
    ///
    /// # Errors
    /// What the backend says.
    pub(super) fn encode_text(&mut self, repeats: u32) -> anyhow::Result<f64> {
        let times = measure(repeats, || {
            let began = Instant::now();
            let conditioning = self.encode()?;
            let took = began.elapsed();
            self.backend.release(conditioning)?;
            Ok(took)
        });
        Ok(times.context("encoding the prompt")?.median_s)
    }

    fn encode(&mut self) -> alice_plugin::Result<ConditioningHandle> {
        let weights: Vec<_> = self.ids.iter().map(|ids| vec![1.0; ids.len()]).collect();
        let chunks = (0..).zip(self.ids.iter().zip(&weights));
        let chunks: Vec<_> =
            chunks.map(|(encoder, (ids, weights))| TextChunk { encoder, ids, weights }).collect();
        let request = TextRequest { chunks: &chunks, extra_rows: &[], clip_skip: 0 };
        self.backend.encode_text(self.model, &request, &Uncontrolled)
    }

    /// Seconds of one forward pass, for each of these numbers of rows.
    ///
    /// # Errors
    /// What the backend says, with the number of rows at which it did.
    pub(super) fn denoise(&mut self, rows: &[u32], repeats: u32) -> anyhow::Result<BTreeMap<u32, Times>> {
        rows.iter().map(|&rows| Ok((rows, self.denoise_rows(rows, repeats)?))).collect()
    }

    /// Seconds of one forward pass with this number of rows.
    ///
    /// # Errors
    /// As [`denoise`](Self::denoise).
    pub(super) fn denoise_rows(&mut self, rows: u32, repeats: u32) -> anyhow::Result<Times> {
        let conditioning = self.encode()?;
        let latents: Vec<_> = (0..rows).map(|row| self.noise(row)).collect();
        // Whatever the model hears beside the latent, the time does not depend on its values.
        let shapes: Vec<_> =
            self.info.inputs.iter().map(|input| (input, input.shape_for(self.shape))).collect();
        let values: Vec<_> =
            shapes.iter().map(|(_, shape)| vec![0.5; shape.iter().product::<u32>() as usize]).collect();
        let extras = shapes.iter().zip(&values);
        let extras: Vec<_> =
            extras.map(|((input, shape), data)| NamedTensor { name: &input.name, shape, data }).collect();
        let row = |latent| DenoiseRow {
            latent,
            timestep: self.timestep,
            conditioning,
            extras: &extras,
            hints: &[],
        };
        let calls: Vec<_> = latents.iter().map(|latent: &Vec<f32>| row(latent)).collect();
        let answer = LatentShape { channels: self.info.output_channels, ..self.shape };
        let mut out = vec![0.0; latents.len() * answer.len()];
        let times = measure(repeats, || {
            let began = Instant::now();
            self.backend.denoise(self.model, self.shape, &calls, &mut out, &Uncontrolled)?;
            Ok(began.elapsed())
        });
        self.backend.release(conditioning)?;
        times.with_context(|| format!("a forward pass of {rows} rows"))
    }

    /// Median seconds of decoding one latent.
    ///
    /// # Errors
    /// What the backend says.
    pub(super) fn decode(&mut self, repeats: u32) -> anyhow::Result<f64> {
        let (latent, scale) = (self.noise(0), self.info.latent_scale as usize);
        let (height, width) = (self.shape.height as usize * scale, self.shape.width as usize * scale);
        let (options, mut out) = (DecodeOptions::default(), vec![0; height * width * 3]);
        let times = measure(repeats, || {
            let began = Instant::now();
            self.backend.decode(self.model, self.shape, &latent, &options, &mut out, &Uncontrolled)?;
            Ok(began.elapsed())
        });
        Ok(times.context("decoding")?.median_s)
    }

    /// What a sampler begins with.
    fn noise(&self, seed: u32) -> Vec<f32> {
        let LatentShape { channels, height, width } = self.shape;
        let [channels, height, width] = [channels, height, width].map(|side| side as usize);
        Noise::new(seed.into()).latent(SamplerShape { channels, height, width }).values
    }
}

/// What `call` says it took, after once that does not count.
fn measure(
    repeats: u32,
    mut call: impl FnMut() -> alice_plugin::Result<Duration>,
) -> alice_plugin::Result<Times> {
    call()?;
    let times = (0..repeats).map(|_| Ok(call()?.as_secs_f64())).collect::<alice_plugin::Result<_>>()?;
    Ok(Times::of(times))
}
