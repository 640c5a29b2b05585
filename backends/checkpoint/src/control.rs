// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Networks that let a picture guide a model: ControlNets and T2I-Adapters, each in a file or a directory of its own.
//!
//! A directory has a `config.json` and the weights in diffusers' layout. A file has the tensors in diffusers' names,
//! or in those of the first releases: lllyasviel's for ControlNets (under `control_model.`, or bare), TencentARC's
//! for T2I-Adapters (`body.N`). What it is, its tensors tell; its name says nothing. The daemon lists with
//! [`ControlFile::open`], and backends load with the same.

mod adapter;
mod fit;
mod net;

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

pub use self::fit::{Needs, Trunk};
use crate::{
    Error, Family, Listing, TensorSet,
    catalog::Catalog,
    diffusers,
    error::sentence,
    single::{self, Moves},
};

/// What a sentence calls what a file should have been.
const PURPOSE: &str = "a ControlNet or T2I-Adapter";
/// What the names of a ControlNet's tensors begin with in files in the spelling of the first release.
const CONTROL_MODEL: &str = "control_model.";

/// The two kinds of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlKind {
    /// A copy of the first half of the denoiser, which runs at every step beside it.
    ControlNet,
    /// Some convolutions, which run once for a picture.
    T2iAdapter,
}

impl ControlKind {
    /// The word for it in the plugin contract, where it is the family of a
    /// `LoadRequest`: `controlnet`, `t2i_adapter`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ControlNet => "controlnet",
            Self::T2iAdapter => "t2i_adapter",
        }
    }
}

impl fmt::Display for ControlKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ControlKind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let known = [Self::ControlNet, Self::T2iAdapter];
        let found = known.into_iter().find(|kind| kind.as_str() == word);
        found.ok_or_else(|| format!("{word:?} is neither `controlnet` nor `t2i_adapter`"))
    }
}

/// A ControlNet or T2I-Adapter on disk. Nothing is mapped before [`weights`](Self::weights).
#[derive(Clone, Debug)]
pub struct ControlFile {
    path: PathBuf,
    kind: ControlKind,
    base: Family,
    needs: Needs,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Directory(diffusers::Network),
    SingleFile(single::Network),
}

/// What of a configuration tells the kind and the base; the rest is the backend's to read.
#[derive(Deserialize)]
struct Class {
    #[serde(rename = "_class_name", default)]
    name: String,
}

