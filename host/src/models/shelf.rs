// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What there was when somebody last looked, and which of it a client's word means.

use std::path::PathBuf;
use std::sync::Arc;

use super::entry::Entry;
use super::{ControlEntry, EmbeddingEntry, LoraEntry, Model, UpscalerEntry, names};
use crate::error::{Error, Result};

/// Model names of other services; each means the default model.
const ALIASES: &[&str] = &["gpt-image-", "dall-e-", "chatgpt-image-"];
/// Names that an error lists.
const MAX_LISTED: usize = 20;

/// The lists.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    /// Those in the directory of the configuration first, each by name.
    pub(super) models: Vec<Arc<Model>>,
    /// What an absent name means.
    pub(super) default: Option<Arc<Model>>,
    /// By name.
    pub(super) loras: Vec<Arc<LoraEntry>>,
    /// By name.
    pub(super) embeddings: Vec<Arc<EmbeddingEntry>>,
    /// ControlNets and T2I-Adapters, by name.
    pub(super) controls: Vec<Arc<ControlEntry>>,
    /// By name.
    pub(super) upscalers: Vec<Arc<UpscalerEntry>>,
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
    /// The id that it would have, if it has one.
    pub(super) id: Option<String>,
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
        default.cloned().ok_or_else(|| self.refused("model", name).unwrap_or_else(|| self.no_model(name)))
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
        // What is there and cannot be used is not replaced by something of a similar name.
        let ids = [name.to_owned(), format!("sd/{name}"), format!("sd/{bare}")];
        if let Some(error) = ids.iter().find_map(|id| self.unusable("model", id)) {
            return Err(error);
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
        let wrong =
            |problem| Error::Lora { param: "loras".to_owned(), asked: asked.trim().to_owned(), problem };
        self.meant(&self.loras, asked, wrong)
    }

    /// The ControlNet or T2I-Adapter that a client means.
    pub(super) fn control(&self, asked: &str) -> Result<Arc<ControlEntry>> {
        let wrong =
            |problem| Error::invalid("controls", format!("names `{}`, which {problem}", asked.trim()));
        self.meant(&self.controls, asked, wrong)
    }

    /// The upscaler that a client means.
    pub(super) fn upscaler(&self, asked: &str) -> Result<Arc<UpscalerEntry>> {
        let wrong =
            |problem| Error::invalid("upscaler", format!("names `{}`, which {problem}", asked.trim()));
        self.meant(&self.upscalers, asked, wrong)
    }

    /// Which of `entries` a client means: one with exactly this id or name, else the only one of whose name it is a
    /// part. What is `wrong` follows a name.
    fn meant<T: Entry>(
        &self,
        entries: &[Arc<T>],
        asked: &str,
        wrong: impl Fn(String) -> Error,
    ) -> Result<Arc<T>> {
        let (asked, prefix) = (asked.trim(), T::PREFIX);
        let bare = asked.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')).unwrap_or(asked);
        if let Some(entry) = exactly(entries, asked).or_else(|| exactly(entries, bare)) {
            return Ok(Arc::clone(entry));
        }
        if let Some(error) = self.unusable(prefix, &format!("{prefix}/{bare}")) {
            return Err(error);
        }
        let needle = folded(bare);
        let like = |entry: &&Arc<T>| !needle.is_empty() && folded(entry.name()).contains(&needle);
        let mut meant: Vec<_> = entries.iter().filter(like).collect();
        if let [entry] = *meant.iter().filter(|entry| folded(entry.name()) == needle).collect::<Vec<_>>() {
            meant = vec![entry];
        }
        match meant.as_slice() {
            [entry] => Ok(Arc::clone(entry)),
            [] => Err(self.refused(prefix, bare).unwrap_or_else(|| {
                let names = listed(entries.iter().map(|entry| entry.name()));
                wrong(format!("does not exist; available: {names}"))
            })),
            several => {
                let ids = listed(several.iter().map(|entry| entry.id()));
                Err(wrong(format!("could be any of {ids}; write one of these")))
            }
        }
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

    /// The embeddings that cannot be used: their names, and why.
    pub(super) fn unusable_embeddings(&self) -> Vec<(String, String)> {
        let named = |refused: &Refused| {
            let name = refused.id.as_ref()?.strip_prefix("embedding/")?;
            Some((name.to_owned(), refused.told.clone()))
        };
        self.refused.iter().filter_map(named).collect()
    }

    /// Why what would have this id is not offered, if there is such a file.
    fn unusable(&self, kind: &'static str, id: &str) -> Option<Error> {
        let refused = self.refused.iter().find(|refused| refused.id.as_deref() == Some(id))?;
        Some(refused.error(kind, id))
    }

    /// Why `name` is not offered, if there is a file that may be meant.
    fn refused(&self, kind: &'static str, name: &str) -> Option<Error> {
        let name = name.strip_prefix("sd/").unwrap_or(name);
        let refused = self.refused.iter().find(|refused| refused.is_called(name))?;
        Some(refused.error(kind, name))
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
    fn error(&self, kind: &'static str, asked: &str) -> Error {
        // Where a request names one of many, whoever knows its place says it.
        let param = match kind {
            "lora" => "loras",
            "controlnet" => "controls",
            other => other,
        };
        let (param, asked, problem) = (param.to_owned(), asked.to_owned(), self.told.clone());
        Error::Refused { kind, param, asked, problem, is_unsafe: self.is_unsafe }
    }

    /// Whether a client that asks for `name` may mean it: the path, with or without its ending, or the name alone.
    fn is_called(&self, name: &str) -> bool {
        let last = self.relative.rsplit('/').next().unwrap_or(&self.relative);
        [self.relative.as_str(), last].into_iter().any(|path| path == name || names::stem(path) == name)
    }
}

/// The one of `entries` with exactly this id, else this name.
pub(super) fn exactly<'e, T: Entry>(entries: &'e [Arc<T>], name: &str) -> Option<&'e Arc<T>> {
    let by_id = entries.iter().find(|entry| entry.id() == name);
    by_id.or_else(|| entries.iter().find(|entry| entry.name() == name))
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::models::scan::scan;

    /// A LoRA for one layer.
    fn lora_file() -> tempfile::NamedTempFile {
        let layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";
        let header = format!(
            r#"{{"{layer}.lora_down.weight":{{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}},
                "{layer}.lora_up.weight":{{"dtype":"F32","shape":[1,1],"data_offsets":[4,8]}}}}"#
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 8]].concat();
        fs::write(file.path(), bytes).unwrap();
        file
    }

    /// What is found in a directory with the built-in model at these paths, and LoRAs at those.
    fn shelf(models: &[&str], loras: &[&str]) -> Shelf {
        let root = tempfile::tempdir().unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/alice-emoji");
        for path in models {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(&shipped, path).unwrap();
        }
        for path in loras {
            let path = root.path().join("loras").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::copy(lora_file().path(), path).unwrap();
        }
        let config = config::Models { directory: root.path().to_owned(), ..config::Models::default() };
        scan(&config, &Shelf::default())
    }

    #[test]
    fn a_model_is_found_by_whatever_a_client_calls_it() {
        let shelf = shelf(&["one", "sub/two", "a/same", "b/same"], &[]);
        let found = |asked: Option<&str>| shelf.find(asked).map(|model| model.id.clone());
        for asked in ["sd/one", "one", "foo/one", " one "] {
            assert_eq!(found(Some(asked)).unwrap(), "sd/one", "{asked}");
        }
        assert_eq!(found(Some("sd/sub/two")).unwrap(), "sd/two");
        assert_eq!(found(Some("a/same")).unwrap(), "sd/a/same");
        for default in [None, Some(""), Some("dall-e-3"), Some("gpt-image-1")] {
            assert_eq!(found(default).unwrap(), "sd/a/same", "the first one");
        }
        let ambiguous = found(Some("same")).unwrap_err().to_string();
        assert!(ambiguous.contains("sd/a/same, sd/b/same"), "{ambiguous}");
        assert!(matches!(found(Some("three")), Err(Error::NoModel { .. })));
    }

    #[test]
    fn a_lora_is_found_by_its_name_or_by_what_only_it_is_called() {
        let files =
            ["Oak_Leaves.safetensors", "oak.safetensors", "elm-tree.safetensors", "x/ash.sft", "y/ash.sft"];
        let shelf = shelf(&[], &files);
        let found = |asked: &str| shelf.lora(asked).map(|lora| lora.id.clone());
        for (asked, id) in [
            ("lora/oak", "lora/oak"),
            ("oak", "lora/oak"),
            ("OAK", "lora/oak"),
            ("oak leaves", "lora/Oak_Leaves"),
            ("Leav", "lora/Oak_Leaves"),
            ("elmtree", "lora/elm-tree"),
            ("lora/ELM", "lora/elm-tree"),
            ("x/ash", "lora/x/ash"),
        ] {
            assert_eq!(found(asked).unwrap(), id, "{asked}");
        }
        for (asked, said) in [
            ("ash", "could be any of lora/x/ash, lora/y/ash"),
            ("e", "could be any of"),
            ("birch", "does not exist; available: elm-tree, oak, Oak_Leaves"),
            ("_", "does not exist"),
            ("", "does not exist"),
            ("lora/", "does not exist"),
        ] {
            let error = found(asked).unwrap_err().to_string();
            assert!(error.contains(said), "{asked}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_and_not_replaced_by_something_of_a_similar_name() {
        let root = tempfile::tempdir().unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/alice-emoji");
        for directory in ["deep", "loras/x", "embeddings"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        symlink(&shipped, root.path().join("deep/info")).unwrap();
        for broken in ["info.safetensors", "loras/ink.safetensors", "embeddings/easy.pt"] {
            fs::write(root.path().join(broken), "broken").unwrap();
        }
        fs::copy(lora_file().path(), root.path().join("loras/x/ink.safetensors")).unwrap();
        fs::copy(lora_file().path(), root.path().join("loras/inkwell.safetensors")).unwrap();
        let config = config::Models { directory: root.path().to_owned(), ..config::Models::default() };
        let shelf = scan(&config, &Shelf::default());
        assert_eq!(shelf.models.iter().map(|model| &*model.id).collect::<Vec<_>>()[0], "sd/deep/info");
        for asked in ["info", "sd/info"] {
            assert!(matches!(shelf.find(Some(asked)), Err(Error::Refused { .. })), "{asked}");
        }
        let ids: Vec<_> = shelf.loras.iter().map(|lora| &*lora.id).collect();
        assert_eq!(ids, ["lora/inkwell", "lora/x/ink"]);
        for asked in ["ink", "lora/ink"] {
            assert!(matches!(shelf.lora(asked), Err(Error::Refused { .. })), "{asked}");
        }
        assert_eq!(shelf.unusable_embeddings()[0].0, "easy");
    }

    #[test]
    fn what_was_looked_at_before_is_the_same_thing_after_another_look() {
        let root = tempfile::tempdir().unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/alice-emoji");
        symlink(&shipped, root.path().join("one")).unwrap();
        let config = config::Models { directory: root.path().to_owned(), ..config::Models::default() };
        let first = scan(&config, &Shelf::default());
        let second = scan(&config, &first);
        assert!(Arc::ptr_eq(&first.models[0], &second.models[0]));
        fs::create_dir(root.path().join("deep")).unwrap();
        symlink(&shipped, root.path().join("deep/one")).unwrap();
        let third = scan(&config, &second);
        let ids: Vec<_> = third.models.iter().map(|model| model.id.as_str()).collect();
        assert_eq!(ids, ["sd/deep/one", "sd/one"]);
        assert!(Arc::ptr_eq(&first.models[0], &third.models[1]), "nothing put deeper down takes its name");
    }

    #[test]
    fn what_is_not_offered_is_found_by_its_path_with_and_without_its_ending() {
        let called = |relative: &str, name: &str| {
            let (path, relative, reason) = (PathBuf::new(), relative.to_owned(), String::new());
            Refused { path, relative, told: reason.clone(), reason, is_unsafe: false, id: None }
                .is_called(name)
        };
        for name in ["sub/old.ckpt", "sub/old", "old.ckpt", "old"] {
            assert!(called("sub/old.ckpt", name), "{name}");
        }
        assert!(called("v1.5/half", "half") && !called("v1.5/half", "v1"), "a directory's dot ends nothing");
    }

    #[test]
    fn a_long_list_says_how_many_it_leaves_out() {
        let names: Vec<_> = (0..23).map(|n| n.to_string()).collect();
        assert!(listed(names.iter().map(String::as_str)).ends_with("19 and 3 more"));
        assert_eq!(listed(std::iter::empty()), "none");
    }
}
