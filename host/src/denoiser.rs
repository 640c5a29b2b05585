// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The network as a sampler sees it: one evaluation in the engine, with guidance.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use alice_diffusion::{Denoise, Latent, Point, guidance};
use alice_plugin::LatentShape;

use crate::engine::{Conditioning, Engine, LoadedModel, Row};
use crate::error::{Error, Result};

/// What steers one request's pictures.
#[derive(Debug)]
pub struct Prompts {
    /// The encoded prompt.
    pub conditional: Arc<Conditioning>,
    /// The encoded negative prompt, when guidance is on.
    pub unconditional: Option<Arc<Conditioning>>,
}

/// A model with prompts and a guidance scale.
#[derive(Debug)]
pub struct Denoiser<'a> {
    /// The way to the device.
    pub engine: &'a Engine,
    /// The model.
    pub model: &'a Arc<LoadedModel>,
    /// Its prompts.
    pub prompts: &'a Prompts,
    /// How far the answer is pushed away from the negative prompt's.
    pub guidance_scale: f32,
    /// Seconds that one evaluation may take, with its wait.
    pub limit_s: u32,
}

impl Denoise for Denoiser<'_> {
    type Error = Error;

    async fn denoise(&self, x: &Latent, at: Point) -> Result<Latent> {
        let latent: Arc<[f32]> = x.values.as_slice().into();
        let row = |conditioning: &Arc<Conditioning>| Row {
            latent: latent.clone(),
            timestep: at.t,
            conditioning: conditioning.clone(),
        };
        let mut rows = vec![row(&self.prompts.conditional)];
        rows.extend(self.prompts.unconditional.as_ref().map(row));
        let shape = contract_shape(x.shape)?;
        let mut values = limited(self.limit_s, self.engine.denoise(self.model, shape, rows)).await?;
        if self.prompts.unconditional.is_some() {
            let (conditional, unconditional) = values.split_at(values.len() / 2);
            values = guidance::guide(conditional, unconditional, self.guidance_scale);
        }
        Ok(Latent { shape: x.shape, values })
    }

    fn stepped(&self, _step: usize, _steps: usize, _denoised: &Latent) -> Result<()> {
        Ok(())
    }
}

/// One call of the engine that is given up after `limit_s` seconds: a backend that hangs must not hold its
/// caller's turn for ever.
pub(crate) async fn limited<T>(
    limit_s: u32,
    call: impl Future<Output = alice_plugin::Result<T>>,
) -> Result<T> {
    let limit = Duration::from_secs(u64::from(limit_s));
    let answer = tokio::time::timeout(limit, call).await;
    Ok(answer.map_err(|_| Error::Timeout { limit_s })??)
}

/// The sampler's shape in the contract's numbers.
///
/// # Errors
/// For a side that no latent can have.
pub fn contract_shape(shape: alice_diffusion::LatentShape) -> Result<LatentShape> {
    let side =
        |value: usize| u32::try_from(value).map_err(|_| anyhow::anyhow!("a latent with a side of {value}"));
    Ok(LatentShape {
        channels: side(shape.channels)?,
        height: side(shape.height)?,
        width: side(shape.width)?,
    })
}
