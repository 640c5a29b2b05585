// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A "loaded" model: the numbers out of its directory that a caller can notice, and no weights.

use std::fs;
use std::io::ErrorKind::NotFound;
use std::path::Path;

use alice_plugin::{Control, Error, LoadRequest, ModelFiles, ModelInfo, Result, TextEncoderInfo};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::picture::SCALE;
use crate::schedule::{Schedule, ScheduleConfig};

pub(crate) const DTYPE: &str = "f32";

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) info: ModelInfo,
    pub(crate) schedule: Schedule,
    /// Stands for the adapters in force; 0 without any.
    pub(crate) adapters: u64,
}

#[derive(Deserialize)]
#[serde(default)]
struct UnetConfig {
    in_channels: u32,
}

impl Default for UnetConfig {
    fn default() -> Self {
        Self { in_channels: 4 }
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
    /// `model_index.json` must be there.
    pub(crate) fn load(request: &LoadRequest, control: &dyn Control) -> Result<Self> {
        let ModelFiles::Diffusers { path } = &request.files;
        let index = path.join("model_index.json");
        if !index.is_file() {
            return Err(Error::bad_model(format!("`{}` does not exist", index.display())));
        }
        control.progress(0, 3)?;
        let unet: UnetConfig = config(path, "unet/config.json")?;
        control.progress(1, 3)?;
        let text: TextConfig = config(path, "text_encoder/config.json")?;
        control.progress(2, 3)?;
        let schedule: ScheduleConfig = config(path, "scheduler/scheduler_config.json")?;
        control.progress(3, 3)?;
        let bad = |what| Error::bad_model(format!("`{}` has {what}", path.display()));
        if !(1..=64).contains(&unet.in_channels) {
            return Err(bad("latents of no or more than 64 channels"));
        }
        let info = ModelInfo {
            latent_channels: unet.in_channels,
            output_channels: unet.in_channels,
            latent_scale: SCALE,
            text_encoders: vec![TextEncoderInfo {
                context_length: text.max_position_embeddings,
                vocab_size: text.vocab_size,
                hidden_size: text.hidden_size,
            }],
            dtype: DTYPE.into(),
            memory_bytes: size_of::<Self>() as u64,
        };
        let schedule = Schedule::new(&schedule).ok_or_else(|| bad("a noise schedule that cannot be"))?;
        Ok(Self { info, schedule, adapters: 0 })
    }
}

fn config<T: DeserializeOwned + Default>(directory: &Path, file: &str) -> Result<T> {
    let path = directory.join(file);
    let bad = |reason: String| Error::bad_model(format!("`{}`: {reason}", path.display()));
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| bad(error.to_string())),
        Err(error) if error.kind() == NotFound => Ok(T::default()),
        Err(error) => Err(bad(error.to_string())),
    }
}
