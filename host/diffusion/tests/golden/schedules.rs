// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Every sampler's table is that of the diffusers scheduler it stands for.

use alice_diffusion::{Method, Prediction, Sampler, Schedule, SchedulerConfig};
use serde_json::Value;

use super::{cases, config, deviation, golden, numbers, size};

/// The tables are computed like diffusers', in the same mixture of precisions.
const TOLERANCE: f32 = 1e-6;

fn sampler(case: &Value) -> Sampler {
    case["sampler"].as_str().unwrap().parse().unwrap()
}

/// k-diffusion computes the named schedules in single precision.
const TOLERANCE_NAMED: f32 = 1e-5;

fn tolerance(case: &Value) -> f32 {
    let is_named = sampler(case).schedule_label() != "Automatic" && case["sampler"] != "dpm++_2m_karras";
    if is_named { TOLERANCE_NAMED } else { TOLERANCE }
}

/// How far a table is from a case: infinitely, if they differ in length.
fn distance(schedule: &Schedule, case: &Value) -> f32 {
    if schedule.points().len() != size(&case["steps"]) {
        return f32::INFINITY;
    }
    let points = schedule.points().step_by(size(&case["every"]));
    let (sigmas, timesteps): (Vec<f32>, Vec<f32>) =
        points.map(|point| (point.sigma.min(1e30), point.t)).unzip();
    deviation(&sigmas, &numbers(&case["sigmas"])).max(deviation(&timesteps, &numbers(&case["t"])))
}

#[test]
fn timesteps_and_noise_levels_are_diffusers_own() {
    let file = golden!("schedules.json");
    let mut worst: f32 = 0.0;
    for case in cases(&file) {
        let schedule = Schedule::new(sampler(case), &config(&file, case), size(&case["steps"])).unwrap();
        let distance = distance(&schedule, case);
        assert!(
            distance <= tolerance(case),
            "{case}: {distance}\n{:?}",
            schedule.points().collect::<Vec<_>>()
        );
        worst = worst.max(distance);
    }
    eprintln!("schedules: worst deviation {worst:e} in {} tables", cases(&file).len());
}

#[test]
fn the_first_latent_has_diffusers_deviation() {
    let file = golden!("schedules.json");
    for case in cases(&file) {
        let schedule = Schedule::new(sampler(case), &config(&file, case), size(&case["steps"])).unwrap();
        let first = schedule.points().next().unwrap().sigma;
        // The multistep solvers walk in another space than diffusers', in which unit variance is this:
        let in_its_space = match sampler(case).method() {
            Method::Dpmpp2m | Method::Unipc | Method::Deis => {
                schedule.initial_scale() / (first * first + 1.0).sqrt()
            }
            _ => schedule.initial_scale(),
        };
        let expected = case["initial_scale"].as_f64().unwrap() as f32;
        assert!(deviation(&[in_its_space], &[expected]) <= tolerance(case), "{case}: {in_its_space}");
    }
}

#[test]
fn another_spacing_or_another_sampler_is_told_apart() {
    let file = golden!("schedules.json");
    // One of each kind of table.
    let samplers = ["euler", "ddim", "dpm++_2m", "dpm++_2m_karras", "lcm"].map(Value::from);
    let of_twenty = |case: &&Value| size(&case["steps"]) == 20 && samplers.contains(&case["sampler"]);
    let tables: Vec<&Value> = cases(&file).iter().filter(of_twenty).collect();
    assert!(tables.len() >= 12, "three spacings of every table");
    for case in &tables {
        let schedule = Schedule::new(sampler(case), &config(&file, case), 20).unwrap();
        for other in &tables {
            let distance = distance(&schedule, other);
            let same_table = case["sigmas"] == other["sigmas"] && case["t"] == other["t"];
            assert_eq!(distance <= TOLERANCE, same_table, "{case}\n{other}");
            assert!(same_table || distance > 100.0 * TOLERANCE, "{distance}: {case}\n{other}");
        }
    }
}

#[test]
fn the_emoji_models_own_settings_are_understood() {
    let file = include_str!("../../../../models/alice-emoji/scheduler/scheduler_config.json");
    let config = SchedulerConfig::from_json(file).unwrap();
    assert_eq!((config.sampler(), config.prediction()), (Some(Method::Euler.into()), Prediction::V));
    let schedule = Schedule::new(Method::Euler.into(), &config, 20).unwrap();
    let timesteps: Vec<f32> = schedule.points().map(|point| point.t).collect();
    assert_eq!((timesteps[0], timesteps[1], timesteps[19]), (999.0, 949.0, 49.0), "trailing");
}
