// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What this daemon offers, and looking again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context;
use serde::Serialize;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tracing::warn;

use super::scan::scan;
use super::shelf::{Shelf, exactly};
use super::{ControlEntry, EmbeddingEntry, LoraEntry, Model, UpscalerEntry};
use crate::config;
use crate::error::{Error, Result};
use crate::inputs::Inputs;
use crate::prompts::NEEDS_PICTURE;

/// The models, LoRAs and embeddings that this daemon offers. A refresh puts another list in the place of this
/// one; whoever holds an entry keeps it.
#[derive(Debug)]
pub struct Registry {
    lists: Arc<Lists>,
}

/// The lists of a [`Registry`], which a look holds until its end.
#[derive(Debug)]
struct Lists {
    config: Arc<config::Models>,
    shelf: RwLock<Arc<Shelf>>,
    /// What the configuration calls the default model. It follows what is changed there while the daemon runs.
    default_name: RwLock<Option<String>>,
    /// How often somebody has begun to look.
    looks: AtomicU64,
    /// The last of these looks that came to its end: one that panicked did not.
    ended: AtomicU64,
    /// Held while the lists change.
    turn: Arc<Mutex<()>>,
}

/// How many of each there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Models.
    pub models: usize,
    /// LoRAs.
    pub loras: usize,
    /// Embeddings.
    pub embeddings: usize,
    /// ControlNets and T2I-Adapters.
    pub controls: usize,
    /// Upscalers.
    pub upscalers: usize,
}

/// The right to change the lists. Nobody looks again while it is held.
#[derive(Debug)]
pub(crate) struct Turn {
    lists: Arc<Lists>,
    _turn: OwnedMutexGuard<()>,
}

impl Registry {
    /// Looks for models in the configured directory and beside the program. What is no model is named in the
    /// log and listed nowhere.
    ///
    /// # Errors
    /// A `models.default_model` or one of `models.pinned` that is not there.
    pub fn discover(config: &config::Models) -> anyhow::Result<Self> {
        let mut shelf = scan(config, &Shelf::default());
        if let Some(name) = &config.default_model {
            let named = shelf.named(name).with_context(|| format!("`models.default_model: {name}`"))?;
            let Some(model) = named else {
                anyhow::bail!("`models.default_model: {name}` is not among the models: {}", shelf.ids());
            };
            anyhow::ensure!(!model.needs_picture, "`models.default_model: {name}` {NEEDS_PICTURE}");
            shelf.default = Some(model);
        }
        for name in &config.pinned {
            let named = shelf.named(name).with_context(|| format!("`models.pinned: {name}`"))?;
            let known = named.is_some();
            anyhow::ensure!(known, "`models.pinned: {name}` is not among the models: {}", shelf.ids());
        }
        for name in config.vae.keys().filter(|name| shelf.exactly(name).is_none()) {
            warn!("`models.vae` names `{name}`, which is not among the models: {}", shelf.ids());
        }
        let lists = Lists {
            config: Arc::new(config.clone()),
            default_name: RwLock::new(config.default_model.clone()),
            shelf: RwLock::new(Arc::new(shelf)),
            looks: AtomicU64::new(1),
            ended: AtomicU64::new(1),
            turn: Arc::default(),
        };
        Ok(Self { lists: Arc::new(lists) })
    }

    /// The model that a client means: an id, a bare name, an alias of another service, or nothing.
    ///
    /// # Errors
    /// [`Error::NoModel`] that lists what there is,
    /// [`Error::Refused`] for a file that is there and no model,
    /// [`Error::Invalid`] when several could be meant.
    pub fn find(&self, asked: Option<&str>) -> Result<Arc<Model>> {
        self.shelf().find(asked)
    }

    /// The embeddings that are there and cannot be used: their names, and why.
    pub fn unusable_embeddings(&self) -> Vec<(String, String)> {
        self.shelf().unusable_embeddings()
    }

    /// The model with exactly this id or name.
    pub fn exactly(&self, name: &str) -> Option<Arc<Model>> {
        self.shelf().exactly(name).cloned()
    }

    /// All models: those in the configured directory first, each by name.
    pub fn all(&self) -> Vec<Arc<Model>> {
        self.shelf().models.clone()
    }

    /// The model that an absent name means.
    pub fn default_model(&self) -> Option<Arc<Model>> {
        self.shelf().default.clone()
    }

    /// What the configuration calls the default model, if it names one.
    pub fn default_name(&self) -> Option<String> {
        self.lists.default_name()
    }

