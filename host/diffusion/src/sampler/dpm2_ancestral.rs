// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! DPM-Solver-2 to below the next noise level, then fresh noise up to it.
//!
//! Source: k-diffusion's `sample_dpm_2_ancestral`; diffusers' `KDPM2AncestralDiscreteScheduler`.

use super::{About, Run, Space, dpm2, euler_ancestral::split};
use crate::schedule::{KarrasTimesteps, Spacing, Table};
use crate::{Denoise, Latent, Result, SchedulerConfig};

pub(super) const ABOUT: About = About {
    name: "dpm2_ancestral",
    label: "DPM2 a",
    aliases: &["dpm2_a", "dpm_2_ancestral", "k_dpm_2_a", "KDPM2Ancestral"],
    class: Some("KDPM2AncestralDiscreteScheduler"),
    space: Space::Sigma,
};

pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Result<Table> {
    Ok(Table::spaced(config, Spacing::Linspace, KarrasTimesteps::Rounded, steps))
}

pub(super) async fn walk<D: Denoise>(
    mut run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    let levels = run.levels();
    for (index, step) in run.steps.iter().enumerate() {
        let denoised = run.denoiser.denoised(&x, step.at).await?;
        let (down, up) = split(step.at.sigma, step.next);
        x = dpm2::stepped(&run, &levels, &x, &denoised, step, down).await?;
        if down > 0.0 {
            x = x.zip(&run.fresh(x.shape), |x, fresh| x + fresh * up);
        }
        x = run.kept_after(index, x);
        run.denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}
