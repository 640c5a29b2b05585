// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What is true of every sampler, shown on a network that is perfect for pictures of one distribution.

use std::convert::Infallible;

use futures::executor::block_on;

use super::*;
use crate::{Method, Prediction};

const SHAPE: LatentShape = LatentShape { channels: 1, height: 4, width: 4 };
const MEAN: f64 = 0.7;
const VARIANCE: f64 = 0.25;

/// The perfect network for pictures whose values are all drawn from one normal distribution.
struct Normal {
    prediction: Prediction,
}

const NORMAL: Normal = Normal { prediction: Prediction::Epsilon };

impl Denoise for Normal {
    type Error = Infallible;

    async fn denoise(&self, x: &Latent, at: Point) -> std::result::Result<Latent, Infallible> {
        let sigma = f64::from(at.sigma);
        Ok(x.map(|x| {
            let x = f64::from(x);
            if self.prediction == Prediction::Flow {
                // x is (1 - sigma) * picture + sigma * noise; the direction is from the picture to the noise.
                let variance = (1.0 - sigma).powi(2) * VARIANCE + sigma * sigma;
                let surprise = (x - (1.0 - sigma) * MEAN) / variance;
                let denoised = MEAN + (1.0 - sigma) * VARIANCE * surprise;
                return (sigma * surprise - denoised) as f32;
            }
            let x = x * (sigma * sigma + 1.0).sqrt();
            let denoised = (VARIANCE * x + sigma * sigma * MEAN) / (VARIANCE + sigma * sigma);
            ((x - denoised) / sigma) as f32
        }))
    }

    fn stepped(&self, _: usize, _: usize, _: &Latent) -> std::result::Result<(), Infallible> {
        Ok(())
    }
}

fn flow() -> SchedulerConfig {
    SchedulerConfig::from_json(r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}"#).unwrap()
}

/// Settings that a sampler can be used with.
fn settings(sampler: Sampler) -> SchedulerConfig {
    let diffusion = SchedulerConfig::default();
    if sampler.fits(&diffusion) { diffusion } else { flow() }
}

/// Every method by itself, and one on every named schedule.
fn samplers() -> Vec<Sampler> {
    let euler = Sampler::from(Method::Euler);
    let on_schedules = NoiseSchedule::ALL.into_iter().map(|schedule| euler.on(schedule).unwrap());
    Sampler::listed().chain(on_schedules).collect()
}

/// How far a sampler ends from the exact solution of the probability-flow equation, from sigma 10 to 0.5
/// in `count` steps of equal length in log(sigma).
fn error(method: Method, config: &SchedulerConfig, count: usize) -> f64 {
    let (from, to) = (10f64, 0.5f64);
    let sigma = |index: usize| (from * (to / from).powf(index as f64 / count as f64)) as f32;
    let step = |index| Step { at: Point { sigma: sigma(index), t: 0.0 }, next: sigma(index + 1) };
    // The network's own space, in which DDIM walks, has unit variance.
    let scale = if method == Method::Ddim { (1.0 + from * from).sqrt() } else { 1.0 };
    let initial_scale = (from / scale) as f32;
    let table = Table { steps: (0..count).map(step).collect(), initial_scale };
    let steps = table.steps.clone();
    let schedule = Schedule { sampler: method.into(), config: config.clone(), table, steps };
    let Ok(latent) = block_on(schedule.sample(&NORMAL, &mut Noise::new(1), SHAPE));
    let shrink = ((VARIANCE + to * to) / (VARIANCE + from * from)).sqrt();
    let pairs = Noise::new(1).latent(SHAPE).values.into_iter().zip(latent.values);
    let errors = pairs.map(|(noise, got)| {
        let exact = MEAN + (f64::from(noise) * from - MEAN) * shrink;
        // The finished latent has unit variance in any case.
        (f64::from(got) * (1.0 + to * to).sqrt() - exact).abs()
    });
    errors.fold(0.0, f64::max)
}

#[test]
fn samplers_converge_with_their_order() {
    // The first steps of the multistep methods have a lower order than the rest.
    for (method, orders) in [
        (Method::Euler, 0.9..1.1),
        (Method::Ddim, 0.9..1.1),
        // Its last step, which leads nowhere further, is Euler's.
        (Method::Heun, 1.9..2.2),
        (Method::Dpm2, 1.9..2.1),
        (Method::Dpmpp2m, 1.9..2.2),
        (Method::Deis, 1.8..2.2),
        (Method::Lms, 2.0..4.2),
        (Method::Unipc, 2.0..3.3),
    ] {
        for count in [16, 32] {
            let config = SchedulerConfig::default();
            let (coarse, fine) = (error(method, &config, count), error(method, &config, 2 * count));
            let found = (coarse / fine).log2();
            assert!(orders.contains(&found), "{method:?}, {count} steps: {coarse}, {fine}, order {found}");
        }
    }
    let at_32 = |method| error(method, &SchedulerConfig::default(), 32);
    assert!(at_32(Method::Dpmpp2m) < at_32(Method::Euler) / 4.0);
}

