// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a compute backend is asked and what it answers, in Rust.
//!
//! Tensors cross as plain row-major `f32` slices whose shapes the caller states; results go into slices
//! that the caller has allocated. Latents are in the sampler's space: the backend applies the
//! autoencoder's own scaling and shift.

mod error;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::error::{Error, ErrorKind};

/// What a call of the contract gives back.
pub type Result<T> = std::result::Result<T, Error>;

/// The caller's side of a running call: it hears that work goes on, and may stop it.
///
/// A backend calls [`progress`](Control::progress) from the thread that called it, often enough to prove
/// that it lives: while loading at least once per tensor file, in a network at least once per block.
pub trait Control {
    /// `done` of `total` parts of this call are finished (`total` may be 0 when unknown).
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] when the caller wants the call to end; the backend returns it at once.
    fn progress(&self, done: u64, total: u64) -> Result<()>;
}

/// A [`Control`] that never stops anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uncontrolled;

impl Control for Uncontrolled {
    fn progress(&self, _done: u64, _total: u64) -> Result<()> {
        Ok(())
    }
}

/// A loaded model: one that makes pictures, or a network that stands beside such a model (see [`LoadRequest::family`]).
/// Valid until [`Backend::unload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModelHandle(pub u64);

/// An encoded prompt or an encoded hint on the device. Valid until [`Backend::release`] or until its model is
/// unloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConditioningHandle(pub u64);

/// What a backend is and what it can do on this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Short name, as in the file name `libalice_backend_<name>.so` with hyphens for its underscores.
    pub name: String,
    /// The backend's own version.
    pub version: String,
    /// The devices it could use now. Empty when it cannot run here.
    pub devices: Vec<Device>,
    /// Number formats that [`LoadRequest::dtype`] may name, the preferred one first.
    pub dtypes: Vec<String>,
    /// Model families it can load, in the words of the checkpoint crate (`sd1`, ...).
    pub families: Vec<String>,
    /// Names of the extra tensors that [`DenoiseRow::extras`] may carry.
    #[serde(default)]
    pub inputs: Vec<String>,
    /// How well it suits this machine; the highest is chosen. 0 = it cannot run here.
    pub score: u32,
    /// Why `score` is 0, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// It does not run the model it is given (a test double): never chosen unless it is named.
    #[serde(default)]
    pub stand_in: bool,
}

/// One device that a backend can use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// The index to use in [`LoadRequest::device`].
    pub index: u32,
    /// The name its maker gave it.
    pub name: String,
    /// `cpu`, `cuda`, `metal`, `rocm`.
    pub kind: String,
    /// Memory in bytes, if known.
    #[serde(default)]
    pub memory_total: Option<u64>,
    /// Free memory in bytes now, if known.
    #[serde(default)]
    pub memory_free: Option<u64>,
}

/// Where a model's files are and how they are laid out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "layout", rename_all = "snake_case")]
pub enum ModelFiles {
    /// A directory with `model_index.json` and one directory per network.
    Diffusers {
        /// The directory that holds `model_index.json`.
        path: PathBuf,
    },
    /// One safetensors file with all networks, under the names of the model's makers.
    SingleFile {
        /// The file.
        path: PathBuf,
    },
}

impl ModelFiles {
    /// The directory or the file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Diffusers { path } | Self::SingleFile { path } => path,
        }
    }
}

/// A model to load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadRequest {
    /// The files.
    pub files: ModelFiles,
    /// The family, as the checkpoint crate detected it. Three of them stand for networks beside a model, which
    /// are loaded, kept and unloaded like models: `controlnet` and `t2i_adapter`, for [`Backend::encode_hint`] and
    /// [`DenoiseRow::hints`], and `upscaler`, for [`Backend::upscale`]. Their files are a safetensors file
    /// ([`ModelFiles::SingleFile`]) or a directory with a `config.json` beside the weights
    /// ([`ModelFiles::Diffusers`]).
    pub family: String,
    /// An autoencoder to use instead of the one in the files: a safetensors file, or a directory with a
    /// `config.json` beside its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vae: Option<PathBuf>,
    /// A name out of [`Description::dtypes`], or `auto`.
    pub dtype: String,
    /// A [`Device::index`].
    pub device: u32,
}

