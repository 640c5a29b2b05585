// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The functions of the table: each reads its arguments, asks the backend, and reports.
//!
//! All of them share one safety condition: pointers that are not null point to what the table's
//! documentation says, and `instance` came from `create` and has not been destroyed.

use super::calls::{Progress, Rows, apart, chunks, json, options, slice_mut, tensors, text};
use super::out::{emit, present, put, report};
use super::{Instance, guarded};
use crate::abi::read::{read, slice};
use crate::abi::{self, Status};
use crate::{
    Adapter, Backend, ConditioningHandle, DecodeOptions, EncodeOptions, Error, ErrorKind, LatentShape,
    LoadRequest,
};
use crate::{ModelHandle, Result, TextPart, TextRequest, UpscaleOptions};

/// Runs one call of an entry.
///
/// # Safety
/// The shared condition.
unsafe fn call(
    instance: *mut abi::Instance,
    error: *mut abi::Error,
    work: impl FnOnce(&mut dyn Backend) -> Result<()>,
) -> Status {
    // SAFETY: null or the box that `create` has given out; only shared references to it are ever made.
    let result = match unsafe { instance.cast::<Instance>().as_ref() } {
        Some(instance) => instance.run(work),
        None => Err(Error::new(ErrorKind::Contract, "the instance is null")),
    };
    // SAFETY: the shared condition.
    unsafe { report(result, error) }
}

pub(super) unsafe extern "C" fn destroy(instance: *mut abi::Instance) {
    if instance.is_null() {
        return;
    }
    // SAFETY: not null, so it is the box that `create` has given out, and this is its end.
    let instance = unsafe { Box::from_raw(instance.cast::<Instance>()) };
    let ended = guarded(|| {
        drop(instance);
        Ok(())
    });
    if let Err(error) = ended {
        tracing::error!("While ending an instance, {error}");
    }
}

pub(super) unsafe extern "C" fn describe(
    instance: *mut abi::Instance,
    sink: *const abi::Sink,
    error: *mut abi::Error,
) -> Status {
    let work = |backend: &mut dyn Backend| {
        let answer = backend.describe()?;
        // SAFETY: the shared condition.
        unsafe { emit(sink, &answer) }
    };
    // SAFETY: the shared condition.
    unsafe { call(instance, error, work) }
}

pub(super) unsafe extern "C" fn load(
    instance: *mut abi::Instance,
    request: *const u8,
    request_len: usize,
    control: *const abi::Control,
    model: *mut u64,
    info: *const abi::Sink,
    error: *mut abi::Error,
) -> Status {
    let work = |backend: &mut dyn Backend| {
        present(model, "model handle")?;
        // SAFETY: the shared condition.
        let request = unsafe { json::<LoadRequest>(request, request_len, "load request") }?;
        // SAFETY: the shared condition.
        let progress = unsafe { Progress::new(control) }?;
        let (handle, found) = backend.load(&request, &progress)?;
        // SAFETY: the shared condition.
        if let Err(error) = unsafe { emit(info, &found) } {
            // The caller will not learn the handle, so nobody else can give the memory back.
            backend.unload(handle)?;
            return Err(error);
        }
        // SAFETY: the shared condition.
        unsafe { put(model, handle.0, "model handle") }
    };
    // SAFETY: the shared condition.
    unsafe { call(instance, error, work) }
}

pub(super) unsafe extern "C" fn adapt(
    instance: *mut abi::Instance,
    model: u64,
    adapters: *const u8,
    adapters_len: usize,
    control: *const abi::Control,
    error: *mut abi::Error,
) -> Status {
    let work = |backend: &mut dyn Backend| {
        // SAFETY: the shared condition.
        let adapters = unsafe { json::<Vec<Adapter>>(adapters, adapters_len, "adapters") }?;
        // SAFETY: the shared condition.
        let progress = unsafe { Progress::new(control) }?;
        backend.adapt(ModelHandle(model), &adapters, &progress)
    };
    // SAFETY: the shared condition.
    unsafe { call(instance, error, work) }
}

