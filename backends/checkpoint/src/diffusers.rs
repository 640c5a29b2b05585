// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A model in the layout of the diffusers library: `model_index.json`, and a directory for each network with
//! its `config.json` and its weights.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};

use self::index::Index;
pub use self::index::{Settings, TextEncoder};
use crate::{Error, Family, catalog::Catalog, error::sentence};

mod files;
mod index;

/// Configurations have a few KiB.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// The largest tokenizers in use (Qwen's) have 11 MB.
const MAX_TOKENIZER_BYTES: u64 = 32 << 20;

/// A model directory whose `model_index.json` names a pipeline that is known here.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

/// The directory of one network: its `config.json` and its weights.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    path: PathBuf,
}

/// The files of one tokenizer, unread: what they mean is the tokenizer's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizerFiles {
    /// The words and how they are joined.
    pub vocabulary: Vocabulary,
    /// `tokenizer_config.json`: length, special tokens.
    pub config: Option<Vec<u8>>,
    /// `special_tokens_map.json`.
    pub special_tokens: Option<Vec<u8>>,
}

/// The two ways in which directories keep a vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// `vocab.json` and `merges.txt`; preferred when a directory has both ways.
    Merges {
        /// `vocab.json`: token to id.
        vocab: Vec<u8>,
        /// `merges.txt`: the pairs to join, the first first.
        merges: Vec<u8>,
    },
    /// `tokenizer.json`: everything in one file.
    Tokenizer(Vec<u8>),
}

/// What of the UNet's configuration tells the family.
#[derive(Deserialize)]
struct UNet {
    #[serde(rename = "_class_name", default)]
    class_name: String,
    addition_embed_type: Option<String>,
    class_embed_type: Option<String>,
    encoder_hid_dim_type: Option<String>,
    cross_attention_dim: Widths,
    in_channels: usize,
}

/// A number, such as the width of one token of the prompt, said once or for each level.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a whole number or a list with one for each level")]
pub(crate) enum Widths {
    Same(usize),
    Each(Vec<usize>),
}

/// What of the UNet's tensors tells the family.
struct UNetTensors {
    /// Width of the tokens that the first attention to the prompt takes; none without one.
    context: Option<usize>,
    /// Whether transformers are entered through a matrix; a convolution otherwise.
    linear_projections: bool,
}

impl Network {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The configuration.
    ///
    /// # Errors
    /// As [`Directory::config`].
    pub(crate) fn config<C: DeserializeOwned>(&self) -> Result<C, Error> {
        json(&self.path, Path::new("config.json"))
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.path.join("config.json")
    }

    /// The tensors, at half precision if there are no others.
    ///
    /// # Errors
    /// As [`Directory::catalog`].
    pub(crate) fn catalog(&self) -> Result<Catalog, Error> {
        files::catalog(&self.path)
    }
}