impl ControlFile {
    /// The network at `path`: a directory with a `config.json`, or a safetensors file whatever its name.
    ///
    /// # Errors
    /// [`Error::Unusable`] for everything that is sound and something else, with what was seen; [`Error::Missing`]
    /// for a directory that lacks its configuration or its weights, [`Error::MissingTensor`],
    /// [`Error::UnsafeFormat`] for pickles, and those of reading the files.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let opened = if path.is_dir() { Self::directory(path) } else { Self::file(path) };
        opened.map_err(|error| error.meant_as(PURPOSE))
    }

    fn directory(path: &Path) -> Result<Self, Error> {
        let network = diffusers::Network::new(path);
        let Class { name } = network.config()?;
        let (kind, base, needs) = match name.as_str() {
            "ControlNetModel" => {
                let base = net::base(&network.config()?);
                (ControlKind::ControlNet, base, Needs::of_net(network.config()?))
            }
            "T2IAdapter" => {
                let base = adapter::base(&network.config()?);
                (ControlKind::T2iAdapter, base, Needs::of_adapter(&network.config()?))
            }
            other => {
                let reason = format!("its configuration is that of the class {:?}", sentence(other));
                return Err(unusable(path, reason));
            }
        };
        network.catalog()?;
        Ok(Self { path: path.to_owned(), kind, base, needs, source: Source::Directory(network) })
    }

    fn file(path: &Path) -> Result<Self, Error> {
        let listing = Listing::open(path)?;
        let has = |name: &str| listing.contains(name);
        let (kind, catalog) = if let Some(other) = another_kind(&listing) {
            return Err(unusable(path, other.to_owned()));
        } else if has("control_model.input_hint_block.0.weight") {
            (ControlKind::ControlNet, single::control::read(Moves::new(&listing, CONTROL_MODEL))?)
        } else if has("input_hint_block.0.weight") {
            (ControlKind::ControlNet, single::control::read(Moves::new(&listing, ""))?)
        } else if has("controlnet_cond_embedding.conv_in.weight") {
            (ControlKind::ControlNet, Catalog::all(&listing))
        } else if has("adapter.body.0.resnets.0.block1.weight") {
            (ControlKind::T2iAdapter, Catalog::all(&listing))
        } else if has("body.0.block1.weight") || has("body.0.body.0.block1.weight") {
            (ControlKind::T2iAdapter, adapter::read(Moves::new(&listing, ""))?)
        } else {
            let reason = "it holds neither, in any spelling that is known here".to_owned();
            return Err(unusable(path, reason));
        };
        let config = match kind {
            ControlKind::ControlNet => net::config(&catalog),
            ControlKind::T2iAdapter => adapter::config(&catalog),
        };
        let config = config.map_err(|wrong| match wrong {
            Wrong::Missing(name) => catalog.missing(&name),
            Wrong::Seen(reason) => unusable(path, sentence(reason)),
        })?;
        let network = single::Network { config, catalog };
        let (base, needs) = match kind {
            ControlKind::ControlNet => (net::base(&network.config), Needs::of_net(network.config(path)?)),
            ControlKind::T2iAdapter => {
                (adapter::base(&network.config), Needs::of_adapter(&network.config(path)?))
            }
        };
        Ok(Self { path: path.to_owned(), kind, base, needs, source: Source::SingleFile(network) })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is.
    pub fn kind(&self) -> ControlKind {
        self.kind
    }

    /// The family of the models that it was made for, by its build. T2I-Adapters for Stable Diffusion 1 and 2 are
    /// alike and count as those for the first. Whether it suits a certain model, [`needs`](Self::needs) tells.
    pub fn base(&self) -> Family {
        self.base
    }

    /// The sizes that a model must have to be guided by it.
    pub fn needs(&self) -> &Needs {
        &self.needs
    }

    /// Its configuration, in the words of diffusers' `ControlNetModel` or `T2IAdapter`. That of a single file is
    /// worked out from its tensors, which do not tell everything: `addition_time_embed_dim` is missing unless it is
    /// the published models' 256 (it is that of the base model), and `global_pool_conditions` is false.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::TooLarge`], [`Error::Json`] when it does not say what `C` needs.
    pub fn config<C: DeserializeOwned>(&self) -> Result<C, Error> {
        match &self.source {
            Source::Directory(network) => network.config(),
            Source::SingleFile(network) => network.config(&self.path),
        }
    }

    /// The file of which sentences about the configuration speak.
    pub fn config_path(&self) -> PathBuf {
        match &self.source {
            Source::Directory(network) => network.config_path(),
            Source::SingleFile(_) => self.path.clone(),
        }
    }

    /// Maps the weights, which go by diffusers' names. To be called only in a process that may die of a file that
    /// shrinks.
    ///
    /// # Errors
    /// As [`open`](Self::open), and those of [`TensorFile::open`](crate::TensorFile::open).
    pub fn weights(&self) -> Result<TensorSet, Error> {
        TensorSet::open(self.catalog()?)
    }

    /// How many values the weights are.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn values(&self) -> Result<u64, Error> {
        Ok(self.catalog()?.values())
    }

    fn catalog(&self) -> Result<Catalog, Error> {
        match &self.source {
            Source::Directory(network) => network.catalog(),
            Source::SingleFile(network) => Ok(network.catalog.clone()),
        }
    }
}

/// Why a configuration cannot be worked out.
enum Wrong {
    /// A tensor is not there.
    Missing(String),
    /// What is there does not fit.
    Seen(String),
}

/// Kinds of files that resemble a ControlNet's and cannot be run as one.
fn another_kind(listing: &Listing) -> Option<&'static str> {
    let any = |part: &str| listing.names().any(|name| name.contains(part));
    if listing.contains("lora_controlnet") {
        Some("it is a ControlNet made of low-rank changes (Control-LoRA), a format that is not read here")
    } else if listing.contains("difference") {
        Some("it holds only what differs from its base model")
    } else if any("task_embedding") || any("control_type_proj") {
        Some("it is a union of several ControlNets, a format that is not read here")
    } else if any("controlnet_blocks.") {
        Some("it is a ControlNet for models of another build than Stable Diffusion's")
    } else {
        None
    }
}

fn unusable(path: &Path, reason: String) -> Error {
    Error::Unusable { path: path.to_owned(), purpose: PURPOSE, reason }
}

/// The sizes of the tensor `name`, which must have exactly as many as are asked for.
fn sides<const N: usize>(catalog: &Catalog, name: &str) -> Result<[usize; N], Wrong> {
    let entry = catalog.entries.get(name).ok_or_else(|| Wrong::Missing(name.to_owned()))?;
    let shape = &entry.shape;
    let wrong = || Wrong::Seen(format!("its tensor {:?} has the shape {shape:?}", entry.source));
    shape.as_slice().try_into().map_err(|_| wrong())
}

/// How many there are of the tensors that `name` makes of 0, 1 and so on, without a gap.
fn count(catalog: &Catalog, name: impl Fn(usize) -> String) -> usize {
    (0..).take_while(|&number| catalog.entries.contains_key(&name(number))).count()
}

/// A whole number of a configuration.
fn number(config: &Value, key: &str) -> Option<usize> {
    config.get(key)?.as_u64().and_then(|number| usize::try_from(number).ok())
}

#[cfg(test)]
mod tests;