pub(super) unsafe extern "C" fn encode_text(
    instance: *mut abi::Instance,
    text: *const abi::TextCall,
    control: *const abi::Control,
    conditioning: *mut u64,
    error: *mut abi::Error,
) -> Status {
    let work = |backend: &mut dyn Backend| {
        present(conditioning, "conditioning handle")?;
        // SAFETY: the shared condition.
        let text = unsafe { read(text) }?;
        // SAFETY: the shared condition.
        let chunks = unsafe { chunks(text.chunks, text.chunk_count) }?;
        // SAFETY: the shared condition.
        let extra_rows = unsafe { tensors(text.extra_rows, text.extra_row_count) }?;
        // SAFETY: the shared condition.
        let progress = unsafe { Progress::new(control) }?;
        let request = TextRequest { chunks: &chunks, extra_rows: &extra_rows, clip_skip: text.clip_skip };
        let handle = backend.encode_text(ModelHandle(text.model), &request, &progress)?;
        // SAFETY: the shared condition.
        unsafe { put(conditioning, handle.0, "conditioning handle") }
    };
    // SAFETY: the shared condition.
    unsafe { call(instance, error, work) }
}

pub(super) unsafe extern "C" fn denoise(
    instance: *mut abi::Instance,
    step: *const abi::DenoiseCall,
    control: *const abi::Control,
    error: *mut abi::Error,
) -> Status {
    let work = |backend: &mut dyn Backend| {
        // SAFETY: the shared condition.
        let step = unsafe { read(step) }?;
        let shape = LatentShape { channels: step.channels, height: step.height, width: step.width };
        // SAFETY: the shared condition.
        let rows = unsafe { Rows::new(step.rows, step.row_count) }?;
        rows.apart_from((step.out, step.out_len))?;
        // SAFETY: the shared condition, and no input overlaps with it.
        let out = unsafe { slice_mut(step.out, step.out_len, "the answers") }?;
        // SAFETY: the shared condition.
        let progress = unsafe { Progress::new(control) }?;
        backend.denoise(ModelHandle(step.model), shape, &rows.get(), out, &progress)
    };
    // SAFETY: the shared condition.
    unsafe { call(instance, error, work) }
}

pub(super) unsafe extern "C" fn decode(
    instance: *mut abi::Instance,
    picture: *const abi::DecodeCall,
    control: *const abi::Control,
    error: *mut abi::Error,
) -> Status {
    let work = |backend: &mut dyn Backend| {
        // SAFETY: the shared condition.
        let picture = unsafe { read(picture) }?;
        let shape = LatentShape { channels: picture.channels, height: picture.height, width: picture.width };
        // SAFETY: the shared condition.
        let options =
            unsafe { json::<DecodeOptions>(picture.options, picture.options_len, "decode options") }?;
        apart((picture.latents, picture.latents_len), (picture.out, picture.out_len))?;
        // SAFETY: the shared condition.
        let latents = unsafe { slice(picture.latents, picture.latents_len, "the latents") }?;
        // SAFETY: the shared condition, and the latents do not overlap with it.
        let out = unsafe { slice_mut(picture.out, picture.out_len, "the pictures") }?;
        // SAFETY: the shared condition.
        let progress = unsafe { Progress::new(control) }?;
        backend.decode(ModelHandle(picture.model), shape, latents, &options, out, &progress)
    };
    // SAFETY: the shared condition.
    unsafe { call(instance, error, work) }
}

pub(super) unsafe extern "C" fn encode_image(
    instance: *mut abi::Instance,
    image: *const abi::EncodeImageCall,
    control: *const abi::Control,
    error: *mut abi::Error,
) -> Status {
    let work = |backend: &mut dyn Backend| {
        // SAFETY: the shared condition.
        let image = unsafe { read(image) }?;
        let shape = LatentShape { channels: image.channels, height: image.height, width: image.width };
        let (mean_at, deviation_at) =
            ((image.mean.cast_const(), image.mean_len), (image.deviation.cast_const(), image.deviation_len));
        // SAFETY: the shared condition.
        let options =
            unsafe { options::<EncodeOptions>(image.options, image.options_len, "encode options") }?;
        apart(mean_at, deviation_at)?;
        apart((image.pixels, image.pixels_len), mean_at)?;
        apart((image.pixels, image.pixels_len), deviation_at)?;
        // SAFETY: the shared condition.
        let pixels = unsafe { slice(image.pixels, image.pixels_len, "the pictures") }?;
        // SAFETY: the shared condition, and nothing else of the call overlaps with it.
        let mean = unsafe { slice_mut(image.mean, image.mean_len, "the means") }?;
        // SAFETY: the shared condition, and nothing else of the call overlaps with it.
        let deviation = unsafe { slice_mut(image.deviation, image.deviation_len, "the deviations") }?;
        // SAFETY: the shared condition.
        let progress = unsafe { Progress::new(control) }?;
        backend.encode_image(ModelHandle(image.model), shape, pixels, &options, mean, deviation, &progress)
    };
    // SAFETY: the shared condition.
    unsafe { call(instance, error, work) }
}

