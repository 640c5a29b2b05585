// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! One model: what the daemon knows of it before any weight is read.

use std::fs::Metadata;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::UNIX_EPOCH;

use alice_checkpoint::control::Trunk;
use alice_checkpoint::diffusers::Settings;
use alice_checkpoint::{Checkpoint, Family, Layer, Layout};
use alice_diffusion::{ClipTokenizer, Prediction, Sampler, SchedulerConfig};
use alice_plugin::{ModelFiles, TextEncoderInfo};
use anyhow::Context;
use serde::Deserialize;

use super::defaults::Defaults;
use super::files;
use super::names::Wish;
use super::sidecar::{self, Sidecar, Subject};
use super::sizes::{self, Sizes, Takes};
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
    /// The directory of models in which it was found.
    pub root: PathBuf,
    /// What lies at `path`, as a backend is told.
    pub files: ModelFiles,
    /// The autoencoder that its owner wants instead of its own.
    pub vae: Option<PathBuf>,
    /// How large its files are.
    pub size_bytes: u64,
    /// A number that changes whenever one of its files does, or its autoencoder.
    pub version: u64,
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
    /// What its denoiser takes at every step.
    pub takes: Takes,
    /// The sizes that a ControlNet or T2I-Adapter must suit.
    pub trunk: Trunk,
    /// That is more than a latent, so it cannot paint from text alone.
    pub needs_picture: bool,
    /// What its owner says about it.
    pub sidecar: Sidecar,
    /// What a request leaves open: its owner's word, else what is usual for its kind.
    pub defaults: Defaults,
    /// What the configuration says that its autoencoder is.
    pub(super) configured_vae: Option<PathBuf>,
    /// What is odd about its sidecar, for the log.
    pub(super) warnings: Vec<String>,
    wish: Wish,
    /// Of its own files and its sidecar, as they were before they were read.
    stamp: u64,
    /// Of the autoencoder in the place of its own.
    stamp_of_vae: u64,
    layers: OnceLock<Arc<[Layer]>>,
    /// One for each text encoder.
    tokenizers: OnceLock<Vec<ClipTokenizer>>,
}

/// The configuration of an autoencoder.
#[derive(Deserialize)]
struct Scaled {
    #[serde(default = "scaling_factor")]
    scaling_factor: f32,
}

/// That of Stable Diffusion 1, which its first files leave out.
fn scaling_factor() -> f32 {
    0.18215
}

impl Model {
    /// The model at `path`, wherever that is.
    ///
    /// # Errors
    /// Says what is missing or not understood.
    pub(crate) fn at(path: &Path) -> anyhow::Result<Self> {
        let relative = path.file_name().unwrap_or_default().to_string_lossy();
        let (is_directory, root) = (path.is_dir(), path.parent().unwrap_or(path));
        let wish = Wish::of_model(&relative, is_directory, "");
        Begun::read(Source { path, is_directory, root, wish })?.finish(None)
    }

    /// Everything in the model that a LoRA can change, read on first use.
    ///
    /// # Errors
    /// [`Error::Model`] when its files are damaged or gone.
    pub fn layers(&self) -> Result<Arc<[Layer]>> {
        if let Some(layers) = self.layers.get() {
            return Ok(Arc::clone(layers));
        }
        let read = || {
            let checkpoint = Checkpoint::open(&self.path)?;
            let networks = checkpoint.components()?;
            let layers = networks
                .iter()
                .filter(|network| **network != "vae")
                .map(|network| checkpoint.layers(network));
            Ok(layers.collect::<std::result::Result<Vec<_>, _>>()?.concat().into())
        };
        let layers = read().map_err(|error: alice_checkpoint::Error| Error::Model {
            id: self.id.clone(),
            problem: error.to_string(),
        })?;
        Ok(Arc::clone(self.layers.get_or_init(|| layers)))
    }

    /// What the latents of its autoencoder are multiplied with to have the deviation of noise.
    ///
    /// # Errors
    /// [`Error::Model`] when its files are damaged or gone.
    pub fn latent_scaling(&self) -> Result<f32> {
        let read = || {
            let checkpoint = Checkpoint::open(&self.path)?;
            let checkpoint = match &self.vae {
                Some(vae) => checkpoint.with_vae(vae)?,
                None => checkpoint,
            };
            checkpoint.config("vae").map(|autoencoder: Scaled| autoencoder.scaling_factor)
        };
        read().map_err(|error: alice_checkpoint::Error| Error::Model {
            id: self.id.clone(),
            problem: error.to_string(),
        })
    }

