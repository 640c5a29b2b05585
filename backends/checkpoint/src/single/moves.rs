// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Taking the tensors of one network out of a file, module by module, each under the name that diffusers has for it.

use std::collections::BTreeSet;

use crate::{
    Error, Listing,
    catalog::{Catalog, Change, Entry},
    error::sentence,
};

/// The tensors of a file whose names begin alike, and what has been taken of them.
pub(crate) struct Moves<'a> {
    listing: &'a Listing,
    /// What all names of the network begin with, with the dot behind it; may be empty.
    prefix: String,
    catalog: Catalog,
    /// Their names in the file, without the prefix.
    taken: BTreeSet<String>,
}

impl<'a> Moves<'a> {
    /// The network in the file of `listing` whose tensors' names begin with `prefix`.
    pub(crate) fn new(listing: &'a Listing, prefix: impl Into<String>) -> Self {
        let catalog = Catalog { files: vec![listing.path().to_owned()], ..Catalog::default() };
        Self { listing, prefix: prefix.into(), catalog, taken: BTreeSet::new() }
    }

    /// Whether the network has the tensor `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.listing.contains(&self.full(name))
    }

    /// The sizes of the tensor `name`, which must have exactly as many as are asked for.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::UnknownFamily`].
    pub(crate) fn sides<const N: usize>(&self, name: &str) -> Result<[usize; N], Error> {
        let shape = self.listing.shape(&self.full(name)).ok_or_else(|| self.missing(name))?;
        let wrong = || self.unknown(format!("its tensor {:?} has the shape {shape:?}", self.full(name)));
        shape.try_into().map_err(|_| wrong())
    }

    /// The size of the tensor `name` along the dimension `axis`.
    ///
    /// # Errors
    /// As [`sides`](Self::sides).
    pub(crate) fn side(&self, name: &str, axis: usize) -> Result<usize, Error> {
        let shape = self.listing.shape(&self.full(name)).ok_or_else(|| self.missing(name))?;
        let wrong = || self.unknown(format!("its tensor {:?} has the shape {shape:?}", self.full(name)));
        shape.get(axis).copied().ok_or_else(wrong)
    }

    /// How many dimensions the tensor `name` has; 0 without it.
    pub(crate) fn rank(&self, name: &str) -> usize {
        self.listing.shape(&self.full(name)).map_or(0, <[usize]>::len)
    }

    /// One more than the highest number of a module in the list `list`, in whichever order they come.
    pub(crate) fn count(&self, list: &str) -> usize {
        let list = self.full(list);
        let number = |name: &str| name.strip_prefix(&list)?.split('.').next()?.parse::<usize>().ok();
        self.listing.names().filter_map(number).max().map_or(0, |last| last.saturating_add(1))
    }

    /// Takes the weight and the bias of the module `from` as those of `to`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub(crate) fn layer(&mut self, from: &str, to: &str) -> Result<(), Error> {
        self.weight(from, to)?;
        self.tensor(&format!("{from}.bias"), format!("{to}.bias"))
    }

    /// Takes the weight of a module that has no bias.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub(crate) fn weight(&mut self, from: &str, to: &str) -> Result<(), Error> {
        self.tensor(&format!("{from}.weight"), format!("{to}.weight"))
    }

    /// As [`layer`](Self::layer), of a matrix that the file may keep as a convolution of single pixels.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub(crate) fn matrix(&mut self, from: &str, to: &str) -> Result<(), Error> {
        self.layer(from, to)?;
        let weight = self.catalog.entries.get_mut(&format!("{to}.weight"));
        if let Some(Entry { shape, .. }) = weight
            && let [output, input, 1, 1] = shape[..]
        {
            *shape = vec![output, input];
        }
        Ok(())
    }

    /// Takes the tensor `from` as `to`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub(crate) fn tensor(&mut self, from: &str, to: String) -> Result<(), Error> {
        let entry = self.entry(from)?;
        self.catalog.entries.insert(to, entry);
        Ok(())
    }

    /// Takes the matrix `from` with rows and columns exchanged as `to`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::UnknownFamily`] for what is no matrix of whole bytes.
    pub(crate) fn transposed(&mut self, from: &str, to: String) -> Result<(), Error> {
        let [rows, columns] = self.sides(from)?;
        let entry = self.entry(from)?;
        if entry.dtype.bitsize() % 8 != 0 {
            return Err(Error::Dtype { name: self.full(from), dtype: entry.dtype });
        }
        let entry = Entry { shape: vec![columns, rows], change: Change::Transpose, ..entry };
        self.catalog.entries.insert(to, entry);
        Ok(())
    }

    /// Takes the tensor `from`, whose rows are those of several tensors one after the other, as all of `to`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::UnknownFamily`] when the rows cannot be shared out.
    pub(crate) fn split<const N: usize>(&mut self, from: &str, to: [String; N]) -> Result<(), Error> {
        let rows = self.side(from, 0)?;
        let entry = self.entry(from)?;
        // Without rows there is no data, so that nobody has checked what one of them would take.
        let mut sides = entry.stored.iter().skip(1);
        let row_bits = sides.try_fold(entry.dtype.bitsize(), |bits, &side| bits.checked_mul(side));
        if rows % N != 0 || row_bits.is_none_or(|bits| bits % 8 != 0) {
            let shape = &entry.stored;
            return Err(self.unknown(format!("its tensor {:?} has the shape {shape:?}", self.full(from))));
        }
        for (place, to) in to.into_iter().enumerate() {
            let mut shape = entry.stored.clone();
            shape[0] = rows / N;
            let change = Change::Rows(place * (rows / N));
            self.catalog.entries.insert(to, Entry { shape, change, ..entry.clone() });
        }
        Ok(())
    }

    /// What has been taken, when nothing of the network is left but what `ignored` says of.
    ///
    /// # Errors
    /// [`Error::UnknownFamily`] that names what would be left out.
    pub(crate) fn finish(self, ignored: impl Fn(&str) -> bool) -> Result<Catalog, Error> {
        let mut own = self.listing.names().filter_map(|name| name.strip_prefix(self.prefix.as_str()));
        let left = own.find(|name| !self.taken.contains(*name) && !ignored(name));
        match left {
            None => Ok(self.catalog),
            Some(name) => {
                Err(self.unknown(format!("it has a part that is not known here, {:?}", self.full(name))))
            }
        }
    }

    /// That the file is of no known family because of what was `seen`.
    pub(crate) fn unknown(&self, seen: String) -> Error {
        Error::UnknownFamily { path: self.listing.path().to_owned(), seen: sentence(seen) }
    }

    fn entry(&mut self, from: &str) -> Result<Entry, Error> {
        let entry = Entry::whole(self.listing, &self.full(from)).ok_or_else(|| self.missing(from))?;
        self.taken.insert(from.to_owned());
        Ok(entry)
    }

    fn missing(&self, name: &str) -> Error {
        Error::MissingTensor { path: self.listing.path().to_owned(), name: self.full(name) }
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}
