// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Euler's method for models of flow matching, whose network predicts the direction from picture to noise.
//!
//! Source: Lipman et al. 2022, arXiv:2210.02747; Esser et al. 2024, arXiv:2403.03206, section 5.3.2 for the
//! shift; diffusers' `FlowMatchEulerDiscreteScheduler` without dynamic shifting.

use super::{About, Run, Space};
use crate::schedule::{Table, steps_through};
use crate::{Denoise, Latent, Result, SchedulerConfig};

pub(super) const ABOUT: About = About {
    name: "flow_match_euler",
    label: "Euler Flow",
    aliases: &["flow_euler"],
    class: Some("FlowMatchEulerDiscreteScheduler"),
    space: Space::Flow,
};

/// Evenly from noise alone to the lowest trained level, then shifted. diffusers shifts the lowest level twice;
/// so it is here.
pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Result<Table> {
    let trained = config.train_timesteps() as f64;
    let shift = config.flow_shift().unwrap_or(1.0);
    let shifted = |sigma: f64| shift * sigma / (1.0 + (shift - 1.0) * sigma);
    let lowest = f64::from(shifted(1.0 / trained) as f32);
    let spread = |index: usize| index as f64 / (steps - 1).max(1) as f64;
    let sigmas = (0..steps).map(|index| shifted(1.0 + spread(index) * (lowest - 1.0)));
    let points: Vec<_> = sigmas.map(|sigma| (sigma, f64::from(sigma as f32) * trained)).collect();
    Ok(Table { steps: steps_through(&points, 0.0), initial_scale: 1.0 })
}

pub(super) async fn walk<D: Denoise>(
    run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    for (index, step) in run.steps.iter().enumerate() {
        let velocity = run.denoiser.raw(&x, step.at).await?;
        let denoised = x.zip(&velocity, |x, velocity| x - step.at.sigma * velocity);
        x = x.zip(&velocity, |x, velocity| x + (step.next - step.at.sigma) * velocity);
        x = run.kept_after(index, x);
        run.denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}
