// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The stochastic DPM-Solver++, second order, multistep: every step forgets some of the old noise and adds as
//! much fresh noise.
//!
//! Source: Lu et al. 2022, arXiv:2211.01095, SDE-DPM-Solver++(2M), written in sigma as
//! k-diffusion does; diffusers' `DPMSolverMultistepScheduler` with `sde-dpmsolver++`, order 2, midpoint.

use super::dpmpp_2m::extrapolated;
use crate::denoise::Denoiser;
use crate::schedule::Step;
use crate::{Denoise, Latent, Noise};

/// `x` is picture + sigma * noise throughout.
pub(super) async fn walk<D: Denoise>(
    denoiser: &Denoiser<'_, D>,
    steps: &[Step],
    mut x: Latent,
    noise: &mut Noise,
) -> Result<Latent, D::Error> {
    let mut last = None;
    for (index, step) in steps.iter().enumerate() {
        let denoised = denoiser.denoised(&x, step.at).await?;
        let target = extrapolated(&denoised, last.as_ref(), step);
        let kept = (step.next / step.at.sigma).powi(2);
        x = x.zip(&target, |x, target| kept * x + (1.0 - kept) * target);
        // Drawn after the last step too, where it counts nothing, so that the stream ends where diffusers'
        // does.
        let fresh = step.next * (1.0 - kept).sqrt();
        x = x.zip(&noise.latent(x.shape), |x, noise| x + fresh * noise);
        denoiser.stepped(index, &denoised)?;
        last = Some((step.at.sigma, denoised));
    }
    Ok(x)
}
