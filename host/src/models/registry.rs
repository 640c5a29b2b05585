// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What this daemon offers, and how a client's word for it is understood.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tracing::{info, warn};

use super::{EmbeddingEntry, LoraEntry, Model};
use crate::config;
use crate::error::{Error, Result};
use crate::prompts::NEEDS_PICTURE;

/// Model names of other services; each means the default model.
const ALIASES: &[&str] = &["gpt-image-", "dall-e-", "chatgpt-image-"];

/// The models, LoRAs and embeddings that this daemon offers. A refresh puts another list in the place of this
/// one; whoever holds an entry keeps it.
#[derive(Debug)]
pub struct Registry {
    shelf: RwLock<Arc<Shelf>>,
}

/// What there was when somebody last looked.
#[derive(Debug, Default)]
struct Shelf {
    models: Vec<Arc<Model>>,
    default: Option<Arc<Model>>,
    loras: Vec<Arc<LoraEntry>>,
    embeddings: Vec<Arc<EmbeddingEntry>>,
}

impl Registry {
    /// Looks for models in the configured directory and beside the program. What is no model is named in the
    /// log and listed nowhere.
    ///
    /// # Errors
    /// A `models.default_model` that is not there.
    pub fn discover(config: &config::Models) -> anyhow::Result<Self> {
        let mut models: Vec<Arc<Model>> = Vec::new();
        for directory in directories(config) {
            for path in candidates(&directory) {
                match Model::open(&path) {
                    Ok(model) if models.iter().any(|known| known.id == model.id) => {}
                    Ok(model) => models.push(Arc::new(model)),
                    Err(error) => {
                        warn!(path = %path.display(), "Passed over a directory that is no model: {error:#}")
                    }
                }
            }
        }
        info!(count = models.len(), "Models found: {}", models.len());
        let paints_from_text = models.iter().find(|model| !model.needs_picture);
        let mut shelf =
            Shelf { default: paints_from_text.or(models.first()).cloned(), models, ..Shelf::default() };
        if let Some(name) = &config.default_model {
            let Some(model) = shelf.named(name) else {
                anyhow::bail!("`models.default_model: {name}` is not among the models: {}", shelf.ids());
            };
            anyhow::ensure!(!model.needs_picture, "`models.default_model: {name}` {NEEDS_PICTURE}");
            shelf.default = Some(model);
        }
        for name in &config.pinned {
            let known = shelf.named(name).is_some();
            anyhow::ensure!(known, "`models.pinned: {name}` is not among the models: {}", shelf.ids());
        }
        Ok(Self { shelf: RwLock::new(Arc::new(shelf)) })
    }

    /// The model that a client means: an id, a bare name, an alias of another service, or nothing.
    ///
    /// # Errors
    /// [`Error::NoModel`] that lists what there is.
    pub fn find(&self, asked: Option<&str>) -> Result<Arc<Model>> {
        let shelf = self.shelf();
        let asked = asked.map(str::trim).filter(|asked| !asked.is_empty());
        let found = match asked {
            None => shelf.default.clone(),
            Some(name) => shelf.named(name).or_else(|| {
                ALIASES.iter().any(|alias| name.starts_with(alias)).then(|| shelf.default.clone()).flatten()
            }),
        };
        found.ok_or_else(|| Error::NoModel { asked: asked.unwrap_or("").to_owned(), available: shelf.ids() })
    }

    /// All models, in the order found.
    pub fn all(&self) -> Vec<Arc<Model>> {
        self.shelf().models.clone()
    }

    /// The model that an absent name means.
    pub fn default_model(&self) -> Option<Arc<Model>> {
        self.shelf().default.clone()
    }

    /// The LoRA that a client or a prompt means: an exact id, a name, or a part of just one name, in which case,
    /// blanks, `_` and `-` do not count.
    ///
    /// # Errors
    /// [`Error::Lora`] when there is none, and when several could be meant: it lists them.
    pub fn lora(&self, asked: &str) -> Result<Arc<LoraEntry>> {
        let shelf = self.shelf();
        let found = shelf.loras.iter().find(|lora| lora.id == asked || lora.name == asked);
        found
            .cloned()
            .ok_or_else(|| Error::Lora { asked: asked.to_owned(), problem: "does not exist".into() })
    }

    /// All LoRAs, by name.
    pub fn loras(&self) -> Vec<Arc<LoraEntry>> {
        self.shelf().loras.clone()
    }

    /// The embedding that a prompt calls by `word`; capitals do not count, as they do not for the text encoder.
    pub fn embedding(&self, word: &str) -> Option<Arc<EmbeddingEntry>> {
        let shelf = self.shelf();
        shelf.embeddings.iter().find(|embedding| embedding.name.eq_ignore_ascii_case(word)).cloned()
    }

    /// All embeddings, by name.
    pub fn embeddings(&self) -> Vec<Arc<EmbeddingEntry>> {
        self.shelf().embeddings.clone()
    }

    fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shelf {
    /// By exact id, else by the last part of the name: `sd/x`, `x` and `foo/x` are all `sd/x`.
    fn named(&self, name: &str) -> Option<Arc<Model>> {
        let bare = name.rsplit('/').next().unwrap_or(name);
        let exact = self.models.iter().find(|model| model.id == name);
        exact.or_else(|| self.models.iter().find(|model| model.name == bare)).cloned()
    }

    fn ids(&self) -> String {
        let ids: Vec<_> = self.models.iter().map(|model| model.id.as_str()).collect();
        if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
    }
}

/// Where models are looked for: the configured directory, then where the built-in one is installed or, when
/// the program runs out of a build directory, lies in the source tree.
fn directories(config: &config::Models) -> Vec<PathBuf> {
    let mut directories = vec![config.directory.clone()];
    if let Some(beside) = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned)) {
        directories.push(beside.join("../share/alice/models"));
        directories.push(beside.join("../../models"));
    }
    directories
}

/// The directories directly inside `directory` that claim to be models, by name.
fn candidates(directory: &Path) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            warn!(path = %directory.display(), %error, "Cannot read a model directory");
            return Vec::new();
        }
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.join("model_index.json").exists());
    paths.sort();
    paths
}
