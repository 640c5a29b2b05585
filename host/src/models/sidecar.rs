// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the owner of a model says about it: a YAML file beside it.

use std::path::Path;

use alice_diffusion::Sampler;
use anyhow::Context;
use serde::Deserialize;

use crate::error::{Error, Result};

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

pub(super) fn read(path: &Path) -> anyhow::Result<Sidecar> {
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
