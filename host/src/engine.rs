// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The engine: one plain thread that owns a backend and serves everybody's calls from one mailbox.
//!
//! Samplers run elsewhere, as tasks; each awaits one evaluation at a time. Evaluations that lie in the
//! mailbox together and fit together share a forward pass (`engine/mailbox.rs`). Dropping a future takes its call
//! back: a call that nobody waits for is skipped, or stopped at its next sign of life.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use alice_plugin::{
    Backend, ConditioningHandle, Error, ErrorKind, LatentShape, LoadRequest, ModelHandle, ModelInfo, Result,
};
use tokio::sync::oneshot;

mod device;
mod mailbox;
#[cfg(test)]
mod tests;

/// Makes a new instance of the backend: once at the start, and again whenever one has died.
pub type Start = Box<dyn Fn() -> Result<Box<dyn Backend>> + Send>;

/// The way to the engine's thread. Clones lead to the same thread, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct Engine {
    calls: mpsc::Sender<Call>,
    models: Arc<AtomicUsize>,
    finished: Arc<std::sync::atomic::AtomicU64>,
}

/// A model that is on the device. The engine keeps it there at least as long as anyone holds this.
#[derive(Debug)]
pub struct LoadedModel {
    /// What the backend said about it.
    pub info: ModelInfo,
    handle: ModelHandle,
    life: u64,
}

/// An encoded prompt on the device; dropping it frees it.
#[derive(Debug)]
pub struct Conditioning {
    handle: ConditioningHandle,
    life: u64,
    tokens: usize,
    calls: mpsc::Sender<Call>,
}

impl Drop for Conditioning {
    fn drop(&mut self) {
        // An engine that is gone has freed everything already.
        let _gone = self.calls.send(Call::Release { handle: self.handle, life: self.life });
    }
}

/// One context window for one text encoder.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Which of the model's text encoders.
    pub encoder: u32,
    /// Exactly as many token ids as the encoder's context is long.
    pub ids: Vec<u32>,
    /// One attention weight per id.
    pub weights: Vec<f32>,
}

/// One row of an evaluation.
#[derive(Clone, Debug)]
pub struct Row {
    /// The network's input, `[channels, height, width]`.
    pub latent: Arc<[f32]>,
    /// The timestep in the model's training units.
    pub timestep: f32,
    /// The encoded prompt.
    pub conditioning: Arc<Conditioning>,
    /// What the denoiser takes beside these, the same names and shapes in every row of an evaluation.
    pub extras: Arc<[Extra]>,
}

/// A further input of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Extra {
    /// One that the model's [`ModelInfo::inputs`] has.
    pub name: String,
    /// Its sizes, outermost first.
    pub shape: Vec<u32>,
    /// Row-major values; as many as the shape says.
    pub data: Vec<f32>,
}

/// Rows that one sampler needs together (one, or two with guidance). Never split over forward passes.
#[derive(Debug)]
struct Evaluation {
    model: Arc<LoadedModel>,
    shape: LatentShape,
    rows: Vec<Row>,
    reply: Reply<Vec<f32>>,
}

impl Evaluation {
    /// Whether both can share a forward pass. Prompts of different lengths cannot: no picture may depend on
    /// the padding that its company needs.
    fn fits(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.model, &other.model)
            && self.shape == other.shape
            && self.tokens() == other.tokens()
            && self.extras().eq(other.extras())
    }

    fn tokens(&self) -> Option<usize> {
        self.rows.first().map(|row| row.conditioning.tokens)
    }

    /// Names and shapes of the further inputs.
    fn extras(&self) -> impl Iterator<Item = (&str, &[u32])> {
        let extras = self.rows.first().map(|row| row.extras.iter());
        extras.into_iter().flatten().map(|extra| (extra.name.as_str(), extra.shape.as_slice()))
    }
}

impl LoadedModel {
    /// Values in the denoiser's answer for one row.
    fn output_len(&self, shape: LatentShape) -> usize {
        LatentShape { channels: self.info.output_channels, ..shape }.len()
    }
}

type Reply<T> = oneshot::Sender<Result<T>>;

#[derive(Debug)]
enum Call {
    Load {
        request: LoadRequest,
        reply: Reply<Arc<LoadedModel>>,
    },
    /// `back` goes into the conditioning: the thread itself keeps no way to its own mailbox, or it would
    /// never see the last one close.
    Encode {
        model: Arc<LoadedModel>,
        chunks: Vec<Chunk>,
        clip_skip: u32,
        back: mpsc::Sender<Call>,
        reply: Reply<Arc<Conditioning>>,
    },
    Denoise(Evaluation),
    Decode {
        model: Arc<LoadedModel>,
        shape: LatentShape,
        latent: Vec<f32>,
        reply: Reply<Vec<u8>>,
    },
    Release {
        handle: ConditioningHandle,
        life: u64,
    },
}

