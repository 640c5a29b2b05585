// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! DPM-Solver-2 in sigma: Euler to the middle of the step on a logarithmic scale, and the whole step with the
//! slope from there.
//!
//! Source: Lu et al. 2022, arXiv:2206.00927, algorithm 1, as in k-diffusion's `sample_dpm_2`; diffusers'
//! `KDPM2DiscreteScheduler`.

use super::{About, Run, Space, euler::slid, run::point_at};
use crate::schedule::{KarrasTimesteps, NoiseLevels, Spacing, Step, Table};
use crate::{Denoise, Latent, Result, SchedulerConfig};

pub(super) const ABOUT: About = About {
    name: "dpm2",
    label: "DPM2",
    aliases: &["dpm_2", "k_dpm_2", "KDPM2"],
    class: Some("KDPM2DiscreteScheduler"),
    space: Space::Sigma,
};

pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Result<Table> {
    Ok(Table::spaced(config, Spacing::Linspace, KarrasTimesteps::Rounded, steps))
}

pub(super) async fn walk<D: Denoise>(
    run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    let levels = run.levels();
    for (index, step) in run.steps.iter().enumerate() {
        let denoised = run.denoiser.denoised(&x, step.at).await?;
        x = stepped(&run, &levels, &x, &denoised, step, step.next).await?;
        x = run.kept_after(index, x);
        run.denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}

/// `x` at the level where `step` begins, where the picture looks like `denoised`, brought to the level `to`.
///
/// What is kept of a picture has the noise of the step's end in the middle too, as in diffusers.
pub(super) async fn stepped<D: Denoise>(
    run: &Run<'_, D>,
    levels: &NoiseLevels,
    x: &Latent,
    denoised: &Latent,
    step: &Step,
    to: f32,
) -> std::result::Result<Latent, D::Error> {
    let from = step.at.sigma;
    if to == 0.0 {
        return Ok(slid(x, denoised, from, 0.0));
    }
    let middle = ((from.ln() + to.ln()) / 2.0).exp();
    let halfway = run.kept(slid(x, denoised, from, middle), step.next);
    let there = run.denoiser.denoised(&halfway, point_at(levels, middle)).await?;
    let slope = halfway.zip(&there, |x, denoised| (x - denoised) / middle);
    Ok(x.zip(&slope, |x, slope| x + slope * (to - from)))
}
