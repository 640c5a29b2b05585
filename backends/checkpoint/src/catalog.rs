// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Where the tensors of one network are: under diffusers' names, in one or several files, each as it stands in
//! its file or as a part or another arrangement of what stands there. Known from headers alone.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use safetensors::Dtype;

use crate::{Error, Layer, Listing};

/// The tensors of one network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog {
    /// The files, of which [`Entry::file`] is the place.
    pub(crate) files: Vec<PathBuf>,
    /// By the names that diffusers gives them.
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// One tensor of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Place of its file among those of the catalog.
    pub(crate) file: usize,
    /// Its name in the file.
    pub(crate) source: String,
    /// Its number format.
    pub(crate) dtype: Dtype,
    /// Its shape in the file.
    pub(crate) stored: Vec<usize>,
    /// Its shape as the network uses it.
    pub(crate) shape: Vec<usize>,
    /// What becomes of the stored values.
    pub(crate) change: Change,
}

/// From what a file stores to what a network uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The values in their order; the shape may be another one of as many values.
    None,
    /// Some of the outermost rows, from this one on.
    Rows(usize),
    /// A matrix with rows and columns exchanged.
    Transpose,
}

impl Catalog {
    /// Everything in the file of `listing`, under the file's own names.
    pub(crate) fn all(listing: &Listing) -> Self {
        let names = listing.names().map(str::to_owned).collect::<Vec<_>>();
        let entries =
            names.into_iter().filter_map(|name| Some((name.clone(), Entry::whole(listing, &name)?)));
        Self { files: vec![listing.path().to_owned()], entries: entries.collect() }
    }

    /// The shape of the tensor `name` as the network uses it.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub(crate) fn shape(&self, name: &str) -> Result<&[usize], Error> {
        let entry = self.entries.get(name).map(|entry| entry.shape.as_slice());
        entry.ok_or_else(|| self.missing(name))
    }

    /// How many values all tensors have together.
    pub(crate) fn values(&self) -> u64 {
        let values = |entry: &Entry| entry.shape.iter().map(|&side| side as u64).product::<u64>();
        self.entries.values().map(values).sum()
    }

    /// The layers of `component`, whose tensors these are.
    pub(crate) fn layers(&self, component: &'static str) -> Vec<Layer> {
        let layer = |(name, entry): (&String, &Entry)| {
            let module =
                name.strip_suffix(".weight").filter(|_| matches!(entry.shape.len(), 2 | 4))?.to_owned();
            Some(Layer { component, module, shape: entry.shape.clone() })
        };
        self.entries.iter().filter_map(layer).collect()
    }

    pub(crate) fn missing(&self, name: &str) -> Error {
        let path = self.files.first().map_or_else(PathBuf::new, |path| Path::to_owned(path));
        Error::MissingTensor { path, name: name.to_owned() }
    }
}

impl Entry {
    /// The tensor `name` of the first file, as it stands there; `None` when it is not there.
    pub(crate) fn whole(listing: &Listing, name: &str) -> Option<Self> {
        let stored = listing.shape(name)?.to_vec();
        Some(Self {
            file: 0,
            source: name.to_owned(),
            dtype: listing.dtype(name)?,
            shape: stored.clone(),
            stored,
            change: Change::None,
        })
    }
}