    /// The same model by the name that it has among the others.
    pub(super) fn called(self, name: &str) -> Self {
        Self { id: format!("sd/{name}"), name: name.to_owned(), ..self }
    }

    /// Whether a client could mean it by `name`, which others may have too.
    pub(super) fn may_be_called(&self, name: &str) -> bool {
        self.wish.is_called(name)
    }

    /// What it would be called, if nobody else would be.
    pub(super) fn wish(&self) -> &Wish {
        &self.wish
    }

    /// Whether the files of the model at `source`, which it is, are those that were read.
    pub(super) fn is_unchanged(&self, source: &Source<'_>) -> bool {
        self.stamp == source.stamp() && self.stamp_of_vae == files::stamp(self.vae.as_deref())
    }

    /// What the model's text encoders read, as its files say.
    ///
    /// # Errors
    /// [`Error::Model`] when they are damaged or gone.
    pub fn text_encoders(&self) -> Result<Vec<TextEncoderInfo>> {
        let read = || sizes::text_encoders(&Checkpoint::open(&self.path)?);
        read().map_err(|error: alice_checkpoint::Error| Error::Model {
            id: self.id.clone(),
            problem: error.to_string(),
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

/// A model of which everything is read but the autoencoder. Which one it uses, the configuration may say by the
/// model's name, and that depends on what else there is.
#[derive(Debug)]
pub(super) struct Begun<'a> {
    source: Source<'a>,
    checkpoint: Checkpoint,
    sidecar: Sidecar,
    warnings: Vec<String>,
    stamp: u64,
}

impl<'a> Begun<'a> {
    /// Reads what the daemon must know of the model at `source`; weights stay on disk.
    ///
    /// # Errors
    /// Says what is missing or not understood.
    pub(super) fn read(source: Source<'a>) -> anyhow::Result<Self> {
        // Taken first: a file that is written while it is read counts as changed the next time.
        let stamp = source.stamp();
        let (sidecar, warnings) = sidecar::read(&source.sidecars(), Subject::Model)?;
        let checkpoint = Checkpoint::open(source.path)?;
        // A network of which nothing can be read is found here, and not when somebody wants a picture.
        let networks = checkpoint.components()?;
        let mut own = networks.iter().filter(|network| **network != "vae");
        own.try_for_each(|network| checkpoint.values(network).map(drop))?;
        Ok(Self { source, checkpoint, sidecar, warnings, stamp })
    }

    /// What it would be called, if nobody else would be.
    pub(super) fn wish(&self) -> &Wish {
        &self.source.wish
    }

    /// The model with the autoencoder that the configuration names, else with that of its sidecar, else with its
    /// own. It is called by the first name of its wish.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) fn finish(self, configured: Option<&Path>) -> anyhow::Result<Model> {
        let Self { source, checkpoint, sidecar, warnings, stamp } = self;
        let vae = match (configured, &sidecar.vae) {
            (Some(named), _) => Some(source.configured(named).context("its autoencoder in `models.vae`")?),
            (None, Some(named)) => {
                Some(source.autoencoder(Path::new(named)).context("`vae` in its sidecar")?)
            }
            (None, None) => None,
        };
        let stamp_of_vae = files::stamp(vae.as_deref());
        let version = source.version(vae.as_deref());
        let checkpoint = match &vae {
            Some(vae) => checkpoint.with_vae(vae).context("its autoencoder cannot be used")?,
            None => checkpoint,
        };
        checkpoint.values("vae")?;
        let family = checkpoint.family();
        let scheduler = with_word_of_owner(read_scheduler(&checkpoint)?, &sidecar)?;
        let (sizes, settings) = (Sizes::read(&checkpoint)?, checkpoint.settings()?);
        let defaults = sidecar.defaults.clone().or(Defaults::usual(family, &scheduler, settings));
        let named = defaults.scheduler.as_ref().and_then(|name| name.parse::<Sampler>().ok());
        let samples = named.is_none_or(|sampler| sampler.fits(&scheduler));
        anyhow::ensure!(samples, "`defaults.scheduler` in its sidecar cannot sample a model of its kind");
        let most_clip_skip = sizes.most_clip_skip(family);
        if let Some(layers) = defaults.clip_skip {
            let fits = layers <= most_clip_skip;
            anyhow::ensure!(fits, "`defaults.clip_skip` in its sidecar must be 0 to {most_clip_skip}");
        }
        let (path, metadata) = (source.path.to_owned(), source.path.metadata()?);
        let name = source.wish.first().to_owned();
        Ok(Model {
            id: format!("sd/{name}"),
            name,
            path: path.clone(),
            root: source.root.to_owned(),
            files: match checkpoint.layout() {
                Layout::Directory => ModelFiles::Diffusers { path },
                Layout::SingleFile => ModelFiles::SingleFile { path },
            },
            size_bytes: files::size(source.path),
            version,
            stamp,
            stamp_of_vae,
            configured_vae: configured.map(Path::to_owned),
            warnings,
            wish: source.wish,
            family,
            created: created(&metadata),
            native_size: sizes.native(family, &scheduler),
            scheduler,
            settings,
            most_clip_skip,
            takes: sizes.takes(),
            trunk: Trunk::of(&checkpoint)?,
            needs_picture: sizes.takes() != Takes::Latent,
            vae,
            defaults,
            sidecar,
            layers: OnceLock::new(),
            tokenizers: OnceLock::new(),
        })
    }
}

/// Where a model is.
#[derive(Clone, Debug)]
pub(super) struct Source<'a> {
    /// The directory or file.
    pub(super) path: &'a Path,
    /// Whether it is a directory.
    pub(super) is_directory: bool,
    /// The directory of models in which it was found.
    pub(super) root: &'a Path,
    /// What it would be called.
    pub(super) wish: Wish,
}

impl Source<'_> {
    /// Where its sidecar may lie. A file in a directory of models of one kind may share one with its neighbours, as
    /// in the Python ALICE.
    fn sidecars(&self) -> Vec<PathBuf> {
        match (self.is_directory, self.path.parent()) {
            (true, _) => sidecar::in_directory(self.path),
            (false, Some(parent)) if parent != self.root => {
                [sidecar::beside(self.path), sidecar::in_directory(parent)].concat()
            }
            (false, _) => sidecar::beside(self.path),
        }
    }

