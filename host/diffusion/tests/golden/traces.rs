// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Every sampler's loop, driven by a fixed function in place of a network, ends where diffusers' does.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Mutex;

use alice_diffusion::{
    Denoise, Latent, LatentShape, Method, Noise, NoiseSchedule, Point, Sampler, Schedule, SchedulerConfig,
};
use futures::executor::block_on;
use serde_json::Value;

use super::{cases, config, deviation, golden, numbers, size};

pub(crate) const SHAPE: LatentShape = LatentShape { channels: 2, height: 3, width: 3 };

/// Both sides compute in single precision, in another order; up to a thousand steps add up.
pub(crate) const TOLERANCE: f32 = 2e-5;

/// Where the noise is ten or a hundred times that of Stable Diffusion, its last bits are as much larger.
const TOLERANCE_WIDE: f32 = 1e-4;

/// Samplers whose references lose digits in single precision (the level below the next one is the difference
/// of nearly equal squares, and so are the weights of the third order), or that add noise twice a step: the
/// function that stands for a network magnifies every difference.
const ROUGH: [&str; 4] = ["dpm2_ancestral", "dpm++_2s_ancestral", "dpm++_3m_sde", "dpmpp_sde"];
const TOLERANCE_ROUGH: f32 = 5e-4;

/// How far a run in these many steps may end from its reference; nowhere, where nothing is left of the digits.
pub(crate) fn tolerance(sampler: &str, config: &Value, steps: usize) -> Option<f32> {
    match (ROUGH.iter().any(|rough| sampler.starts_with(rough)), is_wide(config)) {
        (true, true) => None,
        (true, false) => Some(TOLERANCE_ROUGH),
        (false, true) => Some(TOLERANCE_WIDE),
        // Their references compute weights, which are small differences in short steps, in single precision.
        _ if steps > 100 && ["deis", "unipc"].contains(&sampler) => Some(TOLERANCE_WIDE),
        _ => Some(TOLERANCE),
    }
}

/// Whether these settings lead to noise levels far above the 14.6 of Stable Diffusion.
fn is_wide(config: &Value) -> bool {
    config["rescale_betas_zero_snr"] == true
        || config["beta_schedule"] == "squaredcos_cap_v2"
        || config["beta_end"] == 0.02
}

/// The function that `golden/make.py` has under the name `model`.
#[derive(Default)]
pub(crate) struct Stand {
    /// The estimates at the cell that the golden traces keep.
    denoised: Mutex<Vec<f32>>,
}

impl Denoise for Stand {
    type Error = Infallible;

    async fn denoise(&self, x: &Latent, at: Point) -> Result<Latent, Infallible> {
        let t = at.t / 1000.0;
        let values = x.values.iter().enumerate().map(|(cell, x)| {
            let cell = cell as f32;
            0.7 * x + 0.4 * (2.0 * x + cell + 3.0 * t).sin() - 0.3 * (cell * 0.5).cos() * (1.0 - t)
        });
        Ok(Latent { shape: x.shape, values: values.collect() })
    }

    fn stepped(&self, step: usize, steps: usize, denoised: &Latent) -> Result<(), Infallible> {
        let mut kept = self.denoised.lock().unwrap();
        kept.push(denoised.values[4]);
        assert!(step == kept.len() && step <= steps);
        Ok(())
    }
}

/// The finished latent and the estimate after each step.
fn run(sampler: Sampler, config: &SchedulerConfig, steps: usize, seed: u64) -> (Vec<f32>, Vec<f32>) {
    let stand = Stand::default();
    let schedule = Schedule::new(sampler, config, steps).unwrap();
    let Ok(latent) = block_on(schedule.sample(&stand, &mut Noise::new(seed), SHAPE));
    (latent.values, stand.denoised.into_inner().unwrap())
}

fn run_case(sampler: Sampler, file: &Value, case: &Value) -> (Vec<f32>, Vec<f32>) {
    run(sampler, &config(file, case), size(&case["steps"]), case["seed"].as_u64().unwrap())
}

