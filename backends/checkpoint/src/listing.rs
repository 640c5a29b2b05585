// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a safetensors file says that it holds. Read plainly: a mapped file that is cut short ends the process
//! that looks at it, and the daemon looks at every file that somebody puts among the models.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use safetensors::Dtype;

use crate::{
    Error, Tensor,
    error::CONVERT_MODEL,
    header::{self, Header, Refusal},
};

/// The checked header of a safetensors file.
#[derive(Clone, Debug)]
pub struct Listing {
    path: PathBuf,
    header: Header,
    bytes: u64,
}

impl Listing {
    /// Reads the header of the file at `path` (symbolic links are followed) and checks it completely.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NotAFile`], [`Error::UnsafeFormat`] for a pickle or an archive of pickles
    /// whatever its name, and [`Error::Damaged`] for everything that breaks the format or its limits.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (file, bytes) = regular_file(path)?;
        let header = header::read(file, bytes)
            .map_err(|cause| Error::Io { path: path.to_owned(), cause })?
            .map_err(|refusal| refused(path, refusal))?;
        Ok(Self { path: path.to_owned(), header, bytes })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.header.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor called `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.header.tensors.contains_key(name)
    }

    /// The sizes of the tensor called `name`, outermost first.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.header.tensors.get(name).map(|info| info.shape.as_slice())
    }

    /// The number format of the tensor called `name`.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.header.tensors.get(name).map(|info| info.dtype)
    }

    /// The short note `name` of the free text (`__metadata__`).
    pub fn note(&self, name: &str) -> Option<&str> {
        self.header.notes.get(name).map(String::as_str)
    }

    /// Bytes of the whole file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The values of the small tensor called `name`; `None` when there is none, or none of real numbers of at
    /// most `most` bytes.
    ///
    /// # Errors
    /// [`Error::Io`], also when the file has become shorter.
    pub fn small(&self, name: &str, most: usize) -> Result<Option<Vec<f32>>, Error> {
        let bytes = |(start, end): (usize, usize)| end - start;
        match self.header.tensors.get(name) {
            Some(info) if bytes(info.data_offsets) <= most => {
                Ok(self.read(&[name])?.first().and_then(|tensor| tensor.to_f32().ok()))
            }
            _ => Ok(None),
        }
    }

    /// The tensors of these names with their values. Whoever asks has seen to it that they are few.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], and [`Error::Io`], also when the file has become shorter.
    pub(crate) fn read(&self, names: &[&str]) -> Result<Vec<Tensor<'static>>, Error> {
        let io = |cause| Error::Io { path: self.path.clone(), cause };
        let mut file = File::open(&self.path).map_err(io)?;
        let tensor = |name: &&str| {
            let missing = || Error::MissingTensor { path: self.path.clone(), name: (*name).to_owned() };
            let info = self.header.tensors.get(*name).ok_or_else(missing)?;
            let (start, end) = info.data_offsets;
            let mut bytes = vec![0; end - start];
            let place = SeekFrom::Start((self.header.data_start + start) as u64);
            file.seek(place).and_then(|_| file.read_exact(&mut bytes)).map_err(io)?;
            let (dtype, shape) = (info.dtype, info.shape.clone());
            Ok(Tensor { name: (*name).to_owned(), dtype, shape, bytes: bytes.into() })
        };
        names.iter().map(tensor).collect()
    }
}

/// Opens a regular file that is not empty; with its size in bytes.
pub(crate) fn regular_file(path: &Path) -> Result<(File, u64), Error> {
    let io = |cause| Error::Io { path: path.to_owned(), cause };
    // Asked before opening: to open a pipe would wait for its writer.
    let metadata = fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    if metadata.len() == 0 {
        return Err(Error::Damaged { path: path.to_owned(), reason: "it is empty".to_owned() });
    }
    Ok((File::open(path).map_err(io)?, metadata.len()))
}

/// A refusal of the file at `path`.
pub(crate) fn refused(path: &Path, refusal: Refusal) -> Error {
    match refusal {
        Refusal::Unsafe(format) => {
            Error::UnsafeFormat { path: path.to_owned(), format, convert: CONVERT_MODEL }
        }
        Refusal::Damaged(reason) => Error::Damaged { path: path.to_owned(), reason },
        Refusal::Foreign(what) => Error::Foreign { path: path.to_owned(), what },
    }
}
