// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Trajectory consistency distillation: from the present latent to one with less noise than wanted, then fresh
//! noise up to the wanted level.
//!
//! Source: Zheng et al. 2024, arXiv:2402.19159, algorithm 4, "strategic stochastic sampling"; diffusers'
//! `TCDScheduler` with its own `eta`.

use super::{About, Run, Space, ddim::mixed, lcm::distilled_timesteps};
use crate::denoise::alpha_bar;
use crate::schedule::{NoiseLevels, Table, steps_through};
use crate::{Denoise, Latent, Result, SchedulerConfig};

pub(super) const ABOUT: About = About {
    name: "tcd",
    label: "TCD",
    aliases: &[],
    class: Some("TCDScheduler"),
    space: Space::Network,
};

/// How much of the way down is noise again: 0 none, 1 all, as in LCM. The paper's gamma.
const ETA: f32 = 0.3;

/// Some of the timesteps that the model was distilled on; the last step leads to the first of training.
pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Result<Table> {
    let levels = NoiseLevels::of(config);
    let points: Vec<_> =
        distilled_timesteps(config, steps)?.into_iter().map(|t| (levels.at(t).into(), t as f64)).collect();
    Ok(Table { steps: steps_through(&points, levels.at(0)), initial_scale: 1.0 })
}

pub(super) async fn walk<D: Denoise>(
    mut run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    let levels = NoiseLevels::of(run.config);
    for (index, step) in run.steps.iter().enumerate() {
        let (denoised, noise) = run.denoiser.parts(&x, step.at).await?;
        let next_timestep = run.steps.get(index + 1).map_or(0.0, |following| following.at.t);
        let below = levels.at(((1.0 - ETA) * next_timestep).floor() as usize);
        x = mixed(&denoised, &noise, below);
        if index + 1 < run.steps.len() {
            let (signal, amount) = raised(below, step.next);
            x = x.zip(&run.fresh(x.shape), |x, fresh| signal * x + amount * fresh);
        }
        x = run.kept_after(index, x);
        run.denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}

/// What is left of a latent at noise level `from`, and how much fresh noise joins it, to bring it up to `to`.
fn raised(from: f32, to: f32) -> (f32, f32) {
    let kept = alpha_bar(to) / alpha_bar(from);
    (kept.sqrt() as f32, (1.0 - kept).max(0.0).sqrt() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoise::signal_and_noise;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn raising_the_noise_keeps_signal_and_variance_of_the_chain(to in 0.02f32..100.0, part in 0.0f32..=1.0) {
            let from = to * part;
            let (kept, fresh) = raised(from, to);
            let ((signal, noise), (to_signal, to_noise)) = (signal_and_noise(from), signal_and_noise(to));
            prop_assert!((kept * signal - to_signal).abs() < 1e-6);
            prop_assert!(((kept * noise).powi(2) + fresh * fresh - to_noise * to_noise).abs() < 1e-5);
        }
    }
}
