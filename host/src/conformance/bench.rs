// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A running instance with a model on it, and small calls that make sense for any model.

use std::cell::Cell;
use std::path::Path;

use alice_plugin::load::PluginBackend;
use alice_plugin::{
    Backend, ConditioningHandle, Control, DecodeOptions, DenoiseRow, Description, Error, Hint, InputInfo,
    LatentShape, LoadRequest, ModelFiles, ModelHandle, ModelInfo, NamedTensor, Result, TextChunk,
    TextRequest, Uncontrolled,
};

use super::{Network, Stop, Subject, Verdict};

/// Cells of the latents used here. Height and width differ, so that mixing them up shows, and both suit
/// networks that halve them three times.
const HEIGHT: u32 = 8;
const WIDTH: u32 = 16;

/// What two answers that ought to be the same may differ by on anything but a CPU, as a part of the largest
/// value: the order of a sum depends on the batch there.
const DEVICE_TOLERANCE: f32 = 0.01;

/// An instance with a model.
pub struct Bench {
    /// The instance.
    pub backend: PluginBackend,
    /// What it says of itself.
    pub description: Description,
    /// The model.
    pub model: ModelHandle,
    /// What it says of the model.
    pub info: ModelInfo,
}

/// One row of a call: which latent and which prompt, by number, and the timestep.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which of [`Bench::latent`].
    pub latent: u32,
    /// In the model's training units.
    pub timestep: f32,
    /// The encoded prompt.
    pub conditioning: ConditioningHandle,
}

/// A further input of one row.
#[derive(Clone, Debug)]
pub struct Input {
    /// One of the names that the model declares.
    pub name: String,
    /// Its sizes, outermost first.
    pub shape: Vec<u32>,
    /// As many as the shape says.
    pub values: Vec<f32>,
}

impl Input {
    /// As a row carries it.
    pub fn as_tensor(&self) -> NamedTensor<'_> {
        NamedTensor { name: &self.name, shape: &self.shape, data: &self.values }
    }
}

/// Starts an instance, if it can run here.
///
/// # Errors
/// What the plugin answers; skipped with the plugin's own reason when its score is 0.
pub fn start(subject: &Subject<'_>) -> Verdict<(PluginBackend, Description)> {
    let mut backend = subject.plugin.start(subject.options)?;
    let description = backend.describe()?;
    if description.score == 0 {
        let reason = description.reason.as_deref().unwrap_or("without a reason");
        return Err(Stop::Skipped(format!("it cannot run here: {reason}")));
    }
    Ok((backend, description))
}

/// The request that loads the subject's model on the first device.
///
/// # Errors
/// Skipped when there is no model or no device.
pub fn request(subject: &Subject<'_>, description: &Description) -> Verdict<LoadRequest> {
    let model = subject.model.ok_or_else(|| Stop::Skipped("it needs a model to check with".into()))?;
    let device = description.devices.first().ok_or_else(|| Stop::Skipped("it has no device".into()))?;
    if !description.stand_in && !description.families.contains(&model.family) {
        return Err(Stop::Skipped(format!("it does not load models of the family {}", model.family)));
    }
    Ok(LoadRequest {
        files: files(&model.directory),
        family: model.family.clone(),
        vae: None,
        dtype: "auto".into(),
        device: device.index,
    })
}

impl Network {
    /// The request that loads it on the first device.
    ///
    /// # Errors
    /// Skipped when there is no device.
    pub fn request(&self, description: &Description) -> Verdict<LoadRequest> {
        let device = description.devices.first().ok_or_else(|| Stop::Skipped("it has no device".into()))?;
        let (files, family) = (files(&self.path), self.family.clone());
        Ok(LoadRequest { files, family, vae: None, dtype: "auto".into(), device: device.index })
    }
}

/// The model at `path`: one file, or a directory in the diffusers layout.
pub fn files(path: &Path) -> ModelFiles {
    let path = path.to_owned();
    if path.is_file() { ModelFiles::SingleFile { path } } else { ModelFiles::Diffusers { path } }
}

