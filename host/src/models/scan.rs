// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Looking at everything in the directories of models. What has not changed since the last time is taken over as it
//! was; what is no model, LoRA or embedding is named in the log, once.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{info, warn};

use super::adapters::{self, EmbeddingEntry, LoraEntry};
use super::companions::{ControlEntry, UpscalerEntry};
use super::entry::Entry;
use super::files;
use super::kind::{self, Kind};
use super::model::{Begun, Model, Source};
use super::names::{self, Wish};
use super::shelf::{Refused, Shelf};
use super::walk::{Found, INDEX, Place, Walk};
use crate::config;

/// Looks through all directories, the one of the configuration first. `before` is what was found the last time.
pub(super) fn scan(config: &config::Models, before: &Shelf) -> Shelf {
    let mut shelf = Shelf::default();
    let directory = config.directory.display();
    if !config.directory.is_dir() {
        warn!(
            "`models.directory: {directory}` is no directory that can be read: only the built-in model is offered"
        );
    }
    for root in roots(config) {
        Root { config, before, root: &root }.look(&mut shelf);
    }
    let paints_from_text = shelf.models.iter().find(|model| !model.needs_picture);
    shelf.default = paints_from_text.or(shelf.models.first()).cloned();
    for refused in shelf.refused.iter().filter(|refused| !before.refused.contains(refused)) {
        warn!("Passed over `{}`: {}", printable(&refused.relative), printable(&refused.reason));
    }
    let is_new = |model: &&Arc<Model>| !before.models.iter().any(|known| Arc::ptr_eq(known, model));
    let of_models = shelf.models.iter().filter(is_new).flat_map(|model| &model.warnings);
    let is_new = |lora: &&Arc<LoraEntry>| !before.loras.iter().any(|known| Arc::ptr_eq(known, lora));
    let of_loras = shelf.loras.iter().filter(is_new).flat_map(|lora| &lora.warnings);
    of_models.chain(of_loras).for_each(|warning| warn!("{}", printable(warning)));
    let (models, loras, embeddings) = (shelf.models.len(), shelf.loras.len(), shelf.embeddings.len());
    info!(models, loras, embeddings, "Models found: {models}; LoRAs: {loras}; embeddings: {embeddings}");
    let (controlnets, upscalers) = (shelf.controls.len(), shelf.upscalers.len());
    info!(controlnets, upscalers, "ControlNets found: {controlnets}; upscalers: {upscalers}");
    shelf
}

/// Where models are looked for: the configured directory, then where the built-in one is.
fn roots(config: &config::Models) -> Vec<PathBuf> {
    let mut roots = vec![config.directory.clone()];
    let mut real: HashSet<_> = config.directory.canonicalize().into_iter().collect();
    let built_in =
        built_in().into_iter().filter(|root| root.canonicalize().is_ok_and(|path| real.insert(path)));
    roots.extend(built_in);
    roots
}

/// Where the built-in model is installed or, when the program runs out of a build directory, lies in the source
/// tree.
pub(super) fn built_in() -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    let places = ["../share/alice/models", "../../models"];
    beside.iter().flat_map(|beside| places.map(|place| beside.join(place))).collect()
}

/// One directory of models.
struct Root<'a> {
    config: &'a config::Models,
    before: &'a Shelf,
    root: &'a Path,
}

/// What a file turned out to be.
enum Thing<'a> {
    Model(Candidate<'a>),
    Lora(Arc<LoraEntry>),
    Embedding(Arc<EmbeddingEntry>),
    Control(Arc<ControlEntry>),
    Upscaler(Arc<UpscalerEntry>),
    /// Nothing to offer, but `vae` may name it.
    Autoencoder,
}

/// A model that has no name yet.
enum Candidate<'a> {
    /// From the last time.
    Known(Arc<Model>),
    /// One that the configuration cannot mean, whatever its name will be.
    Opened(Box<Model>),
    /// One whose autoencoder the configuration may name.
    Begun(Box<Begun<'a>>),
}

impl Candidate<'_> {
    fn wish(&self) -> &Wish {
        match self {
            Self::Known(model) => model.wish(),
            Self::Opened(model) => model.wish(),
            Self::Begun(begun) => begun.wish(),
        }
    }
}

