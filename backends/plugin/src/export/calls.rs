// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! From the structs of a C call to the arguments of [`Backend`](crate::Backend), checking what can be checked.
//!
//! The lifetimes given out here are those of the running call: an entry drops everything before it returns.

use serde::de::DeserializeOwned;

use crate::abi::read::{Growing, plausible, read, slice};
use crate::abi::{self, LIST_LIMIT};
use crate::{
    ConditioningHandle, Control, DenoiseRow, Error, Hint, ModelHandle, NamedTensor, Result, TextChunk,
};

/// The caller's control of a running call.
pub(super) struct Progress(Option<abi::Control>);

impl Progress {
    /// A null pointer stands for a caller who never stops anything.
    ///
    /// # Safety
    /// `control` is null or points to an [`abi::Control`] whose function may be called with its `user`.
    pub(super) unsafe fn new(control: *const abi::Control) -> Result<Self> {
        if control.is_null() {
            return Ok(Self(None));
        }
        // SAFETY: the caller's promise.
        unsafe { read(control) }.map(|control| Self(Some(control)))
    }
}

impl Control for Progress {
    fn progress(&self, done: u64, total: u64) -> Result<()> {
        let Some((user, progress)) = self.0.and_then(|control| Some((control.user, control.progress?)))
        else {
            return Ok(());
        };
        // SAFETY: promised to `new`. `Progress` is not `Sync`, so this is the thread that makes the call.
        match unsafe { progress(user, done, total) } {
            0 => Ok(()),
            _ => Err(Error::cancelled()),
        }
    }
}

/// The value that a JSON text stands for.
///
/// # Errors
/// `Invalid` when it is no JSON, `Unsupported` when it is JSON that this version has no word for.
///
/// # Safety
/// As [`slice()`].
pub(super) unsafe fn json<T: DeserializeOwned>(data: *const u8, length: usize, what: &str) -> Result<T> {
    // SAFETY: the caller's promise.
    let text = unsafe { slice(data, length, what) }?;
    serde_json::from_slice(text).map_err(|error| {
        let message = format!("{what}: {error}");
        if error.is_data() { Error::unsupported(message) } else { Error::invalid(message) }
    })
}

/// As [`json`], where nothing at all stands for the default.
///
/// # Errors
/// As [`json`].
///
/// # Safety
/// As [`slice()`].
pub(super) unsafe fn options<T: DeserializeOwned + Default>(
    data: *const u8,
    length: usize,
    what: &str,
) -> Result<T> {
    if length == 0 {
        return Ok(T::default());
    }
    // SAFETY: the caller's promise.
    unsafe { json(data, length, what) }
}

/// The elements of a list, each as its own size says.
///
/// # Errors
/// `Invalid` for a list that cannot be, `Contract` for a broken element.
///
/// # Safety
/// If `first` is neither null nor misaligned, it points to `count` structs, each `struct_size` bytes after
/// the one before it.
unsafe fn list<T: Growing>(first: *const T, count: usize, what: &str) -> Result<Vec<T>> {
    if !plausible(first, count, what)? {
        return Ok(Vec::new());
    }
    // SAFETY: there is at least one element by the caller's promise, and every element begins with a `u32`.
    let stride = unsafe { first.cast::<u32>().read() };
    if count > LIST_LIMIT || !(stride as usize).is_multiple_of(align_of::<T>()) {
        return Err(Error::invalid(format!("{what}: {count} elements of {stride} bytes cannot be a list")));
    }
    let step = stride as usize;
    // SAFETY: the caller's promise; `step` keeps the alignment.
    (0..count).map(|index| unsafe { read(first.wrapping_byte_add(index * step)) }).collect()
}

/// The room for a call's results.
///
/// # Errors
/// `Invalid` when `data` and `length` cannot belong together.
///
/// # Safety
/// If `data` is neither null nor misaligned, it points to `length` initialised values that only this call
/// uses during `'a`.
pub(super) unsafe fn slice_mut<'a, T>(data: *mut T, length: usize, what: &str) -> Result<&'a mut [T]> {
    if !plausible(data, length, what)? {
        return Ok(&mut []);
    }
    // SAFETY: not null, aligned and not longer than memory by `plausible`; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts_mut(data, length) })
}

/// Refuses results that would be written over arguments or over each other.
///
/// # Errors
/// `Invalid`.
pub(super) fn apart<T, U>(one: (*const T, usize), other: (*const U, usize)) -> Result<()> {
    let (start, other_start) = (one.0.addr(), other.0.addr());
    let end = start.saturating_add(one.1.saturating_mul(size_of::<T>()));
    let other_end = other_start.saturating_add(other.1.saturating_mul(size_of::<U>()));
    if start < other_end && other_start < end {
        return Err(Error::invalid("the room for a result overlaps with another slice of the call"));
    }
    Ok(())
}

/// # Safety
/// The list and every pointer in it are as [`abi::Tensor`] says.
pub(super) unsafe fn tensors<'a>(first: *const abi::Tensor, count: usize) -> Result<Vec<NamedTensor<'a>>> {
    // SAFETY: the caller's promise.
    let tensors = unsafe { list(first, count, "tensors") }?;
    // SAFETY: the caller's promise.
    tensors.iter().map(|tensor| unsafe { named_tensor(tensor) }).collect()
}

