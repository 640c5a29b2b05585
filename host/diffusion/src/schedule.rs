// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The steps of one sampling run: at which noise levels the network is asked, and where the latent starts.

mod karras;
mod noise_levels;
mod spacing;

pub(crate) use noise_levels::NoiseLevels;
pub(crate) use spacing::Spacing;

use crate::denoise::Denoiser;
use crate::{
    Denoise, Error, Latent, LatentShape, Noise, Point, Prediction, Result, Sampler, SchedulerConfig,
};

/// One step: the network is asked at `at`, and the latent moves on to the noise level `next`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) at: Point,
    /// Never above `at.sigma`; 0 after the last step, except in some DDIM schedules.
    pub(crate) next: f32,
}

impl Step {
    /// Steps from each point (sigma and timestep, noisiest first) to the next one's level, and from the last
    /// to 0.
    pub(crate) fn through(points: &[(f64, f64)]) -> Vec<Self> {
        let nexts = points.iter().skip(1).map(|&(sigma, _)| sigma as f32).chain([0.0]);
        let step = |(&(sigma, t), next)| Self { at: Point { sigma: sigma as f32, t: t as f32 }, next };
        points.iter().zip(nexts).map(step).collect()
    }
}

/// What a sampler makes of a model's [`SchedulerConfig`] and a number of steps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    /// Noisiest first.
    pub(crate) steps: Vec<Step>,
    /// Standard deviation of the first latent, in the sampler's own space.
    pub(crate) initial_scale: f32,
}

/// A sampler with its table of steps, ready to run on any number of latents.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    sampler: Sampler,
    prediction: Prediction,
    table: Table,
}

impl Schedule {
    /// The table that `sampler` makes of a model's own settings, as diffusers does when a pipeline's
    /// scheduler is replaced with `Scheduler.from_config(pipeline.scheduler.config)`.
    ///
    /// # Errors
    /// [`Error::Steps`] unless `steps` is at least 1 and at most the model's number of training timesteps.
    pub fn new(sampler: Sampler, config: &SchedulerConfig, steps: usize) -> Result<Self> {
        let most = config.train_timesteps();
        if !(1..=most).contains(&steps) {
            return Err(Error::Steps { steps, most });
        }
        Ok(Self { sampler, prediction: config.prediction(), table: sampler.table(config, steps) })
    }

    /// Which sampler walks it.
    pub fn sampler(&self) -> Sampler {
        self.sampler
    }

    /// Where the network is asked, noisiest first: one point per step.
    pub fn points(&self) -> impl ExactSizeIterator<Item = Point> {
        self.table.steps.iter().map(|step| step.at)
    }

    /// Standard deviation of the first latent: what diffusers calls `init_noise_sigma`, except that the DPM++
    /// samplers walk in k-diffusion's space here and in the network's there, where it is 1.
    pub fn initial_scale(&self) -> f32 {
        self.table.initial_scale
    }

    /// Makes a latent of `shape` from noise. Draws the first latent from `noise` and then, for samplers that
    /// add noise, one more latent after every evaluation, the last included, as diffusers does.
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
        let denoiser = Denoiser::new(model, self.prediction, steps.len());
        self.sampler.walk(&denoiser, steps, x, noise).await
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::executor::block_on;

    use super::*;

    const SHAPE: LatentShape = LatentShape { channels: 1, height: 4, width: 4 };
    const MEAN: f64 = 0.7;
    const VARIANCE: f64 = 0.25;

    /// The perfect network for pictures whose values are all drawn from one normal distribution.
    struct Normal;

    impl Denoise for Normal {
        type Error = Infallible;

        async fn denoise(&self, x: &Latent, at: Point) -> std::result::Result<Latent, Infallible> {
            let sigma = f64::from(at.sigma);
            let scale = (sigma * sigma + 1.0).sqrt();
            Ok(x.map(|x| {
                let x = f64::from(x) * scale;
                let denoised = (VARIANCE * x + sigma * sigma * MEAN) / (VARIANCE + sigma * sigma);
                ((x - denoised) / sigma) as f32
            }))
        }

        fn stepped(&self, _: usize, _: usize, _: &Latent) -> std::result::Result<(), Infallible> {
            Ok(())
        }
    }

