// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A "loaded" model: the numbers out of its directory, or of its family, that a caller can notice, and no weights.

use std::fs;
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::path::Path;

use alice_plugin::{Control, Error, InputInfo, LoadRequest, ModelFiles, ModelInfo, Result, TextEncoderInfo};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::picture::SCALE;
use crate::schedule::{Schedule, ScheduleConfig};

pub(crate) const DTYPE: &str = "f32";

/// What a model is for, by the family that it is loaded as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It makes pictures.
    Pictures,
    /// Its hints guide another model.
    Control,
    /// It makes pictures larger.
    Upscaler,
}

impl Role {
    fn of(family: &str) -> Self {
        match family {
            "controlnet" | "t2i_adapter" => Self::Control,
            "upscaler" => Self::Upscaler,
            _ => Self::Pictures,
        }
    }

    /// To follow "the model".
    fn word(self) -> &'static str {
        match self {
            Self::Pictures => "makes pictures",
            Self::Control => "guides other models",
            Self::Upscaler => "makes pictures larger",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) role: Role,
    pub(crate) info: ModelInfo,
    pub(crate) schedule: Schedule,
    /// Stands for the adapters in force; 0 without any.
    pub(crate) adapters: u64,
}

#[derive(Deserialize)]
#[serde(default)]
struct UnetConfig {
    in_channels: u32,
    /// Those of a latent too; the rest of `in_channels` comes beside it.
    out_channels: Option<u32>,
    addition_embed_type: Option<String>,
}

impl Default for UnetConfig {
    fn default() -> Self {
        Self { in_channels: 4, out_channels: None, addition_embed_type: None }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct TextConfig {
    max_position_embeddings: u32,
    vocab_size: u32,
    hidden_size: u32,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self { max_position_embeddings: 77, vocab_size: 49_408, hidden_size: 768 }
    }
}

impl Model {
    /// Reads the directory's configurations. Files that are missing stand for Stable Diffusion 1's; only
    /// `model_index.json` must be there. Of a single file nothing is read: it stands for the published model of its
    /// family.
    pub(crate) fn load(request: &LoadRequest, factor: u32, control: &dyn Control) -> Result<Self> {
        let path = request.files.path();
        control.progress(0, 3)?;
        let role = Role::of(&request.family);
        if role != Role::Pictures {
            return Self::beside(role, request, factor);
        }
        let (unet, text_encoders) = match &request.files {
            ModelFiles::Diffusers { path } => {
                require(&path.join("model_index.json"))?;
                (config(path, "unet/config.json")?, text_encoders(path)?)
            }
            ModelFiles::SingleFile { path } => {
                require(path)?;
                published(&request.family)
            }
        };
        control.progress(2, 3)?;
        // Beside a single file there is none, so its schedule is that of all families.
        let schedule: ScheduleConfig = config(path, "scheduler/scheduler_config.json")?;
        control.progress(3, 3)?;
        let bad = |what| Error::bad_model(format!("`{}` has {what}", path.display()));
        let latent_channels = unet.out_channels.unwrap_or(unet.in_channels);
        if !(1..=64).contains(&latent_channels) {
            return Err(bad("latents of no or more than 64 channels"));
        }
        let info = ModelInfo {
            latent_channels,
            output_channels: latent_channels,
            latent_scale: SCALE,
            inputs: inputs(&unet, latent_channels, text_encoders.len()),
            text_encoders,
            dtype: DTYPE.into(),
            memory_bytes: size_of::<Self>() as u64,
        };
        let schedule = Schedule::new(&schedule).ok_or_else(|| bad("a noise schedule that cannot be"))?;
        Ok(Self { role, info, schedule, adapters: 0 })
    }

