// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A running instance of a plugin: each call of [`Backend`] as the C call that stands for it.

use std::ptr::{NonNull, null_mut};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::callbacks::{Listener, Reply, host};
use crate::abi::read::text;
use crate::abi::{self, Status, Table};
use crate::{
    Adapter, Backend, ConditioningHandle, Control, DecodeOptions, DenoiseRow, Description, EncodeOptions,
    Error, ErrorKind, Hint, LatentShape, LoadRequest, Memory, ModelHandle, ModelInfo, NamedTensor, Result,
    TextChunk, TextPart, TextRequest, UpscaleOptions,
};

/// Room for the message of a failed call.
const MESSAGE_CAPACITY: usize = 2048;

/// The most values that a part of an encoded prompt may have; more is taken for a broken count. The longest
/// prompts of today have some ten thousand tokens of a few thousand values each.
const PART_LIMIT: usize = 1 << 27;

/// The minor version of the contract that knows pixels which are not seen.
const WITH_ALPHA: u16 = 3;
/// What such pixels are to a plugin of an earlier one: half a step of 255 from what they should be.
const UNSEEN: u8 = 128;

/// A running instance of a plugin. Dropping it ends the instance and everything in it.
#[derive(Debug)]
pub struct PluginBackend {
    table: Table,
    instance: NonNull<abi::Instance>,
}

// SAFETY: the contract lets an instance be used from any thread, by one call at a time; `&mut self` and the
// lack of `Sync` see to the latter.
unsafe impl Send for PluginBackend {}

impl PluginBackend {
    pub(super) fn start(table: Table, options: &Value) -> Result<Self> {
        let (create, host, options) = (offered(table.create)?, host(), json(options)?);
        let mut instance = null_mut();
        // SAFETY: every pointer is to a local variable and says its length.
        catch(|error| unsafe { create(&host, options.as_ptr(), options.len(), &mut instance, error) })?;
        let instance = NonNull::new(instance).ok_or_else(|| broken("it gave no instance"))?;
        Ok(Self { table, instance })
    }

    /// [`Backend::read_text`] as the C call has it: says how many values the part of this name has, and
    /// writes them into `out`, which has room for exactly as many or none at all.
    ///
    /// # Errors
    /// As [`Backend::read_text`], and `Invalid` when `out` is of another length.
    pub fn read_text_into(
        &mut self,
        conditioning: ConditioningHandle,
        part: &str,
        out: &mut [f32],
    ) -> Result<usize> {
        let (instance, read_text, mut values) = (self.instance(), offered(self.table.read_text)?, 0);
        let call = abi::ReadTextCall {
            struct_size: size_of::<abi::ReadTextCall>() as u32,
            conditioning: conditioning.0,
            part: part.as_ptr(),
            part_len: part.len(),
            out: out.as_mut_ptr(),
            out_len: out.len(),
        };
        // SAFETY: the instance lives, and every pointer is to something that outlives the call.
        catch(|error| unsafe { read_text(instance, &call, &mut values, error) })?;
        Ok(values)
    }

    fn instance(&mut self) -> *mut abi::Instance {
        self.instance.as_ptr()
    }
}

impl Drop for PluginBackend {
    fn drop(&mut self) {
        if let Some(destroy) = self.table.destroy {
            // SAFETY: the instance came from this plugin's `create` and is not used again.
            unsafe { destroy(self.instance.as_ptr()) }
        }
    }
}

impl Backend for PluginBackend {
    fn describe(&mut self) -> Result<Description> {
        let (instance, describe, mut reply) =
            (self.instance(), offered(self.table.describe)?, Reply::default());
        let sink = reply.sink();
        // SAFETY: the instance lives, and the sink's reply outlives the call.
        catch(|error| unsafe { describe(instance, &sink, error) })?;
        parse(reply, "its description")
    }

    fn load(&mut self, request: &LoadRequest, control: &dyn Control) -> Result<(ModelHandle, ModelInfo)> {
        let (instance, load, request) = (self.instance(), offered(self.table.load)?, json(request)?);
        let (mut model, mut reply) = (0, Reply::default());
        let sink = reply.sink();
        controlled(control, |control, error| {
            // SAFETY: the instance lives, and every pointer is to something that outlives the call.
            unsafe { load(instance, request.as_ptr(), request.len(), control, &mut model, &sink, error) }
        })?;
        let model = ModelHandle(model);
        match parse(reply, "what it says about the model") {
            Ok(info) => Ok((model, info)),
            Err(error) => {
                // The model is of no use without the answer; the answer's fault is the one to report.
                let _ = self.unload(model);
                Err(error)
            }
        }
    }

