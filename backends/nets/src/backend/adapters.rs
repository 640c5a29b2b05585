// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The call that adapts a model: which LoRA files act on which of its layers, and how those change.
//!
//! A layer is always built from the model's own file, with everything that acts on it, never from the layer that is
//! there: what was added in half precision cannot be taken away again. One layer is built at a time, so that the call
//! needs no second copy of the model on the device and none in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use alice_checkpoint::{
    Checkpoint, Layer, TensorFile, TensorSet,
    lora::{Change, LoraFile},
};
use alice_plugin::{Adapter, Control, Error, ErrorKind, Result};
use tracing::{debug, error};

use crate::{changeable::Changeable, ops::Ops, progress::Progress, weights::bad_model};

/// The most adapters at once. Prompts name some; what each costs is its file's size.
const MAX_ADAPTERS: usize = 64;
/// How many of the names that a model has no layer for are written to the log.
const NAMES_LOGGED: usize = 8;

/// The files of each network.
pub(super) type Files = BTreeMap<&'static str, Vec<Version>>;

/// A model's layers, and the adapters that act on them.
pub(super) struct Adapters<O: Ops> {
    checkpoint: Checkpoint,
    /// The files that the model was loaded from.
    files: Files,
    layers: Vec<Changeable<O>>,
    /// What was asked for last, in the order in which it acts.
    wanted: Vec<Wanted>,
    /// What acts on each layer, by its place; nothing on those that are not here.
    acting: BTreeMap<usize, Vec<Share>>,
    /// The layers of which it is not known what acts on them: a change failed, and the way back did too.
    torn: BTreeSet<usize>,
}

/// One adapter that is asked for, and the file as it is now.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    file: Version,
    scale: f32,
}

/// A file, and what tells another one in its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    path: PathBuf,
    bytes: u64,
    modified: Option<SystemTime>,
}

/// A LoRA file that stays open as long as it acts, for the way back when the next change fails.
struct Opened {
    wanted: Wanted,
    file: LoraFile,
}

/// What one file adds to one layer.
#[derive(Clone)]
struct Share {
    adapter: Arc<Opened>,
    change: Change,
}

impl<O: Ops> Adapters<O> {
    /// No adapters on the `layers` of a model that has just been loaded from these `files` of `checkpoint`.
    pub(super) fn none(checkpoint: Checkpoint, files: Files, layers: Vec<Changeable<O>>) -> Self {
        let (wanted, acting, torn) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
        Self { checkpoint, files, layers, wanted, acting, torn }
    }

    /// Passes when the layers are as the last call has left them.
    pub(super) fn check(&self) -> Result<()> {
        match self.torn.is_empty() {
            true => Ok(()),
            false => {
                Err(Error::internal("the model is between two sets of adapters; adapt it or load it again"))
            }
        }
    }

    /// Makes the layers those of exactly these adapters, in whatever order they are named. After an error they are
    /// as before, unless it is `Internal` or `DeviceLost`.
    pub(super) fn adapt(&mut self, ops: &O, adapters: &[Adapter], control: &dyn Control) -> Result<()> {
        let wanted = wanted(adapters)?;
        if wanted == self.wanted && self.torn.is_empty() {
            return Progress::begin(control, 0).map(drop);
        }
        let acting = self.acting(&wanted)?;
        let places: BTreeSet<usize> = acting.keys().chain(self.acting.keys()).copied().collect();
        let differs =
            |place: &usize| self.torn.contains(place) || !same(acting.get(place), self.acting.get(place));
        let places: Vec<usize> = places.union(&self.torn).copied().filter(differs).collect();
        let progress = Progress::begin(control, places.len())?;
        let files = self.open(&places)?;
        for (index, &place) in places.iter().enumerate() {
            let built = self.rebuild(ops, &files, place, acting.get(&place));
            let done = if built.is_ok() { index + 1 } else { index };
            if let Err(error) = built.and_then(|()| progress.step()) {
                self.take_back(ops, &files, &places[..done]);
                return Err(self.without_promise(error));
            }
        }
        (self.wanted, self.acting) = (wanted, acting);
        self.torn.clear();
        Ok(())
    }

    /// Opens the files, and finds the layers that each acts on.
    fn acting(&self, wanted: &[Wanted]) -> Result<BTreeMap<usize, Vec<Share>>> {
        let layers: Vec<Layer> = self.layers.iter().map(|layer| layer.layer.clone()).collect();
        let places: BTreeMap<(&str, &str), usize> = layers
            .iter()
            .enumerate()
            .map(|(place, layer)| ((layer.component, &*layer.module), place))
            .collect();
        let mut acting: BTreeMap<usize, Vec<Share>> = BTreeMap::new();
        for wanted in wanted {
            let path = &wanted.file.path;
            let file = LoraFile::open(path).map_err(bad_model)?;
            let fit = file.lora().fit(&layers);
            if fit.changes.is_empty() {
                let (path, modules) = (path.display(), file.lora().modules());
                let message =
                    format!("`{path}` is made for another kind of model: none of its {modules} modules fits");
                return Err(Error::bad_model(message));
            }
            if !fit.unmatched.is_empty() {
                let (unmatched, names) = (fit.unmatched.len(), fit.unmatched.iter().take(NAMES_LOGGED));
                let (path, names) = (path.display(), names.collect::<Vec<_>>());
                debug!(%path, unmatched, ?names, "The model has no layers for {unmatched} names in `{path}`");
            }
            let adapter = Arc::new(Opened { wanted: wanted.clone(), file });
            // Nothing times a change is no change, but the file must suit the model all the same.
            for change in fit.changes.into_iter().filter(|_| wanted.scale != 0.0) {
                if let Some(&place) = places.get(&(change.component, &*change.module)) {
                    acting.entry(place).or_default().push(Share { adapter: Arc::clone(&adapter), change });
                }
            }
        }
        Ok(acting)
    }

