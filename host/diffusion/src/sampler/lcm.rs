// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Latent consistency models: every answer is a finished picture, which gets fresh noise for the next step.
//!
//! Source: Luo et al. 2023, arXiv:2310.04378, algorithm 1 and section 4.3 for the timesteps; diffusers'
//! `LCMScheduler`.

use super::{About, Run, Space, ddim::mixed};
use crate::schedule::{NoiseLevels, Table, steps_through};
use crate::{Denoise, Error, Latent, Result, SchedulerConfig};

pub(super) const ABOUT: About = About {
    name: "lcm",
    label: "LCM",
    aliases: &["k_lcm"],
    class: Some("LCMScheduler"),
    space: Space::Network,
};

/// The standard deviation that the boundary condition takes pictures to have.
const SIGMA_DATA: f32 = 0.5;

/// Some of the timesteps that the model was distilled on.
pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Result<Table> {
    let levels = NoiseLevels::of(config);
    let points: Vec<_> =
        distilled_timesteps(config, steps)?.into_iter().map(|t| (levels.at(t).into(), t as f64)).collect();
    Ok(Table { steps: steps_through(&points, 0.0), initial_scale: 1.0 })
}

/// `steps` of the timesteps that consistency models were distilled on, noisiest first.
///
/// # Errors
/// [`Error::Steps`] for more than there are.
pub(super) fn distilled_timesteps(config: &SchedulerConfig, steps: usize) -> Result<Vec<usize>> {
    let most = config.distilled_steps();
    if steps > most {
        return Err(Error::Steps { steps, most });
    }
    let stride = config.train_timesteps() / most;
    let place = |index: usize| (index as f64 * (most as f64 / steps as f64)).floor() as usize;
    Ok((0..steps).map(|index| (most - place(index)) * stride - 1).collect())
}

pub(super) async fn walk<D: Denoise>(
    mut run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    for (index, step) in run.steps.iter().enumerate() {
        let (picture, _) = run.denoiser.parts(&x, step.at).await?;
        let scaled = step.at.t * run.config.timestep_scaling();
        let variance = scaled * scaled + SIGMA_DATA * SIGMA_DATA;
        let (skip, out) = (SIGMA_DATA * SIGMA_DATA / variance, scaled / variance.sqrt());
        let denoised = x.zip(&picture, |x, picture| out * picture + skip * x);
        x = match index + 1 == run.steps.len() {
            true => denoised.clone(),
            false => mixed(&denoised, &run.fresh(x.shape), step.next),
        };
        x = run.kept_after(index, x);
        run.denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}