impl Bench {
    /// Starts an instance and loads the subject's model.
    ///
    /// # Errors
    /// As [`start`] and [`request`], and what the plugin answers.
    pub fn new(subject: &Subject<'_>) -> Verdict<Self> {
        let (mut backend, description) = start(subject)?;
        let (model, info) = backend.load(&request(subject, &description)?, &Uncontrolled)?;
        if info.text_encoders.is_empty() || info.latent_channels == 0 || info.latent_scale == 0 {
            return Err(Stop::Failed(format!("it has loaded a model that cannot be: {info:?}")));
        }
        Ok(Self { backend, description, model, info })
    }

    /// The shape of every latent here.
    pub fn shape(&self) -> LatentShape {
        LatentShape { channels: self.info.latent_channels, height: HEIGHT, width: WIDTH }
    }

    /// The further inputs that the model needs, the same values for every row.
    pub fn inputs(&self) -> Vec<Input> {
        let input = |info: &InputInfo| {
            let shape = info.shape_for(self.shape());
            let length = shape.iter().product::<u32>() as usize;
            Input { name: info.name.clone(), shape, values: vec![0.5; length] }
        };
        self.info.inputs.iter().map(input).collect()
    }

    /// Values in the answer for one row.
    pub fn answer_len(&self) -> usize {
        LatentShape { channels: self.info.output_channels, ..self.shape() }.len()
    }

    /// Bytes in one picture.
    pub fn picture_len(&self) -> usize {
        let scale = self.info.latent_scale as usize;
        self.shape().height as usize * scale * self.shape().width as usize * scale * 3
    }

    /// The latent of this number: values around zero, most of them between -2 and 2.
    pub fn latent(&self, number: u32) -> Vec<f32> {
        let mut state = number.wrapping_mul(2_654_435_761).wrapping_add(1);
        let mut value = move || {
            // Xorshift (Marsaglia 2003) is random enough for values whose only task is to differ.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (f64::from(state) / f64::from(u32::MAX)) as f32 * 4.0 - 2.0
        };
        (0..self.shape().len()).map(|_| value()).collect()
    }

