// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The linear multistep method: the slope is the polynomial through the last four slopes.
//!
//! Source: Adams and Bashforth on uneven steps, as Katherine Crowson brought it to k-diffusion (`sample_lms`);
//! diffusers' `LMSDiscreteScheduler`.

use std::collections::VecDeque;

use super::{About, Run, Space};
use crate::schedule::{KarrasTimesteps, Spacing, Table};
use crate::{Denoise, Latent, Result, SchedulerConfig};

/// The most slopes that are joined.
const ORDER: usize = 4;

pub(super) const ABOUT: About = About {
    name: "lms",
    label: "LMS",
    aliases: &["k_lms"],
    class: Some("LMSDiscreteScheduler"),
    space: Space::Sigma,
};

pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Result<Table> {
    Ok(Table::spaced(config, Spacing::Linspace, KarrasTimesteps::Fractions, steps))
}

pub(super) async fn walk<D: Denoise>(
    run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    // The last slopes with their levels, the newest first.
    let mut slopes: VecDeque<(f64, Latent)> = VecDeque::new();
    for (index, step) in run.steps.iter().enumerate() {
        let denoised = run.denoiser.denoised(&x, step.at).await?;
        let slope = x.zip(&denoised, |x, denoised| (x - denoised) / step.at.sigma);
        // Two slopes at one level (more steps than timesteps) have no polynomial: the older is of no use.
        slopes.retain(|(sigma, _)| *sigma != f64::from(step.at.sigma));
        slopes.truncate(ORDER - 1);
        slopes.push_front((step.at.sigma.into(), slope));
        let sigmas: Vec<f64> = slopes.iter().map(|(sigma, _)| *sigma).collect();
        for (place, (_, slope)) in slopes.iter().enumerate() {
            let weight = integral(&sigmas, place, step.next.into()) as f32;
            x = x.zip(slope, |x, slope| x + weight * slope);
        }
        x = run.kept_after(index, x);
        run.denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}

/// The integral, from the first of `sigmas` to `end`, of the polynomial that is 1 at the level in `place` and
/// 0 at the others. Gauss' rule with two nodes is exact for polynomials up to the third degree.
fn integral(sigmas: &[f64], place: usize, end: f64) -> f64 {
    let (middle, half) = ((sigmas[0] + end) / 2.0, (end - sigmas[0]) / 2.0);
    let at = |sigma: f64| -> f64 {
        let others = sigmas.iter().enumerate().filter(|(other, _)| *other != place);
        others.map(|(_, other)| (sigma - other) / (sigmas[place] - other)).product()
    };
    let node = half / 3f64.sqrt();
    half * (at(middle - node) + at(middle + node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_integrate_every_cubic_exactly() {
        let sigmas = [2.0, 3.0, 5.0, 9.0];
        let cubic = |s: f64| 1.0 - 2.0 * s + 0.5 * s * s - 0.25 * s.powi(3);
        let primitive = |s: f64| s - s * s + s.powi(3) / 6.0 - s.powi(4) / 16.0;
        let weighted = |place: usize| integral(&sigmas, place, 1.5) * cubic(sigmas[place]);
        let sum: f64 = (0..4).map(weighted).sum();
        assert!((sum - (primitive(1.5) - primitive(2.0))).abs() < 1e-12, "{sum}");
    }
}