    /// How far a sampler ends from the exact solution of the probability-flow equation, from sigma 10 to 0.5
    /// in `count` steps of equal length in log(sigma).
    fn error(sampler: Sampler, count: usize) -> f64 {
        let (from, to) = (10f64, 0.5f64);
        let sigma = |index: usize| (from * (to / from).powf(index as f64 / count as f64)) as f32;
        let step = |index| Step { at: Point { sigma: sigma(index), t: 0.0 }, next: sigma(index + 1) };
        let table = Table { steps: (0..count).map(step).collect(), initial_scale: 10.0 };
        let schedule = Schedule { sampler, prediction: Prediction::Epsilon, table };
        let Ok(latent) = block_on(schedule.sample(&Normal, &mut Noise::new(1), SHAPE));
        let shrink = ((VARIANCE + to * to) / (VARIANCE + from * from)).sqrt();
        let pairs = Noise::new(1).latent(SHAPE).values.into_iter().zip(latent.values);
        let errors = pairs.map(|(noise, got)| {
            let exact = MEAN + (f64::from(noise) * from - MEAN) * shrink;
            (f64::from(got) - exact).abs()
        });
        errors.fold(0.0, f64::max)
    }

    #[test]
    fn euler_converges_with_order_one_and_dpm_solver_with_order_two() {
        for (sampler, order) in [(Sampler::Euler, 1.0), (Sampler::Dpmpp2m, 2.0)] {
            for count in [16, 32] {
                let (coarse, fine) = (error(sampler, count), error(sampler, 2 * count));
                let found = (coarse / fine).log2();
                assert!(
                    (found - order).abs() < 0.3,
                    "{sampler}, {count} steps: {coarse}, {fine}, order {found}"
                );
            }
        }
        assert!(error(Sampler::Dpmpp2m, 32) < error(Sampler::Euler, 32) / 4.0);
    }

    #[test]
    fn every_sampler_keeps_the_distribution() {
        // The perfect network and many steps: the latent must have the pictures' own mean and deviation.
        let shape = LatentShape { channels: 1, height: 100, width: 100 };
        for sampler in Sampler::ALL {
            let schedule =
                Schedule::new(sampler, &SchedulerConfig::default(), 200).expect("200 steps are possible");
            let Ok(latent) = block_on(schedule.sample(&Normal, &mut Noise::new(2), shape));
            let count = latent.values.len() as f64;
            let mean = latent.values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
            let squares = latent.values.iter().map(|&value| (f64::from(value) - mean).powi(2));
            let deviation = (squares.sum::<f64>() / count).sqrt();
            // Pure noise at sigma 14.6 lacks the trace of the mean that a real latent has there: 0.7 * 0.5 /
            // 14.6.
            assert!((mean - MEAN).abs() < 0.04, "{sampler}: mean {mean}");
            assert!((deviation - VARIANCE.sqrt()).abs() < 0.02, "{sampler}: deviation {deviation}");
        }
    }

    /// A network that fails at the second call or gives up after the second step.
    struct Failing {
        in_network: bool,
        calls: std::sync::atomic::AtomicUsize,
    }

    impl Denoise for Failing {
        type Error = &'static str;

        async fn denoise(&self, x: &Latent, _: Point) -> std::result::Result<Latent, &'static str> {
            let call = self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if self.in_network && call == 1 { Err("network") } else { Ok(x.clone()) }
        }

        fn stepped(&self, step: usize, steps: usize, _: &Latent) -> std::result::Result<(), &'static str> {
            assert!(step <= steps);
            if step == 2 { Err("observer") } else { Ok(()) }
        }
    }

    #[test]
    fn sampling_ends_with_the_first_error() {
        for sampler in Sampler::ALL {
            for (in_network, message) in [(true, "network"), (false, "observer")] {
                let model = Failing { in_network, calls: Default::default() };
                let schedule =
                    Schedule::new(sampler, &SchedulerConfig::default(), 5).expect("5 steps are possible");
                assert_eq!(block_on(schedule.sample(&model, &mut Noise::new(0), SHAPE)), Err(message));
                assert_eq!(model.calls.into_inner(), 2, "{sampler}");
            }
        }
    }

    #[test]
    fn a_run_can_move_between_threads() {
        fn sendable<T: Send>(value: T) -> T {
            value
        }
        let schedule =
            Schedule::new(Sampler::Dpmpp2m, &SchedulerConfig::default(), 2).expect("2 steps are possible");
        let Ok(latent) = block_on(sendable(schedule.sample(&Normal, &mut Noise::new(0), SHAPE)));
        assert_eq!(latent.shape, SHAPE);
    }

    #[test]
    fn no_steps_and_more_steps_than_were_trained_are_errors() {
        for sampler in Sampler::ALL {
            for steps in [0, 1001, usize::MAX] {
                let schedule = Schedule::new(sampler, &SchedulerConfig::default(), steps);
                assert_eq!(schedule, Err(Error::Steps { steps, most: 1000 }));
            }
        }
    }
}
