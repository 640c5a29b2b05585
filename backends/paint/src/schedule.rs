// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How much of a noisy latent is picture at a timestep, and what a model of this kind answers.

use serde::Deserialize;

/// What the denoiser's raw answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Prediction {
    /// The noise.
    Epsilon,
    /// The velocity of Salimans and Ho 2022, arXiv:2202.00512.
    #[serde(rename = "v_prediction")]
    Velocity,
    /// The picture itself.
    Sample,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Betas {
    Linear,
    ScaledLinear,
}

/// `scheduler/scheduler_config.json`, as far as it is of interest here; what is left out is Stable
/// Diffusion's.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct ScheduleConfig {
    pub(crate) num_train_timesteps: usize,
    pub(crate) beta_start: f64,
    pub(crate) beta_end: f64,
    pub(crate) beta_schedule: Betas,
    pub(crate) prediction_type: Prediction,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 0.00085,
            beta_end: 0.012,
            beta_schedule: Betas::ScaledLinear,
            prediction_type: Prediction::Epsilon,
        }
    }
}

/// The noise levels of the training timesteps.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// `ln(sigma)` of each timestep, sigma being noise over signal.
    log_sigmas: Vec<f64>,
    pub(crate) prediction: Prediction,
}

impl Schedule {
    /// `None` for numbers that make no schedule.
    pub(crate) fn new(config: &ScheduleConfig) -> Option<Self> {
        let count = config.num_train_timesteps;
        let range = 0.0 < config.beta_start && config.beta_start <= config.beta_end && config.beta_end < 1.0;
        if !(2..=100_000).contains(&count) || !range {
            return None;
        }
        let power = if config.beta_schedule == Betas::ScaledLinear { 2.0 } else { 1.0 };
        let (start, end) = (config.beta_start.powf(1.0 / power), config.beta_end.powf(1.0 / power));
        let beta = |t: usize| (start + (end - start) * t as f64 / (count - 1) as f64).powf(power);
        let mut signal = 1.0; // the product of 1 - beta: how much of the picture's variance is left
        let log_sigma = |t| {
            signal *= 1.0 - beta(t);
            ((1.0 - signal) / signal).sqrt().ln()
        };
        let log_sigmas = (0..count).map(log_sigma).collect();
        Some(Self { log_sigmas, prediction: config.prediction_type })
    }

    /// The factors of picture and noise in the network's input at `timestep`. Between two timesteps the
    /// logarithm of sigma is interpolated, as k-diffusion does (`external.py`, `t_to_sigma`).
    pub(crate) fn signal_and_noise(&self, timestep: f32) -> (f32, f32) {
        let last = self.log_sigmas.len() - 1;
        let timestep = f64::from(timestep).clamp(0.0, last as f64);
        let below = (timestep as usize).min(last - 1);
        let part = timestep - below as f64;
        let log_sigma = self.log_sigmas[below] * (1.0 - part) + self.log_sigmas[below + 1] * part;
        let sigma = log_sigma.exp();
        let signal = 1.0 / sigma.hypot(1.0);
        (signal as f32, (signal * sigma) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_those_of_stable_diffusion() {
        let schedule = Schedule::new(&ScheduleConfig::default()).unwrap();
        // sigma_min and sigma_max of Stable Diffusion 1.x as k-diffusion states them.
        for (timestep, sigma) in [(0.0, 0.0292), (999.0, 14.6146), (5000.0, 14.6146)] {
            let (signal, noise) = schedule.signal_and_noise(timestep);
            assert!((noise / signal - sigma).abs() < 1e-4 * sigma.max(1.0), "{timestep}: {}", noise / signal);
            assert!((signal.hypot(noise) - 1.0).abs() < 1e-6);
        }
        let [low, middle, high] = [10.0, 10.5, 11.0].map(|t| schedule.signal_and_noise(t).1);
        assert!(low < middle && middle < high);
    }

    #[test]
    fn numbers_that_make_no_schedule_are_refused() {
        for (num_train_timesteps, beta_start, beta_end) in
            [(0, 0.1, 0.2), (1, 0.1, 0.2), (1000, 0.0, 0.2), (1000, 0.1, 1.0), (1000, f64::NAN, 0.2)]
        {
            let config =
                ScheduleConfig { num_train_timesteps, beta_start, beta_end, ..ScheduleConfig::default() };
            assert!(Schedule::new(&config).is_none());
        }
    }
}
