// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The models on disk: discovery, names, and what a model says about how it wants to be used.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::UNIX_EPOCH;

use alice_checkpoint::Family;
use alice_checkpoint::diffusers::{Directory, Vocabulary};
use alice_diffusion::{ClipTokenizer, Sampler, SchedulerConfig, TokenizerFiles};
use anyhow::Context;
use serde::Deserialize;
use tracing::{info, warn};

use crate::config;
use crate::error::{Error, Result};

/// Model names of other services; each means the default model.
const ALIASES: &[&str] = &["gpt-image-", "dall-e-", "chatgpt-image-"];

/// Pixels per latent cell of the Stable Diffusion autoencoders, to turn a sample size into a picture size
/// before the model is loaded.
const PIXELS_PER_CELL: u32 = 8;

/// A model on disk.
#[derive(Debug)]
pub struct Model {
    /// `sd/<name>`, as clients of the Python ALICE know it.
    pub id: String,
    /// The directory's name.
    pub name: String,
    /// The directory.
    pub path: PathBuf,
    /// What kind of network it is.
    pub family: Family,
    /// Seconds since 1970 when it was put here.
    pub created: u64,
    /// How its makers sampled it.
    pub scheduler: SchedulerConfig,
    /// Side of the pictures it was trained on, in pixels.
    pub native_size: u32,
    /// What its owner says about it.
    pub sidecar: Sidecar,
    tokenizer: OnceLock<ClipTokenizer>,
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
    fn open(path: &Path) -> anyhow::Result<Self> {
        let directory = Directory::open(path)?;
        let unet: UnetSize = directory.config("unet")?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let cells = match unet.sample_size {
            Side::Square(side) => side,
            Side::Pair([height, width]) => height.max(width),
        };
        let modified = path.metadata()?.modified()?;
        Ok(Self {
            id: format!("sd/{name}"),
            name,
            path: path.to_owned(),
            family: directory.family()?,
            created: modified.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
            scheduler: read_scheduler(&directory)?,
            native_size: cells.saturating_mul(PIXELS_PER_CELL).clamp(64, 2048),
            sidecar: sidecar(path)?,
            tokenizer: OnceLock::new(),
        })
    }

    /// The model's tokenizer, read on first use. `context_length` is the text encoder's.
    ///
    /// # Errors
    /// [`Error::Model`] when its files are missing or damaged.
    pub fn tokenizer(&self, context_length: usize) -> Result<&ClipTokenizer> {
        if let Some(tokenizer) = self.tokenizer.get() {
            return Ok(tokenizer);
        }
        let tokenizer = Directory::open(&self.path).map_err(anyhow::Error::from);
        let tokenizer = tokenizer.and_then(|directory| read_tokenizer(&directory, context_length));
        let tokenizer = tokenizer.map_err(|error| Error::Model {
            id: self.id.clone(),
            problem: format!("its tokenizer cannot be used: {error:#}"),
        })?;
        Ok(self.tokenizer.get_or_init(|| tokenizer))
    }
}

/// How the makers of the model in `directory` sampled it.
///
/// # Errors
/// When the file is missing or not understood.
pub fn read_scheduler(directory: &Directory) -> anyhow::Result<SchedulerConfig> {
    let text = directory.scheduler_config()?;
    Ok(SchedulerConfig::from_json(std::str::from_utf8(&text)?)?.for_stable_diffusion())
}

/// The tokenizer of the model in `directory`, for an encoder of that context length.
///
/// # Errors
/// When its files are missing or damaged.
pub fn read_tokenizer(directory: &Directory, context_length: usize) -> anyhow::Result<ClipTokenizer> {
    let files = directory.tokenizer()?;
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

#[derive(Deserialize)]
struct UnetSize {
    #[serde(default = "sd1_sample_size")]
    sample_size: Side,
}

/// One side of a square, or height and width of which the larger counts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Side {
    Square(u32),
    Pair([u32; 2]),
}

/// Side of a latent of SD 1.x, which the first published configs leave out.
fn sd1_sample_size() -> Side {
    Side::Square(64)
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
        let mut registry = Self { default: models.first().cloned(), models };
        if let Some(name) = &config.default_model {
            let Some(model) = registry.named(name) else {
                anyhow::bail!("`models.default_model: {name}` is not among the models: {}", registry.ids());
            };
            registry.default = Some(model);
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
