// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The stochastic DPM-Solver++, second order, multistep: every step forgets some of the old noise and adds as
//! much fresh noise.
//!
//! Source: Lu et al. 2022, arXiv:2211.01095, SDE-DPM-Solver++(2M), written in sigma as
//! k-diffusion does; diffusers' `DPMSolverMultistepScheduler` with `sde-dpmsolver++`, order 2, midpoint.

use super::{About, Run, Space, dpmpp_2m::target};
use crate::{Denoise, Latent};

// A1111's "DPM++ SDE" evaluates the network twice a step and is another sampler, although the Python ALICE
// calls this one `dpm++_sde`.
pub(super) const ABOUT: About = About {
    name: "dpm++_sde",
    label: "DPM++ 2M SDE",
    aliases: &["sde-dpmsolver++", "dpm++_2m_sde", "dpmpp_2m_sde", "k_dpmpp_2m_sde"],
    class: None,
    space: Space::Sigma,
};

pub(super) use super::dpmpp_2m::table;

pub(super) async fn walk<D: Denoise>(
    mut run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    let mut last = None;
    for (index, step) in run.steps.iter().enumerate() {
        let denoised = run.denoiser.denoised(&x, step.at).await?;
        let target = target(&run, index, &denoised, last.as_ref());
        let kept = (step.next / step.at.sigma).powi(2);
        x = x.zip(&target, |x, target| kept * x + (1.0 - kept) * target);
        // Drawn after the last step too, where it counts nothing, so that the stream ends where diffusers'
        // does.
        let amount = step.next * (1.0 - kept).sqrt();
        x = x.zip(&run.fresh(x.shape), |x, fresh| x + amount * fresh);
        x = run.kept_after(index, x);
        run.denoiser.stepped(index, &denoised)?;
        last = Some((step.at.sigma, denoised));
    }
    Ok(x)
}
