// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Full runs, from prompt and seed to picture, against diffusers: through the plugin, the engine's mailbox and
//! the samplers. `tests/fixtures/make.py` makes the references; docs/PARITY.md holds the numbers.

use std::fs;
use std::path::{Path, PathBuf};

use alice::conformance::reference::{MODELS, Reference, Run};
use alice::conformance::{Outcome, networks};
use alice_diffusion::Sampler;
use serde_json::{Value, json};

use self::bench::{Bench, Distance, psnr};
use crate::harness::{plugin, source};

mod bench;
mod company;

/// The most that a value of a final latent may be away.
const LATENT_TOLERANCE: f32 = 1e-3;
/// The least that a picture must agree, in dB.
const RIGHT_DB: f64 = 60.0;
/// The most that the picture of a wrong neighbour may agree: 15 dB less.
const WRONG_DB: f64 = RIGHT_DB - 15.0;

#[track_caller]
fn assert_right(model: &str, distances: &[(&Run, Distance)]) {
    assert!(!distances.is_empty());
    for (run, Distance { latents, picture_db }) in distances {
        let right = *latents <= LATENT_TOLERANCE && *picture_db >= RIGHT_DB;
        assert!(right, "{model} {}: latents {latents:.1e}, picture {picture_db:.1} dB", run.name);
    }
}

#[track_caller]
fn assert_wrong(model: &str, run: &Run, what: &str, db: f64) {
    assert!(db <= WRONG_DB, "{model} {}: {what} reaches {db:.1} dB", run.name);
}

#[tokio::test]
async fn tokens_are_those_of_transformers() {
    for name in MODELS {
        let bench = Bench::tiny(name, 1).await;
        assert!(!bench.reference.cases.texts.is_empty());
        for text in &bench.reference.cases.texts {
            assert_eq!(bench.tokenizer.window(&text.prompt).ids, text.ids, "{name} {}", text.name);
        }
    }
}

#[test]
fn candles_networks_are_those_of_diffusers() {
    let checks = networks::run(&plugin("candle_cpu"), &json!({}), &source("tests/fixtures")).unwrap();
    assert!(checks.len() > 10);
    for check in checks {
        assert_eq!(check.outcome, Outcome::Passed, "{}", check.name);
    }
}

#[test]
fn level_b_finds_out_a_backend_that_does_not_run_the_model() {
    let checks = networks::run(&plugin("paint"), &json!({}), &source("tests/fixtures")).unwrap();
    assert!(checks.len() > 10);
    for check in checks {
        assert!(matches!(check.outcome, Outcome::Failed(_)), "{check:?}");
    }
}

#[tokio::test]
async fn every_run_gives_the_latents_and_the_picture_of_diffusers() {
    for name in MODELS {
        assert_right(name, &Bench::tiny(name, 1).await.compare_all(false).await);
    }
}

#[tokio::test]
async fn the_built_in_model_paints_what_diffusers_paints() {
    assert_right("alice-emoji", &Bench::emoji().await.compare_all(false).await);
}

#[tokio::test]
async fn runs_at_different_timesteps_that_share_forward_passes_give_the_same() {
    for name in MODELS {
        let bench = Bench::tiny(name, 16).await;
        assert_right(name, &bench.compare_all(true).await);
        assert!(bench.most_timesteps() > 4, "at most {} met", bench.most_timesteps());
    }
}

#[test]
fn the_references_cover_every_sampler_and_tell_their_neighbours_apart() {
    for name in MODELS {
        let reference = Reference::open(&source("tests/fixtures"), name, PathBuf::new()).unwrap();
        let runs = &reference.cases.runs;
        for sampler in Sampler::ALL {
            assert!(runs.iter().any(|run| run.sampler == sampler.name()), "{name}: {sampler}");
        }
        for run in runs {
            assert!(run.neighbours_db.len() > 5);
            for (what, db) in &run.neighbours_db {
                assert_wrong(name, run, what, *db);
            }
        }
    }
}