/// What the daemon must know about a loaded model.
///
/// A `controlnet` or `t2i_adapter` says the latents that it suits in `latent_channels` and `latent_scale`; its
/// `output_channels` are 0, for it answers nothing by itself. An `upscaler` has 3 channels on both sides, and
/// `latent_scale` is how many times higher and wider it makes a picture. None of them has text encoders or inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Channels of a latent.
    pub latent_channels: u32,
    /// Channels of the denoiser's answer.
    pub output_channels: u32,
    /// Pixels per latent cell along one side (8 for Stable Diffusion); an upscaler's factor.
    pub latent_scale: u32,
    /// The text encoders, in the order of [`TextChunk::encoder`].
    pub text_encoders: Vec<TextEncoderInfo>,
    /// The further inputs that every row of [`Backend::denoise`] must carry in its [`DenoiseRow::extras`].
    #[serde(default)]
    pub inputs: Vec<InputInfo>,
    /// The number format that was chosen.
    pub dtype: String,
    /// Bytes that the weights hold on the device.
    pub memory_bytes: u64,
}

/// A further input of a loaded model's denoiser. Two are known:
///
/// - `time_ids`, the sizes that SDXL hears: `[6]` original height and width, top and left of the crop, target
///   height and width; `[5]` (its refiner) the first four and an aesthetic score;
/// - `concat`, `[channels, 0, 0]`: channels that are joined behind the latent's. For inpainting 5: the mask,
///   and the latent of the picture without what is to be painted; for a model that changes a picture as it is
///   told 4: that picture's latent, without the autoencoder's scaling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputInfo {
    /// The [`NamedTensor::name`].
    pub name: String,
    /// Its sizes, outermost first. Zeros stand for the latent's height and width, in that order.
    pub shape: Vec<u32>,
}

impl InputInfo {
    /// The sizes for a latent of `latent`'s height and width.
    pub fn shape_for(&self, latent: LatentShape) -> Vec<u32> {
        let mut sides = [latent.height, latent.width].into_iter();
        let size = |size: &u32| if *size == 0 { sides.next().unwrap_or(0) } else { *size };
        self.shape.iter().map(size).collect()
    }
}

/// One text encoder of a loaded model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextEncoderInfo {
    /// Tokens in one chunk, with the begin and end tokens.
    pub context_length: u32,
    /// Number of token ids.
    pub vocab_size: u32,
    /// Width of one token's embedding.
    pub hidden_size: u32,
}

/// A LoRA file and how strongly it acts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adapter {
    /// The file.
    pub path: PathBuf,
    /// Factor on the file's change; may be negative.
    pub scale: f32,
}

/// One context window of token ids for one text encoder.
#[derive(Clone, Copy, Debug)]
pub struct TextChunk<'a> {
    /// Which of [`ModelInfo::text_encoders`].
    pub encoder: u32,
    /// Exactly `context_length` token ids.
    pub ids: &'a [u32],
    /// One attention weight per id; 1 leaves a token as it is. A chunk whose weights are all 0 is encoded as
    /// zeros, tokens and pooled vector alike: that is what SDXL was trained to hear for an absent prompt.
    pub weights: &'a [f32],
}

/// A prompt to encode.
#[derive(Clone, Copy, Debug)]
pub struct TextRequest<'a> {
    /// The chunks of every encoder, the same number of each. The encodings of one encoder's chunks are joined
    /// along the tokens, those of the encoders along the width. A model that hears a pooled vector gets that of
    /// the first chunk of the encoder with a projection.
    pub chunks: &'a [TextChunk<'a>],
    /// Extra embedding rows (textual inversion), named `rows.<encoder>`: `[count, hidden_size]`. Row `i`
    /// has the token id `vocab_size + i`.
    pub extra_rows: &'a [NamedTensor<'a>],
    /// Layers to leave out at the encoder's end: 0 is the model's own choice, 1 the layer before it.
    pub clip_skip: u32,
}

/// A tensor with a name.
#[derive(Clone, Copy, Debug)]
pub struct NamedTensor<'a> {
    /// What it is.
    pub name: &'a str,
    /// Its sizes, outermost first.
    pub shape: &'a [u32],
    /// Row-major values; as many as the shape says.
    pub data: &'a [f32],
}

/// A part of an encoded prompt, for [`Backend::read_text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPart {
    /// What the denoiser attends to: the encodings of all chunks and encoders, `[tokens, width]`.
    Tokens,
    /// The one vector that stands for the whole prompt, `[width]`, of models that have it.
    Pooled,
}

impl TextPart {
    /// Its name in the C contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Pooled => "pooled",
        }
    }

    /// The part of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Tokens, Self::Pooled].into_iter().find(|part| part.name() == name)
    }
}

/// The size of one latent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LatentShape {
    /// Channels.
    pub channels: u32,
    /// Cells from top to bottom.
    pub height: u32,
    /// Cells from left to right.
    pub width: u32,
}