impl Root<'_> {
    fn look(&self, shelf: &mut Shelf) {
        let walk = Walk::through(self.root);
        for (path, reason) in walk.passed_over {
            let relative = path.strip_prefix(self.root).unwrap_or(&path).to_string_lossy().into_owned();
            let told = reason.clone();
            shelf.refused.push(Refused { path, relative, reason, told, is_unsafe: false, id: None });
        }
        let (mut models, mut loras, mut embeddings) = (Vec::new(), Vec::new(), Vec::new());
        let (mut controls, mut upscalers) = (Vec::new(), Vec::new());
        let mut unusable = Vec::new();
        for found in &walk.found {
            match self.examine(found) {
                Ok(Thing::Model(model)) => models.push((model, found)),
                Ok(Thing::Lora(lora)) => loras.push(lora),
                Ok(Thing::Embedding(embedding)) => embeddings.push(embedding),
                Ok(Thing::Control(control)) => controls.push(control),
                Ok(Thing::Upscaler(upscaler)) => upscalers.push(upscaler),
                Ok(Thing::Autoencoder) => {}
                Err(error) => unusable.push((found, self.refused(found, &error))),
            }
        }
        let at = |place: Place| unusable.iter().filter(move |(found, _)| found.place == place);
        let wishes = |place: Place| at(place).map(|(found, _)| self.wish(found).of_unusable()).collect();
        let names = [
            self.name_models(shelf, models, wishes(Place::Models)),
            name_files(&mut shelf.loras, loras, wishes(Place::Loras)),
            name_files(&mut shelf.embeddings, embeddings, wishes(Place::Embeddings)),
            name_files(&mut shelf.controls, controls, wishes(Place::Controlnets)),
            name_files(&mut shelf.upscalers, upscalers, wishes(Place::Upscalers)),
        ];
        let places = [
            (Place::Models, "sd"),
            (Place::Loras, LoraEntry::PREFIX),
            (Place::Embeddings, EmbeddingEntry::PREFIX),
            (Place::Controlnets, ControlEntry::PREFIX),
            (Place::Upscalers, UpscalerEntry::PREFIX),
        ];
        for ((place, kind), names) in places.into_iter().zip(names) {
            let named = at(place).map(|(_, refused)| refused.clone()).zip(names);
            let with_id =
                named.map(|(refused, name)| Refused { id: Some(format!("{kind}/{name}")), ..refused });
            shelf.refused.extend(with_id);
        }
    }

    /// What a file or directory is.
    ///
    /// # Errors
    /// Why it is nothing that can be offered.
    fn examine<'f>(&'f self, found: &'f Found) -> anyhow::Result<Thing<'f>> {
        let source = self.source(found);
        let models = self.before.models.iter();
        let mut models = models.filter(|model| model.path == found.path && model.root == self.root);
        if let Some(model) = models.next()
            && model.is_unchanged(&source)
        {
            return Ok(Thing::Model(Candidate::Known(Arc::clone(model))));
        }
        let version = files::stamp([found.path.as_path()]);
        let controls = self.before.controls.iter();
        let mut controls =
            controls.filter(|control| control.path == found.path && control.version == version);
        if let Some(control) = controls.next() {
            return Ok(Thing::Control(Arc::clone(control)));
        }
        if found.is_directory {
            return match found.path.join(INDEX).is_file() {
                true => self.open(source).map(Thing::Model),
                false => self.network(found, kind::control(&found.path)?, version),
            };
        }
        let upscalers = self.before.upscalers.iter();
        let mut upscalers =
            upscalers.filter(|upscaler| upscaler.path == found.path && upscaler.version == version);
        if let Some(upscaler) = upscalers.next() {
            return Ok(Thing::Upscaler(Arc::clone(upscaler)));
        }
        let stamp = adapters::stamp(&found.path);
        let lora = self.before.loras.iter().find(|lora| lora.path == found.path && lora.stamp == stamp);
        if let Some(lora) = lora {
            return Ok(Thing::Lora(Arc::clone(lora)));
        }
        let embeddings = self.before.embeddings.iter();
        let mut embeddings =
            embeddings.filter(|embedding| embedding.path == found.path && embedding.stamp == stamp);
        if let Some(embedding) = embeddings.next() {
            return Ok(Thing::Embedding(Arc::clone(embedding)));
        }
        let metadata = fs::metadata(&found.path)?;
        Ok(match kind::of(&found.path, found.place)? {
            Kind::Model => Thing::Model(self.open(source)?),
            Kind::Lora(base) => {
                can_be_written(&found.relative)?;
                let wish = Wish::of_file(&found.relative, found.place != Place::Loras);
                let lora = LoraEntry::new(&found.path, self.root, base, wish, &metadata, stamp)?;
                Thing::Lora(Arc::new(lora))
            }
            Kind::Embedding => {
                can_be_written(&found.relative)?;
                let wish = Wish::of_file(&found.relative, found.place != Place::Embeddings);
                Thing::Embedding(Arc::new(EmbeddingEntry::new(&found.path, wish, &metadata, stamp)))
            }
            Kind::Autoencoder => Thing::Autoencoder,
            kind @ (Kind::Control(..) | Kind::Upscaler(_)) => self.network(found, kind, version)?,
        })
    }

    /// A network that works beside models.
    fn network<'f>(&self, found: &Found, kind: Kind, version: u64) -> anyhow::Result<Thing<'f>> {
        let place = if let Kind::Upscaler(_) = kind { Place::Upscalers } else { Place::Controlnets };
        let wish = Wish::of_network(&found.relative, found.is_directory, found.place != place);
        Ok(match kind {
            Kind::Control(file) => {
                Thing::Control(Arc::new(ControlEntry::new(&found.path, &file, self.root, wish, version)?))
            }
            Kind::Upscaler(scale) => {
                let entry = UpscalerEntry::new(&found.path, self.root, scale, wish, version)?;
                Thing::Upscaler(Arc::new(entry))
            }
            _ => anyhow::bail!("it is no network of its own"),
        })
    }

    /// Reads the model at `source`, as far as that goes before it has a name.
    fn open<'f>(&self, source: Source<'f>) -> anyhow::Result<Candidate<'f>> {
        let begun = Begun::read(source)?;
        let may_be = |key: &String| {
            let bare = key.strip_prefix("sd/").unwrap_or(key);
            [key, bare].into_iter().any(|name| begun.wish().may_become(name))
        };
        Ok(match self.config.vae.keys().any(may_be) {
            true => Candidate::Begun(Box::new(begun)),
            false => Candidate::Opened(Box::new(begun.finish(None)?)),
        })
    }

    fn source<'f>(&'f self, found: &'f Found) -> Source<'f> {
        let wish = self.wish_of_model(found);
        Source { path: &found.path, is_directory: found.is_directory, root: self.root, wish }
    }

    fn wish_of_model(&self, found: &Found) -> Wish {
        let root = self.root.canonicalize().unwrap_or_default();
        let root = root.file_name().unwrap_or_default().to_string_lossy();
        Wish::of_model(&found.relative, found.is_directory, &root)
    }

    /// What a file of its place would be called.
    fn wish(&self, found: &Found) -> Wish {
        match found.place {
            Place::Models => self.wish_of_model(found),
            Place::Loras | Place::Embeddings => Wish::of_file(&found.relative, false),
            Place::Controlnets | Place::Upscalers => {
                Wish::of_network(&found.relative, found.is_directory, false)
            }
        }
    }

    fn refused(&self, found: &Found, error: &anyhow::Error) -> Refused {
        let reason = format!("{error:#}");
        let is_unsafe = error.chain().any(|cause| {
            let cause = cause.downcast_ref::<alice_checkpoint::Error>();
            matches!(cause, Some(alice_checkpoint::Error::UnsafeFormat { .. }))
        });
        let root = format!("{}/", self.root.display());
        // Only the configuration names files that lie elsewhere.
        let elsewhere = self.config.vae.values().filter(|vae| vae.is_absolute());
        let told = elsewhere.fold(reason.replace(&root, ""), |told, vae| {
            told.replace(&vae.display().to_string(), "models.vae")
        });
        let (path, relative) = (found.path.clone(), found.relative.clone());
        Refused { path, relative, reason, told, is_unsafe, id: None }
    }

    /// Gives the models of this directory their names, and those autoencoders that the configuration names. The names
    /// of what is `unusable` come back.
    fn name_models(
        &self,
        shelf: &mut Shelf,
        mut models: Vec<(Candidate<'_>, &Found)>,
        unusable: Vec<Wish>,
    ) -> Vec<String> {
        // A built-in model gives way to one of the same name.
        let taken: HashSet<_> = shelf.models.iter().map(|model| model.name.clone()).collect();
        models.retain(|(model, _)| !taken.contains(model.wish().first()));
        let wishes: Vec<_> = models.iter().map(|(model, _)| model.wish().clone()).chain(unusable).collect();
        let mut names = names::assign(&wishes, &taken);
        let names_of_unusable = names.split_off(models.len());
        let mut named: Vec<_> = models.into_iter().zip(names).collect();
        named.sort_by_cached_key(|(_, name)| by_name(name));
        for ((model, found), name) in named {
            let id = format!("sd/{name}");
            let vae = self.config.vae.get(&id).or_else(|| self.config.vae.get(&name)).map(PathBuf::as_path);
            match self.named(model, found, &name, vae) {
                Ok(model) => shelf.models.push(model),
                Err(error) => {
                    let refused = self.refused(found, &error);
                    shelf.refused.push(Refused { id: Some(id), ..refused });
                }
            }
        }
        names_of_unusable
    }

    /// The model by this name and with this autoencoder out of the configuration.
    fn named(
        &self,
        model: Candidate<'_>,
        found: &Found,
        name: &str,
        vae: Option<&Path>,
    ) -> anyhow::Result<Arc<Model>> {
        let is_right = |model: &Model| model.configured_vae.as_deref() == vae;
        let model = match model {
            Candidate::Known(model) if is_right(&model) && model.name == name => return Ok(model),
            Candidate::Opened(model) if is_right(&model) => *model,
            Candidate::Begun(begun) => begun.finish(vae)?,
            // One from the last time is in other hands, which know it as it was.
            Candidate::Known(_) | Candidate::Opened(_) => Begun::read(self.source(found))?.finish(vae)?,
        };
        Ok(Arc::new(model.called(name)))
    }
}

