// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A model on disk, however it is laid out.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::{
    Error, Family, TensorSet,
    autoencoder::Autoencoder,
    catalog::Catalog,
    diffusers::{Directory, Settings, TextEncoder, TokenizerFiles},
    single::SingleFile,
};

/// A model whose family is known. Its networks go by the names that diffusers gives them (`unet`, `vae`,
/// `text_encoder`, `text_encoder_2`), and so do the tensors in them, whatever its files call them.
///
/// Nothing is mapped before [`weights`](Self::weights): everything else is known from headers and small files.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    source: Source,
    family: Family,
    /// Takes the place of the model's own.
    vae: Option<Autoencoder>,
}

#[derive(Clone, Debug)]
enum Source {
    Directory(Directory),
    SingleFile(SingleFile),
}

/// How a model's files are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A directory with `model_index.json` and one directory per network.
    Directory,
    /// One safetensors file with all networks.
    SingleFile,
}

/// A matrix or convolution of a network, as an adapter can change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The network: `unet`, `vae`, `text_encoder` or `text_encoder_2`.
    pub component: &'static str,
    /// Its path in the network by diffusers' names, such as
    /// `down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q`. In text encoders it begins with `text_model.`,
    /// but for their projection.
    pub module: String,
    /// The shape of its weight as the network uses it: `[output, input]` or `[output, input, height, width]`.
    pub shape: Vec<usize>,
}

impl Checkpoint {
    /// The model at `path`: a directory with a `model_index.json`, or a safetensors file whatever its name.
    ///
    /// # Errors
    /// [`Error::UnknownFamily`] with what was seen; those of reading the files.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        if path.is_file() {
            let file = SingleFile::open(path)?;
            return Ok(Self { family: file.family(), source: Source::SingleFile(file), vae: None });
        }
        let directory = Directory::open(path)?;
        let family = directory.family()?;
        Ok(Self { source: Source::Directory(directory), family, vae: None })
    }

    /// The same model with the autoencoder at `path` in the place of its own: a safetensors file in the spelling
    /// of the original releases or of diffusers, or a directory with a `config.json`.
    ///
    /// # Errors
    /// [`Error::UnknownFamily`] when it holds no autoencoder, and those of reading the files.
    pub fn with_vae(self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let vae = Some(Autoencoder::open(path.as_ref(), self.family)?);
        Ok(Self { vae, ..self })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        match &self.source {
            Source::Directory(directory) => directory.path(),
            Source::SingleFile(file) => file.path(),
        }
    }

    /// How the files are laid out.
    pub fn layout(&self) -> Layout {
        match &self.source {
            Source::Directory(_) => Layout::Directory,
            Source::SingleFile(_) => Layout::SingleFile,
        }
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
        match &self.source {
            Source::Directory(directory) => directory.text_encoders(),
            Source::SingleFile(file) => Ok(file.text_encoders()),
        }
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
        match &self.source {
            Source::Directory(directory) => directory.settings(),
            Source::SingleFile(file) => Ok(file.settings()),
        }
    }

    /// The configuration of a network, in the words of diffusers' `config.json`. That of a single file is worked
    /// out from its tensors.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::NoAutoencoder`], [`Error::TooLarge`], [`Error::Json`] when it does not say
    /// what `C` needs.
    pub fn config<C: DeserializeOwned>(&self, component: &str) -> Result<C, Error> {
        match (&self.source, &self.vae) {
            (_, Some(vae)) if component == "vae" => vae.config(),
            (Source::Directory(directory), _) => directory.config(component),
            (Source::SingleFile(file), _) => file.config(component),
        }
    }

    /// The file that the configuration of a network is read from or worked out from, for sentences about it.
    pub fn config_path(&self, component: &str) -> PathBuf {
        match (&self.source, &self.vae) {
            (_, Some(vae)) if component == "vae" => vae.config_path(),
            (Source::Directory(directory), _) => directory.path().join(component).join("config.json"),
            (Source::SingleFile(file), _) => file.path().to_owned(),
        }
    }

    /// The bytes of `scheduler_config.json`, not yet parsed: diffusers writes a bare `-Infinity` into some of
    /// them, which is no JSON. For a single file they say what the published models of its family say.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::TooLarge`], [`Error::Io`].
    pub fn scheduler_config(&self) -> Result<Vec<u8>, Error> {
        match &self.source {
            Source::Directory(directory) => directory.scheduler_config(),
            Source::SingleFile(file) => Ok(file.scheduler_config()),
        }
    }

    /// The files of the tokenizer called `component`, a [`TextEncoder::tokenizer`]; `None` when the model has none
    /// of its own.
    ///
    /// # Errors
    /// [`Error::Missing`] when there are files but no vocabulary that is known here, [`Error::TooLarge`],
    /// [`Error::Io`].
    pub fn tokenizer(&self, component: &str) -> Result<Option<TokenizerFiles>, Error> {
        match &self.source {
            Source::Directory(directory) => directory.tokenizer(component),
            Source::SingleFile(_) => Ok(None),
        }
    }

    /// Maps the weights of a network. To be called only in a process that may die of a file that shrinks.
    ///
    /// # Errors
    /// [`Error::UnsafeFormat`] when only pickles are there, [`Error::Missing`] or [`Error::NoAutoencoder`] when
    /// nothing is, and those of [`TensorFile::open`](crate::TensorFile::open).
    pub fn weights(&self, component: &str) -> Result<TensorSet, Error> {
        TensorSet::open(self.catalog(component)?)
    }

    /// How many values the weights of a network are.
    ///
    /// # Errors
    /// As [`weights`](Self::weights), which need not be mapped for it.
    pub fn values(&self, component: &str) -> Result<u64, Error> {
        Ok(self.catalog(component)?.values())
    }

    /// The matrices and convolutions of a network, by name.
    ///
    /// # Errors
    /// As [`weights`](Self::weights), which need not be mapped for it.
    pub fn layers(&self, component: &'static str) -> Result<Vec<Layer>, Error> {
        Ok(self.catalog(component)?.layers(component))
    }

    /// Where the tensors of a network are.
    pub(crate) fn catalog(&self, component: &str) -> Result<Catalog, Error> {
        match (&self.source, &self.vae) {
            (_, Some(vae)) if component == "vae" => vae.catalog(),
            (Source::Directory(directory), _) => directory.catalog(component),
            (Source::SingleFile(file), _) => file.catalog(component).cloned(),
        }
    }
}
