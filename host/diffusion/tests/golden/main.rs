// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The numbers of this crate against those of torch, diffusers and transformers, in `golden/`, which
//! `golden/make.py` makes. With `--nocapture` the tests say how close they come.

#![allow(clippy::print_stderr, reason = "the deviations are for whoever runs the tests")]
#![allow(clippy::unwrap_used, reason = "golden files are as `make.py` writes them, and a test may fail")]

mod noise;
mod pictures;
mod prompts;
mod schedules;
mod tokens;
mod traces;

use alice_diffusion::SchedulerConfig;
use serde_json::Value;

/// The text of a golden file.
macro_rules! golden {
    ($name:literal) => {
        serde_json::from_str::<serde_json::Value>(include_str!(concat!("../../golden/", $name))).unwrap()
    };
}
pub(crate) use golden;

fn cases(file: &Value) -> &Vec<Value> {
    file["cases"].as_array().unwrap()
}

/// The settings that a case names by their number.
fn config(file: &Value, case: &Value) -> SchedulerConfig {
    let config = &file["configs"][size(&case["config"])];
    SchedulerConfig::from_json(&config.to_string()).unwrap()
}

fn size(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

/// The greatest deviation, relative to the greater of 1 and the expected number.
fn deviation(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let pairs = got.iter().zip(expected);
    let worst = pairs.map(|(got, expected)| (got - expected).abs() / expected.abs().max(1.0));
    // A number that is none must not get lost in the comparison.
    worst.fold(0.0, |worst, one| if one.is_nan() { f32::INFINITY } else { worst.max(one) })
}
