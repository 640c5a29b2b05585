// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! DEIS: a multistep method that integrates the polynomial through the last estimates of the noise exactly,
//! on the scale log(rho).
//!
//! Source: Zhang and Chen 2022, arXiv:2204.13902, equation 15, log-rho variant (there rho is what is sigma
//! here); diffusers' `DEISMultistepScheduler`.

use std::collections::VecDeque;

use super::{About, Run, Space};
use crate::schedule::{NoiseLevels, Table};
use crate::{Denoise, Latent, Result, SchedulerConfig};

pub(super) const ABOUT: About = About {
    name: "deis",
    label: "DEIS",
    aliases: &["deis_2m"],
    class: Some("DEISMultistepScheduler"),
    space: Space::Sigma,
};

/// As the other multistep solvers, but diffusers' class always ends at the lowest level and not at 0.
pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Result<Table> {
    let mut table = Table::multistep(config, config.curve(), steps);
    let lowest = NoiseLevels::new(config.betas()).range().0;
    if let Some(last) = table.steps.last_mut() {
        // On a curve that has this level already, the last step leads nowhere.
        last.next = lowest.min(last.at.sigma);
    }
    Ok(table)
}

pub(super) async fn walk<D: Denoise>(
    run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    let solver = run.config.solver();
    // The last estimates of the noise with their levels, the newest first.
    let mut noises: VecDeque<(f64, Latent)> = VecDeque::new();
    for (index, step) in run.steps.iter().enumerate() {
        let sigma = f64::from(step.at.sigma);
        let denoised = run.denoiser.denoised(&x, step.at).await?;
        // Two estimates at one level (more steps than timesteps) have no polynomial: the older is of no use.
        noises.retain(|(other, _)| *other != sigma);
        noises.push_front((sigma, x.zip(&denoised, |x, denoised| (x - denoised) / step.at.sigma)));
        noises.truncate(solver.order);
        // The step to 0 is infinitely long on the scale of the polynomial.
        let order = if step.next == 0.0 { 1 } else { solver.short_run_order_at(run.begin() + index, run.whole.len()) };
        let levels: Vec<f64> = noises.iter().take(order).map(|(level, _)| *level).collect();
        for (place, (_, noise)) in noises.iter().take(order).enumerate() {
            let weight = integral(&levels, place, step.next.into()) as f32;
            x = x.zip(noise, |x, noise| x + weight * noise);
        }
        x = run.kept_after(index, x);
        run.denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}

/// The integral over sigma, from the first of `levels` to `end`, of the polynomial in log(sigma) that is 1 at
/// the level in `place` and 0 at the others (at most three in all).
fn integral(levels: &[f64], place: usize, end: f64) -> f64 {
    let others: Vec<f64> =
        levels.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, level)| level.ln()).collect();
    let scale: f64 = others.iter().map(|other| levels[place].ln() - other).product();
    let primitive = |sigma: f64| -> f64 {
        let log = sigma.ln();
        match others[..] {
            [] => sigma,
            [b] => sigma * (log - b - 1.0),
            // The integral of (log - b)(log - c), by parts twice.
            [b, c] => sigma * ((log - b) * (log - c) - (log - b) - (log - c) + 2.0),
            _ => unreachable!("a solver's order is at most 3"),
        }
    };
    (primitive(end) - primitive(levels[0])) / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_integrate_every_square_of_the_logarithm_exactly() {
        let levels = [2.0, 3.0, 7.0];
        let square = |s: f64| 1.0 - 2.0 * s.ln() + 0.5 * s.ln().powi(2);
        let primitive = |s: f64| s - 2.0 * s * (s.ln() - 1.0) + 0.5 * s * (s.ln().powi(2) - 2.0 * s.ln() + 2.0);
        let sum: f64 = (0..3).map(|place| integral(&levels, place, 1.5) * square(levels[place])).sum();
        assert!((sum - (primitive(1.5) - primitive(2.0))).abs() < 1e-12, "{sum}");
    }
}
