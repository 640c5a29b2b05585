// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A safetensors file as named slices of memory.

use std::{
    fmt::Display,
    fs::{self, File},
    path::{Path, PathBuf},
};

use half::{bf16, f16, slice::HalfFloatSliceExt};
use memmap2::Mmap;
use safetensors::Dtype;

use crate::{
    Error,
    header::{self, Header, Refusal},
};

/// One memory-mapped safetensors file. All its tensors have been checked to lie within it.
///
/// The file must not be cut short while it is open: reading a page that is gone ends the process. Model
/// files are replaced by renaming, which leaves the mapped file whole.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    map: Mmap,
    header: Header,
}

impl TensorFile {
    /// Maps the file at `path` (symbolic links are followed) and checks its header completely.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NotAFile`], [`Error::UnsafeFormat`] for a pickle or an archive of pickles
    /// whatever its name, and [`Error::Damaged`] for everything that breaks the format or its limits.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let map = map(path)?;
        let header = header::parse(&map).map_err(|refusal| match refusal {
            Refusal::Unsafe(format) => Error::UnsafeFormat { path: path.to_owned(), format },
            Refusal::Damaged(reason) => Error::Damaged { path: path.to_owned(), reason },
        })?;
        Ok(Self { path: path.to_owned(), map, header })
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
        let bytes = &self.map[self.header.data_start..][start..end];
        Ok(Tensor { name: name.to_owned(), dtype: info.dtype, shape: info.shape.clone(), bytes })
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.header.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor called `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.header.tensors.contains_key(name)
    }

    /// Bytes that all tensors take in the file together.
    pub fn bytes(&self) -> u64 {
        (self.map.len() - self.header.data_start) as u64
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Maps a regular file that is not empty.
#[allow(unsafe_code)]
fn map(path: &Path) -> Result<Mmap, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    // Asked before opening: to open a pipe would wait for its writer.
    let metadata = fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    if metadata.len() == 0 {
        return Err(Error::Damaged { path: path.to_owned(), reason: "it is empty".to_owned() });
    }
    let file = File::open(path).map_err(io)?;
    // SAFETY: the map is read-only and private to this process, and `u8` has no invalid values. What cannot
    // be ruled out is another process that writes to the file or cuts it short under the map; `TensorFile`
    // states that this must not happen, and weights are only ever read in a process that may die of it.
    unsafe { Mmap::map(&file) }.map_err(io)
}

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
    pub bytes: &'a [u8],
}

impl Tensor<'_> {
    /// The values as `f32`, row-major.
    ///
    /// # Errors
    /// [`Error::Dtype`] unless the format is F32, F16, BF16 or F64 (which is rounded).
    pub fn to_f32(&self) -> Result<Vec<f32>, Error> {
        match self.dtype {
            Dtype::F32 => Ok(values(self.bytes, f32::from_le_bytes).collect()),
            Dtype::F64 => Ok(values(self.bytes, |value| f64::from_le_bytes(value) as f32).collect()),
            Dtype::F16 => Ok(widen(self.bytes, f16::from_le_bytes)),
            Dtype::BF16 => Ok(widen(self.bytes, bf16::from_le_bytes)),
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

/// A place in a file: the file with the beginning of the tensors' names, as the modules of a network nest.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    file: &'a TensorFile,
    /// Empty, or ends in a dot.
    prefix: String,
}

impl<'a> Scope<'a> {
    /// The whole file.
    pub fn root(file: &'a TensorFile) -> Scope<'a> {
        Scope { file, prefix: String::new() }
    }

    /// The module called `part` (a name or a number) within this one.
    pub fn at(&self, part: impl Display) -> Scope<'a> {
        Scope { file: self.file, prefix: format!("{}{part}.", self.prefix) }
    }

    /// This module's tensor `name`, which must have exactly the shape `shape`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Shape`].
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor<'a>, Error> {
        let tensor = self.file.tensor(&self.full_name(name))?;
        if tensor.shape != shape {
            return Err(Error::Shape {
                path: self.file.path.clone(),
                name: tensor.name,
                found: tensor.shape,
                expected: shape.to_vec(),
            });
        }
        Ok(tensor)
    }

    /// Whether this module has a tensor `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.file.contains(&self.full_name(name))
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

#[cfg(test)]
mod tests;
