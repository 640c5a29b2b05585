// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Every sampler's loop, driven by a fixed function in place of a network, ends where diffusers' does.

use std::convert::Infallible;
use std::sync::Mutex;

use alice_diffusion::{Denoise, Latent, LatentShape, Noise, Point, Sampler, Schedule, SchedulerConfig};
use futures::executor::block_on;
use serde_json::Value;

use super::{cases, config, deviation, golden, numbers, size};

const SHAPE: LatentShape = LatentShape { channels: 2, height: 3, width: 3 };

/// Both sides compute in single precision, in another order; up to a thousand steps add up.
const TOLERANCE: f32 = 2e-5;

/// Where the noise is ten or a hundred times that of Stable Diffusion, its last bits are as much larger.
const TOLERANCE_WIDE: f32 = 1e-4;

/// Whether these settings lead to noise levels far above the 14.6 of Stable Diffusion.
fn is_wide(config: &Value) -> bool {
    config["rescale_betas_zero_snr"] == true || config["beta_schedule"] != "scaled_linear"
}

/// The function that `golden/make.py` has under the name `model`.
#[derive(Default)]
struct Stand {
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
fn every_sampler_ends_where_diffusers_does() {
    let file = golden!("traces.json");
    for sampler in Sampler::ALL {
        let own: Vec<&Value> = cases(&file).iter().filter(|case| case["sampler"] == sampler.name()).collect();
        assert!(own.len() > 30);
        let mut worst: f32 = 0.0;
        for case in &own {
            let (latent, denoised) = run_case(sampler, &file, case);
            let mut distance = deviation(&latent, &numbers(&case["latent"]));
            if case["denoised"].is_array() {
                distance = distance.max(deviation(&denoised, &numbers(&case["denoised"])));
            }
            let tolerance =
                if is_wide(&file["configs"][size(&case["config"])]) { TOLERANCE_WIDE } else { TOLERANCE };
            assert!(distance <= tolerance, "{case}: {distance}, {latent:?}");
            worst = worst.max(distance);
        }
        eprintln!("{sampler}: worst deviation {worst:e} in {} traces", own.len());
    }
}

#[test]
fn another_sampler_spacing_or_prediction_is_told_apart() {
    let file = golden!("traces.json");
    // Cases that differ in nothing else.
    let alike: Vec<&Value> =
        cases(&file).iter().filter(|case| size(&case["steps"]) == 10 && case["seed"] == 10).collect();
    assert_eq!(alike.len(), Sampler::ALL.len() * 3 * 2);
    for case in &alike {
        let (latent, _) = run_case(case["sampler"].as_str().unwrap().parse().unwrap(), &file, case);
        for other in &alike {
            // Karras' levels do not depend on the spacing.
            let same = case["latent"] == other["latent"];
            assert!(
                same || deviation(&latent, &numbers(&other["latent"])) > 20.0 * TOLERANCE,
                "{case}\n{other}"
            );
        }
    }
}

#[test]
fn every_number_of_steps_and_every_spacing_ends_in_finite_numbers() {
    for sampler in Sampler::ALL {
        for spacing in ["leading", "trailing", "linspace"] {
            for prediction in ["epsilon", "v_prediction", "sample"] {
                for steps in [1, 2, 3, 61, 150, 999, 1000] {
                    let text = format!(
                        r#"{{"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
                             "steps_offset": 1, "timestep_spacing": "{spacing}", "prediction_type": "{prediction}"}}"#
                    );
                    let config = SchedulerConfig::from_json(&text).unwrap();
                    let (latent, denoised) = run(sampler, &config, steps, 5);
                    assert_eq!(denoised.len(), steps);
                    let good = latent.iter().all(|value| value.abs() < 1000.0);
                    assert!(good, "{sampler}, {spacing}, {prediction}, {steps}: {latent:?}");
                }
            }
        }
    }
}