    fn adapt(&mut self, model: ModelHandle, adapters: &[Adapter], control: &dyn Control) -> Result<()> {
        let (instance, adapt, adapters) = (self.instance(), offered(self.table.adapt)?, json(&adapters)?);
        controlled(control, |control, error| {
            // SAFETY: the instance lives, and every pointer is to something that outlives the call.
            unsafe { adapt(instance, model.0, adapters.as_ptr(), adapters.len(), control, error) }
        })
    }

    fn encode_text(
        &mut self,
        model: ModelHandle,
        request: &TextRequest<'_>,
        control: &dyn Control,
    ) -> Result<ConditioningHandle> {
        let (instance, encode_text) = (self.instance(), offered(self.table.encode_text)?);
        let chunks = request.chunks.iter().map(raw_chunk).collect::<Vec<_>>();
        let extra_rows = request.extra_rows.iter().map(raw_tensor).collect::<Vec<_>>();
        let call = abi::TextCall {
            struct_size: size_of::<abi::TextCall>() as u32,
            clip_skip: request.clip_skip,
            model: model.0,
            chunks: chunks.as_ptr(),
            chunk_count: chunks.len(),
            extra_rows: extra_rows.as_ptr(),
            extra_row_count: extra_rows.len(),
        };
        let mut conditioning = 0;
        controlled(control, |control, error| {
            // SAFETY: the instance lives, and every pointer is to something that outlives the call.
            unsafe { encode_text(instance, &call, control, &mut conditioning, error) }
        })?;
        Ok(ConditioningHandle(conditioning))
    }

    fn read_text(&mut self, conditioning: ConditioningHandle, part: TextPart) -> Result<Vec<f32>> {
        let length = self.read_text_into(conditioning, part.name(), &mut [])?;
        if length > PART_LIMIT {
            return Err(broken(format!("{length} values in the {} of a prompt", part.name())));
        }
        let mut values = vec![0.0; length];
        let written = self.read_text_into(conditioning, part.name(), &mut values)?;
        match written == length {
            true => Ok(values),
            false => Err(broken(format!("a part of a prompt had {length} values, then {written}"))),
        }
    }

