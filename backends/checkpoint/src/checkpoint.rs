// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A model on disk, however it is laid out.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::{
    Error, Family, TensorFile,
    diffusers::{Directory, Settings, TextEncoder, TokenizerFiles},
};

/// A model whose family is known. Its networks go by the names that diffusers gives them (`unet`, `vae`,
/// `text_encoder`, `text_encoder_2`), and so do the tensors in them, whatever its files call them.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    directory: Directory,
    family: Family,
}

impl Checkpoint {
    /// The model at `path`: a directory with a `model_index.json`.
    ///
    /// # Errors
    /// [`Error::UnknownFamily`] with what was seen; those of reading the files.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let directory = Directory::open(path)?;
        let family = directory.family()?;
        Ok(Self { directory, family })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The model's family, by what its networks are; names of files and directories say nothing.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The text encoders that the model has, in the order in which they are used.
    ///
    /// # Errors
    /// [`Error::UnknownFamily`] for an encoder of another kind than CLIP's, [`Error::Json`].
    pub fn text_encoders(&self) -> Result<Vec<TextEncoder>, Error> {
        self.directory.text_encoders()
    }

    /// The model's networks, in the order in which they are used.
    ///
    /// # Errors
    /// As [`text_encoders`](Self::text_encoders).
    pub fn components(&self) -> Result<Vec<&'static str>, Error> {
        let encoders = self.text_encoders()?;
        Ok(encoders.iter().map(|encoder| encoder.component).chain(["unet", "vae"]).collect())
    }

    /// What the model's pipeline does beside its networks.
    ///
    /// # Errors
    /// [`Error::Json`].
    pub fn settings(&self) -> Result<Settings, Error> {
        self.directory.settings()
    }

    /// The configuration of a network, in the words of diffusers' `config.json`.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::TooLarge`], [`Error::Json`] when it does not say what `C` needs.
    pub fn config<C: DeserializeOwned>(&self, component: &str) -> Result<C, Error> {
        self.directory.config(component)
    }

    /// The bytes of `scheduler_config.json`, not yet parsed: diffusers writes a bare `-Infinity` into some of
    /// them, which is no JSON.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::TooLarge`], [`Error::Io`].
    pub fn scheduler_config(&self) -> Result<Vec<u8>, Error> {
        self.directory.scheduler_config()
    }

    /// The files of the tokenizer called `component`, a [`TextEncoder::tokenizer`]; `None` when the model has none
    /// of its own.
    ///
    /// # Errors
    /// [`Error::Missing`] when there are files but no vocabulary that is known here, [`Error::TooLarge`],
    /// [`Error::Io`].
    pub fn tokenizer(&self, component: &str) -> Result<Option<TokenizerFiles>, Error> {
        self.directory.tokenizer(component)
    }

    /// The weights of a network.
    ///
    /// # Errors
    /// [`Error::UnsafeFormat`] when only pickles are there, [`Error::Missing`] when nothing is, and those of
    /// [`TensorFile::open`].
    pub fn weights(&self, component: &str) -> Result<TensorFile, Error> {
        self.directory.weights(component)
    }

    /// How many values the weights of a network are.
    ///
    /// # Errors
    /// As [`weights`](Self::weights).
    pub fn values(&self, component: &str) -> Result<u64, Error> {
        let file = self.weights(component)?;
        let tensors = file.names().filter_map(|name| file.tensor(name).ok());
        Ok(tensors.map(|tensor| tensor.shape.iter().map(|&side| side as u64).product::<u64>()).sum())
    }
}
