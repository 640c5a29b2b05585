// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The models on disk: discovery, names, and what a model says about how it wants to be used.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::UNIX_EPOCH;

use alice_checkpoint::diffusers::{Settings, TextEncoder, Vocabulary};
use alice_checkpoint::{Checkpoint, Family, Layout};
use alice_diffusion::{ClipTokenizer, Padding, Sampler, SchedulerConfig, TokenizerFiles};
use alice_plugin::TextEncoderInfo;
use anyhow::Context;
use serde::Deserialize;
use tracing::{info, warn};

use self::sizes::Sizes;
use crate::config;
use crate::error::{Error, Result};
use crate::prompts::NEEDS_PICTURE;

mod sizes;

/// Model names of other services; each means the default model.
const ALIASES: &[&str] = &["gpt-image-", "dall-e-", "chatgpt-image-"];

/// A model on disk.
#[derive(Debug)]
pub struct Model {
    /// `sd/<name>`, as clients of the Python ALICE know it.
    pub id: String,
    /// The directory's name.
    pub name: String,
    /// The directory or the file.
    pub path: PathBuf,
    /// Which of the two.
    pub layout: Layout,
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
    /// One for each text encoder.
    tokenizers: OnceLock<Vec<ClipTokenizer>>,
}

/// `model_config.yaml` beside a model: what a request leaves open.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Sidecar {
    /// One sentence for people.
    pub description: Option<String>,
    /// Parameters that a request leaves out.
    pub defaults: Defaults,
    /// The model knows one size only: it renders in that and the picture is enlarged to the size asked for.
    pub fixed_size: bool,
}

/// Parameters that a request leaves out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Defaults {
    pub steps: Option<u32>,
    pub guidance_scale: Option<f32>,
    pub scheduler: Option<String>,
    pub width: Option<u32>,
    pub height: Option<u32>,
}

