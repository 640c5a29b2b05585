// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Networks that make a picture larger, of the build of ESRGAN (RRDBNet), in one safetensors file each.
//!
//! Their tensors go by Real-ESRGAN's names, whatever the file calls them: `conv_first`, `body.N.rdb1.conv1` to
//! `body.N.rdb3.conv5`, `conv_body`, `conv_up1` and so on, `conv_hr`, `conv_last`, each with `weight` and `bias`. Also
//! read are the names of the first release (`model.1.sub.N.RDB1.conv1.0`) and of its revision
//! (`RRDB_trunk.N.RDB1.conv1`).
//!
//! Sources: xinntao `BasicSR/basicsr/archs/rrdbnet_arch.py`; `ESRGAN/RRDBNet_arch.py`, and
//! `transfer_RRDB_models.py` there for the names of the first release.

use std::path::{Path, PathBuf};

use crate::{Error, Listing, TensorSet, catalog::Catalog, single::Moves};

/// What a sentence calls what a file should have been.
const PURPOSE: &str = "an upscaler";
/// What trainers put in front of all names; of two copies the averaged one comes first.
const PREFIXES: [&str; 4] = ["params_ema.", "params.", "model.", ""];
/// Channels of a picture.
const RGB: usize = 3;
/// The most steps by two that are known.
const MAX_STEPS: usize = 3;
/// Dense blocks of a residual block, and convolutions of a dense block.
const DENSE: [usize; 3] = [1, 2, 3];
const CONVOLUTIONS: [usize; 5] = [1, 2, 3, 4, 5];

/// An upscaler on disk. Nothing is mapped before [`weights`](Self::weights).
#[derive(Clone, Debug)]
pub struct UpscalerFile {
    path: PathBuf,
    catalog: Catalog,
    scale: usize,
    unshuffle: usize,
}

/// What a spelling calls the parts.
struct Spelling {
    first: &'static str,
    /// Before the number of a residual block.
    trunk: &'static str,
    /// Before the number of a dense block.
    dense: &'static str,
    /// Behind the number of a convolution.
    convolution: &'static str,
    body: String,
    ups: Vec<String>,
    high: String,
    last: String,
}

impl UpscalerFile {
    /// The upscaler in the safetensors file at `path`, whatever its name.
    ///
    /// # Errors
    /// [`Error::Unusable`] for a file of anything else, with what was seen; [`Error::MissingTensor`],
    /// [`Error::UnsafeFormat`] for a pickle (`.pth`) whatever its name, and those of [`Listing::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        Self::read(path).map_err(|error| error.meant_as(PURPOSE))
    }

    fn read(path: &Path) -> Result<Self, Error> {
        let listing = Listing::open(path)?;
        let found = PREFIXES.iter().find_map(|prefix| {
            let moves = Moves::new(&listing, *prefix);
            spelling(&moves).map(|spelling| (moves, spelling))
        });
        let Some((mut moves, spelling)) = found else {
            let reason = "it is of another build than ESRGAN's (RRDBNet), the only one that is known here";
            let reason = reason.to_owned();
            return Err(Error::Unusable { path: path.to_owned(), purpose: PURPOSE, reason });
        };
        let steps = spelling.ups.len();
        let unshuffle = unshuffle(&moves, spelling.first)?;
        let [output, ..]: [usize; 4] = moves.sides(&format!("{}.weight", spelling.last))?;
        if output != RGB {
            return Err(moves.unknown(format!("it makes pictures of {output} channels")));
        }
        if steps > MAX_STEPS || (1 << steps) % unshuffle != 0 {
            let seen = format!("it steps up {steps} times from pictures folded {unshuffle} times");
            return Err(moves.unknown(seen));
        }
        take(&mut moves, &spelling)?;
        let catalog = moves.finish(|_| false)?;
        Ok(Self { path: path.to_owned(), catalog, scale: (1 << steps) / unshuffle, unshuffle })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many times higher and wider it makes a picture: 1, 2, 4 or 8.
    pub fn scale(&self) -> usize {
        self.scale
    }

    /// How many pixels along a side become channels of one, before anything else: 1, 2 or 4. A picture's sides are
    /// filled up to multiples of it.
    pub fn unshuffle(&self) -> usize {
        self.unshuffle
    }

    /// Maps the weights. To be called only in a process that may die of a file that shrinks.
    ///
    /// # Errors
    /// Those of [`TensorFile::open`](crate::TensorFile::open).
    pub fn weights(&self) -> Result<TensorSet, Error> {
        TensorSet::open(self.catalog.clone())
    }

    /// How many values the weights are.
    pub fn values(&self) -> u64 {
        self.catalog.values()
    }
}