#[test]
fn every_sampler_keeps_the_distribution() {
    // The perfect network and many steps: the latent must have the pictures' own mean and deviation.
    let shape = LatentShape { channels: 1, height: 100, width: 100 };
    for sampler in samplers() {
        // Consistency models answer with finished pictures, not with the mean of all possible ones.
        if matches!(sampler.method(), Method::Lcm | Method::Tcd) {
            continue;
        }
        let config = settings(sampler);
        let schedule = Schedule::new(sampler, &config, 200).expect("200 steps are possible");
        let model = Normal { prediction: config.prediction() };
        let Ok(latent) = block_on(schedule.sample(&model, &mut Noise::new(2), shape));
        let count = latent.values.len() as f64;
        let mean = latent.values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let squares = latent.values.iter().map(|&value| (f64::from(value) - mean).powi(2));
        let deviation = (squares.sum::<f64>() / count).sqrt();
        // Pure noise at sigma 14.6 lacks the trace of the mean that a real latent has there: 0.7 * 0.5 /
        // 14.6.
        assert!((mean - MEAN).abs() < 0.04, "{sampler}: mean {mean}");
        // The third order extrapolates from estimates that carry fresh noise, and widens it a little.
        let allowed = if sampler.method() == Method::Dpmpp3mSde { 0.04 } else { 0.02 };
        assert!((deviation - VARIANCE.sqrt()).abs() < allowed, "{sampler}: deviation {deviation}");
    }
}

#[test]
fn brownian_noise_refines_one_picture_where_independent_noise_makes_another() {
    let run = |method: Method, steps| {
        let sampler = Sampler::from(method).on(NoiseSchedule::KARRAS).unwrap();
        let schedule = Schedule::new(sampler, &SchedulerConfig::default(), steps).unwrap();
        let Ok(latent) = block_on(schedule.sample(&NORMAL, &mut Noise::new(4), SHAPE));
        latent
    };
    let distance = |method: Method| {
        let differences = run(method, 80).zip(&run(method, 160), |one, other| (one - other).powi(2));
        (differences.values.iter().sum::<f32>() / SHAPE.len() as f32).sqrt()
    };
    for method in [Method::DpmppSde, Method::Dpmpp3mSde] {
        assert!(distance(method) < 0.1, "{method:?}: {}", distance(method));
    }
    assert!(distance(Method::EulerAncestral) > 0.3, "{}", distance(Method::EulerAncestral));
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
    for sampler in samplers() {
        for (in_network, message) in [(true, "network"), (false, "observer")] {
            let model = Failing { in_network, calls: Default::default() };
            let schedule = Schedule::new(sampler, &settings(sampler), 5).expect("5 steps are possible");
            assert_eq!(block_on(schedule.sample(&model, &mut Noise::new(0), SHAPE)), Err(message));
            // Some methods ask more than once a step.
            let most = if in_network { 2 } else { 8 };
            assert!((2..=most).contains(&model.calls.into_inner()), "{sampler}");
        }
    }
}

#[test]
fn a_run_can_move_between_threads() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    for sampler in samplers() {
        let schedule = Schedule::new(sampler, &settings(sampler), 2).expect("2 steps are possible");
        let mut noise = Noise::new(0);
        let Ok(latent) = block_on(sendable(schedule.sample(&NORMAL, &mut noise, SHAPE)));
        assert_eq!(latent.shape, SHAPE);
    }
}

#[test]
fn no_steps_and_more_steps_than_were_trained_are_errors() {
    for sampler in samplers() {
        for steps in [0, 1001, usize::MAX] {
            let schedule = Schedule::new(sampler, &settings(sampler), steps);
            assert_eq!(schedule, Err(Error::Steps { steps, most: 1000 }));
        }
    }
    for method in [Method::Lcm, Method::Tcd] {
        let schedule = Schedule::new(method.into(), &SchedulerConfig::default(), 51);
        assert_eq!(schedule, Err(Error::Steps { steps: 51, most: 50 }));
    }
}

#[test]
fn a_sampler_of_flows_and_a_model_of_diffusion_do_not_meet() {
    let wrong = |sampler: Sampler, config: &SchedulerConfig| Schedule::new(sampler, config, 5).unwrap_err();
    let message = wrong(Method::FlowMatchEuler.into(), &SchedulerConfig::default()).to_string();
    assert!(message.contains("flow_match_euler") && message.contains("diffusion"), "{message}");
    for sampler in Sampler::listed().filter(|sampler| sampler.method() != Method::FlowMatchEuler) {
        let message = wrong(sampler, &flow()).to_string();
        assert!(message.contains("flow matching"), "{message}");
    }
}