pub(super) unsafe extern "C" fn encode_hint(
    instance: *mut abi::Instance,
    picture: *const abi::HintCall,
    control: *const abi::Control,
    hint: *mut u64,
    error: *mut abi::Error,
) -> Status {
    let work = |backend: &mut dyn Backend| {
        present(hint, "hint handle")?;
        // SAFETY: the shared condition.
        let picture = unsafe { read(picture) }?;
        let shape = LatentShape { channels: picture.channels, height: picture.height, width: picture.width };
        // SAFETY: the shared condition.
        let pixels = unsafe { slice(picture.pixels, picture.pixels_len, "the picture") }?;
        // SAFETY: the shared condition.
        let progress = unsafe { Progress::new(control) }?;
        let handle = backend.encode_hint(ModelHandle(picture.model), shape, pixels, &progress)?;
        // SAFETY: the shared condition.
        unsafe { put(hint, handle.0, "hint handle") }
    };
    // SAFETY: the shared condition.
    unsafe { call(instance, error, work) }
}

pub(super) unsafe extern "C" fn upscale(
    instance: *mut abi::Instance,
    picture: *const abi::UpscaleCall,
    control: *const abi::Control,
    error: *mut abi::Error,
) -> Status {
    let work = |backend: &mut dyn Backend| {
        // SAFETY: the shared condition.
        let picture = unsafe { read(picture) }?;
        // SAFETY: the shared condition.
        let options =
            unsafe { options::<UpscaleOptions>(picture.options, picture.options_len, "upscale options") }?;
        apart((picture.pixels, picture.pixels_len), (picture.out.cast_const(), picture.out_len))?;
        // SAFETY: the shared condition.
        let pixels = unsafe { slice(picture.pixels, picture.pixels_len, "the picture") }?;
        // SAFETY: the shared condition, and the picture does not overlap with it.
        let out = unsafe { slice_mut(picture.out, picture.out_len, "the larger picture") }?;
        // SAFETY: the shared condition.
        let progress = unsafe { Progress::new(control) }?;
        let (model, height, width) = (ModelHandle(picture.model), picture.height, picture.width);
        backend.upscale(model, height, width, pixels, &options, out, &progress)
    };
    // SAFETY: the shared condition.
    unsafe { call(instance, error, work) }
}

pub(super) unsafe extern "C" fn release(
    instance: *mut abi::Instance,
    conditioning: u64,
    error: *mut abi::Error,
) -> Status {
    // SAFETY: the shared condition.
    unsafe { call(instance, error, |backend| backend.release(ConditioningHandle(conditioning))) }
}

pub(super) unsafe extern "C" fn unload(
    instance: *mut abi::Instance,
    model: u64,
    error: *mut abi::Error,
) -> Status {
    // SAFETY: the shared condition.
    unsafe { call(instance, error, |backend| backend.unload(ModelHandle(model))) }
}

pub(super) unsafe extern "C" fn memory(
    instance: *mut abi::Instance,
    sink: *const abi::Sink,
    error: *mut abi::Error,
) -> Status {
    let work = |backend: &mut dyn Backend| {
        let answer = backend.memory()?;
        // SAFETY: the shared condition.
        unsafe { emit(sink, &answer) }
    };
    // SAFETY: the shared condition.
    unsafe { call(instance, error, work) }
}

pub(super) unsafe extern "C" fn read_text(
    instance: *mut abi::Instance,
    part: *const abi::ReadTextCall,
    values: *mut usize,
    error: *mut abi::Error,
) -> Status {
    let work = |backend: &mut dyn Backend| {
        present(values, "number of values")?;
        // SAFETY: the shared condition.
        let part = unsafe { read(part) }?;
        apart((part.part, part.part_len), (part.out.cast_const(), part.out_len))?;
        // SAFETY: the shared condition.
        let name = unsafe { text(part.part, part.part_len, "the part's name") }?;
        // SAFETY: the shared condition, and the name does not overlap with it.
        let out = unsafe { slice_mut(part.out, part.out_len, "the part's values") }?;
        let unknown = || Error::unsupported("an encoded prompt has no part of this name");
        let name = TextPart::named(name).ok_or_else(unknown)?;
        let found = backend.read_text(ConditioningHandle(part.conditioning), name)?;
        if out.len() == found.len() {
            out.copy_from_slice(&found);
        } else if !out.is_empty() {
            let (room, needed) = (out.len(), found.len());
            return Err(Error::invalid(format!("room for {room} values, the part has {needed}")));
        }
        // SAFETY: the shared condition.
        unsafe { put(values, found.len(), "number of values") }
    };
    // SAFETY: the shared condition.
    unsafe { call(instance, error, work) }
}