/// The spelling of the tensors of `moves`, if it is one that is known.
fn spelling(moves: &Moves<'_>) -> Option<Spelling> {
    let numbered = |name: &str| {
        let there = |number: &usize| moves.has(&format!("{name}{number}.weight"));
        (1..).take_while(there).map(|number| format!("{name}{number}")).collect()
    };
    if moves.has("body.0.rdb1.conv1.weight") {
        return Some(Spelling {
            first: "conv_first",
            trunk: "body.",
            dense: "rdb",
            convolution: "",
            body: "conv_body".to_owned(),
            ups: numbered("conv_up"),
            high: "conv_hr".to_owned(),
            last: "conv_last".to_owned(),
        });
    }
    if moves.has("RRDB_trunk.0.RDB1.conv1.weight") {
        return Some(Spelling {
            first: "conv_first",
            trunk: "RRDB_trunk.",
            dense: "RDB",
            convolution: "",
            body: "trunk_conv".to_owned(),
            ups: numbered("upconv"),
            high: "HRconv".to_owned(),
            last: "conv_last".to_owned(),
        });
    }
    if moves.has("1.sub.0.RDB1.conv1.0.weight") {
        // A list of layers of which some have no weights, so that the numbers say how many steps there are.
        let blocks =
            (0..).take_while(|block| moves.has(&format!("1.sub.{block}.RDB1.conv1.0.weight"))).count();
        let behind = |place: &usize| moves.has(&format!("{place}.weight"));
        let most = 3 * (MAX_STEPS + 3);
        let mut convolutions: Vec<_> = (2..most).filter(behind).map(|place| place.to_string()).collect();
        let (last, high) = (convolutions.pop()?, convolutions.pop()?);
        return Some(Spelling {
            first: "0",
            trunk: "1.sub.",
            dense: "RDB",
            convolution: ".0",
            body: format!("1.sub.{blocks}"),
            ups: convolutions,
            high,
            last,
        });
    }
    None
}

/// How many pixels along a side the first convolution finds as channels of one.
fn unshuffle(moves: &Moves<'_>, first: &str) -> Result<usize, Error> {
    let [_, input, ..]: [usize; 4] = moves.sides(&format!("{first}.weight"))?;
    let fits = [1, 2, 4].into_iter().find(|side| RGB * side * side == input);
    fits.ok_or_else(|| moves.unknown(format!("it takes pictures of {input} channels")))
}

/// Takes every tensor under Real-ESRGAN's name.
fn take(moves: &mut Moves<'_>, spelling: &Spelling) -> Result<(), Error> {
    moves.layer(spelling.first, "conv_first")?;
    let Spelling { trunk, dense, convolution, .. } = spelling;
    let mut block = 0;
    while block == 0 || moves.has(&format!("{trunk}{block}.{dense}1.conv1{convolution}.weight")) {
        for number in DENSE {
            for layer in CONVOLUTIONS {
                let from = format!("{trunk}{block}.{dense}{number}.conv{layer}{convolution}");
                moves.layer(&from, &format!("body.{block}.rdb{number}.conv{layer}"))?;
            }
        }
        block += 1;
    }
    moves.layer(&spelling.body, "conv_body")?;
    for (step, up) in (1..).zip(&spelling.ups) {
        moves.layer(up, &format!("conv_up{step}"))?;
    }
    moves.layer(&spelling.high, "conv_hr")?;
    moves.layer(&spelling.last, "conv_last")
}

#[cfg(test)]
mod tests;
