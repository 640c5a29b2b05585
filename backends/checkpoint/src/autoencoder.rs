// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! An autoencoder that is put in the place of a model's own.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::{Error, Family, catalog::Catalog, diffusers::Network};

/// An autoencoder on its own.
#[derive(Clone, Debug)]
pub(crate) enum Autoencoder {
    /// A directory with a `config.json` beside the weights.
    Directory(Network),
}

impl Autoencoder {
    /// The autoencoder at `path` for a model of `family`.
    pub(crate) fn open(path: &Path, _family: Family) -> Result<Self, Error> {
        Ok(Self::Directory(Network::new(path)))
    }

    pub(crate) fn config<C: DeserializeOwned>(&self) -> Result<C, Error> {
        let Self::Directory(network) = self;
        network.config()
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        let Self::Directory(network) = self;
        network.config_path()
    }

    pub(crate) fn catalog(&self) -> Result<Catalog, Error> {
        let Self::Directory(network) = self;
        network.catalog()
    }
}
