// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Textual inversion embeddings: a word that a text encoder has learned after its training, as the vectors that
//! stand in for tokens of its vocabulary.
//!
//! Three kinds of files are in use: A1111's (`emb_params`), the pairs for SDXL's two text encoders (`clip_l` and
//! `clip_g`), and diffusers' with a single tensor that is named like the word. The daemon reads them whole; they are
//! small.
//!
//! Sources: A1111 stable-diffusion-webui `modules/textual_inversion/textual_inversion.py`; diffusers
//! `loaders/textual_inversion.py`.

use std::path::{Path, PathBuf};

use crate::{Error, Family, Listing, error::sentence, lora::REAL};

/// How a pickled embedding becomes a file that is accepted.
const CONVERT: &str = "on a machine where you trust it, read its vectors once with `torch.load(path, \
     weights_only=True)`, write them with `safetensors.torch.save_file({\"emb_params\": vectors}, path)`, and use that \
     file";
/// The most vectors of one word: a context window of 77 tokens has room for so many between its begin and end, and
/// those of one word are of no use apart.
pub const MAX_VECTORS: usize = 75;
/// The widest vectors accepted; the known text encoders have 768, 1024 and 1280.
const MAX_WIDTH: usize = 1 << 14;

/// The vectors of one word.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    path: PathBuf,
    /// Number of vectors for each text encoder.
    count: usize,
    vectors: Vectors,
}

/// What text encoders the vectors are for.
#[derive(Clone, Debug, PartialEq)]
enum Vectors {
    /// The only one of a model.
    One(Matrix),
    /// The two of SDXL, in the order in which they are used.
    Pair([Matrix; 2]),
}

/// Vectors of one width, one after the other.
#[derive(Clone, Debug, PartialEq)]
struct Matrix {
    width: usize,
    values: Vec<f32>,
}

impl Embedding {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NotAFile`], [`Error::UnsafeFormat`] for a pickle whatever its name,
    /// [`Error::Damaged`] for a file that is no safetensors file, and [`Error::Embedding`] for one that holds
    /// something else than the vectors of one word.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = Listing::open(path).map_err(|error| error.converted_by(CONVERT))?;
        let names: Vec<&str> = file.names().take(3).collect();
        let read = |name| matrix(&file, name);
        let vectors = match names[..] {
            ["clip_g", "clip_l"] => Vectors::Pair([read("clip_l")?, read("clip_g")?]),
            [name] => Vectors::One(read(name)?),
            _ => {
                let seen = sentence(format_args!("{names:?}"));
                let reason = format!("it holds {seen}, neither one tensor nor `clip_l` and `clip_g`");
                return Err(Error::Embedding { path: path.to_owned(), reason });
            }
        };
        let count = match &vectors {
            Vectors::One(one) => one.count(),
            Vectors::Pair([first, second]) if first.count() == second.count() => first.count(),
            Vectors::Pair([first, second]) => {
                let (first, second) = (first.count(), second.count());
                let reason =
                    format!("it has {first} vectors for one text encoder and {second} for the other");
                return Err(Error::Embedding { path: path.to_owned(), reason });
            }
        };
        Ok(Self { path: path.to_owned(), count, vectors })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of vectors, which is the number of tokens that the word becomes: 1 to [`MAX_VECTORS`].
    pub fn count(&self) -> usize {
        self.count
    }

    /// The family that the vectors were made for, if their widths tell.
    pub fn base(&self) -> Option<Family> {
        match &self.vectors {
            Vectors::Pair(_) => Some(Family::Sdxl),
            Vectors::One(one) => match one.width {
                768 => Some(Family::Sd1),
                1024 => Some(Family::Sd2),
                1280 => Some(Family::SdxlRefiner),
                _ => None,
            },
        }
    }

    /// For each of a model's text encoders, whose tokens have these widths, its vectors one after the other:
    /// [`count`](Self::count) times the width values. A model with the second of SDXL's text encoders alone, its
    /// refiner, takes the second of a pair.
    ///
    /// # Errors
    /// [`Error::Embedding`] with both sides' widths when the vectors are made for other text encoders.
    pub fn rows(&self, widths: &[usize]) -> Result<Vec<&[f32]>, Error> {
        let matrices: Vec<&Matrix> = match (&self.vectors, widths) {
            (Vectors::One(one), _) => vec![one],
            (Vectors::Pair([_, second]), [_]) => vec![second],
            (Vectors::Pair(both), _) => both.iter().collect(),
        };
        let found: Vec<usize> = matrices.iter().map(|matrix| matrix.width).collect();
        if found != widths {
            let mine: Vec<usize> = match &self.vectors {
                Vectors::One(one) => vec![one.width],
                Vectors::Pair(both) => both.iter().map(|matrix| matrix.width).collect(),
            };
            let reason =
                format!("its vectors are {mine:?} wide, those of the model's text encoders {widths:?}");
            return Err(Error::Embedding { path: self.path.clone(), reason });
        }
        Ok(matrices.into_iter().map(|matrix| &matrix.values[..]).collect())
    }
}

impl Matrix {
    fn count(&self) -> usize {
        self.values.len() / self.width
    }
}

/// The vectors in the tensor called `name`.
fn matrix(file: &Listing, name: &str) -> Result<Matrix, Error> {
    let wrong = |reason: String| Error::Embedding { path: file.path().to_owned(), reason: sentence(reason) };
    let known = file.dtype(name).zip(file.shape(name));
    let (dtype, shape) = known.ok_or_else(|| wrong(format!("{name:?} is missing")))?;
    let (count, width) = match *shape {
        [width] => (1, width),
        [count, width] => (count, width),
        _ => return Err(wrong(format!("{name:?} has the shape {shape:?}, not that of vectors"))),
    };
    if !(1..=MAX_VECTORS).contains(&count) || !(1..=MAX_WIDTH).contains(&width) {
        return Err(wrong(format!(
            "{name:?} has the shape {shape:?}; up to {MAX_VECTORS} vectors of up to {MAX_WIDTH} values fit into a prompt"
        )));
    }
    if !REAL.contains(&dtype) {
        return Err(wrong(format!("{name:?} holds {dtype} values")));
    }
    let [tensor] = &file.read(&[name])?[..] else { return Err(wrong(format!("{name:?} is missing"))) };
    let values = tensor.to_f32()?;
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(Matrix { width, values }),
        false => Err(wrong(format!("{name:?} holds values that are not finite"))),
    }
}

#[cfg(test)]
mod tests;
