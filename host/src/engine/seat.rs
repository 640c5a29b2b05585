// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! One picture's place at the device, and what it asks for there.

use std::fmt::{Debug, Formatter};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use alice_plugin::{Adapter, Error, LatentShape, LoadRequest, ModelInfo, Result};
use tokio::sync::oneshot;

use super::gone;
use super::mailbox::{
    Call, Decoding, Encoding, Evaluation, Loading, Message, Picturing, Reply, Task, Upscaling,
};
use super::status::Board;
use super::sync::Sender;
use super::versioned::Versioned;

/// One picture's place at the device, from its first call to its last. Dropping it gives everything back.
///
/// From its first evaluation until it rises, other evaluations of the same kind may wait for it a moment.
#[derive(Debug)]
pub struct Seat {
    mailbox: Sender<Message>,
    board: Arc<Board>,
    number: u64,
    caller: u64,
    order: u64,
    device: u32,
}

/// The use of a model: it is on the device, or comes back to it, for at least as long as anyone holds this.
#[derive(Debug)]
pub struct LoadedModel {
    /// What the backend said about it.
    pub info: ModelInfo,
    /// How it was asked for.
    pub request: LoadRequest,
    pub(super) id: usize,
    mailbox: Sender<Message>,
}

impl LoadedModel {
    pub(super) fn new(id: usize, request: LoadRequest, info: ModelInfo, mailbox: Sender<Message>) -> Self {
        Self { info, request, id, mailbox }
    }

    /// Values in the denoiser's answer for one row.
    pub(super) fn output_len(&self, shape: LatentShape) -> usize {
        LatentShape { channels: self.info.output_channels, ..shape }.len()
    }
}

impl Drop for LoadedModel {
    fn drop(&mut self) {
        // An engine that is gone counts no users.
        let _gone = self.mailbox.send(Message::Returned(self.id));
    }
}

/// A prompt in tokens: the recipe from which the engine encodes it, again whenever a backend has died.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    /// The context windows of every text encoder, the same number of each.
    pub chunks: Vec<Chunk>,
    /// Layers to leave out at the encoder's end, beyond the model's own choice.
    pub clip_skip: u32,
    /// For each text encoder the vectors of textual inversions; empty without any.
    pub extra_rows: Arc<[ExtraRows]>,
    /// The LoRAs with which the model encodes it, and evaluates the rows that hold it. The same ones in all texts of
    /// an evaluation, in the order of [`canonical`](super::canonical).
    pub adapters: Arc<[Versioned<Adapter>]>,
}

impl Text {
    /// Name and shape of the vectors of each text encoder, as the contract has them.
    pub(super) fn named_rows(&self) -> Vec<(String, [u32; 2])> {
        let count = |values: usize, width: u32| u32::try_from(values).unwrap_or(u32::MAX) / width.max(1);
        let rows = (0..).zip(self.extra_rows.iter());
        rows.map(|(encoder, rows): (u32, &ExtraRows)| {
            (format!("rows.{encoder}"), [count(rows.values.len(), rows.width), rows.width])
        })
        .collect()
    }

    /// How many tokens the denoiser attends to.
    pub(super) fn tokens(&self) -> usize {
        self.chunks.iter().filter(|chunk| chunk.encoder == 0).map(|chunk| chunk.ids.len()).sum()
    }
}

/// Vectors that a text encoder reads in the place of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtraRows {
    /// Values in each vector: the encoder's `hidden_size`.
    pub width: u32,
    /// One vector after the other; vector `i` has the id `vocab_size + i`.
    pub values: Vec<f32>,
}

/// One context window for one text encoder.
#[derive(Clone, Debug, PartialEq)]
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
    /// The prompt.
    pub text: Arc<Text>,
    /// What the denoiser takes beside these, the same names and shapes in every row of an evaluation.
    pub extras: Arc<[Extra]>,
    /// Pictures that guide this row, each through a network of its own; their effects add up. The same models in the same
    /// order in every row of an evaluation; pictures and scales may differ.
    pub hints: Arc<[RowHint]>,
}

/// A picture that guides a row, and how strongly.
#[derive(Clone, Debug)]
pub struct RowHint {
    /// A `controlnet` or `t2i_adapter`, leased together with the model that it guides: see [`Seat::load_all`].
    pub model: Arc<LoadedModel>,
    /// The picture: the recipe from which the engine encodes it, again whenever a backend has died.
    pub picture: Arc<HintPicture>,
    /// Factor on everything that the network adds; 0 adds nothing.
    pub scale: f32,
}

