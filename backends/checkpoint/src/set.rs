// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The weights of one network as its modules ask for them, wherever they are.

use std::{borrow::Cow, fmt::Display, path::Path};

use crate::{
    Error, Tensor, TensorFile,
    catalog::{Catalog, Change, Entry},
};

/// The tensors of one network under diffusers' names, out of one or several mapped files. What [`TensorFile`]
/// says of files that change holds here.
#[derive(Debug)]
pub struct TensorSet {
    files: Vec<TensorFile>,
    catalog: Catalog,
}

impl TensorSet {
    /// Maps the files of `catalog`, which must still be what they were when it was made.
    pub(crate) fn open(catalog: Catalog) -> Result<Self, Error> {
        let files: Vec<_> =
            catalog.files.iter().map(|path| TensorFile::open(path)).collect::<Result<_, _>>()?;
        for entry in catalog.entries.values() {
            let file = &files[entry.file];
            if file.described(&entry.source) != Some((entry.dtype, &entry.stored)) {
                let reason = format!("its tensor {:?} has changed since it was first read", entry.source);
                return Err(Error::Damaged { path: file.path().to_owned(), reason });
            }
        }
        Ok(Self { files, catalog })
    }

    /// All tensors of one file, under the names that they have there.
    ///
    /// # Errors
    /// As [`TensorFile::open`].
    pub fn of_file(path: &Path) -> Result<Self, Error> {
        Self::open(Catalog::all(&crate::Listing::open(path)?))
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>, Error> {
        let entry = self.catalog.entries.get(name).ok_or_else(|| self.catalog.missing(name))?;
        let stored = self.files[entry.file].tensor(&entry.source)?;
        let bytes = match entry.change {
            Change::None => stored.bytes,
            Change::Rows(first) => rows(stored.bytes, entry, first),
            Change::Transpose => transposed(&stored.bytes, &entry.stored).into(),
        };
        Ok(Tensor { name: name.to_owned(), dtype: entry.dtype, shape: entry.shape.clone(), bytes })
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.catalog.entries.keys().map(String::as_str)
    }

    /// Whether there is a tensor called `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.catalog.entries.contains_key(name)
    }

    /// The files that the tensors are in.
    pub fn files(&self) -> &[TensorFile] {
        &self.files
    }

    /// The file that a sentence about the tensor `name` speaks of: the one that it is in, or the first.
    fn path_of(&self, name: &str) -> &Path {
        let file = self.catalog.entries.get(name).map_or(0, |entry| entry.file);
        self.files.get(file).map_or(Path::new(""), TensorFile::path)
    }
}

/// The bytes of the rows from `first` on, as many as the entry's shape says.
fn rows<'a>(stored: Cow<'a, [u8]>, entry: &Entry, first: usize) -> Cow<'a, [u8]> {
    let row = stored.len() / entry.stored[0].max(1);
    let range = first * row..(first + entry.shape[0]) * row;
    match stored {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[range]),
        Cow::Owned(bytes) => Cow::Owned(bytes[range].to_vec()),
    }
}

/// A matrix of the shape `stored` with rows and columns exchanged.
fn transposed(bytes: &[u8], stored: &[usize]) -> Vec<u8> {
    if bytes.is_empty() {
        // A matrix without rows may claim any number of columns.
        return Vec::new();
    }
    let (rows, columns) = (stored[0], stored[1]);
    let size = bytes.len() / (rows * columns);
    let mut turned = Vec::with_capacity(bytes.len());
    for column in 0..columns {
        for row in 0..rows {
            turned.extend_from_slice(&bytes[(row * columns + column) * size..][..size]);
        }
    }
    turned
}

/// A place in a network: its weights with the beginning of the tensors' names, as the modules nest.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    set: &'a TensorSet,
    /// Empty, or ends in a dot.
    prefix: String,
}

impl<'a> Scope<'a> {
    /// The whole network.
    pub fn root(set: &'a TensorSet) -> Scope<'a> {
        Scope { set, prefix: String::new() }
    }

    /// The module called `part` (a name or a number) within this one.
    pub fn at(&self, part: impl Display) -> Scope<'a> {
        Scope { set: self.set, prefix: format!("{}{part}.", self.prefix) }
    }

    /// This module's path in the network, with dots; empty for the whole of it.
    pub fn module(&self) -> &str {
        self.prefix.strip_suffix('.').unwrap_or(&self.prefix)
    }

    /// This module's tensor `name`, which must have exactly the shape `shape`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Shape`].
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor<'a>, Error> {
        let tensor = self.set.tensor(&self.full_name(name))?;
        if tensor.shape != shape {
            return Err(Error::Shape {
                path: self.set.path_of(&tensor.name).to_owned(),
                name: tensor.name,
                found: tensor.shape,
                expected: shape.to_vec(),
            });
        }
        Ok(tensor)
    }

    /// Whether this module has a tensor `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.set.contains(&self.full_name(name))
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

#[cfg(test)]
mod tests;