impl Directory {
    /// The model directory at `path`.
    ///
    /// # Errors
    /// [`Error::Missing`] without a `model_index.json`, [`Error::UnknownFamily`] for another pipeline.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let directory = Self { path: path.as_ref().to_owned() };
        let index = directory.index()?;
        match index.is_known() {
            true => Ok(directory),
            false => Err(directory.unknown(format!("its pipeline is {:?}", index.class_name))),
        }
    }

    /// The directory's path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text encoders that the model has, in the order in which they are used.
    ///
    /// # Errors
    /// [`Error::UnknownFamily`] for an encoder of another kind than CLIP's, [`Error::Json`].
    pub fn text_encoders(&self) -> Result<Vec<TextEncoder>, Error> {
        let index = self.index()?;
        index.text_encoders().map_err(|class| self.unknown(format!("its text encoder is {class:?}")))
    }

    /// What the model's pipeline does beside its networks.
    ///
    /// # Errors
    /// [`Error::Json`].
    pub fn settings(&self) -> Result<Settings, Error> {
        Ok(self.index()?.settings())
    }

    /// The configuration of a network (`unet`, `vae`, `text_encoder`), from its `config.json`.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::TooLarge`], [`Error::Json`] when it does not say what `C` needs.
    pub fn config<C: DeserializeOwned>(&self, component: &str) -> Result<C, Error> {
        json(&self.path, &Path::new(component).join("config.json"))
    }

    /// The bytes of `scheduler/scheduler_config.json`, not yet parsed: diffusers writes a bare `-Infinity`
    /// into some of them, which is no JSON.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::TooLarge`], [`Error::Io`].
    pub fn scheduler_config(&self) -> Result<Vec<u8>, Error> {
        read(&self.path, Path::new("scheduler/scheduler_config.json"))
    }

    /// The tensors of a network, at half precision if there are no others; those of a text encoder always with
    /// the module around them that newer files leave out.
    ///
    /// # Errors
    /// [`Error::UnsafeFormat`] when only pickles are there, [`Error::Missing`] when nothing is or a shard is not,
    /// and those of [`Listing::open`](crate::Listing::open).
    pub(crate) fn catalog(&self, component: &str) -> Result<Catalog, Error> {
        let mut catalog = Network::new(self.path.join(component)).catalog()?;
        let is_bare = catalog.entries.contains_key("final_layer_norm.weight");
        if component.starts_with("text_encoder") && is_bare {
            let entries = std::mem::take(&mut catalog.entries).into_iter();
            catalog.entries = entries.map(|(name, entry)| (within_text_model(name), entry)).collect();
        }
        Ok(catalog)
    }

    /// The files of the tokenizer in the directory `component`, a [`TextEncoder::tokenizer`]; `None` when there
    /// is no such directory, or nothing in it.
    ///
    /// # Errors
    /// [`Error::Missing`] when there are files but no vocabulary that is known here, [`Error::TooLarge`], [`Error::Io`].
    pub fn tokenizer(&self, component: &str) -> Result<Option<TokenizerFiles>, Error> {
        let directory = self.path.join(component);
        let is_empty = fs::read_dir(&directory).map_or(true, |mut entries| entries.next().is_none());
        if is_empty {
            return Ok(None);
        }
        let read = |name: &str| read_if_there(&directory.join(name), MAX_TOKENIZER_BYTES);
        let vocabulary = match (read("vocab.json")?, read("merges.txt")?) {
            (Some(vocab), Some(merges)) => Some(Vocabulary::Merges { vocab, merges }),
            _ => read("tokenizer.json")?.map(Vocabulary::Tokenizer),
        };
        let (config, special_tokens) = (read("tokenizer_config.json")?, read("special_tokens_map.json")?);
        let what = || "`vocab.json` with `merges.txt`, nor a `tokenizer.json`".to_owned();
        let vocabulary = vocabulary.ok_or_else(|| Error::Missing { path: directory, what: what() })?;
        Ok(Some(TokenizerFiles { vocabulary, config, special_tokens }))
    }

    /// The model's family, by what its networks are; names of files and directories say nothing.
    ///
    /// # Errors
    /// [`Error::UnknownFamily`] with what was seen; those of reading the UNet's files.
    pub fn family(&self) -> Result<Family, Error> {
        let index = self.index()?;
        let unet: UNet = self.config("unet")?;
        if unet.class_name != "UNet2DConditionModel" {
            return Err(self.unknown(format!("its denoiser is {:?}", unet.class_name)));
        }
        if let Some(kind) = unet.class_embed_type.as_ref().or(unet.encoder_hid_dim_type.as_ref()) {
            return Err(self.unknown(format!("its UNet wants added conditioning of the kind {kind:?}")));
        }
        match (unet.addition_embed_type.as_deref(), index.is_xl()) {
            (Some("text_time"), true) | (None, false) => {}
            (kind, _) => {
                let (kind, class) = (kind.unwrap_or("none"), &index.class_name);
                return Err(self.unknown(format!(
                    "its UNet wants added conditioning of the kind {kind:?}, its pipeline is {class:?}"
                )));
            }
        }
        let tensors = self.unet_tensors(&unet)?;
        let encoders: Vec<&str> = self.text_encoders()?.iter().map(|encoder| encoder.component).collect();
        match (&encoders[..], index.is_xl()) {
            (["text_encoder"], false) => Ok(Family::by_prompt(tensors.context, tensors.linear_projections)),
            (["text_encoder", "text_encoder_2"], true) => Ok(Family::Sdxl),
            (["text_encoder_2"], true) => Ok(Family::SdxlRefiner),
            _ => {
                let class = &index.class_name;
                Err(self.unknown(format!("its pipeline is {class:?}, its text encoders are {encoders:?}")))
            }
        }
    }

    /// The UNet's tensors, which must tell the same story as its configuration.
    fn unet_tensors(&self, unet: &UNet) -> Result<UNetTensors, Error> {
        let weights = self.catalog("unet")?;
        let input = weights.shape("conv_in.weight")?;
        if input.get(1) != Some(&unet.in_channels) {
            return Err(self.unknown(format!(
                "its UNet's first convolution has the shape {input:?}, the configuration says {} channels",
                unet.in_channels
            )));
        }
        let mut found = UNetTensors { context: None, linear_projections: false };
        for (name, entry) in &weights.entries {
            let added = name.starts_with("add_embedding.") && unet.addition_embed_type.is_none();
            if added || name.starts_with("class_embedding.") {
                return Err(self.unknown(format!("its UNet has added conditioning, {name:?}")));
            }
            if name.ends_with(".proj_in.weight") {
                found.linear_projections |= entry.shape.len() == 2;
            }
            if name.ends_with(".attn2.to_k.weight") {
                let width = entry.shape.get(1).copied();
                if !width.is_some_and(|width| unet.cross_attention_dim.contains(width)) {
                    return Err(self.unknown(format!(
                        "{name:?} takes {width:?} values a token, the configuration says another width"
                    )));
                }
                found.context = found.context.or(width);
            }
        }
        Ok(found)
    }

    fn index(&self) -> Result<Index, Error> {
        json(&self.path, Path::new("model_index.json"))
    }

    fn unknown(&self, seen: String) -> Error {
        Error::UnknownFamily { path: self.path.clone(), seen: sentence(seen) }
    }
}