    /// Encodes the prompt of this number: valid tokens for each of the model's encoders, all weights 1.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn encode(&mut self, number: u32) -> Result<ConditioningHandle> {
        self.encode_with(number, &Uncontrolled)
    }

    /// As [`encode`](Self::encode), with a control.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn encode_with(&mut self, number: u32, control: &dyn Control) -> Result<ConditioningHandle> {
        let encoders = &self.info.text_encoders;
        let ids = encoders.iter().map(|encoder| {
            let id = |place: u32| place.wrapping_mul(7).wrapping_add(number) % encoder.vocab_size.max(1);
            (0..encoder.context_length).map(id).collect::<Vec<_>>()
        });
        let ids = ids.collect::<Vec<_>>();
        let weights = ids.iter().map(|ids| vec![1.0; ids.len()]).collect::<Vec<_>>();
        let chunks = ids.iter().zip(&weights).enumerate();
        let chunks =
            chunks.map(|(encoder, (ids, weights))| TextChunk { encoder: encoder as u32, ids, weights });
        let chunks = chunks.collect::<Vec<_>>();
        let request = TextRequest { chunks: &chunks, extra_rows: &[], clip_skip: 0 };
        self.backend.encode_text(self.model, &request, control)
    }

    /// Evaluates the denoiser.
    ///
    /// # Errors
    /// What the plugin answers; `Contract` when it leaves a part of the answer unwritten.
    pub fn denoise(&mut self, rows: &[Row]) -> Result<Vec<f32>> {
        self.denoise_with(rows, &Uncontrolled)
    }

    /// As [`denoise`](Self::denoise), with a control.
    ///
    /// # Errors
    /// As [`denoise`](Self::denoise).
    pub fn denoise_with(&mut self, rows: &[Row], control: &dyn Control) -> Result<Vec<f32>> {
        self.denoise_guided(rows, &vec![Vec::new(); rows.len()], control)
    }

    /// As [`denoise_with`](Self::denoise_with), with the hints of each row.
    ///
    /// # Errors
    /// As [`denoise`](Self::denoise).
    pub fn denoise_guided(
        &mut self,
        rows: &[Row],
        hints: &[Vec<Hint>],
        control: &dyn Control,
    ) -> Result<Vec<f32>> {
        let latents = rows.iter().map(|row| self.latent(row.latent)).collect::<Vec<_>>();
        let inputs = self.inputs();
        let extras = inputs.iter().map(Input::as_tensor).collect::<Vec<_>>();
        let calls = rows.iter().zip(&latents).zip(hints).map(|((row, latent), hints)| DenoiseRow {
            latent,
            timestep: row.timestep,
            conditioning: row.conditioning,
            extras: &extras,
            hints,
        });
        let calls = calls.collect::<Vec<_>>();
        let mut out = vec![f32::NAN; rows.len() * self.answer_len()];
        self.backend.denoise(self.model, self.shape(), &calls, &mut out, control)?;
        match out.iter().all(|value| value.is_finite()) {
            true => Ok(out),
            false => Err(broken("an answer to finite latents is not finite, or was not written")),
        }
    }

    /// Decodes the latents of these numbers.
    ///
    /// # Errors
    /// What the plugin answers; `Contract` when it leaves a part of the pictures unwritten.
    pub fn decode(&mut self, latents: &[u32]) -> Result<Vec<u8>> {
        let black = self.decode_over(0, latents, &Uncontrolled)?;
        let white = self.decode_over(255, latents, &Uncontrolled)?;
        match black.iter().zip(&white).any(|(&black, &white)| (black, white) == (0, 255)) {
            false => Ok(black),
            true => Err(broken("a part of the picture was not written")),
        }
    }

    /// Decodes into room that is filled with `background`.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn decode_over(&mut self, background: u8, latents: &[u32], control: &dyn Control) -> Result<Vec<u8>> {
        let mut out = vec![background; latents.len() * self.picture_len()];
        let latents = latents.iter().flat_map(|&number| self.latent(number)).collect::<Vec<_>>();
        let options = DecodeOptions::default();
        self.backend.decode(self.model, self.shape(), &latents, &options, &mut out, control)?;
        Ok(out)
    }

    /// How much two answers that ought to be the same may differ: nothing on a CPU.
    fn tolerance(&self) -> f32 {
        let cpu = self.description.devices.first().is_some_and(|device| device.kind == "cpu");
        if cpu { 0.0 } else { DEVICE_TOLERANCE }
    }

    /// Fails when two answers differ by more than this device may; `what` says what they are.
    ///
    /// # Errors
    /// [`Stop::Failed`].
    pub fn same(&self, what: &str, one: &[f32], other: &[f32]) -> Verdict {
        let largest = one.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let distance = one.iter().zip(other).fold(0.0_f32, |far, (one, other)| far.max((one - other).abs()));
        let bound = self.tolerance() * largest;
        super::ensure(one.len() == other.len() && distance <= bound, || {
            format!("{what}: the values differ by up to {distance}, allowed is {bound}")
        })
    }

    /// As [`same`](Self::same) for pictures.
    ///
    /// # Errors
    /// [`Stop::Failed`].
    pub fn same_picture(&self, what: &str, one: &[u8], other: &[u8]) -> Verdict {
        let levels = |picture: &[u8]| picture.iter().copied().map(f32::from).collect::<Vec<_>>();
        self.same(what, &levels(one), &levels(other))
    }
}

/// A control that counts, and says stop at one of the calls.
#[derive(Debug)]
pub struct Counting {
    calls: Cell<u64>,
    stop_at: Option<u64>,
}

impl Counting {
    /// Stops at the call of this number, counted from 1; `None` never stops.
    pub fn new(stop_at: Option<u64>) -> Self {
        Self { calls: Cell::new(0), stop_at }
    }

    /// How often it was called.
    pub fn calls(&self) -> u64 {
        self.calls.get()
    }
}

impl Control for Counting {
    fn progress(&self, _done: u64, _total: u64) -> Result<()> {
        self.calls.set(self.calls.get() + 1);
        if self.stop_at == Some(self.calls.get()) { Err(Error::cancelled()) } else { Ok(()) }
    }
}

fn broken(message: &str) -> Error {
    Error::new(alice_plugin::ErrorKind::Contract, message)
}