    /// The LoRA that a client or a prompt means: an exact id, a name, or a part of just one name, in which capitals,
    /// blanks, `_` and `-` do not count.
    ///
    /// # Errors
    /// [`Error::Lora`] when there is none, and when several could be meant: it lists
    /// them; [`Error::Refused`] for a file that is there and no LoRA.
    pub fn lora(&self, asked: &str) -> Result<Arc<LoraEntry>> {
        self.shelf().lora(asked)
    }

    /// The LoRA with exactly this id or name.
    pub fn exactly_lora(&self, name: &str) -> Option<Arc<LoraEntry>> {
        exactly(&self.shelf().loras, name).cloned()
    }

    /// All LoRAs, by name.
    pub fn loras(&self) -> Vec<Arc<LoraEntry>> {
        self.shelf().loras.clone()
    }

    /// The embedding that a prompt calls by `word`; capitals do not count, as they do not for the text encoder.
    pub fn embedding(&self, word: &str) -> Option<Arc<EmbeddingEntry>> {
        self.shelf().embedding(word)
    }

    /// The ControlNet or T2I-Adapter that a client means: an id, a name, or a part of just one name.
    ///
    /// # Errors
    /// [`Error::Invalid`] about `controls` when there is none, and when several could be
    /// meant: it lists them; [`Error::Refused`] for a file that is there and none.
    pub fn control(&self, asked: &str) -> Result<Arc<ControlEntry>> {
        self.shelf().control(asked)
    }

    /// The ControlNet or T2I-Adapter with exactly this id or name.
    pub fn exactly_control(&self, name: &str) -> Option<Arc<ControlEntry>> {
        exactly(&self.shelf().controls, name).cloned()
    }

    /// All ControlNets and T2I-Adapters, by name.
    pub fn controls(&self) -> Vec<Arc<ControlEntry>> {
        self.shelf().controls.clone()
    }

    /// The upscaler that a client means: an id, a name, or a part of just one name.
    ///
    /// # Errors
    /// As [`control`](Self::control), about `upscaler`.
    pub fn upscaler(&self, asked: &str) -> Result<Arc<UpscalerEntry>> {
        self.shelf().upscaler(asked)
    }

    /// The upscaler with exactly this id or name.
    pub fn exactly_upscaler(&self, name: &str) -> Option<Arc<UpscalerEntry>> {
        exactly(&self.shelf().upscalers, name).cloned()
    }

    /// All upscalers, by name.
    pub fn upscalers(&self) -> Vec<Arc<UpscalerEntry>> {
        self.shelf().upscalers.clone()
    }

    /// Whether the networks are still there that a request needs beside its model.
    ///
    /// # Errors
    /// [`Error::ModelGone`] for one that is not.
    pub(crate) fn have(&self, inputs: &Inputs) -> Result<()> {
        let shelf = self.shelf();
        let has_control = |id: &String| shelf.controls.iter().any(|control| control.id == *id);
        let has_upscaler = |id: &String| shelf.upscalers.iter().any(|upscaler| upscaler.id == *id);
        let controls = inputs.controls.iter().map(|control| &control.model).filter(|id| !has_control(id));
        let mut gone = controls.chain(inputs.upscalers().filter(|id| !has_upscaler(id)));
        gone.next().map_or(Ok(()), |id| Err(Error::ModelGone { id: id.clone() }))
    }

    /// All embeddings, by name.
    pub fn embeddings(&self) -> Vec<Arc<EmbeddingEntry>> {
        self.shelf().embeddings.clone()
    }

    /// Looks again, and gives what there is now. Who asks while somebody looks waits for the next look, which all
    /// who wait share. A look that has begun comes to its end also when nobody waits for it any more.
    ///
    /// # Errors
    /// When the look ends in a panic; the lists stay as they were.
    pub async fn refresh(&self) -> Result<Counts> {
        let asked_after = self.lists.looks.load(Ordering::SeqCst);
        let turn = self.turn().await;
        if self.lists.ended.load(Ordering::SeqCst) <= asked_after {
            turn.look().await?;
        }
        Ok(self.counts())
    }

    /// Waits until nobody looks, and keeps others from it.
    pub(crate) async fn turn(&self) -> Turn {
        let turn = Arc::clone(&self.lists.turn).lock_owned().await;
        Turn { lists: Arc::clone(&self.lists), _turn: turn }
    }