#[tokio::test]
async fn another_sampler_or_spacing_or_activation_fails_by_15_db() {
    for name in MODELS {
        let bench = Bench::tiny(name, 1).await;
        let run = &bench.reference.cases.runs[0];
        let sampler: Sampler = run.sampler.parse().unwrap();
        let own = bench.scheduler(run);
        let (_, right) = bench.paint_with(run, sampler, &own).await;
        assert!(bench.picture_db(run, &right) >= RIGHT_DB);

        // Except Euler and DDIM: on the same timesteps they are one method in different variables.
        for wrong in Sampler::ALL.into_iter().filter(|&wrong| wrong != sampler && wrong != Sampler::Ddim) {
            let (_, picture) = bench.paint_with(run, wrong, &own).await;
            assert_wrong(name, run, wrong.name(), bench.picture_db(run, &picture));
        }
        for wrong in ["leading", "linspace", "trailing"].map(Value::from) {
            let scheduler = with(&own, "timestep_spacing", &wrong);
            if scheduler != own {
                let (_, picture) = bench.paint_with(run, sampler, &scheduler).await;
                assert_wrong(name, run, "another spacing", bench.picture_db(run, &picture));
            }
        }
        // What diffusers itself paints with the tanh approximation of GELU in the UNet.
        let tanh = bench.reference.pixels(&format!("run.{}.tanh_gelu.pixels", run.name)).unwrap();
        assert_wrong(name, run, "tanh GELU", psnr(&right, &tanh));

        let copy = tempfile::tempdir().unwrap();
        copy_with_other_text_activation(&source("tests/fixtures").join(name), copy.path());
        let other = Bench::new(name, copy.path().to_owned(), 1).await;
        let (_, picture) = other.paint_with(run, sampler, &own).await;
        assert_wrong(name, run, "another activation in the text encoder", bench.picture_db(run, &picture));
    }
}

/// `object` with another value for `key`.
fn with(object: &Value, key: &str, value: &Value) -> Value {
    let mut object = object.clone();
    object[key] = value.clone();
    object
}

/// Copies a model; its text encoder gets quick GELU for GELU or the other way round.
fn copy_with_other_text_activation(from: &Path, to: &Path) {
    copy(from, to);
    let path = to.join("text_encoder/config.json");
    let config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let other = match config["hidden_act"].as_str().unwrap() {
        "gelu" => "quick_gelu",
        _ => "gelu",
    };
    fs::write(path, with(&config, "hidden_act", &other.into()).to_string()).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(std::result::Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[tokio::test]
#[ignore = "prints the table of docs/PARITY.md"]
#[allow(clippy::print_stdout)]
async fn table() {
    println!(
        "| model | sampler | steps | guidance | size | latents, max abs | picture, dB | nearest wrong neighbour, dB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for bench in [Bench::tiny(MODELS[0], 1).await, Bench::tiny(MODELS[1], 1).await, Bench::emoji().await] {
        for (run, Distance { latents, picture_db }) in bench.compare_all(false).await {
            let picture =
                if picture_db.is_finite() { format!("{picture_db:.1}") } else { "equal".to_owned() };
            let nearest = run.neighbours_db.iter().max_by(|one, other| one.1.total_cmp(other.1));
            let nearest = nearest.map_or("-".to_owned(), |(what, db)| format!("{db:.1} ({what})"));
            let Run { sampler, steps, guidance, width, height, .. } = run;
            let model = &bench.reference.name;
            println!(
                "| {model} | {sampler} | {steps} | {guidance} | {width}x{height} | {latents:.1e} | {picture} | {nearest} |"
            );
        }
    }
    println!("\n| level B | |\n|---|---|");
    for check in networks::run(&plugin("candle_cpu"), &json!({}), &source("tests/fixtures")).unwrap() {
        println!("| {} | {} |", check.name, check.measured.unwrap_or_default());
    }
}
