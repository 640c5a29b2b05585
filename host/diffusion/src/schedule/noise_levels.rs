// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The noise levels that a network was trained on: one sigma per training timestep.

use crate::config::{BetaSchedule, Betas};
use crate::{Prediction, SchedulerConfig};

/// The fraction of signal that diffusers leaves at the end of a schedule without any, so that its sigma is
/// finite: the smallest positive number in half precision.
const LEAST_ALPHA_BAR: f32 = 1.0 / 16_777_216.0;

/// Sigma by training timestep, from little noise to much.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NoiseLevels {
    sigmas: Vec<f32>,
}

impl NoiseLevels {
    /// The levels of a noise schedule. The last one is infinite where the schedule ends without signal.
    ///
    /// In single precision like torch, but for the running product, which torch keeps in double.
    pub(crate) fn new(betas: &Betas) -> Self {
        let mut alphas_bar = products(betas.values().into_iter().map(|beta| 1.0 - beta));
        if betas.zero_terminal_snr {
            alphas_bar = without_terminal_signal(&alphas_bar);
        }
        Self { sigmas: alphas_bar.into_iter().map(sigma).collect() }
    }

    /// The levels of a model for samplers in the network's own space. Where its schedule ends without signal,
    /// the last level is infinite, unless the network predicts the noise: from that alone, and without
    /// signal, nothing can be said about the picture.
    pub(crate) fn of(config: &SchedulerConfig) -> Self {
        let levels = Self::new(config.betas());
        if config.prediction() == Prediction::Epsilon { levels.with_finite_end() } else { levels }
    }

    /// The same levels with a finite, if huge, last one: for samplers that compute with sigma itself.
    pub(crate) fn with_finite_end(mut self) -> Self {
        if let Some(last) = self.sigmas.last_mut().filter(|last| last.is_infinite()) {
            *last = sigma(LEAST_ALPHA_BAR);
        }
        self
    }

    /// Whether every level is a number above 0, only the last one perhaps infinite, and none is below the
    /// one before it.
    pub(crate) fn are_sound(&self) -> bool {
        let Some((last, others)) = self.sigmas.split_last() else { return false };
        others.iter().all(|sigma| sigma.is_finite() && *sigma > 0.0)
            && !last.is_nan()
            && self.sigmas.is_sorted()
    }

    /// The lowest and the highest level.
    pub(crate) fn range(&self) -> (f32, f32) {
        (self.sigmas[0], self.sigmas[self.sigmas.len() - 1])
    }

    /// The level of a whole timestep; one that was never trained has that of the nearest.
    pub(crate) fn at(&self, timestep: usize) -> f32 {
        self.sigmas[timestep.min(self.sigmas.len() - 1)]
    }

    /// Number of levels: of training timesteps.
    pub(crate) fn len(&self) -> usize {
        self.sigmas.len()
    }

    /// Levels as points, each with its timestep: (sigma, timestep).
    pub(crate) fn with_timesteps(&self, sigmas: Vec<f64>) -> Vec<(f64, f64)> {
        sigmas.into_iter().map(|sigma| (sigma, self.timestep_of(sigma))).collect()
    }

    /// The level of a timestep between 0 and the last, interpolated in `log(sigma)`: k-diffusion's
    /// `t_to_sigma`, and the inverse of [`timestep_of`](Self::timestep_of).
    pub(crate) fn at_fraction(&self, timestep: f64) -> f64 {
        let low = (timestep as usize).min(self.sigmas.len() - 2);
        let (below, above) = (f64::from(self.sigmas[low]).ln(), f64::from(self.sigmas[low + 1]).ln());
        (below + (above - below) * (timestep - low as f64)).exp()
    }

    /// The level of a timestep that may lie between two trained ones: interpolated, and constant beyond the
    /// ends.
    pub(crate) fn between(&self, timestep: f64) -> f64 {
        let last = self.sigmas.len() - 1;
        let timestep = timestep.clamp(0.0, last as f64);
        let low = (timestep as usize).min(last - 1);
        let (below, above) = (f64::from(self.sigmas[low]), f64::from(self.sigmas[low + 1]));
        below + (above - below) * (timestep - low as f64)
    }

    /// The timestep, with a fraction, that has this level: interpolated in log(sigma), and at most the first
    /// or the last one.
    pub(crate) fn timestep_of(&self, sigma: f64) -> f64 {
        let sought = sigma.ln();
        let log = |index: usize| self.sigmas[index].ln();
        let reached = self.sigmas.partition_point(|sigma| f64::from(sigma.ln()) <= sought);
        let low = reached.saturating_sub(1).min(self.sigmas.len() - 2);
        let weight = (f64::from(log(low)) - sought) / f64::from(log(low) - log(low + 1));
        low as f64 + weight.clamp(0.0, 1.0)
    }
}

impl Betas {
    /// The variance of the noise that each training timestep adds.
    fn values(&self) -> Vec<f32> {
        let (start, end, count) = (self.start, self.end, self.count);
        match self.schedule {
            BetaSchedule::Linear => linspace(start as f32, end as f32, count),
            BetaSchedule::ScaledLinear => {
                let roots = linspace(start.sqrt() as f32, end.sqrt() as f32, count);
                roots.into_iter().map(|root| root * root).collect()
            }
            BetaSchedule::SquaredcosCapV2 => cosine(count),
        }
    }
}

/// Evenly spaced values, computed from both ends towards the middle as torch does.
fn linspace(start: f32, end: f32, count: usize) -> Vec<f32> {
    let step = (end - start) / (count - 1) as f32;
    let value = |index: usize| {
        if index < count / 2 { start + step * index as f32 } else { end - step * (count - 1 - index) as f32 }
    };
    (0..count).map(value).collect()
}

/// Nichol and Dhariwal 2021, arXiv:2102.09672, equation 17, with betas of at most 0.999.
fn cosine(count: usize) -> Vec<f32> {
    let alpha_bar = |index: usize| {
        let time = index as f64 / count as f64;
        ((time + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2)
    };
    (0..count).map(|index| (1.0 - alpha_bar(index + 1) / alpha_bar(index)).min(0.999) as f32).collect()
}

/// Running products.
fn products(factors: impl Iterator<Item = f32>) -> Vec<f32> {
    let running = |product: &mut f64, factor: f32| {
        *product *= f64::from(factor);
        Some(*product as f32)
    };
    factors.scan(1.0, running).collect()
}

/// Shifts and stretches the signal so that none is left at the last timestep and the first keeps its own.
///
/// Source: Lin et al. 2023, arXiv:2305.08891, algorithm 1. Like diffusers it goes back to betas and
/// multiplies again, which costs the last bits.
fn without_terminal_signal(alphas_bar: &[f32]) -> Vec<f32> {
    let (first, last) = (alphas_bar[0].sqrt(), alphas_bar[alphas_bar.len() - 1].sqrt());
    let stretch = first / (first - last);
    let shifted: Vec<f32> =
        alphas_bar.iter().map(|alpha_bar| ((alpha_bar.sqrt() - last) * stretch).powi(2)).collect();
    let ratios = shifted.windows(2).map(|pair| pair[1] / pair[0]);
    products(std::iter::once(shifted[0]).chain(ratios).map(|alpha| 1.0 - (1.0 - alpha)))
}

fn sigma(alpha_bar: f32) -> f32 {
    ((1.0 - alpha_bar) / alpha_bar).sqrt()
}