    fn counts(&self) -> Counts {
        let shelf = self.shelf();
        Counts {
            models: shelf.models.len(),
            loras: shelf.loras.len(),
            embeddings: shelf.embeddings.len(),
            controls: shelf.controls.len(),
            upscalers: shelf.upscalers.len(),
        }
    }

    fn shelf(&self) -> Arc<Shelf> {
        self.lists.shelf()
    }
}

impl Lists {
    fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn default_name(&self) -> Option<String> {
        self.default_name.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, shelf: Arc<Shelf>) {
        *self.shelf.write().unwrap_or_else(PoisonError::into_inner) = shelf;
    }
}

impl Turn {
    /// Looks again, and lets others look then. What the configuration says of single models is warned about where it cannot be kept: the
    /// daemon goes on.
    ///
    /// # Errors
    /// When the look ends in a panic.
    pub(crate) async fn look(self) -> Result<()> {
        // Opening files takes its time and must not hold up what else the daemon does. The turn goes along: whoever
        // waits may give up, and nobody looks beside this look.
        Ok(tokio::task::spawn_blocking(|| self.look_now()).await.map_err(anyhow::Error::from)?)
    }

    fn look_now(self) {
        let Lists { config, looks, ended, .. } = &*self.lists;
        let number = looks.fetch_add(1, Ordering::SeqCst) + 1;
        let mut shelf = scan(config, &self.lists.shelf());
        if let Some(name) = &self.lists.default_name() {
            shelf.default = shelf.named(name).ok().flatten().filter(|model| !model.needs_picture);
            if shelf.default.is_none() {
                warn!("`models.default_model: {name}` is not among the models any more");
            }
        }
        self.lists.put(Arc::new(shelf));
        ended.store(number, Ordering::SeqCst);
    }

    /// From now on an absent name means `model`, and so the configuration says.
    pub(crate) fn set_default(&self, model: &Arc<Model>) {
        *self.lists.default_name.write().unwrap_or_else(PoisonError::into_inner) = Some(model.id.clone());
        let mut shelf = Shelf::clone(&self.lists.shelf());
        shelf.default = Some(Arc::clone(model));
        self.lists.put(Arc::new(shelf));
    }

    /// Takes everything whose path is `gone` off the lists, until the next look. Gives the lists as they
    /// were.
    pub(crate) fn withdraw(&self, gone: impl Fn(&std::path::Path) -> bool) -> Withdrawn {
        let before = self.lists.shelf();
        let mut shelf = Shelf::clone(&before);
        shelf.models.retain(|model| !gone(&model.path));
        shelf.loras.retain(|lora| !gone(&lora.path));
        shelf.controls.retain(|control| !gone(&control.path));
        shelf.upscalers.retain(|upscaler| !gone(&upscaler.path));
        if shelf.default.as_ref().is_some_and(|model| gone(&model.path)) {
            shelf.default = None;
        }
        self.lists.put(Arc::new(shelf));
        Withdrawn(before)
    }

    /// Puts back what [`withdraw`](Self::withdraw) took.
    pub(crate) fn put_back(&self, withdrawn: Withdrawn) {
        self.lists.put(withdrawn.0);
    }
}

/// The lists as they were.
#[derive(Debug)]
pub(crate) struct Withdrawn(Arc<Shelf>);

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn registry(directory: &std::path::Path) -> Registry {
        let config = config::Models { directory: directory.to_owned(), ..config::Models::default() };
        Registry::discover(&config).unwrap()
    }

    #[tokio::test]
    async fn who_waits_shares_one_look() {
        let directory = tempfile::tempdir().unwrap();
        let registry = registry(directory.path());
        let turn = registry.turn().await;
        let mut many: Vec<_> = (0..24).map(|_| Box::pin(registry.refresh())).collect();
        for one in &mut many {
            assert!(one.as_mut().now_or_never().is_none(), "somebody else has the turn");
        }
        turn.look().await.unwrap();
        for answer in futures::future::join_all(many).await {
            answer.unwrap();
        }
        assert_eq!(registry.lists.looks.load(Ordering::SeqCst), 2, "one that began after all had asked");
    }

    #[tokio::test]
    async fn a_look_ends_though_nobody_waits_and_nobody_looks_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let registry = registry(directory.path());
        for looks in 2..8 {
            drop(registry.refresh().now_or_never());
            let _turn = registry.turn().await;
            assert_eq!(registry.lists.looks.load(Ordering::SeqCst), looks);
            assert_eq!(registry.lists.ended.load(Ordering::SeqCst), looks, "the turn came before its end");
        }
    }
}
