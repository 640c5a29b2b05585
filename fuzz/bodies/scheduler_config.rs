// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Any text as a model's `scheduler_config.json`: refused with a sentence, or every sampler makes a latent on it.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use alice_diffusion::{
    Denoise, Latent, LatentShape, Noise, NoiseSchedule, Point, Sampler, Schedule, SchedulerConfig,
};

const SHAPE: LatentShape = LatentShape { channels: 1, height: 1, width: 2 };

/// The most training timesteps of a model whose samplers are run; more are allowed, and take their time.
const MOST_TIMESTEPS: usize = 5000;

/// Reads the first byte of `input` as a choice of sampler and steps, the rest as the file.
pub(crate) fn check(input: &[u8]) {
    let Some((&choice, file)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(file) else { return };
    let config = match SchedulerConfig::from_json(text) {
        Ok(config) => config,
        Err(error) => return is_a_sentence(&error.to_string()),
    };
    if config.train_timesteps() > MOST_TIMESTEPS {
        return;
    }
    let steps = 1 + usize::from(choice) % 7;
    let named = NoiseSchedule::ALL[usize::from(choice) % NoiseSchedule::ALL.len()];
    for sampler in Sampler::listed() {
        run(sampler, &config, steps);
        if let Ok(sampler) = sampler.on(named) {
            run(sampler, &config, steps);
        }
    }
}

/// Samples once.
fn run(sampler: Sampler, config: &SchedulerConfig, steps: usize) {
    let schedule = match Schedule::new(sampler, config, steps) {
        Ok(schedule) => schedule,
        Err(error) => return is_a_sentence(&error.to_string()),
    };
    assert!(
        schedule.points().all(|point| !point.t.is_nan() && !point.sigma.is_nan()),
        "{sampler} {config:?}"
    );
    let mut noise = Noise::new(7);
    let future = pin!(schedule.sample(&Half, &mut noise, SHAPE));
    let latent = match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(latent)) => latent,
        Poll::Ready(Err(())) => unreachable!("`Half` never fails"),
        Poll::Pending => unreachable!("`Half` never waits"),
    };
    assert_eq!(latent.shape, SHAPE);
    assert!(latent.values.iter().all(|value| value.is_finite()), "{sampler} on {config:?}");
}

/// A network whose answer is half of what it sees.
struct Half;

impl Denoise for Half {
    type Error = ();

    async fn denoise(&self, x: &Latent, _at: Point) -> Result<Latent, ()> {
        Ok(Latent { shape: x.shape, values: x.values.iter().map(|value| value / 2.0).collect() })
    }

    fn stepped(&self, step: usize, steps: usize, _denoised: &Latent) -> Result<(), ()> {
        assert!((1..=steps).contains(&step));
        Ok(())
    }
}

/// A refusal is for a log of one line each.
fn is_a_sentence(text: &str) {
    assert!(text.len() < 2048, "a refusal of {} bytes", text.len());
    assert!(!text.contains(char::is_control), "a control character in {text:?}");
}