#[test]
fn every_sampler_ends_where_its_reference_does() {
    let file = golden!("traces.json");
    let mut worst: BTreeMap<&str, (f32, usize)> = BTreeMap::new();
    for case in cases(&file) {
        let sampler = case["sampler"].as_str().unwrap();
        let (latent, denoised) = run_case(sampler.parse().unwrap(), &file, case);
        let mut distance = deviation(&latent, &numbers(&case["latent"]));
        if case["denoised"].is_array() {
            distance = distance.max(deviation(&denoised, &numbers(&case["denoised"])));
        }
        let config = &file["configs"][size(&case["config"])];
        let Some(tolerance) = tolerance(sampler, config, size(&case["steps"])) else { continue };
        assert!(distance <= tolerance, "{case}\n{config}: {distance}, {latent:?}, {denoised:?}");
        let (most, count) = worst.entry(sampler).or_default();
        (*most, *count) = (most.max(distance), *count + 1);
    }
    for sampler in Sampler::listed() {
        assert!(worst.get(sampler.name().as_str()).is_some_and(|(_, count)| *count >= 2), "{sampler}");
    }
    for schedule in NoiseSchedule::ALL {
        assert!(worst.contains_key(format!("euler_{}", schedule.name()).as_str()), "{}", schedule.name());
    }
    for (sampler, (most, count)) in worst {
        eprintln!("{sampler}: worst deviation {most:.1e} in {count} traces");
    }
}

#[test]
fn another_sampler_spacing_or_prediction_is_told_apart() {
    let file = golden!("traces.json");
    // Cases that differ in nothing else.
    let alike: Vec<&Value> =
        cases(&file).iter().filter(|case| size(&case["steps"]) == 10 && case["seed"] == 10).collect();
    // Models of flows have settings of their own.
    assert_eq!(alike.len(), (Sampler::listed().count() - 1) * 3 * 2);
    for case in &alike {
        let (latent, _) = run_case(case["sampler"].as_str().unwrap().parse().unwrap(), &file, case);
        for other in &alike {
            // Karras' and the distilled levels do not depend on the spacing, and a step of DDPM is one of
            // Euler's with fresh noise in other words.
            let alike = |one: &Value, other: &Value| {
                one["sampler"] == "ddpm" && other["sampler"] == "euler_ancestral"
            };
            let same = case["latent"] == other["latent"] || alike(case, other) || alike(other, case);
            assert!(
                same || deviation(&latent, &numbers(&other["latent"])) > 20.0 * TOLERANCE,
                "{case}\n{other}"
            );
        }
    }
}

#[test]
fn every_number_of_steps_and_every_spacing_ends_in_finite_numbers() {
    let spacings = ["leading", "trailing", "linspace"];
    let diffusion = Sampler::listed().filter(|sampler| sampler.method() != Method::FlowMatchEuler);
    let spaced = diffusion.flat_map(|sampler| spacings.map(|spacing| (sampler, spacing)));
    // Named schedules cover the whole range, whatever the spacing.
    let named = NoiseSchedule::ALL.into_iter().flat_map(|schedule| {
        Method::ALL.iter().filter_map(move |&method| Sampler::from(method).on(schedule).ok())
    });
    for (sampler, spacing) in spaced.chain(named.map(|sampler| (sampler, "leading"))) {
        for (prediction, zero_snr) in [
            ("epsilon", false),
            ("epsilon", true),
            ("v_prediction", true),
            ("v_prediction", false),
            ("sample", false),
        ] {
            for steps in [1, 2, 3, 4, 61, 1000] {
                if steps > 50 && matches!(sampler.method(), Method::Lcm | Method::Tcd) {
                    continue;
                }
                let text = format!(
                    r#"{{"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
                             "steps_offset": 1, "timestep_spacing": "{spacing}", "prediction_type": "{prediction}",
                             "rescale_betas_zero_snr": {zero_snr}}}"#
                );
                let config = SchedulerConfig::from_json(&text).unwrap();
                let (latent, denoised) = run(sampler, &config, steps, 5);
                assert_eq!(denoised.len(), steps);
                // Without signal a network of noise says nothing: the answer is large, but a number.
                let most = if zero_snr { f32::MAX } else { 1000.0 };
                let good = latent.iter().all(|value| value.abs() < most);
                assert!(good, "{sampler}, {spacing}, {prediction}, {steps}: {latent:?}");
            }
        }
    }
}
