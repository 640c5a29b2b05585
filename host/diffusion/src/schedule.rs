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

use crate::denoise::Denoiser;
use crate::sampler::Run;
use crate::{Denoise, Error, Kept, Latent, LatentShape, Noise, Point, Result, Sampler, SchedulerConfig};

/// A sampler with its table of steps, ready to run on any number of latents.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    sampler: Sampler,
    config: SchedulerConfig,
    table: Table,
    /// Those of the table's steps that are taken.
    steps: Vec<Step>,
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
        let table = sampler.table(config, steps)?;
        Ok(Self { sampler, config: config.clone(), steps: table.steps.clone(), table })
    }

    /// The end of that table: `strength` of its steps, 0 (none) to 1 (all), for a run that begins with a picture, to
    /// which noise is added first. What diffusers' pipelines for pictures do.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`Error::NoSteps`] if no step is left.
    pub fn from_strength(
        sampler: Sampler,
        config: &SchedulerConfig,
        steps: usize,
        strength: f64,
    ) -> Result<Self> {
        let whole = Self::new(sampler, config, steps)?;
        let begin = sampler.left_out(steps, strength);
        if begin >= steps {
            return Err(Error::NoSteps { strength: strength.to_string(), steps });
        }
        Ok(Self { steps: sampler.begun(&whole.table.steps, begin), ..whole })
    }

    /// Which sampler walks it.
    pub fn sampler(&self) -> Sampler {
        self.sampler
    }

    /// Where the network is asked, noisiest first: one point per step that is taken.
    pub fn points(&self) -> impl ExactSizeIterator<Item = Point> {
        self.steps.iter().map(|step| step.at)
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
        let first = self.begin_with_noise(&noise.latent(shape));
        self.walk(model, noise, first, None).await
    }

    /// The first latent of a run that begins with nothing but `noise`.
    pub fn begin_with_noise(&self, noise: &Latent) -> Latent {
        noise.map(|value| value * self.table.initial_scale)
    }

    /// The first latent of a run that begins with the latent of a picture, of the shape of `noise`.
    pub fn begin_with_picture(&self, picture: &Latent, noise: &Latent) -> Latent {
        self.sampler.space().noised(picture, noise, self.steps[0].at.sigma)
    }

    /// Takes the steps from the `first` latent on, with the rest of the picture's `noise`. What is `kept` of a picture
    /// is put into the latent after each evaluation, as diffusers' pipelines do.
    ///
    /// The result is the finished latent in the network's space, ready to be decoded.
    ///
    /// # Errors
    /// Only what `model` returns.
    pub async fn walk<D: Denoise>(
        &self,
        model: &D,
        noise: &mut Noise,
        first: Latent,
        kept: Option<&Kept>,
    ) -> std::result::Result<Latent, D::Error> {
        let run = Run {
            denoiser: Denoiser::new(model, self.config.prediction(), self.steps.len()),
            steps: &self.steps,
            whole: &self.table.steps,
            config: &self.config,
            noise,
            space: self.sampler.space(),
            kept,
        };
        let finished = self.sampler.walk(run, first).await?;
        Ok(match kept {
            Some(kept) => kept.put_into(&finished, &kept.picture),
            None => finished,
        })
    }
}

#[cfg(test)]
mod tests;