    /// Changes when one of the files does that [`Begun::read`] reads.
    fn stamp(&self) -> u64 {
        let sidecars = self.sidecars();
        files::stamp(std::iter::once(self.path).chain(sidecars.iter().map(PathBuf::as_path)))
    }

    /// The same for what a backend reads of it.
    fn version(&self, vae: Option<&Path>) -> u64 {
        files::stamp_without([Some(self.path), vae].into_iter().flatten(), &self.sidecars())
    }

    /// The autoencoder that the configuration names: anywhere, or where a sidecar may say.
    fn configured(&self, named: &Path) -> anyhow::Result<PathBuf> {
        if !named.is_absolute() {
            return self.autoencoder(named);
        }
        anyhow::ensure!(named.exists(), "`{}` is not there", named.display());
        Ok(named.to_owned())
    }

    /// The autoencoder that a sidecar names: a path that begins beside the model or in the directory of models and
    /// does not lead out of it. Sidecars come from strangers: what lies elsewhere, and whether it does, is not told.
    fn autoencoder(&self, named: &Path) -> anyhow::Result<PathBuf> {
        let mut parts = named.components();
        let inside = parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        anyhow::ensure!(
            inside,
            "it leads out of the directory of models; only `models.vae` in the configuration may do so, by an \
             absolute path"
        );
        let own = self.path.parent().filter(|_| self.path != self.root);
        let own = [Some(self.path).filter(|_| self.is_directory), own, Some(self.root)];
        let mut places = own.into_iter().flatten().map(|place| place.join(named));
        places.find(|path| path.exists()).with_context(|| {
            format!("there is no `{}`, neither beside it nor in the directory of models", named.display())
        })
    }
}

/// When something was put where it is, in seconds since 1970.
pub(super) fn created(metadata: &Metadata) -> u64 {
    let modified = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    modified.map_or(0, |age| age.as_secs())
}

/// The scheduler's settings with what the owner knows better than the files.
fn with_word_of_owner(config: SchedulerConfig, sidecar: &Sidecar) -> anyhow::Result<SchedulerConfig> {
    let config = match sidecar.prediction {
        Some(prediction) => config.with_prediction(prediction),
        None => config,
    };
    let Some(zero_snr) = sidecar.zero_snr else { return Ok(config) };
    let can = !zero_snr || config.prediction() != Prediction::Epsilon;
    anyhow::ensure!(can, "`zero_snr` in its sidecar needs `prediction_type: v_prediction`");
    Ok(config.with_zero_terminal_snr(zero_snr))
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
