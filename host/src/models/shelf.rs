// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What there was when somebody last looked, and which of it a client's word means.

use std::path::PathBuf;
use std::sync::Arc;

use super::{EmbeddingEntry, LoraEntry, Model};
use crate::error::{Error, Result};

/// Model names of other services; each means the default model.
const ALIASES: &[&str] = &["gpt-image-", "dall-e-", "chatgpt-image-"];
/// Names that an error lists.
const MAX_LISTED: usize = 20;

/// The lists.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    /// The directory of the configuration first, each by path.
    pub(super) models: Vec<Arc<Model>>,
    /// What an absent name means.
    pub(super) default: Option<Arc<Model>>,
    /// By path.
    pub(super) loras: Vec<Arc<LoraEntry>>,
    /// By path.
    pub(super) embeddings: Vec<Arc<EmbeddingEntry>>,
    /// What is none of these, though its name says so.
    pub(super) refused: Vec<Refused>,
}

/// A file or directory that is not offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Where it is.
    pub(super) path: PathBuf,
    /// The same inside the directory of models.
    pub(super) relative: String,
    /// Why, for the log.
    pub(super) reason: String,
    /// Why, for clients, who need not know where the models are.
    pub(super) told: String,
    /// Its format can carry a program.
    pub(super) is_unsafe: bool,
}

impl Shelf {
    /// The model that a client means: an id, a bare name, an alias of another service, or nothing.
    pub(super) fn find(&self, asked: Option<&str>) -> Result<Arc<Model>> {
        let asked = asked.map(str::trim).filter(|asked| !asked.is_empty());
        let Some(name) = asked else {
            return self.default.clone().ok_or_else(|| self.no_model(""));
        };
        if let Some(model) = self.named(name)? {
            return Ok(model);
        }
        let default = self.default.as_ref().filter(|_| ALIASES.iter().any(|alias| name.starts_with(alias)));
        default.cloned().ok_or_else(|| self.refused(name).unwrap_or_else(|| self.no_model(name)))
    }

    /// The model with exactly this id or name.
    pub(super) fn exactly(&self, name: &str) -> Option<&Arc<Model>> {
        let by_id = self.models.iter().find(|model| model.id == name);
        by_id.or_else(|| self.models.iter().find(|model| model.name == name))
    }

    /// By id or name, else by the last part of the name: `sd/x`, `x` and `foo/x` are all `sd/x`; else by what only
    /// one model is called.
    pub(super) fn named(&self, name: &str) -> Result<Option<Arc<Model>>> {
        let bare = name.rsplit('/').next().unwrap_or(name);
        if let Some(model) = self.exactly(name).or_else(|| self.exactly(bare)) {
            return Ok(Some(Arc::clone(model)));
        }
        let called: Vec<_> = self.models.iter().filter(|model| model.may_be_called(bare)).collect();
        match called.as_slice() {
            [] => Ok(None),
            [model] => Ok(Some(Arc::clone(model))),
            several => {
                let ids = listed(several.iter().map(|model| model.id.as_str()));
                Err(Error::invalid("model", format!("could be any of {ids}; write one of these")))
            }
        }
    }

    /// The LoRA that a client or a prompt means.
    pub(super) fn lora(&self, asked: &str) -> Result<Arc<LoraEntry>> {
        let asked = asked.trim();
        let wrong = |problem| Error::Lora { asked: asked.to_owned(), problem };
        let bare = asked.strip_prefix("lora/").unwrap_or(asked);
        let exact = self.loras.iter().find(|lora| lora.id == asked || lora.name == asked);
        if let Some(lora) = exact.or_else(|| self.loras.iter().find(|lora| lora.name == bare)) {
            return Ok(Arc::clone(lora));
        }
        let needle = folded(bare);
        let like = |lora: &&Arc<LoraEntry>| !needle.is_empty() && folded(&lora.name).contains(&needle);
        let mut meant: Vec<_> = self.loras.iter().filter(like).collect();
        if let [lora] = *meant.iter().filter(|lora| folded(&lora.name) == needle).collect::<Vec<_>>() {
            meant = vec![lora];
        }
        match meant.as_slice() {
            [lora] => Ok(Arc::clone(lora)),
            [] => Err(self.refused(bare).unwrap_or_else(|| {
                let names = listed(self.loras.iter().map(|lora| lora.name.as_str()));
                wrong(format!("does not exist; available: {names}"))
            })),
            several => {
                let ids = listed(several.iter().map(|lora| lora.id.as_str()));
                Err(wrong(format!("could be any of {ids}; write one of these")))
            }
        }
    }

    /// The LoRA with exactly this id or name.
    pub(super) fn exactly_lora(&self, name: &str) -> Option<&Arc<LoraEntry>> {
        let by_id = self.loras.iter().find(|lora| lora.id == name);
        by_id.or_else(|| self.loras.iter().find(|lora| lora.name == name))
    }

    /// The embedding that a prompt calls by `word`; capitals do not count, as they do not for the text encoder.
    pub(super) fn embedding(&self, word: &str) -> Option<Arc<EmbeddingEntry>> {
        let exact = self.embeddings.iter().find(|embedding| embedding.name == word);
        let alike = || {
            let word = word.to_lowercase();
            self.embeddings.iter().find(|embedding| embedding.name.to_lowercase() == word)
        };
        exact.or_else(alike).cloned()
    }

    /// Why `name` is not offered, if there is such a file.
    fn refused(&self, name: &str) -> Option<Error> {
        let name = name.strip_prefix("sd/").unwrap_or(name);
        let refused = self.refused.iter().find(|refused| refused.is_called(name))?;
        Some(Error::Refused {
            asked: name.to_owned(),
            problem: refused.told.clone(),
            is_unsafe: refused.is_unsafe,
        })
    }

    fn no_model(&self, asked: &str) -> Error {
        Error::NoModel { asked: asked.to_owned(), available: self.ids() }
    }

    /// The ids of all models, in words.
    pub(super) fn ids(&self) -> String {
        listed(self.models.iter().map(|model| model.id.as_str()))
    }
}

impl Refused {
    /// Whether a client that asks for `name` may mean it: the path, with or without its ending, or the name alone.
    fn is_called(&self, name: &str) -> bool {
        let stem = |path: &str| path.rsplit_once('.').map_or(path.to_owned(), |(stem, _)| stem.to_owned());
        let last = self.relative.rsplit('/').next().unwrap_or(&self.relative);
        [self.relative.as_str(), last].into_iter().any(|path| path == name || stem(path) == name)
    }
}

/// A name without what people write in different ways.
fn folded(name: &str) -> String {
    let counts = |sign: &char| !matches!(sign, '_' | '-') && !sign.is_whitespace();
    name.to_lowercase().chars().filter(counts).collect()
}

/// Names in one sentence: the first ones, and how many there are beside them.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    match names.len() {
        0 => "none".to_owned(),
        count if count > MAX_LISTED => {
            format!("{} and {} more", names[..MAX_LISTED].join(", "), count - MAX_LISTED)
        }
        _ => names.join(", "),
    }
}