impl LatentShape {
    /// Number of values in one latent.
    pub fn len(&self) -> usize {
        self.channels as usize * self.height as usize * self.width as usize
    }

    /// Whether it holds no value at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One row of a denoising call. Rows of a call share the model, its adapters and the latent's shape, and
/// nothing else: each has its own timestep and conditioning.
#[derive(Clone, Copy, Debug)]
pub struct DenoiseRow<'a> {
    /// The network's input, already scaled by the sampler: `[channels, height, width]`.
    pub latent: &'a [f32],
    /// The timestep in the model's training units; fractions are allowed.
    pub timestep: f32,
    /// The encoded prompt. All rows of a call have encodings of the same length.
    pub conditioning: ConditioningHandle,
    /// Further inputs of this row, by the names in [`Description::inputs`].
    pub extras: &'a [NamedTensor<'a>],
    /// Pictures that guide this row, each through a network of its own; their effects add up. The rows of a call
    /// name the same models in the same order, each row with its own pictures and scales.
    pub hints: &'a [Hint],
}

/// A picture that guides a row: an encoded hint, and how strongly it acts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hint {
    /// The `controlnet` or `t2i_adapter`, whose base has the widths of the denoising model.
    pub model: ModelHandle,
    /// What that model has encoded with [`Backend::encode_hint`], for latents of the call's shape.
    pub hint: ConditioningHandle,
    /// Factor on everything that the network adds; finite. 0 adds nothing.
    pub scale: f32,
}

/// How a picture is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodeOptions {
    /// Side of the tiles in latent cells, at least 1; `None` encodes the picture in one piece.
    #[serde(default)]
    pub tile: Option<u32>,
    /// The pixels have a fourth byte, which says how far the encoder sees them: 255 as they are, 0 not at all. A
    /// network that takes values of -1 ..= 1 gets a pixel's values times this part of 255, so that one that it does not
    /// see is 0: the middle between black and white, 127.5, which no byte says. Networks for inpainting were trained
    /// to see what is to be painted so. Since 1.3.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alpha: bool,
}

impl EncodeOptions {
    /// Bytes of one pixel.
    pub fn channels(&self) -> usize {
        if self.alpha { 4 } else { 3 }
    }
}

/// How a picture is made larger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpscaleOptions {
    /// Side of the tiles in pixels of the given picture, at least 1; `None` works on the whole picture. Tiles overlap
    /// and fade into each other. The host asks for some only when a picture, itself a piece of a larger one as a rule,
    /// did not fit into memory.
    #[serde(default)]
    pub tile: Option<u32>,
}

/// How a latent is decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodeOptions {
    /// Side of the tiles in latent cells; `None` decodes the picture in one piece.
    #[serde(default)]
    pub tile: Option<u32>,
}

/// Bytes in use on a model's device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Held by weights.
    pub weights: u64,
    /// Held by encoded prompts and buffers.
    pub working: u64,
}

/// An executor of neural networks.
///
/// One call runs at a time (`&mut self`). Handles are the backend's: it gives them out, and answers
/// [`ErrorKind::StaleHandle`] for one that it does not know ([`crate::slots::Slots`] does both).
pub trait Backend: Send {
    /// What this backend is and can do here. Cheap, and never touches a model.
    ///
    /// # Errors
    /// Only [`ErrorKind::Internal`]; "cannot run here" is an answer (`score` 0), not an error.
    fn describe(&mut self) -> Result<Description>;

    /// Loads a model.
    ///
    /// # Errors
    /// `BadModel`, `Unsupported` (family, layout or dtype), `Invalid` (an unknown device, an autoencoder for a
    /// network that has none), `OutOfMemory`,
    /// `Cancelled`.
    fn load(&mut self, request: &LoadRequest, control: &dyn Control) -> Result<(ModelHandle, ModelInfo)>;

    /// Makes the model behave as with exactly these adapters; none restores the file's own weights.
    ///
    /// # Errors
    /// `BadModel` for an unusable adapter, `Invalid` for a scale that is not finite, `Cancelled`, `OutOfMemory`; the
    /// model is as before after each of them. `Unsupported`, `StaleHandle`.
    fn adapt(&mut self, model: ModelHandle, adapters: &[Adapter], control: &dyn Control) -> Result<()>;

    /// Encodes a prompt; the result stays on the device.
    ///
    /// # Errors
    /// `Invalid` for a wrong chunk length, an unknown encoder or a token outside the vocabulary.
    fn encode_text(
        &mut self,
        model: ModelHandle,
        request: &TextRequest<'_>,
        control: &dyn Control,
    ) -> Result<ConditioningHandle>;

