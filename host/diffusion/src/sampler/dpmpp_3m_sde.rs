// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The stochastic DPM-Solver++, third order, multistep.
//!
//! Source: k-diffusion's `sample_dpmpp_3m_sde` with eta = 1. Its noise is that of one Brownian path over the
//! noise level, so that more steps refine the same picture.

use super::{About, Run, Space};
use crate::brownian::BrownianPath;
use crate::schedule::{Step, Table};
use crate::{Denoise, Latent, Result, SchedulerConfig};

pub(super) const ABOUT: About = About {
    name: "dpm++_3m_sde",
    label: "DPM++ 3M SDE",
    aliases: &["dpmpp_3m_sde", "k_dpmpp_3m_sde"],
    class: None,
    space: Space::Sigma,
};

pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Result<Table> {
    Ok(Table::spaced_from_noise(config, steps))
}

/// An estimate of the picture, and how far in log(sigma) the step from it went.
type Estimate = (Latent, f32);

pub(super) async fn walk<D: Denoise>(
    run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    let mut path = BrownianPath::new(run.noise.seed(), x.shape, run.highest_sigma());
    let (mut last, mut before): (Option<Estimate>, Option<Estimate>) = (None, None);
    for (index, step) in run.steps.iter().enumerate() {
        let Step { at, next } = *step;
        let denoised = run.denoiser.denoised(&x, at).await?;
        if next == 0.0 {
            x = denoised.clone();
        } else if next < at.sigma {
            let length = (at.sigma / next).ln();
            let kept = (next / at.sigma).powi(2);
            x = x.zip(&denoised, |x, denoised| kept * x + (1.0 - kept) * denoised);
            if let Some(last) = &last {
                x = x.zip(&correction(&denoised, length, last, before.as_ref()), |x, correction| x + correction);
            }
            let amount = next * (1.0 - kept).sqrt();
            x = x.zip(&path.noise(at.sigma, next), |x, fresh| x + amount * fresh);
            (last, before) = (Some((denoised.clone(), length)), last);
        }
        x = run.kept_after(index, x);
        run.denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}

/// What the change of the picture over the last one or two steps adds to this one, of this `length`.
fn correction(denoised: &Latent, length: f32, last: &Estimate, before: Option<&Estimate>) -> Latent {
    // With eta = 1 the step is twice as long for the noise as for the picture.
    let doubled = 2.0 * length;
    let phi_2 = (-doubled).exp_m1() / doubled + 1.0;
    let r0 = last.1 / length;
    let slope = denoised.zip(&last.0, |now, last| (now - last) / r0);
    let Some(before) = before else { return slope.map(|slope| phi_2 * slope) };
    let phi_3 = phi_2 / doubled - 0.5;
    let r1 = before.1 / length;
    let earlier = last.0.zip(&before.0, |last, before| (last - before) / r1);
    slope.zip(&earlier, |slope, earlier| {
        let bend = (slope - earlier) / (r0 + r1);
        phi_2 * (slope + bend * r0) - phi_3 * bend
    })
}
