// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Denoising diffusion implicit models: from the noise in the latent, a cleaner latent with the same noise.
//!
//! Source: Song et al. 2021, arXiv:2010.02502, equation 12 with sigma = 0; diffusers' `DDIMScheduler` with
//! `eta` 0. Never clips the denoised picture: that setting is for networks that paint pixels, and the values
//! of a latent have no bounds.

use super::{About, Run, Space};
use crate::denoise::signal_and_noise;
use crate::schedule::{NoiseLevels, Spacing, Step, Table};
use crate::{Denoise, Latent, Point, Result, SchedulerConfig};

pub(super) const ABOUT: About = About {
    name: "ddim",
    label: "DDIM",
    aliases: &["ddim_uniform", "k_ddim"],
    class: Some("DDIMScheduler"),
    space: Space::Network,
};

/// The model's own levels, and diffusers' rule for where a step leads: one stride back, whatever the spacing,
/// which need not be the next point.
pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Result<Table> {
    Ok(strided(config, config.alpha_ends_at_one(true), steps))
}

/// The same for every sampler with that rule. The last step leads to no noise at all, or to the first
/// training timestep's level.
pub(super) fn strided(config: &SchedulerConfig, ends_at_one: bool, steps: usize) -> Table {
    let spacing = config.spacing().unwrap_or(Spacing::Leading);
    let levels = NoiseLevels::of(config);
    let stride = config.train_timesteps() / steps;
    let end = if ends_at_one { 0.0 } else { levels.at(0) };
    let timesteps = spacing.timesteps(config.train_timesteps(), config.steps_offset(), steps);
    let step = |t: f64| {
        let t = t.round_ties_even() as usize;
        let at = Point { sigma: levels.at(t), t: t as f32 };
        Step { at, next: t.checked_sub(stride).map_or(end, |previous| levels.at(previous)) }
    };
    Table { steps: timesteps.into_iter().map(step).collect(), initial_scale: 1.0 }
}

pub(super) async fn walk<D: Denoise>(
    run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    for (index, step) in run.steps.iter().enumerate() {
        let (denoised, noise) = run.denoiser.parts(&x, step.at).await?;
        x = mixed(&denoised, &noise, step.next);
        x = run.kept_after(index, x);
        run.denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}

/// A picture with noise at noise level `sigma`.
pub(super) fn mixed(picture: &Latent, noise: &Latent, sigma: f32) -> Latent {
    let (signal, level) = signal_and_noise(sigma);
    picture.zip(noise, |picture, noise| signal * picture + level * noise)
}
