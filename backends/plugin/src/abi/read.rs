// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Reading what the other side of the contract points to, refusing whatever can be seen to be wrong.
//!
//! A pointer to freed or foreign memory cannot be recognised; null, a misaligned address, a struct that is
//! too short and a length that no memory can have are errors.

use std::mem::{MaybeUninit, offset_of};

use crate::{Error, ErrorKind, Result, abi};

/// A struct of the contract that may grow at its end.
///
/// # Safety
/// The type is `#[repr(C)]`, begins with its size in bytes as a `u32`, and is valid when every byte behind
/// some prefix of at least [`FIRST_SIZE`](Self::FIRST_SIZE) bytes is zero.
pub(crate) unsafe trait Growing: Copy {
    /// What it is called in an error message.
    const NAME: &'static str;
    /// Bytes that it had in the first version of this major version; a shorter one is broken.
    const FIRST_SIZE: usize;
}

macro_rules! growing {
    ($($name:ident: $last:ident,)*) => {$(
        // SAFETY: the struct is `#[repr(C)]`, `struct_size: u32` is its first field, and all its fields are
        // integers, floats, raw pointers or `Option`s of functions, for all of which zero is a value.
        unsafe impl Growing for abi::$name {
            const NAME: &'static str = stringify!($name);
            // The last field of a struct's first version is as wide as a pointer in every struct.
            const FIRST_SIZE: usize = offset_of!(abi::$name, $last) + size_of::<usize>();
        }
    )*};
}

growing! {
    Table: memory,
    Host: log_enabled,
    Control: progress,
    Sink: emit,
    Error: message_capacity,
    Tensor: data_len,
    TextChunk: weight_count,
    TextCall: extra_row_count,
    ReadTextCall: out_len,
    DenoiseRow: extra_count,
    Hint: hint,
    HintCall: pixels_len,
    UpscaleCall: out_len,
    DenoiseCall: out_len,
    DecodeCall: out_len,
    EncodeImageCall: deviation_len,
}

/// Copies the struct at `from`. Fields that the other side does not have yet are zero here, fields that
/// only the other side knows are left out.
///
/// # Errors
/// `Contract` when `from` is null, misaligned, or shorter than the first version.
///
/// # Safety
/// If `from` is neither null nor misaligned, it points to a `u32` and to as many readable bytes as that says.
pub(crate) unsafe fn read<T: Growing>(from: *const T) -> Result<T> {
    if from.is_null() || !from.is_aligned() {
        return Err(broken(format!("the pointer to {} is null or misaligned", T::NAME)));
    }
    // SAFETY: the caller promises a `u32` here, and `from` is aligned for more than that.
    let size = unsafe { from.cast::<u32>().read() } as usize;
    if size < T::FIRST_SIZE {
        let needed = T::FIRST_SIZE;
        return Err(broken(format!("{} has {size} bytes, the first version has {needed}", T::NAME)));
    }
    let mut value = MaybeUninit::<T>::zeroed();
    let length = size.min(size_of::<T>());
    // SAFETY: `from` has `size` readable bytes by the caller's promise, `value` has room for `size_of::<T>()`,
    // and a local variable does not overlap with what the caller passed in.
    unsafe { from.cast::<u8>().copy_to_nonoverlapping(value.as_mut_ptr().cast(), length) };
    // SAFETY: at least `FIRST_SIZE` bytes are the other side's and the rest is zero: valid by `Growing`.
    Ok(unsafe { value.assume_init() })
}

/// The `length` values at `data`, which may be null when there are none.
///
/// # Errors
/// `Invalid` when `data` and `length` cannot belong together; `what` names the slice.
///
/// # Safety
/// If `data` is neither null nor misaligned, it points to `length` values that nobody changes during `'a`.
pub(crate) unsafe fn slice<'a, T>(data: *const T, length: usize, what: &str) -> Result<&'a [T]> {
    if !plausible(data, length, what)? {
        return Ok(&[]);
    }
    // SAFETY: not null, aligned and not longer than memory by `plausible`; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(data, length) })
}

/// Whether there is anything at `data`.
///
/// # Errors
/// As [`slice()`].
pub(crate) fn plausible<T>(data: *const T, length: usize, what: &str) -> Result<bool> {
    if length == 0 {
        return Ok(false);
    }
    if data.is_null() {
        return Err(Error::invalid(format!("{what}: null, but {length} values are announced")));
    }
    if !data.is_aligned() {
        return Err(Error::invalid(format!("{what}: the pointer is misaligned")));
    }
    let bytes = length.checked_mul(size_of::<T>());
    if bytes.is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(Error::invalid(format!("{what}: {length} values do not fit into memory")));
    }
    Ok(true)
}

/// The text of `bytes`, with replacements for what is not UTF-8.
#[cfg(feature = "load")]
pub(crate) fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn broken(message: String) -> Error {
    Error::new(ErrorKind::Contract, message)
}

#[cfg(test)]
mod tests {
    use std::ptr::{null, null_mut};

    use super::*;

    /// A later version of [`abi::Sink`].
    #[repr(C)]
    struct LaterSink {
        sink: abi::Sink,
        addition: u64,
    }

    fn sink(struct_size: usize) -> abi::Sink {
        abi::Sink { struct_size: struct_size as u32, user: null_mut(), emit: None }
    }

    #[test]
    fn a_longer_struct_of_a_newer_version_is_read_without_its_additions() {
        let later = LaterSink { sink: sink(size_of::<LaterSink>()), addition: 7 };
        // SAFETY: a live struct that states its own size.
        let read = unsafe { read((&raw const later).cast::<abi::Sink>()) }.unwrap();
        assert_eq!((read.struct_size as usize, read.emit.is_none()), (size_of::<LaterSink>(), true));
        assert_eq!(later.addition, 7);
    }

    #[test]
    fn null_misaligned_and_short_structs_are_refused() {
        let short = sink(size_of::<abi::Sink>() - 1);
        let askew = (&raw const short).cast::<u8>().wrapping_add(1).cast::<abi::Sink>();
        for (pointer, word) in [(null(), "null"), (askew, "misaligned"), (&raw const short, "23 bytes")] {
            // SAFETY: null, misaligned, or a live struct.
            let error = unsafe { read(pointer) }.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Contract);
            assert!(error.message.contains(word), "{error}");
        }
    }

    #[test]
    fn slices_that_cannot_be_are_refused() {
        let value = [1.0_f32; 2];
        let askew = value.as_ptr().cast::<u8>().wrapping_add(1).cast::<f32>();
        for (data, length) in
            [(null(), 1), (askew, 1), (value.as_ptr(), usize::MAX), (value.as_ptr(), 1 << 61)]
        {
            // SAFETY: every one of these is refused before it is read.
            let error = unsafe { slice(data, length, "values") }.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert!(error.message.starts_with("values: "), "{error}");
        }
        // SAFETY: nothing is announced.
        assert_eq!(unsafe { slice::<f32>(null(), 0, "values") }, Ok(&[][..]));
        // SAFETY: a live array.
        assert_eq!(unsafe { slice(value.as_ptr(), 2, "values") }, Ok(&value[..]));
    }
}
