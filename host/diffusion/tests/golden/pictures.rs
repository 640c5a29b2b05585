// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Runs that begin with a picture, or keep a part of it, end where diffusers' do, with every sampler.

use std::collections::BTreeMap;

use alice_diffusion::{Interpolation, Kept, Latent, Noise, Sampler, Schedule};
use futures::executor::block_on;
use serde_json::Value;

use super::traces::{SHAPE, Stand, TOLERANCE, tolerance};
use super::{cases, config, deviation, golden, numbers, size};

/// What a run begins with and keeps.
#[derive(Clone)]
struct Beginning {
    steps: usize,
    strength: f64,
    keeps: bool,
    picture: Latent,
    mask: Vec<f32>,
}

impl Beginning {
    fn of(file: &Value, case: &Value) -> Self {
        Self {
            steps: size(&case["steps"]),
            strength: case["strength"].as_f64().unwrap(),
            keeps: case["keeps"] == true,
            picture: Latent { shape: SHAPE, values: numbers(&file["picture"]) },
            mask: numbers(&file["mask"]),
        }
    }
}

fn sampler(case: &Value) -> Sampler {
    case["sampler"].as_str().unwrap().parse().unwrap()
}

fn run(file: &Value, case: &Value, beginning: Beginning) -> Vec<f32> {
    let Beginning { steps, strength, keeps, picture, mask } = beginning;
    let schedule = Schedule::from_strength(sampler(case), &config(file, case), steps, strength).unwrap();
    let mut noise = Noise::new(case["seed"].as_u64().unwrap());
    let first_noise = noise.latent(SHAPE);
    let first = match keeps && strength == 1.0 {
        true => schedule.begin_with_noise(&first_noise),
        false => schedule.begin_with_picture(&picture, &first_noise),
    };
    let kept = keeps.then_some(Kept { picture, noise: first_noise, mask });
    let stand = Stand::default();
    let Ok(latent) = block_on(schedule.walk(&stand, &mut noise, first, kept.as_ref()));
    latent.values
}

#[test]
fn every_sampler_goes_on_from_a_picture_as_its_reference_does() {
    let file = golden!("pictures.json");
    let mut worst: BTreeMap<&str, (f32, usize)> = BTreeMap::new();
    for case in cases(&file) {
        let name = case["sampler"].as_str().unwrap();
        let settings = &file["configs"][size(&case["config"])];
        let Some(tolerance) = tolerance(name, settings, size(&case["steps"])) else { continue };
        let latent = run(&file, case, Beginning::of(&file, case));
        let distance = deviation(&latent, &numbers(&case["latent"]));
        assert!(distance <= tolerance, "{case}\n{settings}: {distance}, {latent:?}");
        let (most, count) = worst.entry(name).or_default();
        (*most, *count) = (most.max(distance), *count + 1);
    }
    for sampler in Sampler::listed() {
        assert!(worst.get(sampler.name().as_str()).is_some_and(|(_, count)| *count >= 4), "{sampler}");
    }
    for (sampler, (most, count)) in worst {
        eprintln!("{sampler}: worst deviation {most:.1e} in {count} runs from a picture");
    }
}

#[test]
fn a_run_that_begins_elsewhere_or_keeps_something_else_is_told_apart() {
    let file = golden!("pictures.json");
    for case in cases(&file) {
        let right = Beginning::of(&file, case);
        if right.strength != 0.75 {
            continue;
        }
        let step = 1.0 / right.steps as f64;
        let wrong = [
            Beginning { strength: right.strength + step, ..right.clone() },
            Beginning { strength: right.strength - step, ..right.clone() },
            Beginning { keeps: !right.keeps, ..right.clone() },
            Beginning { picture: Latent::zeros(SHAPE), ..right.clone() },
            Beginning {
                mask: right.mask.iter().map(|share| 1.0 - share).collect(),
                keeps: true,
                ..right.clone()
            },
        ];
        for wrong in wrong {
            let distance = deviation(&run(&file, case, wrong), &numbers(&case["latent"]));
            assert!(distance > 100.0 * TOLERANCE, "{case}: {distance}");
        }
    }
}

#[test]
fn a_run_from_a_picture_tells_its_own_number_of_steps() {
    for sampler in Sampler::listed() {
        let file = golden!("pictures.json");
        let of_sampler = cases(&file).iter().filter(|case| case["sampler"] == sampler.name().as_str());
        for case in of_sampler {
            let (steps, strength) = (size(&case["steps"]), case["strength"].as_f64().unwrap());
            let settings = config(&file, case);
            let schedule = Schedule::from_strength(sampler, &settings, steps, strength).unwrap();
            // Rounded down but for flow matching.
            let taken = (steps as f64 * strength) as usize;
            let expected = if sampler.name() == "flow_match_euler" && strength == 0.75 { 8 } else { taken };
            assert_eq!(schedule.points().len(), expected, "{case}");
        }
    }
}

#[test]
fn latents_of_another_size_are_torchs() {
    let file = golden!("pictures.json");
    let picture = Latent { shape: SHAPE, values: numbers(&file["picture"]) };
    for case in file["sizes"].as_array().unwrap() {
        let interpolation = match case["mode"].as_str().unwrap() {
            "nearest" => Interpolation::Nearest,
            _ => Interpolation::Bicubic,
        };
        let (height, width) = (size(&case["size"][0]), size(&case["size"][1]));
        let resized = picture.resized(height, width, interpolation);
        assert_eq!((resized.shape.height, resized.shape.width), (height, width));
        let distance = deviation(&resized.values, &numbers(&case["latent"]));
        assert!(distance < 1e-6, "{case}: {distance}");
    }
}

#[test]
fn a_strength_that_leaves_no_step_is_an_error() {
    let euler: Sampler = "euler".parse().unwrap();
    let left = |steps, strength| Schedule::from_strength(euler, &Default::default(), steps, strength);
    for (steps, strength) in [(4, 0.24), (1, 0.99), (150, 0.0), (20, -1.0)] {
        let message = left(steps, strength).unwrap_err().to_string();
        assert!(message.contains(&format!("of {steps} steps")), "{message}");
    }
    assert_eq!(left(4, 0.25).unwrap().points().len(), 1);
    // As Python multiplies: this product is a little less than 29.
    assert_eq!(left(100, 0.29).unwrap().points().len(), 28);
    assert_eq!(left(10, 7.0), left(10, 1.0));
}