/// # Safety
/// The list is as [`abi::Hint`] says.
unsafe fn hints(first: *const abi::Hint, count: usize) -> Result<Vec<Hint>> {
    // SAFETY: the caller's promise.
    let hints = unsafe { list(first, count, "hints") }?;
    let hint = |hint: &abi::Hint| Hint {
        model: ModelHandle(hint.model),
        hint: ConditioningHandle(hint.hint),
        scale: hint.scale,
    };
    Ok(hints.iter().map(hint).collect())
}

/// The text of a name.
///
/// # Errors
/// `Invalid` when it is not UTF-8 or cannot be.
///
/// # Safety
/// As [`slice()`].
pub(super) unsafe fn text<'a>(data: *const u8, length: usize, what: &str) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { slice(data, length, what) }?;
    std::str::from_utf8(bytes).map_err(|_| Error::invalid(format!("{what} is not UTF-8")))
}

/// # Safety
/// The pointers are as [`abi::Tensor`] says.
unsafe fn named_tensor<'a>(tensor: &abi::Tensor) -> Result<NamedTensor<'a>> {
    // SAFETY: the caller's promise.
    let name = unsafe { text(tensor.name, tensor.name_len, "a tensor's name") }?;
    // SAFETY: the caller's promise.
    let shape = unsafe { slice(tensor.shape, tensor.rank as usize, "a tensor's shape") }?;
    // SAFETY: the caller's promise.
    let data = unsafe { slice(tensor.data, tensor.data_len, "a tensor's values") }?;
    Ok(NamedTensor { name, shape, data })
}

/// # Safety
/// The list and every pointer in it are as [`abi::TextChunk`] says.
pub(super) unsafe fn chunks<'a>(first: *const abi::TextChunk, count: usize) -> Result<Vec<TextChunk<'a>>> {
    // SAFETY: the caller's promise.
    let chunks = unsafe { list(first, count, "chunks") }?;
    // SAFETY: the caller's promise.
    chunks.iter().map(|chunk| unsafe { text_chunk(chunk) }).collect()
}

/// # Safety
/// The pointers are as [`abi::TextChunk`] says.
unsafe fn text_chunk<'a>(chunk: &abi::TextChunk) -> Result<TextChunk<'a>> {
    // SAFETY: the caller's promise.
    let ids = unsafe { slice(chunk.ids, chunk.id_count, "a chunk's token ids") }?;
    // SAFETY: the caller's promise.
    let weights = unsafe { slice(chunk.weights, chunk.weight_count, "a chunk's weights") }?;
    Ok(TextChunk { encoder: chunk.encoder, ids, weights })
}

/// The rows of a denoising call and, in the same order, their extra tensors.
pub(super) struct Rows<'a> {
    rows: Vec<abi::DenoiseRow>,
    latents: Vec<&'a [f32]>,
    extras: Vec<Vec<NamedTensor<'a>>>,
    hints: Vec<Vec<Hint>>,
}

impl<'a> Rows<'a> {
    /// # Safety
    /// The list and every pointer in it are as [`abi::DenoiseRow`] says.
    pub(super) unsafe fn new(first: *const abi::DenoiseRow, count: usize) -> Result<Self> {
        // SAFETY: the caller's promise.
        let rows = unsafe { list(first, count, "rows") }?;
        // SAFETY: the caller's promise.
        let latent = |row: &abi::DenoiseRow| unsafe { slice(row.latent, row.latent_len, "a row's latent") };
        let latents = rows.iter().map(latent).collect::<Result<Vec<_>>>()?;
        // SAFETY: the caller's promise.
        let extras = |row: &abi::DenoiseRow| unsafe { tensors(row.extras, row.extra_count) };
        let extras = rows.iter().map(extras).collect::<Result<Vec<_>>>()?;
        // SAFETY: the caller's promise.
        let hints = |row: &abi::DenoiseRow| unsafe { hints(row.hints, row.hint_count) };
        let hints = rows.iter().map(hints).collect::<Result<Vec<_>>>()?;
        Ok(Self { rows, latents, extras, hints })
    }

    pub(super) fn get(&self) -> Vec<DenoiseRow<'_>> {
        let row = |(index, row): (usize, &abi::DenoiseRow)| DenoiseRow {
            latent: self.latents[index],
            timestep: row.timestep,
            conditioning: ConditioningHandle(row.conditioning),
            extras: &self.extras[index],
            hints: &self.hints[index],
        };
        self.rows.iter().enumerate().map(row).collect()
    }

    /// Refuses answers that would be written over the rows' own inputs.
    ///
    /// # Errors
    /// `Invalid`.
    pub(super) fn apart_from(&self, out: (*const f32, usize)) -> Result<()> {
        self.latents.iter().try_for_each(|latent| apart((latent.as_ptr(), latent.len()), out))?;
        let mut extras = self.extras.iter().flatten();
        extras.try_for_each(|extra| apart((extra.data.as_ptr(), extra.data.len()), out))
    }
}
