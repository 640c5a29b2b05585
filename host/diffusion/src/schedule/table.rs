// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The tables of steps that several samplers have in common.

use super::{Curve, NoiseLevels, NoiseSchedule, Spacing};
use crate::config::BetaSchedule;
use crate::{Point, SchedulerConfig};

/// One step: the network is asked at `at`, and the latent moves on to the noise level `next`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) at: Point,
    /// Never above `at.sigma`; 0 after the last step, except where a sampler ends at the lowest level.
    pub(crate) next: f32,
}

/// What a sampler makes of a model's [`SchedulerConfig`] and a number of steps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    /// Noisiest first.
    pub(crate) steps: Vec<Step>,
    /// Standard deviation of the first latent, in the sampler's own space.
    pub(crate) initial_scale: f32,
}

/// How a table treats the timesteps of Karras' levels, which need not be whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KarrasTimesteps {
    Fractions,
    Rounded,
}

impl Table {
    /// A named noise schedule over the model's whole range, from plain noise, as in k-diffusion.
    pub(crate) fn named(config: &SchedulerConfig, schedule: NoiseSchedule, steps: usize) -> Self {
        let levels = NoiseLevels::new(config.betas()).with_finite_end();
        Self::from_noise(&schedule.points(&levels, config.tuned_levels(), steps))
    }

    /// The model's own levels, spaced as its settings say or as `own_spacing`, or the curve that they ask
    /// for between the first and the last of these: diffusers' schedulers that come from k-diffusion.
    pub(crate) fn spaced(
        config: &SchedulerConfig,
        own_spacing: Spacing,
        karras_timesteps: KarrasTimesteps,
        steps: usize,
    ) -> Self {
        let spacing = config.spacing().unwrap_or(own_spacing);
        let levels = NoiseLevels::new(config.betas()).with_finite_end();
        let mut points = spaced_points(config, spacing, &levels, steps);
        if let Some(curve) = config.curve() {
            let (highest, lowest) = (points[0].0, points[points.len() - 1].0);
            points = levels.with_timesteps(curve.between(lowest, highest, steps));
            if curve == Curve::Karras && karras_timesteps == KarrasTimesteps::Rounded {
                points.iter_mut().for_each(|(_, t)| *t = t.round_ties_even());
            }
        }
        Self::from_diffusers_noise(&points, spacing)
    }

    /// The same table, ending at the model's lowest level instead of at 0 if its settings say so: diffusers'
    /// Euler and multistep solvers know that setting.
    pub(crate) fn ended_as(mut self, config: &SchedulerConfig) -> Self {
        if let Some(last) = self.steps.last_mut().filter(|_| config.ends_at_lowest_level()) {
            last.next = NoiseLevels::new(config.betas()).range().0.min(last.at.sigma);
        }
        self
    }

    /// The same levels for samplers that are k-diffusion's alone: from noise alone, whatever the spacing, and
    /// with the timesteps that k-diffusion finds for them.
    pub(crate) fn spaced_from_noise(config: &SchedulerConfig, steps: usize) -> Self {
        let table = Self::spaced(config, Spacing::Linspace, KarrasTimesteps::Fractions, steps);
        let levels = NoiseLevels::new(config.betas()).with_finite_end();
        let sigmas = table.steps.iter().map(|step| step.at.sigma.into()).collect();
        Self::from_noise(&levels.with_timesteps(sigmas))
    }

    /// The model's own levels and spacing, whatever curve its settings ask for.
    pub(crate) fn spaced_without_curve(config: &SchedulerConfig, own_spacing: Spacing, steps: usize) -> Self {
        let spacing = config.spacing().unwrap_or(own_spacing);
        let levels = NoiseLevels::new(config.betas()).with_finite_end();
        Self::from_diffusers_noise(&spaced_points(config, spacing, &levels, steps), spacing)
    }

    /// The model's own levels at whole timesteps, or a curve over its whole range: diffusers' multistep solvers.
    pub(crate) fn multistep(config: &SchedulerConfig, curve: Option<Curve>, steps: usize) -> Self {
        let levels = NoiseLevels::new(config.betas()).with_finite_end();
        let (lowest, highest) = levels.range();
        let points = match curve {
            None => whole_points(config, &levels, steps),
            Some(curve) => {
                let points = levels.with_timesteps(curve.between(lowest.into(), highest.into(), steps));
                // diffusers rounds Karras' timesteps, but cuts off the fraction for the cosine schedule and
                // of the other curves, where the last bits of a logarithm must not decide what is cut.
                let whole = |t: f64| match (curve, config.betas().schedule) {
                    (Curve::Karras, BetaSchedule::SquaredcosCapV2) => t.trunc(),
                    (Curve::Karras, _) => t.round_ties_even(),
                    _ => (t + 1e-4).trunc(),
                };
                points.into_iter().map(|(sigma, t)| (sigma, whole(t))).collect()
            }
        };
        // In diffusers the first latent is plain noise in the network's space; here, in the space of picture +
        // sigma * noise, it has the standard deviation that such a latent has.
        let highest = points[0].0 as f32;
        let initial_scale = (highest * highest + 1.0).sqrt();
        Self { steps: steps_through(&points, 0.0), initial_scale }.ended_as(config)
    }

    /// Steps from noise alone through these points to 0.
    pub(crate) fn from_noise(points: &[(f64, f64)]) -> Self {
        Self { steps: steps_through(points, 0.0), initial_scale: points[0].0 as f32 }
    }

    /// Steps through these points to 0, and the first latent of diffusers' schedulers from k-diffusion.
    fn from_diffusers_noise(points: &[(f64, f64)], spacing: Spacing) -> Self {
        let highest = points[0].0 as f32;
        let initial_scale = match spacing {
            // Noise alone, although the first latent of training has a little signal besides.
            Spacing::Linspace | Spacing::Trailing => highest,
            Spacing::Leading => (highest * highest + 1.0).sqrt(),
        };
        Self { initial_scale, ..Self::from_noise(points) }
    }
}

/// The model's own levels at the spaced timesteps: (sigma, timestep), noisiest first.
fn spaced_points(
    config: &SchedulerConfig,
    spacing: Spacing,
    levels: &NoiseLevels,
    steps: usize,
) -> Vec<(f64, f64)> {
    let timesteps = spacing.timesteps(config.train_timesteps(), config.steps_offset(), steps);
    // diffusers keeps the timesteps in single precision, also where it looks the levels up.
    timesteps.into_iter().map(|t| f64::from(t as f32)).map(|t| (levels.between(t), t)).collect()
}

/// The same at whole timesteps, as diffusers' multistep solvers space them.
fn whole_points(config: &SchedulerConfig, levels: &NoiseLevels, steps: usize) -> Vec<(f64, f64)> {
    let (trained, offset) = (config.train_timesteps(), config.steps_offset());
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
    whole.map(|t| (levels.between(t), t)).collect()
}

/// Steps from each point (sigma and timestep, noisiest first) to the next one's level, and from the last to
/// `end`.
pub(crate) fn steps_through(points: &[(f64, f64)], end: f32) -> Vec<Step> {
    let nexts = points.iter().skip(1).map(|&(sigma, _)| sigma as f32).chain([end]);
    let step = |(&(sigma, t), next)| Step { at: Point { sigma: sigma as f32, t: t as f32 }, next };
    points.iter().zip(nexts).map(step).collect()
}
