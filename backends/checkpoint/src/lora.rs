// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! LoRA files: changes to some layers of a model, each kept as a product of two small matrices.
//!
//! The files come in several spellings, which are told apart name by name: kohya's (`lora_unet_…`, in the words
//! of diffusers or of the model's makers), PEFT's and diffusers' (`unet.….lora_A.weight`), that of diffusers'
//! old attention processors, and LoCon's with its convolutions. The daemon reads a file's header through
//! [`Lora`], to list it and to see what of it suits a model; a backend computes with [`LoraFile`].
//!
//! Other kinds of adapters (LoHa, LoKr, DoRA, OFT, GLoRA, IA3) are refused by name: they are other sums, and a
//! picture without them would look like a mistake of the model.
//!
//! Sources: kohya's sd-scripts `networks/lora.py`; LyCORIS `modules/locon.py`; PEFT `tuners/lora/layer.py`;
//! diffusers `loaders/lora_conversion_utils.py` and `utils/state_dict_utils.py`.

mod file;
mod keys;
mod ldm;
mod names;
mod pairs;
mod product;
mod settings;

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

pub use self::file::LoraFile;
pub(crate) use self::pairs::REAL;
use self::{keys::Keys, names::Names, pairs::Pair};
use crate::{Error, Family, Layer, Listing};

/// How a pickled LoRA becomes a file that is accepted.
const CONVERT: &str = "on a machine where you trust it, read it once with `torch.load(path, weights_only=True)`, write \
     the tensors with `safetensors.torch.save_file`, and use that file";

/// A LoRA file whose header has been read and found good. It holds none of the file's values but the factors.
#[derive(Clone, Debug)]
pub struct Lora {
    path: PathBuf,
    /// The changes, by the file's name of the module.
    pairs: BTreeMap<String, Pair>,
    /// What else is in the file and is not applied.
    others: Vec<String>,
    base: Option<Family>,
}

/// What of a file suits a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// The layers that change, sorted by the file's names; empty when the file is made for another kind of model.
    pub changes: Vec<Change>,
    /// The file's names of what is not applied: modules that no layer answers to or whose sizes do not fit, and
    /// tensors that are no LoRA of a layer. Sorted.
    pub unmatched: Vec<String>,
}

/// One layer's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The layer's [`Layer::component`].
    pub component: &'static str,
    /// The layer's [`Layer::module`].
    pub module: String,
    /// What the file calls the module.
    pub name: String,
}

impl Lora {
    /// Reads and checks the header of the file at `path`, and the factors of its changes.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NotAFile`], [`Error::UnsafeFormat`] for a pickle whatever its name,
    /// [`Error::Damaged`] for a file that is no safetensors file, and [`Error::Lora`] for one that holds no LoRA
    /// or one that is not applied here.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = Listing::open(path).map_err(|error| error.converted_by(CONVERT))?;
        let wrong = |reason| Error::Lora { path: path.to_owned(), reason };
        let keys = keys::sort(&file).map_err(wrong)?;
        let settings = settings::Settings::read(&file).map_err(wrong)?;
        let (modules, names): (Vec<&String>, Vec<&str>) =
            keys.modules.iter().filter_map(|(module, parts)| Some((module, parts.alpha.as_deref()?))).unzip();
        names.iter().try_for_each(|name| pairs::check_alpha(&file, name)).map_err(wrong)?;
        let alphas = file.read(&names)?;
        let alphas = alphas.iter().map(|alpha| pairs::alpha(alpha).map_err(wrong));
        let alphas = modules.into_iter().cloned().zip(alphas).map(|(module, alpha)| Ok((module, alpha?)));
        let alphas = alphas.collect::<Result<BTreeMap<_, _>, Error>>()?;
        let Keys { modules, others } = keys;
        let pairs = pairs::pairs(&file, modules, &alphas, &settings).map_err(wrong)?;
        let base = names::base(&pairs).or(settings.base);
        Ok(Self { path: path.to_owned(), pairs, others, base })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The family that the file was made for, if its names and shapes tell. For lists; whether it suits a model
    /// is what [`fit`](Self::fit) says.
    pub fn base(&self) -> Option<Family> {
        self.base
    }

    /// Number of layers that the file would change.
    pub fn modules(&self) -> usize {
        self.pairs.len()
    }

    /// What of the file suits a model that has these layers.
    ///
    /// A file whose attention to the prompt has another width than the model's is made for another kind of model:
    /// nothing of it suits then, though some layers of all Stable Diffusions have one name and one size.
    pub fn fit(&self, layers: &[Layer]) -> Fit {
        let names = Names::new(layers);
        let (mut fit, mut taken, mut foreign) = (Fit::default(), HashSet::new(), false);
        for (name, pair) in &self.pairs {
            let found = names.find(name).filter(|&index| taken.insert(index)).map(|index| &layers[index]);
            match found {
                Some(layer) if pair.fits(&layer.shape) => fit.changes.push(Change {
                    component: layer.component,
                    module: layer.module.clone(),
                    name: name.clone(),
                }),
                other => {
                    foreign |= other.is_some_and(|layer| names::reads_the_prompt(&layer.module));
                    fit.unmatched.push(name.clone());
                }
            }
        }
        if foreign {
            fit.unmatched.extend(fit.changes.drain(..).map(|change| change.name));
        }
        fit.unmatched.extend(self.others.iter().cloned());
        fit.unmatched.sort();
        fit
    }
}

#[cfg(test)]
mod tests;
