// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Why a model file cannot be used, in sentences that name the file and, where known, the remedy.

use std::{io, path::PathBuf};

use safetensors::Dtype;

/// A model file or directory that cannot be used. Names that come out of files are quoted and escaped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused to open or read a file.
    #[error("cannot read `{}`: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        // Not called `source`: the sentence says it already, and whoever writes out the chain would say it twice.
        cause: io::Error,
    },
    /// A directory, a pipe, a device: something that has no fixed content to map.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// The thing.
        path: PathBuf,
    },
    /// The file's format can carry a program that runs when the file is loaded.
    #[error(
        "`{}` is {format}, which can run a program when it is loaded, so it is refused; {convert}",
        path.display()
    )]
    UnsafeFormat {
        /// The file.
        path: PathBuf,
        /// What it is, with its article: "a pickle".
        format: &'static str,
        /// How to make a file of it that is accepted.
        convert: &'static str,
    },
    /// The file is not what its name says, or is incomplete.
    #[error("`{}` is damaged or not a safetensors file: {reason}; fetch it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first thing found wrong.
        reason: String,
    },
    /// The file is of another kind, whatever its name.
    #[error("`{}` is not a safetensors file: {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do.
        what: &'static str,
    },
    /// A file beside the weights is larger than any honest one.
    #[error("`{}` has {bytes} bytes, more than the {limit} that such a file may have", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The largest size accepted.
        limit: u64,
    },
    /// A JSON file that does not parse, or lacks something it must say.
    #[error("`{}` cannot be understood: {}", path.display(), sentence(cause))]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        cause: serde_json::Error,
    },
    /// Part of a model directory is not there.
    #[error("`{}` has no {what}; the download may be incomplete", path.display())]
    Missing {
        /// The directory that should have it.
        path: PathBuf,
        /// What should be in it.
        what: String,
    },
    /// A tensor that the network needs is not in the file.
    #[error("`{}` has no tensor {name:?}", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor's full name.
        name: String,
    },
    /// A tensor has another shape than the network's configuration says.
    #[error("tensor {name:?} in `{}` has the shape {found:?}, expected {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor's full name.
        name: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
    },
    /// A tensor's number format cannot be read as real numbers.
    #[error("tensor {name:?} holds {dtype} values; expected F32, F16, BF16, F64, F8_E4M3 or F8_E5M2")]
    Dtype {
        /// The tensor's full name.
        name: String,
        /// Its number format.
        dtype: Dtype,
    },
    /// The model's file brings no autoencoder.
    #[error(
        "`{}` has no autoencoder (VAE); give it one: the path of a VAE's safetensors file or directory as `vae` \
         in the model's own YAML file, or in `models.vae` of the configuration",
        path.display()
    )]
    NoAutoencoder {
        /// The model's file.
        path: PathBuf,
    },
    /// A file that is sound and no LoRA that can be applied.
    #[error("`{}` cannot be used as a LoRA: {reason}", path.display())]
    Lora {
        /// The file.
        path: PathBuf,
        /// The first thing found wrong.
        reason: String,
    },
    /// A file that is sound and no textual inversion embedding that can be read.
    #[error("`{}` cannot be used as a textual inversion embedding: {reason}", path.display())]
    Embedding {
        /// The file.
        path: PathBuf,
        /// The first thing found wrong.
        reason: String,
    },
    /// A file or directory that is sound and not one of the networks that stand beside a model.
    #[error("`{}` cannot be used as {purpose}: {reason}", path.display())]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What it was to be, with its article.
        purpose: &'static str,
        /// The first thing found wrong.
        reason: String,
    },
    /// The files are sound, but of no family that is known here.
    #[error("`{}` is of no known model family: {seen}", path.display())]
    UnknownFamily {
        /// The model's directory.
        path: PathBuf,
        /// What was found that decided it.
        seen: String,
    },
}

/// How a model's pickles become files that are accepted.
pub(crate) const CONVERT_MODEL: &str = "load it once with diffusers on a machine where you trust it (a checkpoint of \
     one file with `from_single_file`), write it again with `save_pretrained(directory, safe_serialization=True)`, and \
     use that directory";

impl Error {
    /// The same error; where no family was recognised, a sentence about what the file was to be.
    pub(crate) fn meant_as(self, purpose: &'static str) -> Self {
        match self {
            Self::UnknownFamily { path, seen } => Self::Unusable { path, purpose, reason: seen },
            other => other,
        }
    }

    /// The same error; where it refuses a pickle, with this way out instead of that for models.
    pub(crate) fn converted_by(self, convert: &'static str) -> Self {
        match self {
            Self::UnsafeFormat { path, format, .. } => Self::UnsafeFormat { path, format, convert },
            other => other,
        }
    }
}

/// What a parser says about a stranger's file, fit for a line of a log: it repeats the file's own words, which
/// may be long and hold control characters.
pub(crate) fn sentence(error: impl std::fmt::Display) -> String {
    let text = error.to_string();
    text.chars().take(300).map(|sign| if sign.is_control() { '\u{fffd}' } else { sign }).collect()
}
