// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A safetensors file as named slices of memory.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::SystemTime,
};

use half::{bf16, f16, slice::HalfFloatSliceExt};
use memmap2::Mmap;
use safetensors::Dtype;

use crate::{
    Error,
    header::{self, Header},
    listing::{refused, regular_file},
};

/// Bytes of tensors that are handed out before the file's pages go back to the system: a network is loaded with so much of
/// its file in memory, and not with all of it beside what is made of it.
const HELD_BYTES: usize = 64 << 20;

/// One memory-mapped safetensors file. All its tensors have been checked to lie within it.
///
/// The file must not be cut short while it is open: reading a page that is gone ends the process. Model
/// files are replaced by renaming, which leaves the mapped file whole.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    map: Mmap,
    modified: Option<SystemTime>,
    header: Header,
    /// Bytes of the tensors that were handed out since the pages went back last.
    given: AtomicUsize,
}

impl TensorFile {
    /// Maps the file at `path` (symbolic links are followed) and checks its header completely.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NotAFile`], [`Error::UnsafeFormat`] for a pickle or an archive of pickles
    /// whatever its name, and [`Error::Damaged`] for everything that breaks the format or its limits.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (map, modified) = map(path)?;
        let header = header::parse(&map, map.len() as u64).map_err(|refusal| refused(path, refusal))?;
        Ok(Self { path: path.to_owned(), map, modified, header, given: AtomicUsize::new(0) })
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>, Error> {
        let info = self
            .header
            .tensors
            .get(name)
            .ok_or_else(|| Error::MissingTensor { path: self.path.clone(), name: name.to_owned() })?;
        let (start, end) = info.data_offsets;
        self.make_room_for(end - start);
        let bytes = &self.map[self.header.data_start..][start..end];
        Ok(Tensor {
            name: name.to_owned(),
            dtype: info.dtype,
            shape: info.shape.clone(),
            bytes: bytes.into(),
        })
    }

    /// Lets the pages that were read so far go when enough tensors have been handed out.
    fn make_room_for(&self, bytes: usize) {
        if self.given.fetch_add(bytes, Ordering::Relaxed) + bytes > HELD_BYTES {
            self.given.store(bytes, Ordering::Relaxed);
            give_back(&self.map);
        }
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.header.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor called `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.header.tensors.contains_key(name)
    }

    /// Number format and shape of the tensor called `name`.
    pub(crate) fn described(&self, name: &str) -> Option<(Dtype, &Vec<usize>)> {
        self.header.tensors.get(name).map(|info| (info.dtype, &info.shape))
    }

    /// Bytes that all tensors take in the file together.
    pub fn bytes(&self) -> u64 {
        (self.map.len() - self.header.data_start) as u64
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// When the file that was mapped had been written last, if the system knows. A file that has come to lie at its
    /// path since says nothing here.
    pub fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Maps a regular file that is not empty; with the time when it was written last.
#[allow(unsafe_code)]
fn map(path: &Path) -> Result<(Mmap, Option<SystemTime>), Error> {
    let (file, _) = regular_file(path)?;
    let modified = file.metadata().and_then(|metadata| metadata.modified()).ok();
    // SAFETY: the map is read-only and private to this process, and `u8` has no invalid values. What cannot
    // be ruled out is another process that writes to the file or cuts it short under the map; `TensorFile`
    // states that this must not happen, and weights are only ever read in a process that may die of it.
    let map = unsafe { Mmap::map(&file) }.map_err(|cause| Error::Io { path: path.to_owned(), cause })?;
    Ok((map, modified))
}

/// Takes a map's pages out of the process's memory. Whoever reads them again gets them out of the file.
#[cfg(unix)]
#[allow(unsafe_code)]
fn give_back(map: &Mmap) {
    // SAFETY: what this advice can lose is what was written to pages; nothing writes to a map that is read-only, so a
    // page that is read afterwards, by a slice that was borrowed before too, holds the same bytes of the file.
    let given = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    // A system that refuses, as it does for a process that has locked its memory, keeps the pages; nothing else differs.
    given.unwrap_or_default();
}

#[cfg(not(unix))]
fn give_back(_: &Mmap) {}

/// One tensor of an open file.
#[derive(Clone, Debug)]
pub struct Tensor<'a> {
    /// The full name in the file.
    pub name: String,
    /// The number format of `bytes`.
    pub dtype: Dtype,
    /// The sizes, outermost first.
    pub shape: Vec<usize>,
    /// The values, row-major and little-endian; as many bytes as `shape` and `dtype` say, at any alignment.
    pub bytes: Cow<'a, [u8]>,
}

impl Tensor<'_> {
    /// The values as `f32`, row-major.
    ///
    /// # Errors
    /// [`Error::Dtype`] unless the format is F32, F16, BF16, F8_E4M3, F8_E5M2 or F64 (which is rounded).
    pub fn to_f32(&self) -> Result<Vec<f32>, Error> {
        let bytes = &*self.bytes;
        match self.dtype {
            Dtype::F32 => Ok(values(bytes, f32::from_le_bytes).collect()),
            Dtype::F64 => Ok(values(bytes, |value| f64::from_le_bytes(value) as f32).collect()),
            Dtype::F16 => Ok(widen(bytes, f16::from_le_bytes)),
            Dtype::BF16 => Ok(widen(bytes, bf16::from_le_bytes)),
            Dtype::F8_E4M3 => Ok(bytes.iter().map(|bits| from_e4m3(*bits)).collect()),
            // The upper half of a half-precision number.
            Dtype::F8_E5M2 => Ok(bytes.iter().map(|bits| f16::from_le_bytes([0, *bits]).to_f32()).collect()),
            dtype => Err(Error::Dtype { name: self.name.clone(), dtype }),
        }
    }
}

/// Reads consecutive values of `N` bytes each.
fn values<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> impl Iterator<Item = T> {
    let (values, _rest) = bytes.as_chunks::<N>();
    values.iter().map(move |value| read(*value))
}

/// Converts 16-bit values. The conversion of whole slices uses the processor's own instruction, one value
/// at a time it is several times slower.
fn widen<T: Copy>(bytes: &[u8], read: fn([u8; 2]) -> T) -> Vec<f32>
where
    [T]: HalfFloatSliceExt,
{
    const RUN: usize = 4096;
    let mut wide = vec![0.0; bytes.len() / 2];
    for (bytes, wide) in bytes.chunks(2 * RUN).zip(wide.chunks_mut(RUN)) {
        // The bytes in the file may lie at an odd address, so they are moved to an aligned one first.
        let narrow: Vec<T> = values(bytes, read).collect();
        narrow.convert_to_f32_slice(wide);
    }
    wide
}

/// The value of a number of eight bits with four of exponent and three of mantissa; it knows no infinity.
///
/// Source: Micikevicius et al. 2022, "FP8 Formats for Deep Learning", arXiv:2209.05433, table 1.
fn from_e4m3(bits: u8) -> f32 {
    let sign = if bits & 0x80 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 3 & 0xf), f32::from(bits & 7));
    match (exponent, bits & 7) {
        (0xf, 7) => f32::NAN,
        (0, _) => sign * mantissa * 2.0_f32.powi(-9),
        _ => sign * (1.0 + mantissa / 8.0) * 2.0_f32.powi(exponent - 7),
    }
}

#[cfg(test)]
mod tests;
