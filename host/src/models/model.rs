// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! One model: what the daemon knows of it before any weight is read.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

use alice_checkpoint::diffusers::Settings;
use alice_checkpoint::{Checkpoint, Family};
use alice_diffusion::{ClipTokenizer, SchedulerConfig};
use alice_plugin::{ModelFiles, TextEncoderInfo};

use super::sidecar::{self, Defaults, Sidecar};
use super::sizes::Sizes;
use super::tokenizers::read_tokenizers;
use crate::error::{Error, Result};

/// A model on disk.
#[derive(Debug)]
pub struct Model {
    /// `sd/<name>`, as clients of the Python ALICE know it.
    pub id: String,
    /// Usually the name of the directory, or of the file without its ending.
    pub name: String,
    /// The directory or file.
    pub path: PathBuf,
    /// The same for a backend.
    pub files: ModelFiles,
    /// The autoencoder that its owner wants instead of its own.
    pub vae: Option<PathBuf>,
    /// How large its files are.
    pub size_bytes: u64,
    /// What kind of network it is.
    pub family: Family,
    /// Seconds since 1970 when it was put here.
    pub created: u64,
    /// How its makers sampled it.
    pub scheduler: SchedulerConfig,
    /// Side of the pictures it was trained on, in pixels.
    pub native_size: u32,
    /// What its pipeline does beside its networks.
    pub settings: Settings,
    /// Most layers that can be left out at the end of its text encoders.
    pub most_clip_skip: u32,
    /// Its denoiser takes a picture beside the latent (inpainting, changing a picture as told), so it cannot
    /// paint from text alone.
    pub needs_picture: bool,
    /// What its owner says about it.
    pub sidecar: Sidecar,
    /// What a request leaves open: its owner's word, else what is usual for its kind.
    pub defaults: Defaults,
    /// One for each text encoder.
    tokenizers: OnceLock<Vec<ClipTokenizer>>,
}

impl Model {
    /// Reads what the daemon must know of the model at `path`; weights stay on disk.
    ///
    /// # Errors
    /// Says what is missing or not understood.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let family = checkpoint.family();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let modified = path.metadata()?.modified()?;
        let scheduler = read_scheduler(&checkpoint)?;
        let sizes = Sizes::read(&checkpoint)?;
        let sidecar = sidecar::read(path)?;
        Ok(Self {
            id: format!("sd/{name}"),
            name,
            path: path.to_owned(),
            files: ModelFiles::Diffusers { path: path.to_owned() },
            vae: None,
            size_bytes: 0,
            family,
            created: modified.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
            native_size: sizes.native(family, &scheduler),
            scheduler,
            settings: checkpoint.settings()?,
            most_clip_skip: sizes.most_clip_skip(family),
            needs_picture: sizes.needs_picture(),
            defaults: sidecar.defaults.clone(),
            sidecar,
            tokenizers: OnceLock::new(),
        })
    }

    /// The tokenizers of the model's text encoders, read on first use.
    ///
    /// # Errors
    /// [`Error::Model`] when their files are damaged, or when they do not fit the encoders, of which the
    /// backend said `encoders`.
    pub fn tokenizers(&self, encoders: &[TextEncoderInfo]) -> Result<&[ClipTokenizer]> {
        if let Some(tokenizers) = self.tokenizers.get() {
            return Ok(tokenizers);
        }
        let unusable = |problem: String| Error::Model { id: self.id.clone(), problem };
        let tokenizers = Checkpoint::open(&self.path).map_err(anyhow::Error::from);
        let tokenizers = tokenizers.and_then(|checkpoint| read_tokenizers(&checkpoint, encoders));
        let tokenizers =
            tokenizers.map_err(|error| unusable(format!("its tokenizer cannot be used: {error:#}")))?;
        if tokenizers.is_empty() {
            return Err(unusable("it has no text encoder".to_owned()));
        }
        let too_many = |(tokenizer, encoder): (&ClipTokenizer, &TextEncoderInfo)| {
            tokenizer.vocab_size() > encoder.vocab_size as usize
        };
        if tokenizers.iter().zip(encoders).any(too_many) {
            return Err(unusable("its tokenizer has more tokens than its text encoder".to_owned()));
        }
        Ok(self.tokenizers.get_or_init(|| tokenizers))
    }
}

/// How the makers of `checkpoint` sampled it.
///
/// # Errors
/// When the file is missing or not understood.
pub fn read_scheduler(checkpoint: &Checkpoint) -> anyhow::Result<SchedulerConfig> {
    let text = checkpoint.scheduler_config()?;
    Ok(parse_scheduler(std::str::from_utf8(&text)?, checkpoint.family())?)
}

/// The text of a scheduler's file, as the pipelines of the model's family read it.
///
/// # Errors
/// As [`SchedulerConfig::from_json`].
pub fn parse_scheduler(text: &str, family: Family) -> alice_diffusion::Result<SchedulerConfig> {
    let config = SchedulerConfig::from_json(text)?;
    Ok(match family {
        Family::Sd1 | Family::Sd2 => config.for_stable_diffusion(),
        Family::Sdxl | Family::SdxlRefiner => config.for_stable_diffusion_xl(),
    })
}
