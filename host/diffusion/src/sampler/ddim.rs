// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Denoising diffusion implicit models: from the noise in the latent, a cleaner latent with the same noise.
//!
//! Source: Song et al. 2021, arXiv:2010.02502, equation 12 with sigma = 0; diffusers' `DDIMScheduler` with
//! `eta` 0. Never clips the denoised picture: that setting is for networks that paint pixels, and the values
//! of a latent have no bounds.

use crate::denoise::{Denoiser, signal_and_noise};
use crate::schedule::{NoiseLevels, Spacing, Step, Table};
use crate::{Denoise, Latent, Point, SchedulerConfig};

/// The model's own levels, and diffusers' rule for where a step leads: one stride back, whatever the spacing,
/// which need not be the next point.
pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Table {
    let spacing = config.spacing().unwrap_or(Spacing::Leading);
    let levels = NoiseLevels::new(config.betas());
    let stride = config.train_timesteps() / steps;
    let end = if config.alpha_ends_at_one() { 0.0 } else { levels.at(0) };
    let timesteps = spacing.timesteps(config.train_timesteps(), config.steps_offset(), steps);
    let step = |t: f64| {
        let t = t.round_ties_even() as usize;
        let at = Point { sigma: levels.at(t), t: t as f32 };
        Step { at, next: t.checked_sub(stride).map_or(end, |previous| levels.at(previous)) }
    };
    Table { steps: timesteps.into_iter().map(step).collect(), initial_scale: 1.0 }
}

/// `x` is signal * picture + noise level * noise throughout, of unit variance.
pub(super) async fn walk<D: Denoise>(
    denoiser: &Denoiser<'_, D>,
    steps: &[Step],
    mut x: Latent,
) -> Result<Latent, D::Error> {
    for (index, &Step { at, next }) in steps.iter().enumerate() {
        let (denoised, noise) = denoiser.parts(&x, at).await?;
        let (signal, level) = signal_and_noise(next);
        x = denoised.zip(&noise, |denoised, noise| signal * denoised + level * noise);
        denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}