/// A picture that is ready for a network that guides by it: its sides are those of the latent times the network's
/// `latent_scale`. Equal when the pixels are, whoever holds it.
#[derive(Clone, PartialEq)]
pub struct HintPicture {
    width: u32,
    height: u32,
    /// Tells most others apart before the pixels are looked at. Nobody gains by making two alike.
    digest: u64,
    rgb: Vec<u8>,
}

impl HintPicture {
    /// A picture of 8-bit RGB, `[height, width, 3]`.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Self {
        let mut hasher = DefaultHasher::new();
        rgb.hash(&mut hasher);
        Self { width, height, digest: hasher.finish(), rgb }
    }

    /// Pixels in a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows of pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels, `[height, width, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}

impl Debug for HintPicture {
    /// Without the pixels: pictures are never logged.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "HintPicture({}x{})", self.width, self.height)
    }
}

/// The pixels of a picture that is to become a latent, from the left to the right and then down.
#[derive(Clone, PartialEq)]
pub enum Pixels {
    /// 8-bit RGB.
    Rgb(Vec<u8>),
    /// 8-bit RGB and how far the model sees the pixel: [`alice_plugin::EncodeOptions::alpha`].
    Rgba(Vec<u8>),
}

impl Pixels {
    /// The bytes, and whether a pixel has four of them.
    pub(super) fn bytes(&self) -> (&[u8], bool) {
        match self {
            Self::Rgb(bytes) => (bytes, false),
            Self::Rgba(bytes) => (bytes, true),
        }
    }
}

impl Debug for Pixels {
    /// Without the pixels: pictures are never logged.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Pixels({} bytes)", self.bytes().0.len())
    }
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

impl Seat {
    pub(super) fn new(
        mailbox: Sender<Message>,
        board: Arc<Board>,
        number: u64,
        caller: u64,
        order: u64,
        device: u32,
    ) -> Self {
        board.sit();
        Self { mailbox, board, number, caller, order, device }
    }

    /// The use of a model, which is loaded if need be. Waits for memory until others have ended, if it must.
    ///
    /// # Errors
    /// As [`alice_plugin::Backend::load`]; `OutOfMemory` for a model that never fits, saying what it needs and what
    /// there is.
    pub async fn load(&self, model: impl Into<Versioned<LoadRequest>>) -> Result<Arc<LoadedModel>> {
        self.lease(model.into(), false).await
    }

    /// The use of several models at once, in the order in which they are asked for: of all of them, or of none. Who
    /// needs more than one must ask for them so, and hold no lease meanwhile: whoever held one model and waited for
    /// another could wait for ever.
    ///
    /// # Errors
    /// As [`load`](Self::load), saying which of them it is; `OutOfMemory` for models that never fit together.
    pub async fn load_all(
        &self,
        models: Vec<Versioned<LoadRequest>>,
    ) -> std::result::Result<Vec<Arc<LoadedModel>>, NotLoaded> {
        self.leases(models, false).await
    }

    pub(super) async fn lease(
        &self,
        model: Versioned<LoadRequest>,
        pinned: bool,
    ) -> Result<Arc<LoadedModel>> {
        let leases = self.leases(vec![model], pinned).await.map_err(|NotLoaded { error, .. }| error)?;
        Ok(leases.into_iter().next().expect("one model was asked for, and all of them are given"))
    }

    async fn leases(
        &self,
        models: Vec<Versioned<LoadRequest>>,
        pinned: bool,
    ) -> std::result::Result<Vec<Arc<LoadedModel>>, NotLoaded> {
        let here = |Versioned { what, version }: Versioned<LoadRequest>| Versioned {
            what: LoadRequest { device: self.device, ..what },
            version,
        };
        let wanted: Vec<_> = models.into_iter().map(here).collect();
        let awaited = wanted.clone();
        let _awaits = self.board.wait_for(&awaited);
        let mailbox = self.mailbox.clone();
        self.ask(|reply| Task::Load(Loading { wanted, pinned, mailbox, reply })).await?
    }

    /// Encodes a prompt. What comes back stands for it in [`Row`]s; equal prompts are encoded once.
    ///
    /// # Errors
    /// As [`alice_plugin::Backend::encode_text`].
    pub async fn encode(&self, model: &Arc<LoadedModel>, text: Text) -> Result<Arc<Text>> {
        let (model, text) = (model.clone(), Arc::new(text));
        self.ask(|reply| Task::Encode(Encoding { model, text, reply })).await
    }

