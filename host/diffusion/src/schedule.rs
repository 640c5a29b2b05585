// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The steps of one sampling run: at which noise levels the network is asked, and where the latent starts.

mod beta_distribution;
mod noise_levels;
mod noise_schedule;
mod spacing;
mod table;

pub(crate) use noise_levels::NoiseLevels;
pub use noise_schedule::{Curve, NoiseSchedule};
pub(crate) use spacing::Spacing;
pub(crate) use table::{KarrasTimesteps, Step, Table, steps_through};

use crate::sampler::Run;
use crate::{Denoise, Error, Latent, LatentShape, Noise, Point, Result, Sampler, SchedulerConfig};

/// A sampler with its table of steps, ready to run on any number of latents.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    sampler: Sampler,
    config: SchedulerConfig,
    table: Table,
}

impl Schedule {
    /// The table that `sampler` makes of a model's own settings, as diffusers does when a pipeline's
    /// scheduler is replaced with `Scheduler.from_config(pipeline.scheduler.config)`.
    ///
    /// # Errors
    /// [`Error::Steps`] unless `steps` is at least 1 and at most what the sampler can take of the model's
    /// training timesteps; [`Error::WrongKind`] for a sampler of flows on a model of diffusion or the other
    /// way round.
    pub fn new(sampler: Sampler, config: &SchedulerConfig, steps: usize) -> Result<Self> {
        let most = config.train_timesteps();
        if !(1..=most).contains(&steps) {
            return Err(Error::Steps { steps, most });
        }
        if !sampler.fits(config) {
            return Err(Error::WrongKind { sampler: sampler.name(), kind: config.kind() });
        }
        Ok(Self { sampler, config: config.clone(), table: sampler.table(config, steps)? })
    }

    /// Which sampler walks it.
    pub fn sampler(&self) -> Sampler {
        self.sampler
    }

    /// Where the network is asked, noisiest first: one point per step.
    pub fn points(&self) -> impl ExactSizeIterator<Item = Point> {
        self.table.steps.iter().map(|step| step.at)
    }

    /// Standard deviation of the first latent: what diffusers calls `init_noise_sigma`, except that the
    /// multistep solvers walk in k-diffusion's space here and in the network's there, where it is 1.
    pub fn initial_scale(&self) -> f32 {
        self.table.initial_scale
    }

    /// Makes a latent of `shape` from noise. Draws the first latent from `noise` and then, for samplers that
    /// add noise, what they add, in the order of their reference implementation.
    ///
    /// The result is the finished latent in the network's space, ready to be decoded.
    ///
    /// # Errors
    /// Only what `model` returns.
    pub async fn sample<D: Denoise>(
        &self,
        model: &D,
        noise: &mut Noise,
        shape: LatentShape,
    ) -> std::result::Result<Latent, D::Error> {
        let Table { steps, initial_scale } = &self.table;
        let x = noise.latent(shape).map(|value| value * initial_scale);
        self.sampler.walk(Run::new(model, &self.config, steps, noise), x).await
    }
}

#[cfg(test)]
mod tests;
