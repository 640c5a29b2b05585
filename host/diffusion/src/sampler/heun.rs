// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Heun's method: Euler's step, then the same step again with the mean of the slopes at both its ends.
//!
//! Source: Karras et al. 2022, arXiv:2206.00364, algorithm 2 without churn; diffusers'
//! `HeunDiscreteScheduler`.

use super::{About, Run, Space, euler::slid};
use crate::schedule::{KarrasTimesteps, Spacing, Table};
use crate::{Denoise, Latent, Result, SchedulerConfig};

pub(super) const ABOUT: About = About {
    name: "heun",
    label: "Heun",
    aliases: &["k_heun"],
    class: Some("HeunDiscreteScheduler"),
    space: Space::Sigma,
};

pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Result<Table> {
    Ok(Table::spaced(config, Spacing::Linspace, KarrasTimesteps::Fractions, steps))
}

pub(super) async fn walk<D: Denoise>(
    run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    for (index, step) in run.steps.iter().enumerate() {
        let (from, to) = (step.at.sigma, step.next);
        let denoised = run.denoiser.denoised(&x, step.at).await?;
        let predicted = slid(&x, &denoised, from, to);
        x = match run.steps.get(index + 1) {
            // At the end there is no slope to be had.
            None => predicted,
            Some(following) => {
                let predicted = run.kept(predicted, following.at.sigma);
                let there = run.denoiser.denoised(&predicted, following.at).await?;
                let first = x.zip(&denoised, |x, denoised| (x - denoised) / from);
                let second = predicted.zip(&there, |x, denoised| (x - denoised) / to);
                let slope = first.zip(&second, |first, second| (first + second) / 2.0);
                x.zip(&slope, |x, slope| x + slope * (to - from))
            }
        };
        x = run.kept_after(index, x);
        run.denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}
