// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! DPM-Solver++, second order, multistep: the denoised picture is extrapolated from this step and the last
//! one.
//!
//! Source: Lu et al. 2022, arXiv:2211.01095, algorithm 2, written in sigma as k-diffusion does; diffusers'
//! `DPMSolverMultistepScheduler` with `dpmsolver++`, order 2, midpoint.

use super::{About, Run, Space};
use crate::schedule::{Curve, Step, Table};
use crate::{Denoise, Latent, Result, SchedulerConfig};

pub(super) const ABOUT: About = About {
    name: "dpm++_2m",
    label: "DPM++ 2M",
    aliases: &["dpm++", "dpm_solver++", "dpmsolver++", "dpm++2m", "dpmpp_2m", "k_dpmpp_2m"],
    class: Some("DPMSolverMultistepScheduler"),
    space: Space::Sigma,
};

/// Karras' levels have a name of their own: without it there are none, whatever the model's settings say.
pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Result<Table> {
    Ok(Table::multistep(config, config.curve().filter(|curve| *curve != Curve::Karras), steps))
}

pub(super) async fn walk<D: Denoise>(
    run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    let mut last = None;
    for (index, step) in run.steps.iter().enumerate() {
        let denoised = run.denoiser.denoised(&x, step.at).await?;
        let target = target(&run, index, &denoised, last.as_ref());
        let ratio = step.next / step.at.sigma;
        x = x.zip(&target, |x, target| ratio * x + (1.0 - ratio) * target);
        x = run.kept_after(index, x);
        run.denoiser.stepped(index, &denoised)?;
        last = Some((step.at.sigma, denoised));
    }
    Ok(x)
}

/// The picture that the step of this index heads for: the estimate `denoised` as it is where the model's
/// settings want the last step of first order, else extrapolated with the `last` one (its sigma and picture).
pub(super) fn target<D: Denoise>(
    run: &Run<'_, D>,
    index: usize,
    denoised: &Latent,
    last: Option<&(f32, Latent)>,
) -> Latent {
    let is_final = index + 1 == run.steps.len();
    let last = last.filter(|_| !(is_final && run.config.solver().is_euler_at_final(run.whole.len())));
    extrapolated(denoised, last, &run.steps[index])
}

/// The denoised picture expected halfway through `step`, by a straight line in log(sigma) through this
/// estimate and the `last` one (its sigma and picture).
///
/// The first step has no line yet. The step to sigma 0 is infinitely long on that scale, and two estimates at
/// one level (more steps than timesteps) have no direction: all three take the estimate as it is.
fn extrapolated(denoised: &Latent, last: Option<&(f32, Latent)>, step: &Step) -> Latent {
    match last {
        Some((last_sigma, last))
            if step.next > 0.0 && *last_sigma > step.at.sigma && step.next < step.at.sigma =>
        {
            let r = (last_sigma / step.at.sigma).ln() / (step.at.sigma / step.next).ln();
            denoised.zip(last, |now, last| now + (now - last) / (2.0 * r))
        }
        _ => denoised.clone(),
    }
}
