// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! DPM-Solver++, second order, multistep: the denoised picture is extrapolated from this step and the last
//! one.
//!
//! Source: Lu et al. 2022, arXiv:2211.01095, algorithm 2, written in sigma as k-diffusion does; diffusers'
//! `DPMSolverMultistepScheduler` with `dpmsolver++`, order 2, midpoint.

use crate::config::BetaSchedule;
use crate::denoise::Denoiser;
use crate::schedule::{NoiseLevels, Spacing, Step, Table};
use crate::{Denoise, Latent, SchedulerConfig};

/// The model's own levels at whole timesteps.
pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Table {
    let (trained, offset) = (config.train_timesteps(), config.steps_offset());
    let levels = NoiseLevels::new(config.betas()).with_finite_end();
    let timesteps = match config.spacing().unwrap_or(Spacing::Linspace) {
        Spacing::Trailing => Spacing::Trailing.timesteps(trained, offset, steps),
        // diffusers spaces one timestep more and leaves out the cleanest.
        spacing => {
            let mut timesteps = spacing.timesteps(trained, offset, steps + 1);
            timesteps.pop();
            timesteps
        }
    };
    let whole = timesteps.into_iter().map(f64::round_ties_even);
    table_through(&whole.map(|t| (levels.between(t), t)).collect::<Vec<_>>())
}

/// Karras' levels over the model's whole range, whatever its spacing.
pub(super) fn karras_table(config: &SchedulerConfig, steps: usize) -> Table {
    let levels = NoiseLevels::new(config.betas()).with_finite_end();
    let (lowest, highest) = levels.range();
    let mut points = levels.karras(lowest.into(), highest.into(), steps);
    for (_, t) in &mut points {
        // diffusers rounds to whole timesteps here, but cuts the fraction off for the cosine schedule.
        *t = if config.betas().schedule == BetaSchedule::SquaredcosCapV2 {
            t.trunc()
        } else {
            t.round_ties_even()
        };
    }
    table_through(&points)
}

/// The steps through these points. In diffusers the first latent is plain noise in the network's space; here,
/// in the space of picture + sigma * noise, it has the standard deviation that such a latent has.
fn table_through(points: &[(f64, f64)]) -> Table {
    let highest = points[0].0 as f32;
    Table { steps: Step::through(points), initial_scale: (highest * highest + 1.0).sqrt() }
}

/// `x` is picture + sigma * noise throughout.
pub(super) async fn walk<D: Denoise>(
    denoiser: &Denoiser<'_, D>,
    steps: &[Step],
    mut x: Latent,
) -> Result<Latent, D::Error> {
    let mut last = None;
    for (index, step) in steps.iter().enumerate() {
        let denoised = denoiser.denoised(&x, step.at).await?;
        let target = extrapolated(&denoised, last.as_ref(), step);
        let ratio = step.next / step.at.sigma;
        x = x.zip(&target, |x, target| ratio * x + (1.0 - ratio) * target);
        denoiser.stepped(index, &denoised)?;
        last = Some((step.at.sigma, denoised));
    }
    Ok(x)
}

/// The denoised picture expected halfway through `step`, by a straight line in log(sigma) through this
/// estimate and the `last` one (its sigma and picture).
///
/// The first step has no line yet. The step to sigma 0 is infinitely long on that scale, and two estimates at
/// one level (more steps than timesteps) have no direction: all three take the estimate as it is.
pub(super) fn extrapolated(denoised: &Latent, last: Option<&(f32, Latent)>, step: &Step) -> Latent {
    match last {
        Some((last_sigma, last)) if step.next > 0.0 && *last_sigma > step.at.sigma => {
            let r = (last_sigma / step.at.sigma).ln() / (step.at.sigma / step.next).ln();
            denoised.zip(last, |now, last| now + (now - last) / (2.0 * r))
        }
        _ => denoised.clone(),
    }
}