    /// A network that stands beside a model: its file must be there, or the `config.json` of its directory.
    fn beside(role: Role, request: &LoadRequest, factor: u32) -> Result<Self> {
        if request.vae.is_some() {
            return Err(Error::invalid(format!("a `{}` has no autoencoder", request.family)));
        }
        match &request.files {
            ModelFiles::Diffusers { path } => require(&path.join("config.json"))?,
            ModelFiles::SingleFile { path } => require(path)?,
        }
        let (latent_channels, output_channels, latent_scale) = match role {
            Role::Upscaler => (3, 3, factor),
            _ => (4, 0, SCALE),
        };
        let info = ModelInfo {
            latent_channels,
            output_channels,
            latent_scale,
            text_encoders: Vec::new(),
            inputs: Vec::new(),
            dtype: DTYPE.into(),
            memory_bytes: size_of::<Self>() as u64,
        };
        // It is never asked for noise.
        let schedule = Schedule::new(&ScheduleConfig::default()).expect("the default is a schedule");
        Ok(Self { role, info, schedule, adapters: 0 })
    }

    /// Passes for a model of this role.
    ///
    /// # Errors
    /// `Invalid`.
    pub(crate) fn must_be(&self, role: Role) -> Result<&Self> {
        match self.role == role {
            true => Ok(self),
            false => {
                let (found, needed) = (self.role.word(), role.word());
                Err(Error::invalid(format!("the model {found}; one that {needed} is needed")))
            }
        }
    }
}

/// Passes for a file that is there.
fn require(path: &Path) -> Result<()> {
    match path.is_file() {
        true => Ok(()),
        false => Err(Error::bad_model(format!("`{}` does not exist", path.display()))),
    }
}

/// The numbers of the published model of a family; one that is not known has those of Stable Diffusion 1.
fn published(family: &str) -> (UnetConfig, Vec<TextEncoderInfo>) {
    let (widths, is_xl): (&[u32], bool) = match family {
        "sd2" => (&[1024], false),
        "sdxl" => (&[768, 1280], true),
        "sdxl_refiner" => (&[1280], true),
        _ => (&[768], false),
    };
    let addition_embed_type = is_xl.then(|| "text_time".to_owned());
    let encoder = |width: &u32| info(TextConfig { hidden_size: *width, ..TextConfig::default() });
    (UnetConfig { addition_embed_type, ..UnetConfig::default() }, widths.iter().map(encoder).collect())
}

fn info(text: TextConfig) -> TextEncoderInfo {
    TextEncoderInfo {
        context_length: text.max_position_embeddings,
        vocab_size: text.vocab_size,
        hidden_size: text.hidden_size,
    }
}

/// The text encoders that have a directory; one like Stable Diffusion 1's when there is none.
fn text_encoders(path: &Path) -> Result<Vec<TextEncoderInfo>> {
    let mut files = ["text_encoder/config.json", "text_encoder_2/config.json"].to_vec();
    files.retain(|file| path.join(file).exists());
    if files.is_empty() {
        files.push("text_encoder/config.json");
    }
    files.into_iter().map(|file| config(path, file).map(info)).collect()
}

/// What a denoiser of this configuration takes beside the latent.
fn inputs(unet: &UnetConfig, latent_channels: u32, text_encoders: usize) -> Vec<InputInfo> {
    let mut inputs = Vec::new();
    if unet.addition_embed_type.is_some() {
        // SDXL hears six sizes; its refiner, which has one encoder, a score in the place of the last two.
        let sizes = if text_encoders == 1 { 5 } else { 6 };
        inputs.push(InputInfo { name: "time_ids".into(), shape: vec![sizes] });
    }
    let further = unet.in_channels.saturating_sub(latent_channels);
    if further > 0 {
        inputs.push(InputInfo { name: "concat".into(), shape: vec![further, 0, 0] });
    }
    inputs
}

fn config<T: DeserializeOwned + Default>(directory: &Path, file: &str) -> Result<T> {
    let path = directory.join(file);
    let bad = |reason: String| Error::bad_model(format!("`{}`: {reason}", path.display()));
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| bad(error.to_string())),
        // A path through a file is no place either.
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(T::default()),
        Err(error) => Err(bad(error.to_string())),
    }
}
