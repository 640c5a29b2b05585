// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A model in one safetensors file.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::{
    Error, Family, Listing,
    catalog::Catalog,
    diffusers::{Settings, TextEncoder},
};

/// A model in one safetensors file, which tells its family by its tensors.
#[derive(Clone, Debug)]
pub(crate) struct SingleFile {
    listing: Listing,
}

impl SingleFile {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Listing::open(path)?;
        Err(Error::UnknownFamily { path: path.to_owned(), seen: "it is a single file".to_owned() })
    }

    pub(crate) fn path(&self) -> &Path {
        self.listing.path()
    }

    pub(crate) fn family(&self) -> Family {
        Family::Sd1
    }

    pub(crate) fn text_encoders(&self) -> Vec<TextEncoder> {
        Vec::new()
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings { force_zeros_for_empty_prompt: false }
    }

    pub(crate) fn config<C: DeserializeOwned>(&self, _component: &str) -> Result<C, Error> {
        Err(Error::NoAutoencoder { path: self.path().to_owned() })
    }

    pub(crate) fn scheduler_config(&self) -> Vec<u8> {
        Vec::new()
    }

    pub(crate) fn catalog(&self, _component: &str) -> Result<&Catalog, Error> {
        Err(Error::NoAutoencoder { path: self.path().to_owned() })
    }
}