    /// Maps the networks that have these layers.
    fn open(&self, places: &[usize]) -> Result<BTreeMap<&'static str, TensorSet>> {
        let components: BTreeSet<_> =
            places.iter().map(|&place| self.layers[place].layer.component).collect();
        let open = |component| {
            let tensors = self.checkpoint.weights(component).map_err(bad_model)?;
            match Some(&versions(&tensors)) == self.files.get(component) {
                true => Ok((component, tensors)),
                false => Err(Error::bad_model(format!(
                    "the files of `{}` are not those of when the model was loaded; load it again",
                    self.checkpoint.path().display()
                ))),
            }
        };
        components.into_iter().map(open).collect()
    }

    /// Builds one layer with what acts on it.
    fn rebuild(
        &self,
        ops: &O,
        files: &BTreeMap<&'static str, TensorSet>,
        place: usize,
        shares: Option<&Vec<Share>>,
    ) -> Result<()> {
        let layer = &self.layers[place];
        let file = files.get(layer.layer.component).expect("the files of all layers to build are open");
        let change = shares.map(|shares| {
            |weight: &mut [f32]| {
                let add = |share: &Share| {
                    let Opened { wanted, file } = &*share.adapter;
                    file.add(&share.change, wanted.scale, weight).map_err(bad_model)
                };
                shares.iter().try_for_each(add)
            }
        });
        layer.rebuild(ops, file, change)
    }

    /// Builds layers as they were before the call.
    fn take_back(&mut self, ops: &O, files: &BTreeMap<&'static str, TensorSet>, places: &[usize]) {
        for &place in places {
            match self.rebuild(ops, files, place, self.acting.get(&place)) {
                Ok(()) => drop(self.torn.remove(&place)),
                Err(failure) => {
                    let module = &self.layers[place].layer.module;
                    error!(%failure, module, "The layer `{module}` could not be built as it was: {failure}");
                    self.torn.insert(place);
                }
            }
        }
    }

    /// What a change has failed with, or an error that does not say that the model is as before when it is not:
    /// whoever hears one of the others goes on with the adapters that were there.
    fn without_promise(&self, error: Error) -> Error {
        match self.torn.is_empty() || error.kind == ErrorKind::DeviceLost {
            true => error,
            false => {
                Error::internal(format!("{error}; and not all layers could be built as they were before"))
            }
        }
    }
}

/// The adapters in the order in which they act: sums in another order would be other sums.
fn wanted(adapters: &[Adapter]) -> Result<Vec<Wanted>> {
    if adapters.len() > MAX_ADAPTERS {
        return Err(Error::invalid(format!("{} adapters, {MAX_ADAPTERS} are the most", adapters.len())));
    }
    let one = |adapter: &Adapter| match adapter.scale.is_finite() {
        true => Ok(Wanted { file: Version::of(&adapter.path)?, scale: adapter.scale }),
        false => Err(Error::invalid("an adapter's scale is not a finite number")),
    };
    let mut wanted = adapters.iter().map(one).collect::<Result<Vec<_>>>()?;
    wanted.sort_by(|one, other| one.file.cmp(&other.file).then(one.scale.total_cmp(&other.scale)));
    Ok(wanted)
}

/// Whether the same acts on a layer.
fn same(one: Option<&Vec<Share>>, other: Option<&Vec<Share>>) -> bool {
    let parts = |shares: Option<&Vec<Share>>| shares.map_or(0, Vec::len);
    let pairs = one.into_iter().flatten().zip(other.into_iter().flatten());
    parts(one) == parts(other)
        && pairs
            .into_iter()
            .all(|(one, other)| one.adapter.wanted == other.adapter.wanted && one.change == other.change)
}

/// The files that these tensors are in, as they were when they were opened.
pub(super) fn versions(tensors: &TensorSet) -> Vec<Version> {
    let version = |file: &TensorFile| Version {
        path: file.path().to_owned(),
        bytes: file.file_bytes(),
        modified: file.modified(),
    };
    tensors.files().iter().map(version).collect()
}

impl Version {
    /// The file that is at `path` now.
    fn of(path: &Path) -> Result<Self> {
        let bad = |error: io::Error| Error::bad_model(format!("cannot read `{}`: {error}", path.display()));
        let metadata = fs::metadata(path).map_err(bad)?;
        Ok(Self { path: path.to_owned(), bytes: metadata.len(), modified: metadata.modified().ok() })
    }
}