    /// Reads a part of an encoded prompt back from the device, row-major, for tests and diagnosis. Nothing
    /// that makes a picture asks for it, so it may be slow, and a backend may leave it out.
    ///
    /// # Errors
    /// `StaleHandle`; `Unsupported` when the model has no such part, or the backend does not offer this.
    fn read_text(&mut self, conditioning: ConditioningHandle, part: TextPart) -> Result<Vec<f32>> {
        let _ = conditioning;
        Err(Error::unsupported(format!("this backend does not read the {} of a prompt back", part.name())))
    }

    /// Evaluates the denoiser once for every row and writes its raw answers, row after row, into `out`:
    /// `[rows, output_channels, height, width]`.
    ///
    /// # Errors
    /// `Invalid` for no rows and for lengths that do not fit, for a hint that another model has encoded, or for
    /// another shape, or whose network does not suit the denoising model, and for a `model` that makes no pictures.
    /// `Unsupported` for hints where the backend has none, `StaleHandle`, `OutOfMemory`, `Cancelled`, `DeviceLost`.
    fn denoise(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        rows: &[DenoiseRow<'_>],
        out: &mut [f32],
        control: &dyn Control,
    ) -> Result<()>;

    /// Decodes latents, `[rows, channels, height, width]`, into 8-bit RGB pictures:
    /// `[rows, height * latent_scale, width * latent_scale, 3]`.
    ///
    /// # Errors
    /// As [`denoise`](Backend::denoise).
    fn decode(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        latents: &[f32],
        options: &DecodeOptions,
        out: &mut [u8],
        control: &dyn Control,
    ) -> Result<()>;

    /// Encodes 8-bit RGB pictures, `[rows, height * latent_scale, width * latent_scale, 3]` or with
    /// [`EncodeOptions::alpha`] 4 bytes a pixel, into the mean and the standard deviation of their latents, each
    /// `[rows, channels, height, width]`.
    ///
    /// # Errors
    /// As [`denoise`](Backend::denoise); `Invalid` for a tile of 0, `Unsupported` for one where the backend knows
    /// whole pictures only.
    // Every argument is one of the call's, and a struct of them would only be taken apart again.
    #[allow(clippy::too_many_arguments)]
    fn encode_image(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        pixels: &[u8],
        options: &EncodeOptions,
        mean: &mut [f32],
        deviation: &mut [f32],
        control: &dyn Control,
    ) -> Result<()>;

    /// Encodes an 8-bit RGB picture, `[height * latent_scale, width * latent_scale, 3]`, with a `controlnet` or
    /// `t2i_adapter`, for [`DenoiseRow::hints`] of rows with latents of `shape`: all of the network's work that depends
    /// on neither step nor prompt. The result stays on the device until [`release`](Backend::release).
    ///
    /// # Errors
    /// As [`denoise`](Backend::denoise); `Invalid` for a model of another kind; `Unsupported` when the backend has no
    /// such networks.
    fn encode_hint(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        pixels: &[u8],
        control: &dyn Control,
    ) -> Result<ConditioningHandle> {
        let _ = (model, shape, pixels, control);
        Err(Error::unsupported("this backend takes no pictures as hints"))
    }

    /// Makes an 8-bit RGB picture, `[height, width, 3]`, larger with an `upscaler`:
    /// `[height * latent_scale, width * latent_scale, 3]`.
    ///
    /// # Errors
    /// As [`denoise`](Backend::denoise); `Invalid` for a model of another kind and for a tile of 0; `Unsupported` when
    /// the backend has no upscalers, and for a tile where it knows whole pictures only.
    #[allow(clippy::too_many_arguments)]
    fn upscale(
        &mut self,
        model: ModelHandle,
        height: u32,
        width: u32,
        pixels: &[u8],
        options: &UpscaleOptions,
        out: &mut [u8],
        control: &dyn Control,
    ) -> Result<()> {
        let _ = (model, height, width, pixels, options, out, control);
        Err(Error::unsupported("this backend makes no pictures larger"))
    }

    /// Forgets an encoded prompt or an encoded hint.
    ///
    /// # Errors
    /// `StaleHandle`.
    fn release(&mut self, conditioning: ConditioningHandle) -> Result<()>;

    /// Frees a model and every conditioning made with it.
    ///
    /// # Errors
    /// `StaleHandle`.
    fn unload(&mut self, model: ModelHandle) -> Result<()>;

    /// Bytes in use by all models and conditionings.
    ///
    /// # Errors
    /// Only `Internal` and `DeviceLost`.
    fn memory(&mut self) -> Result<Memory>;
}
