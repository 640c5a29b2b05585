// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Euler's method along the probability-flow equation.
//!
//! Source: Karras et al. 2022, arXiv:2206.00364, algorithm 2 without churn and without the second evaluation;
//! diffusers' `EulerDiscreteScheduler`.

use crate::denoise::Denoiser;
use crate::schedule::{NoiseLevels, Spacing, Step, Table};
use crate::{Denoise, Latent, SchedulerConfig};

/// The model's own levels, or Karras' between the first and the last of them when the model asks for it.
pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Table {
    let spacing = config.spacing().unwrap_or(Spacing::Linspace);
    let levels = NoiseLevels::new(config.betas()).with_finite_end();
    let points = own_points(config, spacing, &levels, steps);
    if !config.karras() {
        return table_through(&points, spacing);
    }
    let (highest, lowest) = (points[0].0, points[points.len() - 1].0);
    table_through(&levels.karras(lowest, highest, steps), spacing)
}

/// The model's own levels at the spaced timesteps: (sigma, timestep), noisiest first.
pub(super) fn own_points(
    config: &SchedulerConfig,
    spacing: Spacing,
    levels: &NoiseLevels,
    steps: usize,
) -> Vec<(f64, f64)> {
    let timesteps = spacing.timesteps(config.train_timesteps(), config.steps_offset(), steps);
    // diffusers keeps the timesteps in single precision, also where it looks the levels up.
    timesteps.into_iter().map(|t| f64::from(t as f32)).map(|t| (levels.between(t), t)).collect()
}

/// The steps through these points, and the first latent of diffusers' Euler schedulers.
pub(super) fn table_through(points: &[(f64, f64)], spacing: Spacing) -> Table {
    let highest = points[0].0 as f32;
    let initial_scale = match spacing {
        // Noise alone, although the first latent of training has a little signal besides.
        Spacing::Linspace | Spacing::Trailing => highest,
        Spacing::Leading => (highest * highest + 1.0).sqrt(),
    };
    Table { steps: Step::through(points), initial_scale }
}

/// `x` is picture + sigma * noise throughout.
pub(super) async fn walk<D: Denoise>(
    denoiser: &Denoiser<'_, D>,
    steps: &[Step],
    mut x: Latent,
) -> Result<Latent, D::Error> {
    for (index, &Step { at, next }) in steps.iter().enumerate() {
        let denoised = denoiser.denoised(&x, at).await?;
        x = x.zip(&denoised, |x, denoised| {
            let slope = (x - denoised) / at.sigma;
            x + slope * (next - at.sigma)
        });
        denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}