impl Defaults {
    /// The same rules as for what a request says.
    fn check(&self) -> Result<()> {
        use crate::draft::{GUIDANCE, SIDES, STEPS, within};
        within("steps", self.steps, STEPS)?;
        within("guidance_scale", self.guidance_scale, GUIDANCE)?;
        within("width", self.width, SIDES)?;
        within("height", self.height, SIDES)?;
        match self.scheduler.as_ref().map(|name| name.parse::<Sampler>()) {
            Some(Err(error)) => Err(Error::invalid("scheduler", error.to_string())),
            _ => Ok(()),
        }
    }
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
        Ok(Self {
            id: format!("sd/{name}"),
            name,
            path: path.to_owned(),
            layout: checkpoint.layout(),
            family,
            created: modified.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
            native_size: sizes.native(family, &scheduler),
            scheduler,
            settings: checkpoint.settings()?,
            most_clip_skip: sizes.most_clip_skip(family),
            needs_picture: sizes.needs_picture(),
            sidecar: sidecar(path)?,
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

/// The tokenizers of `checkpoint`, one for each of its text encoders, of which `encoders` tells how
/// many tokens they read. An encoder without files of its own gets CLIP's vocabulary, which nearly all share.
///
/// # Errors
/// When files are damaged; when there are other encoders than the backend says.
pub fn read_tokenizers(
    checkpoint: &Checkpoint,
    encoders: &[TextEncoderInfo],
) -> anyhow::Result<Vec<ClipTokenizer>> {
    let parts = checkpoint.text_encoders()?;
    anyhow::ensure!(parts.len() == encoders.len(), "it has {} text encoders", parts.len());
    let pairs = parts.iter().zip(encoders);
    pairs.map(|(part, encoder)| read_tokenizer(checkpoint, part, encoder)).collect()
}

fn read_tokenizer(
    checkpoint: &Checkpoint,
    part: &TextEncoder,
    encoder: &TextEncoderInfo,
) -> anyhow::Result<ClipTokenizer> {
    let context_length = encoder.context_length as usize;
    let Some(files) = checkpoint.tokenizer(part.tokenizer)? else {
        let tokenizer = ClipTokenizer::embedded(context_length, padding(checkpoint.family(), part))?;
        let (own, known) = (encoder.vocab_size as usize, tokenizer.vocab_size());
        anyhow::ensure!(own == known, "there is none, and CLIP's {known} tokens are not the encoder's {own}");
        return Ok(tokenizer);
    };
    let (vocab, merges, tokenizer_json) = match &files.vocabulary {
        Vocabulary::Merges { vocab, merges } => (Some(vocab.as_slice()), Some(merges.as_slice()), None),
        Vocabulary::Tokenizer(json) => (None, None, Some(json.as_slice())),
    };
    let files = TokenizerFiles {
        vocab,
        merges,
        tokenizer_json,
        tokenizer_config: files.config.as_deref(),
        special_tokens_map: files.special_tokens.as_deref(),
    };
    Ok(ClipTokenizer::new(files, context_length)?)
}

/// OpenCLIP's encoders were trained on windows filled with zeros, OpenAI's on windows filled with the end token.
fn padding(family: Family, part: &TextEncoder) -> Padding {
    match family {
        Family::Sd1 => Padding::End,
        Family::Sdxl if part.component == "text_encoder" => Padding::End,
        Family::Sd2 | Family::Sdxl | Family::SdxlRefiner => Padding::Zero,
    }
}

fn sidecar(path: &Path) -> anyhow::Result<Sidecar> {
    for name in ["model_config.yaml", "model_config.yml"] {
        match std::fs::read_to_string(path.join(name)) {
            Ok(text) => {
                let sidecar: Sidecar = serde_yaml::from_str(&text)?;
                sidecar.defaults.check().with_context(|| format!("`{name}` cannot be used"))?;
                return Ok(sidecar);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Sidecar::default())
}

/// The models that this daemon offers.
#[derive(Debug)]
pub struct Registry {
    models: Vec<Arc<Model>>,
    default: Option<Arc<Model>>,
}

impl Registry {
    /// Looks for models in the configured directory and beside the program. What is no model is named in the
    /// log and listed nowhere.
    ///
    /// # Errors
    /// A `models.default_model` that is not there.
    pub fn discover(config: &config::Models) -> anyhow::Result<Self> {
        let mut models: Vec<Arc<Model>> = Vec::new();
        for directory in directories(config) {
            for path in candidates(&directory) {
                match Model::open(&path) {
                    Ok(model) if models.iter().any(|known| known.id == model.id) => {}
                    Ok(model) => models.push(Arc::new(model)),
                    Err(error) => {
                        warn!(path = %path.display(), "Passed over a directory that is no model: {error:#}")
                    }
                }
            }
        }
        info!(count = models.len(), "Models found: {}", models.len());
        let paints_from_text = models.iter().find(|model| !model.needs_picture);
        let mut registry = Self { default: paints_from_text.or(models.first()).cloned(), models };
        if let Some(name) = &config.default_model {
            let Some(model) = registry.named(name) else {
                anyhow::bail!("`models.default_model: {name}` is not among the models: {}", registry.ids());
            };
            anyhow::ensure!(!model.needs_picture, "`models.default_model: {name}` {NEEDS_PICTURE}");
            registry.default = Some(model);
        }
        for name in &config.pinned {
            let known = registry.named(name).is_some();
            anyhow::ensure!(known, "`models.pinned: {name}` is not among the models: {}", registry.ids());
        }
        Ok(registry)
    }

    /// The model that a client means: an id, a bare name, an alias of another service, or nothing.
    ///
    /// # Errors
    /// [`Error::NoModel`] that lists what there is.
    pub fn find(&self, asked: Option<&str>) -> Result<Arc<Model>> {
        let asked = asked.map(str::trim).filter(|asked| !asked.is_empty());
        let found = match asked {
            None => self.default.clone(),
            Some(name) => self.named(name).or_else(|| {
                ALIASES.iter().any(|alias| name.starts_with(alias)).then(|| self.default.clone()).flatten()
            }),
        };
        found.ok_or_else(|| Error::NoModel { asked: asked.unwrap_or("").to_owned(), available: self.ids() })
    }

    /// All models, in the order found.
    pub fn all(&self) -> &[Arc<Model>] {
        &self.models
    }

    /// The model that an absent name means.
    pub fn default_model(&self) -> Option<&Arc<Model>> {
        self.default.as_ref()
    }

    /// By exact id, else by the last part of the name: `sd/x`, `x` and `foo/x` are all `sd/x`.
    fn named(&self, name: &str) -> Option<Arc<Model>> {
        let bare = name.rsplit('/').next().unwrap_or(name);
        let exact = self.models.iter().find(|model| model.id == name);
        exact.or_else(|| self.models.iter().find(|model| model.name == bare)).cloned()
    }

    fn ids(&self) -> String {
        let ids: Vec<_> = self.models.iter().map(|model| model.id.as_str()).collect();
        if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
    }
}

/// Where models are looked for: the configured directory, then where the built-in one is installed or, when
/// the program runs out of a build directory, lies in the source tree.
fn directories(config: &config::Models) -> Vec<PathBuf> {
    let mut directories = vec![config.directory.clone()];
    if let Some(beside) = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned)) {
        directories.push(beside.join("../share/alice/models"));
        directories.push(beside.join("../../models"));
    }
    directories
}

/// The directories directly inside `directory` that claim to be models, by name.
fn candidates(directory: &Path) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            warn!(path = %directory.display(), %error, "Cannot read a model directory");
            return Vec::new();
        }
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.join("model_index.json").exists());
    paths.sort();
    paths
}
