// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Denoising diffusion probabilistic models: a step back along the chain that the network was trained on, with
//! as much fresh noise as that chain has there.
//!
//! Source: Ho et al. 2020, arXiv:2006.11239, equations 6 and 7; diffusers' `DDPMScheduler` with the variance
//! `fixed_small`, or `fixed_large` if the model's settings say so. Never clips the denoised picture.

use super::{About, Run, Space};
use crate::denoise::alpha_bar;
use crate::schedule::{NoiseLevels, Spacing, Table, steps_through};
use crate::{Denoise, Latent, Result, SchedulerConfig};

pub(super) const ABOUT: About = About {
    name: "ddpm",
    label: "DDPM",
    aliases: &[],
    class: Some("DDPMScheduler"),
    space: Space::Network,
};

/// The model's own levels at whole timesteps; each step leads to the next one.
pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Result<Table> {
    let spacing = config.spacing().unwrap_or(Spacing::Leading);
    let levels = NoiseLevels::of(config);
    let timesteps = spacing.timesteps(config.train_timesteps(), config.steps_offset(), steps);
    let point = |t: f64| {
        let t = t.round_ties_even();
        (f64::from(levels.at(t as usize)), t)
    };
    let points: Vec<_> = timesteps.into_iter().map(point).collect();
    Ok(Table { steps: steps_through(&points, 0.0), initial_scale: 1.0 })
}

pub(super) async fn walk<D: Denoise>(
    mut run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    for (index, step) in run.steps.iter().enumerate() {
        let (denoised, _) = run.denoiser.parts(&x, step.at).await?;
        let Posterior { picture, latent, deviation } =
            posterior(step.at.sigma, step.next, run.config.has_large_variance());
        x = x.zip(&denoised, |x, denoised| picture * denoised + latent * x);
        // diffusers draws none at the very first training timestep, which is always the last one visited.
        if step.at.t > 0.0 {
            x = x.zip(&run.fresh(x.shape), |x, fresh| x + deviation * fresh);
        }
        x = run.kept_after(index, x);
        run.denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}

/// What is known about the next latent when this one and its picture are.
struct Posterior {
    /// The picture's share in the mean.
    picture: f32,
    /// The present latent's share in the mean.
    latent: f32,
    /// Standard deviation.
    deviation: f32,
}

/// The posterior for a step from noise level `from` down to `to`.
fn posterior(from: f32, to: f32, large_variance: bool) -> Posterior {
    if from == to {
        // More steps than timesteps: this one leads nowhere.
        return Posterior { picture: 0.0, latent: 1.0, deviation: 0.0 };
    }
    let (alpha_bar, next_alpha_bar) = (alpha_bar(from), alpha_bar(to));
    let kept = alpha_bar / next_alpha_bar;
    let (variance, next_variance, beta) = (1.0 - alpha_bar, 1.0 - next_alpha_bar, 1.0 - kept);
    let posterior_variance = if large_variance { beta } else { next_variance / variance * beta };
    Posterior {
        picture: (next_alpha_bar.sqrt() * beta / variance) as f32,
        latent: (kept.sqrt() * next_variance / variance) as f32,
        // The chain ends without noise, whichever variance is taken.
        deviation: if to == 0.0 { 0.0 } else { posterior_variance.sqrt() as f32 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoise::signal_and_noise;
    use proptest::prelude::*;

    proptest! {
        /// The latent is signal * picture + noise; one step later it must be so too.
        #[test]
        fn a_step_keeps_the_chains_own_signal_and_variance(from in 0.02f32..100.0, part in 0.0f32..=0.99) {
            let to = from * part;
            let Posterior { picture, latent, deviation } = posterior(from, to, false);
            let ((signal, noise), (next_signal, next_noise)) = (signal_and_noise(from), signal_and_noise(to));
            prop_assert!((picture + latent * signal - next_signal).abs() < 1e-5);
            let variance = (latent * noise).powi(2) + deviation.powi(2);
            prop_assert!((variance - next_noise.powi(2)).abs() < 1e-5, "{variance}");
        }
    }
}
