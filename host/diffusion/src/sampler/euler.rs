// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Euler's method along the probability-flow equation.
//!
//! Source: Karras et al. 2022, arXiv:2206.00364, algorithm 2 without churn and without the second evaluation;
//! diffusers' `EulerDiscreteScheduler`.

use super::{About, Run, Space};
use crate::schedule::{KarrasTimesteps, Spacing, Table};
use crate::{Denoise, Latent, Result, SchedulerConfig};

pub(super) const ABOUT: About = About {
    name: "euler",
    label: "Euler",
    aliases: &["k_euler"],
    class: Some("EulerDiscreteScheduler"),
    space: Space::Sigma,
};

pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Result<Table> {
    Ok(Table::spaced(config, Spacing::Linspace, KarrasTimesteps::Fractions, steps).ended_as(config))
}

pub(super) async fn walk<D: Denoise>(
    run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    for (index, step) in run.steps.iter().enumerate() {
        let denoised = run.denoiser.denoised(&x, step.at).await?;
        x = slid(&x, &denoised, step.at.sigma, step.next);
        x = run.kept_after(index, x);
        run.denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}

/// `x` at noise level `from` moved in a straight line towards (or beyond) `denoised`, to the level `to`.
pub(super) fn slid(x: &Latent, denoised: &Latent, from: f32, to: f32) -> Latent {
    x.zip(denoised, |x, denoised| {
        let slope = (x - denoised) / from;
        x + slope * (to - from)
    })
}