impl Widths {
    /// That of a level; none where there are fewer.
    pub(crate) fn of(&self, level: usize) -> Option<usize> {
        match self {
            Self::Same(same) => Some(*same),
            Self::Each(each) => each.get(level).copied(),
        }
    }

    fn contains(&self, width: usize) -> bool {
        match self {
            Self::Same(same) => *same == width,
            Self::Each(each) => each.contains(&width),
        }
    }
}

/// The name of a text encoder's tensor as files from before transformers 5 have it.
fn within_text_model(name: String) -> String {
    match name.starts_with("text_projection") {
        true => name,
        false => format!("text_model.{name}"),
    }
}

/// The JSON file `name` in `directory`.
fn json<C: DeserializeOwned>(directory: &Path, name: &Path) -> Result<C, Error> {
    let parsed = serde_json::from_slice(&read(directory, name)?);
    parsed.map_err(|cause| Error::Json { path: directory.join(name), cause })
}

/// The bytes of a small file that must be in `directory`.
fn read(directory: &Path, name: &Path) -> Result<Vec<u8>, Error> {
    let bytes = read_if_there(&directory.join(name), MAX_CONFIG_BYTES)?;
    let what = format!("`{}`", name.display());
    bytes.ok_or_else(|| Error::Missing { path: directory.to_owned(), what })
}

/// A file's content, `None` if there is no such file.
fn read_if_there(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let io = |cause| Error::Io { path: path.to_owned(), cause };
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io)?,
    };
    if !metadata.is_file() {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    // One byte more than allowed is read, so that a file that grows meanwhile is noticed too.
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(Error::TooLarge { path: path.to_owned(), bytes: metadata.len(), limit });
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests;