/// Gives the things of one kind in one directory their names, behind those that are `listed` already. The names of
/// what is `unusable` come back.
fn name_files<T: Entry>(
    listed: &mut Vec<Arc<T>>,
    mut found: Vec<Arc<T>>,
    unusable: Vec<Wish>,
) -> Vec<String> {
    let taken: HashSet<_> = listed.iter().map(|entry| entry.name().to_owned()).collect();
    found.retain(|entry| !taken.contains(entry.wish().first()));
    let wishes: Vec<_> = found.iter().map(|entry| entry.wish().clone()).chain(unusable).collect();
    let mut names = names::assign(&wishes, &taken);
    let names_of_unusable = names.split_off(found.len());
    let mut named: Vec<_> = found.into_iter().zip(names).map(|(entry, name)| entry.called(name)).collect();
    named.sort_by_cached_key(|entry| by_name(entry.name()));
    listed.extend(named);
    names_of_unusable
}

/// Signs that end or divide a name where prompts call it: `<lora:name:weight>`, `(name:weight)`.
const SIGNS_OF_PROMPTS: [char; 3] = [':', '<', '>'];

/// Passes for the path of a LoRA or an embedding that every prompt can call by it.
fn can_be_written(relative: &str) -> anyhow::Result<()> {
    let fits = !relative.contains(SIGNS_OF_PROMPTS);
    anyhow::ensure!(fits, "no prompt can name it, as its path has `:`, `<` or `>`; give it another");
    Ok(())
}

/// Text of strangers' files for the log: what could end or hide a line stands as its escape.
fn printable(text: &str) -> String {
    let written = |sign: char| match sign.is_control() {
        true => sign.escape_default().to_string(),
        false => sign.to_string(),
    };
    text.chars().map(written).collect()
}

/// People look for names without regard to capitals.
fn by_name(name: &str) -> (String, String) {
    (name.to_lowercase(), name.to_owned())
}
