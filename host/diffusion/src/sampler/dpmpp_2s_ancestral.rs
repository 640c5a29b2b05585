// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! DPM-Solver++, second order, single step, to below the next noise level, then fresh noise up to it.
//!
//! Source: Lu et al. 2022, arXiv:2211.01095, algorithm 1 with r = 1/2; k-diffusion's
//! `sample_dpmpp_2s_ancestral`.

use super::{About, Run, Space, euler_ancestral::split, run::point_at};
use crate::schedule::Table;
use crate::{Denoise, Latent, Result, SchedulerConfig};

pub(super) const ABOUT: About = About {
    name: "dpm++_2s_ancestral",
    label: "DPM++ 2S a",
    aliases: &["dpm++_2s_a", "dpm++2s_a", "dpmpp_2s_ancestral", "k_dpmpp_2s_a"],
    class: None,
    space: Space::Sigma,
};

pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Result<Table> {
    Ok(Table::spaced_from_noise(config, steps))
}

pub(super) async fn walk<D: Denoise>(
    mut run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    let levels = run.levels();
    for (index, step) in run.steps.iter().enumerate() {
        let from = step.at.sigma;
        let denoised = run.denoiser.denoised(&x, step.at).await?;
        let (down, up) = split(from, step.next);
        x = if down > 0.0 {
            let middle = (from * down).sqrt();
            let halfway = run.kept(blended(&x, &denoised, middle / from), middle);
            let there = run.denoiser.denoised(&halfway, point_at(&levels, middle)).await?;
            blended(&x, &there, down / from)
        } else {
            denoised.clone()
        };
        if step.next > 0.0 {
            x = x.zip(&run.fresh(x.shape), |x, fresh| x + fresh * up);
        }
        x = run.kept_after(index, x);
        run.denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}

/// A share of `x` and the rest of `denoised`: the exact solution if the picture were to stay as it is.
pub(super) fn blended(x: &Latent, denoised: &Latent, share: f32) -> Latent {
    x.zip(denoised, |x, denoised| share * x + (1.0 - share) * denoised)
}
