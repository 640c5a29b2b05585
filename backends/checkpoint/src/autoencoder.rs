// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! An autoencoder that is put in the place of a model's own.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::{
    Error, Family, Listing,
    catalog::Catalog,
    diffusers,
    single::{self, Moves},
};

/// What the names of an autoencoder's tensors begin with in a file of its own, or of a whole model.
const PREFIXES: [&str; 3] = ["", "first_stage_model.", "vae."];

/// An autoencoder on its own.
#[derive(Clone, Debug)]
pub(crate) enum Autoencoder {
    /// A directory with a `config.json` beside the weights.
    Directory(diffusers::Network),
    /// One safetensors file.
    SingleFile {
        /// The file.
        path: PathBuf,
        /// What its tensors tell.
        network: single::Network,
    },
}

impl Autoencoder {
    /// The autoencoder at `path` for a model of `family`.
    ///
    /// # Errors
    /// [`Error::UnknownFamily`] when there is none, [`Error::Missing`] for a directory without configuration or
    /// weights, and those of [`Listing::open`].
    pub(crate) fn open(path: &Path, family: Family) -> Result<Self, Error> {
        if path.is_dir() {
            let network = diffusers::Network::new(path);
            network.config::<serde::de::IgnoredAny>()?;
            network.catalog()?;
            return Ok(Self::Directory(network));
        }
        let listing = Listing::open(path)?;
        let first = |prefix: &&&str| listing.contains(&format!("{prefix}encoder.conv_in.weight"));
        let Some(prefix) = PREFIXES.iter().find(first) else {
            let seen = "it holds no autoencoder (VAE) that is known here".to_owned();
            return Err(Error::UnknownFamily { path: path.to_owned(), seen });
        };
        let network = single::vae::read(Moves::new(&listing, *prefix), family)?;
        Ok(Self::SingleFile { path: path.to_owned(), network })
    }

    /// Its configuration.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::TooLarge`], [`Error::Json`] when it does not say what `C` needs.
    pub(crate) fn config<C: DeserializeOwned>(&self) -> Result<C, Error> {
        match self {
            Self::Directory(network) => network.config(),
            Self::SingleFile { path, network } => network.config(path),
        }
    }

    /// The file of which sentences about the configuration speak.
    pub(crate) fn config_path(&self) -> PathBuf {
        match self {
            Self::Directory(network) => network.config_path(),
            Self::SingleFile { path, .. } => path.clone(),
        }
    }

    /// Its tensors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn catalog(&self) -> Result<Catalog, Error> {
        match self {
            Self::Directory(network) => network.catalog(),
            Self::SingleFile { network, .. } => Ok(network.catalog.clone()),
        }
    }
}
