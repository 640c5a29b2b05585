// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The stochastic DPM-Solver++ of first order, twice a step: what A1111 calls "DPM++ SDE".
//!
//! Source: k-diffusion's `sample_dpmpp_sde` with r = 1/2 and eta = 1. Its noise is that of one Brownian path
//! over the noise level, so that more steps refine the same picture.

use super::{About, Run, Space, dpmpp_2s_ancestral::blended, euler_ancestral::split, run::point_at};
use crate::brownian::BrownianPath;
use crate::schedule::Table;
use crate::{Denoise, Latent, Result, SchedulerConfig};

pub(super) const ABOUT: About = About {
    name: "dpmpp_sde",
    label: "DPM++ SDE",
    aliases: &["k_dpmpp_sde"],
    class: Some("DPMSolverSDEScheduler"),
    space: Space::Sigma,
};

pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Result<Table> {
    Ok(Table::spaced_from_noise(config, steps))
}

pub(super) async fn walk<D: Denoise>(
    run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    let levels = run.levels();
    let mut path = BrownianPath::new(run.noise.seed(), x.shape, run.highest_sigma());
    for (index, step) in run.steps.iter().enumerate() {
        let (from, to) = (step.at.sigma, step.next);
        let denoised = run.denoiser.denoised(&x, step.at).await?;
        let middle = (from * to).sqrt();
        x = if to < middle && middle < from {
            let (down, up) = split(from, middle);
            let fresh = path.noise(from, middle);
            let halfway = blended(&x, &denoised, down / from).zip(&fresh, |x, fresh| x + up * fresh);
            let halfway = run.kept(halfway, middle);
            // With r = 1/2 the second estimate alone counts.
            let there = run.denoiser.denoised(&halfway, point_at(&levels, middle)).await?;
            let (down, up) = split(from, to);
            let fresh = path.noise(from, to);
            blended(&x, &there, down / from).zip(&fresh, |x, fresh| x + up * fresh)
        } else {
            blended(&x, &denoised, to / from)
        };
        x = run.kept_after(index, x);
        run.denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}