    fn denoise(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        rows: &[DenoiseRow<'_>],
        out: &mut [f32],
        control: &dyn Control,
    ) -> Result<()> {
        if self.table.encode_hint.is_none() && rows.iter().any(|row| !row.hints.is_empty()) {
            // An earlier plugin would pass over them.
            return Err(Error::unsupported("the plugin takes no pictures as hints"));
        }
        let (instance, denoise) = (self.instance(), offered(self.table.denoise)?);
        let extras = rows.iter().map(|row| row.extras.iter().map(raw_tensor).collect::<Vec<_>>());
        let extras = extras.collect::<Vec<_>>();
        let hints = rows.iter().map(|row| row.hints.iter().map(raw_hint).collect::<Vec<_>>());
        let hints = hints.collect::<Vec<_>>();
        let rows = rows.iter().zip(extras.iter().zip(&hints));
        let rows = rows.map(|(row, (extras, hints))| raw_row(row, extras, hints)).collect::<Vec<_>>();
        let call = abi::DenoiseCall {
            struct_size: size_of::<abi::DenoiseCall>() as u32,
            channels: shape.channels,
            height: shape.height,
            width: shape.width,
            model: model.0,
            rows: rows.as_ptr(),
            row_count: rows.len(),
            out: out.as_mut_ptr(),
            out_len: out.len(),
        };
        // SAFETY: the instance lives, and every pointer is to something that outlives the call.
        controlled(control, |control, error| unsafe { denoise(instance, &call, control, error) })
    }

    fn decode(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        latents: &[f32],
        options: &DecodeOptions,
        out: &mut [u8],
        control: &dyn Control,
    ) -> Result<()> {
        let (instance, decode, options) = (self.instance(), offered(self.table.decode)?, json(options)?);
        let call = abi::DecodeCall {
            struct_size: size_of::<abi::DecodeCall>() as u32,
            channels: shape.channels,
            height: shape.height,
            width: shape.width,
            model: model.0,
            latents: latents.as_ptr(),
            latents_len: latents.len(),
            options: options.as_ptr(),
            options_len: options.len(),
            out: out.as_mut_ptr(),
            out_len: out.len(),
        };
        // SAFETY: the instance lives, and every pointer is to something that outlives the call.
        controlled(control, |control, error| unsafe { decode(instance, &call, control, error) })
    }

    fn encode_image(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        pixels: &[u8],
        options: &EncodeOptions,
        mean: &mut [f32],
        deviation: &mut [f32],
        control: &dyn Control,
    ) -> Result<()> {
        if options.alpha && (self.table.encode_image_tiled.is_none() || self.table.abi_minor < WITH_ALPHA) {
            let (rgb, options) = (greyed(pixels), EncodeOptions { alpha: false, ..*options });
            return self.encode_image(model, shape, &rgb, &options, mean, deviation, control);
        }
        // An earlier plugin knows whole pictures alone, and would pass over what it is told of tiles.
        let encode_image = match (self.table.encode_image_tiled, options.tile) {
            (Some(tiled), _) => tiled,
            (None, None) => offered(self.table.encode_image)?,
            (None, Some(_)) => {
                return Err(Error::unsupported("the plugin encodes pictures in one piece only"));
            }
        };
        let (instance, options) = (self.instance(), json(options)?);
        let call = abi::EncodeImageCall {
            struct_size: size_of::<abi::EncodeImageCall>() as u32,
            channels: shape.channels,
            height: shape.height,
            width: shape.width,
            model: model.0,
            pixels: pixels.as_ptr(),
            pixels_len: pixels.len(),
            mean: mean.as_mut_ptr(),
            mean_len: mean.len(),
            deviation: deviation.as_mut_ptr(),
            deviation_len: deviation.len(),
            options: options.as_ptr(),
            options_len: options.len(),
        };
        // SAFETY: the instance lives, and every pointer is to something that outlives the call.
        controlled(control, |control, error| unsafe { encode_image(instance, &call, control, error) })
    }

    fn encode_hint(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        pixels: &[u8],
        control: &dyn Control,
    ) -> Result<ConditioningHandle> {
        let (instance, encode_hint) = (self.instance(), offered(self.table.encode_hint)?);
        let call = abi::HintCall {
            struct_size: size_of::<abi::HintCall>() as u32,
            channels: shape.channels,
            height: shape.height,
            width: shape.width,
            model: model.0,
            pixels: pixels.as_ptr(),
            pixels_len: pixels.len(),
        };
        let mut hint = 0;
        controlled(control, |control, error| {
            // SAFETY: the instance lives, and every pointer is to something that outlives the call.
            unsafe { encode_hint(instance, &call, control, &mut hint, error) }
        })?;
        Ok(ConditioningHandle(hint))
    }

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
        let (instance, upscale, options) = (self.instance(), offered(self.table.upscale)?, json(options)?);
        let call = abi::UpscaleCall {
            struct_size: size_of::<abi::UpscaleCall>() as u32,
            height,
            width,
            model: model.0,
            pixels: pixels.as_ptr(),
            pixels_len: pixels.len(),
            options: options.as_ptr(),
            options_len: options.len(),
            out: out.as_mut_ptr(),
            out_len: out.len(),
        };
        // SAFETY: the instance lives, and every pointer is to something that outlives the call.
        controlled(control, |control, error| unsafe { upscale(instance, &call, control, error) })
    }

    fn release(&mut self, conditioning: ConditioningHandle) -> Result<()> {
        let (instance, release) = (self.instance(), offered(self.table.release)?);
        // SAFETY: the instance lives; the plugin checks the handle.
        catch(|error| unsafe { release(instance, conditioning.0, error) })
    }

    fn unload(&mut self, model: ModelHandle) -> Result<()> {
        let (instance, unload) = (self.instance(), offered(self.table.unload)?);
        // SAFETY: the instance lives; the plugin checks the handle.
        catch(|error| unsafe { unload(instance, model.0, error) })
    }

    fn memory(&mut self) -> Result<Memory> {
        let (instance, memory, mut reply) = (self.instance(), offered(self.table.memory)?, Reply::default());
        let sink = reply.sink();
        // SAFETY: the instance lives, and the sink's reply outlives the call.
        catch(|error| unsafe { memory(instance, &sink, error) })?;
        parse(reply, "its memory")
    }
}