    /// One evaluation: the raw answers for `rows`, one after the other. The seat is taken until another call than
    /// this and [`preview`](Self::preview).
    ///
    /// # Errors
    /// As [`alice_plugin::Backend::denoise`]; `OutOfMemory` when not even one row fits alone; the backend's death
    /// when it has died twice over this seat alone.
    pub async fn denoise(
        &self,
        model: &Arc<LoadedModel>,
        shape: LatentShape,
        rows: Vec<Row>,
    ) -> Result<Vec<f32>> {
        let model = model.clone();
        self.ask(|reply| Task::Denoise(Evaluation { model, shape, rows, reply })).await
    }

    /// Decodes one latent into RGB, `[height, width, 3]`, after giving the seat up.
    ///
    /// # Errors
    /// As [`alice_plugin::Backend::decode`]; `OutOfMemory` when not even small tiles fit.
    pub async fn decode(
        &self,
        model: &Arc<LoadedModel>,
        shape: LatentShape,
        latent: Vec<f32>,
    ) -> Result<Vec<u8>> {
        self.to_rgb(model, shape, latent, false).await
    }

    /// Decodes the latent of an unfinished picture and keeps the seat.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub async fn preview(
        &self,
        model: &Arc<LoadedModel>,
        shape: LatentShape,
        latent: Vec<f32>,
    ) -> Result<Vec<u8>> {
        self.to_rgb(model, shape, latent, true).await
    }

    async fn to_rgb(
        &self,
        model: &Arc<LoadedModel>,
        shape: LatentShape,
        latent: Vec<f32>,
        preview: bool,
    ) -> Result<Vec<u8>> {
        let model = model.clone();
        self.ask(|reply| Task::Decode(Decoding { model, shape, latent, preview, reply })).await
    }

    /// The latent that stands for a picture of `height * latent_scale` by `width * latent_scale` pixels: the mean of
    /// each of its values, and the standard deviation, both `shape`. Gives the seat up.
    ///
    /// # Errors
    /// As [`alice_plugin::Backend::encode_image`]; `OutOfMemory` when not even small tiles fit.
    pub async fn encode_image(
        &self,
        model: &Arc<LoadedModel>,
        shape: LatentShape,
        pixels: Pixels,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let model = model.clone();
        self.ask(|reply| Task::EncodeImage(Picturing { model, shape, pixels, reply })).await
    }

    /// A picture, `[height, width, 3]`, made larger with an `upscaler`: `[height * latent_scale, width * latent_scale,
    /// 3]`, where `latent_scale` is the model's. Gives the seat up.
    ///
    /// # Errors
    /// As [`alice_plugin::Backend::upscale`]; `OutOfMemory` when not even small tiles fit.
    pub async fn upscale(
        &self,
        model: &Arc<LoadedModel>,
        width: u32,
        height: u32,
        rgb: Vec<u8>,
    ) -> Result<Vec<u8>> {
        let model = model.clone();
        self.ask(|reply| Task::Upscale(Upscaling { model, width, height, rgb, reply })).await
    }

    /// How many calls the device has finished, for anybody: as long as this grows, it lives.
    pub fn calls_finished(&self) -> u64 {
        self.board.finished()
    }

    async fn ask<T>(&self, task: impl FnOnce(Reply<T>) -> Task) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let task = task(reply);
        let call = Call { seat: self.number, caller: self.caller, order: self.order, task };
        self.tell(Message::Call(Box::new(call)));
        let mut waiting = Waiting { seat: self, answered: false };
        let answer = answer.await;
        waiting.answered = true;
        answer.map_err(|_| gone())?
    }

    fn tell(&self, message: Message) {
        // An engine that is gone drops the reply with the call, and its caller hears of it there.
        let _gone = self.mailbox.send(message);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.board.leave();
        self.tell(Message::Leave(self.number));
    }
}

/// Why the use of models was not given.
#[derive(Debug)]
pub struct NotLoaded {
    /// The place in the list, from 0, of the model that cannot be loaded, where it is one of them alone.
    pub place: Option<usize>,
    /// Why.
    pub error: Error,
}

impl From<Error> for NotLoaded {
    fn from(error: Error) -> Self {
        Self { place: None, error }
    }
}

/// Tells the engine when a call is taken back: what it kept others from may begin.
struct Waiting<'a> {
    seat: &'a Seat,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.seat.tell(Message::TakenBack);
        }
    }
}