impl Engine {
    /// Starts a backend and the thread that owns it. A forward pass holds up to `max_rows` rows, or one
    /// evaluation if that has more.
    ///
    /// # Errors
    /// What the backend's start says; the system's refusal of a thread.
    pub fn start(start: Start, max_rows: usize) -> Result<Self> {
        let (calls, inbox) = mpsc::channel();
        let models = Arc::new(AtomicUsize::new(0));
        let finished = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counter = finished.clone();
        let device = device::Device::new(start, models.clone())?;
        std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || mailbox::serve(device, &inbox, max_rows, &counter))
            .map_err(|error| Error::internal(format!("no thread for the engine: {error}")))?;
        Ok(Self { calls, models, finished })
    }

    /// The model on the device: already there, or loaded now.
    ///
    /// # Errors
    /// As [`Backend::load`].
    pub async fn load(&self, request: LoadRequest) -> Result<Arc<LoadedModel>> {
        self.ask(|reply| Call::Load { request, reply }).await
    }

    /// Encodes a prompt, without the last `clip_skip` of the layers that the model uses.
    ///
    /// # Errors
    /// As [`Backend::encode_text`].
    pub async fn encode(
        &self,
        model: &Arc<LoadedModel>,
        chunks: Vec<Chunk>,
        clip_skip: u32,
    ) -> Result<Arc<Conditioning>> {
        let (model, back) = (model.clone(), self.calls.clone());
        self.ask(|reply| Call::Encode { model, chunks, clip_skip, back, reply }).await
    }

    /// One evaluation: the raw answers for `rows`, one after the other.
    ///
    /// # Errors
    /// As [`Backend::denoise`].
    pub async fn denoise(
        &self,
        model: &Arc<LoadedModel>,
        shape: LatentShape,
        rows: Vec<Row>,
    ) -> Result<Vec<f32>> {
        let model = model.clone();
        self.ask(|reply| Call::Denoise(Evaluation { model, shape, rows, reply })).await
    }

    /// Decodes one latent into RGB, `[height, width, 3]`.
    ///
    /// # Errors
    /// As [`Backend::decode`].
    pub async fn decode(
        &self,
        model: &Arc<LoadedModel>,
        shape: LatentShape,
        latent: Vec<f32>,
    ) -> Result<Vec<u8>> {
        let model = model.clone();
        self.ask(|reply| Call::Decode { model, shape, latent, reply }).await
    }

    /// How many models are on the device.
    pub fn models_loaded(&self) -> usize {
        self.models.load(Ordering::Relaxed)
    }

    async fn ask<T>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T> {
        let gone = |_| Error::new(ErrorKind::DeviceLost, "the engine has ended");
        let (reply, answer) = oneshot::channel();
        self.calls.send(call(reply)).map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?
    }
}

/// STUB until the engine's own.
#[derive(Debug)]
pub struct Text {
    /// c
    pub chunks: Vec<Chunk>,
    /// s
    pub clip_skip: u32,
    /// x
    pub stub: std::sync::OnceLock<Arc<Conditioning>>,
}
/// STUB
#[derive(Debug)]
pub struct Engines(pub Engine);
impl Engines {
    /// STUB
    pub fn pick(&self, _request: &LoadRequest) -> Engine {
        self.0.clone()
    }
    /// STUB
    pub fn models_loaded(&self) -> usize {
        self.0.models_loaded()
    }
}
/// STUB
#[derive(Debug)]
pub struct Seat(Engine);
impl Engine {
    /// STUB
    pub fn seat(&self, _caller: u64, _order: u64) -> Seat {
        Seat(self.clone())
    }
}
#[allow(missing_docs, clippy::missing_errors_doc)]
impl Seat {
    pub fn calls_finished(&self) -> u64 {
        self.0.finished.load(Ordering::Relaxed)
    }
    pub async fn load(&self, request: LoadRequest) -> Result<Arc<LoadedModel>> {
        self.0.load(request).await
    }
    pub async fn encode(
        &self,
        model: &Arc<LoadedModel>,
        chunks: Vec<Chunk>,
        clip_skip: u32,
    ) -> Result<Arc<Text>> {
        let c = self.0.encode(model, chunks, clip_skip).await?;
        Ok(Arc::new(Text { chunks: Vec::new(), clip_skip, stub: std::sync::OnceLock::from(c) }))
    }
    pub async fn denoise(
        &self,
        model: &Arc<LoadedModel>,
        shape: LatentShape,
        rows: Vec<Row>,
    ) -> Result<Vec<f32>> {
        self.0.denoise(model, shape, rows).await
    }
    pub async fn decode(
        &self,
        model: &Arc<LoadedModel>,
        shape: LatentShape,
        latent: Vec<f32>,
    ) -> Result<Vec<u8>> {
        self.0.decode(model, shape, latent).await
    }
    pub async fn preview(
        &self,
        model: &Arc<LoadedModel>,
        shape: LatentShape,
        latent: Vec<f32>,
    ) -> Result<Vec<u8>> {
        self.0.decode(model, shape, latent).await
    }
}