/// A function of the table; those that are required are there, or the library would not have been opened.
fn offered<F>(function: Option<F>) -> Result<F> {
    function.ok_or_else(|| Error::unsupported("the plugin does not offer this call"))
}

/// Pixels that are seen in parts, with grey for what is not.
pub(super) fn greyed(pixels: &[u8]) -> Vec<u8> {
    let part = |value: u8, alpha: u8| {
        let (value, grey, alpha) = (u32::from(value), u32::from(UNSEEN), u32::from(alpha));
        ((value * alpha + grey * (255 - alpha) + 127) / 255) as u8
    };
    let (pixels, _) = pixels.as_chunks::<4>();
    pixels
        .iter()
        .flat_map(|&[red, green, blue, alpha]| [red, green, blue].map(|value| part(value, alpha)))
        .collect()
}

fn raw_chunk(chunk: &TextChunk<'_>) -> abi::TextChunk {
    abi::TextChunk {
        struct_size: size_of::<abi::TextChunk>() as u32,
        encoder: chunk.encoder,
        ids: chunk.ids.as_ptr(),
        id_count: chunk.ids.len(),
        weights: chunk.weights.as_ptr(),
        weight_count: chunk.weights.len(),
    }
}

fn raw_tensor(tensor: &NamedTensor<'_>) -> abi::Tensor {
    abi::Tensor {
        struct_size: size_of::<abi::Tensor>() as u32,
        // No tensor has anywhere near 2^32 dimensions; the shape would have to hold sixteen gigabytes.
        rank: tensor.shape.len() as u32,
        name: tensor.name.as_ptr(),
        name_len: tensor.name.len(),
        shape: tensor.shape.as_ptr(),
        data: tensor.data.as_ptr(),
        data_len: tensor.data.len(),
    }
}

fn raw_hint(hint: &Hint) -> abi::Hint {
    abi::Hint {
        struct_size: size_of::<abi::Hint>() as u32,
        scale: hint.scale,
        model: hint.model.0,
        hint: hint.hint.0,
    }
}

fn raw_row(row: &DenoiseRow<'_>, extras: &[abi::Tensor], hints: &[abi::Hint]) -> abi::DenoiseRow {
    abi::DenoiseRow {
        struct_size: size_of::<abi::DenoiseRow>() as u32,
        timestep: row.timestep,
        conditioning: row.conditioning.0,
        latent: row.latent.as_ptr(),
        latent_len: row.latent.len(),
        extras: extras.as_ptr(),
        extra_count: extras.len(),
        hints: hints.as_ptr(),
        hint_count: hints.len(),
    }
}

/// Makes a call that reports to `control`.
fn controlled(
    control: &dyn Control,
    call: impl FnOnce(*const abi::Control, *mut abi::Error) -> Status,
) -> Result<()> {
    let listener = Listener::new(control);
    let control = listener.control();
    let result = catch(|error| call(&control, error));
    match (result, listener.into_stop()) {
        // The caller's own words say more than the plugin's.
        (Err(Error { kind: ErrorKind::Cancelled, .. }), Some(stop)) => {
            Err(Error::new(ErrorKind::Cancelled, stop))
        }
        (result, _) => result,
    }
}

/// Makes a call with room for its message, and reads the status.
fn catch(call: impl FnOnce(*mut abi::Error) -> Status) -> Result<()> {
    let mut message = [0_u8; MESSAGE_CAPACITY];
    let mut error = abi::Error {
        struct_size: size_of::<abi::Error>() as u32,
        message_len: 0,
        message: message.as_mut_ptr(),
        message_capacity: MESSAGE_CAPACITY,
    };
    let status = call(&mut error);
    if status == abi::OK {
        return Ok(());
    }
    let length = (error.message_len as usize).min(MESSAGE_CAPACITY);
    let message = match text(&message[..length]).into_owned() {
        message if message.is_empty() => format!("the plugin gave the status {status} and no reason"),
        message => message,
    };
    Err(Error::new(abi::kind_of(status), message))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    // Of all that is sent, only a path that is not Unicode cannot be written as JSON.
    serde_json::to_vec(value).map_err(|error| Error::invalid(error.to_string()))
}

fn parse<T: DeserializeOwned>(reply: Reply, what: &str) -> Result<T> {
    let text = reply.into_bytes()?;
    serde_json::from_slice(&text).map_err(|error| broken(format!("{what} cannot be understood: {error}")))
}

fn broken(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Contract, message)
}
