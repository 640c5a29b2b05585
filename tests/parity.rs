// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Full runs, from prompt and seed to picture, against diffusers: through the plugin, the engine's mailbox and
//! the samplers. `tests/fixtures/make.py` makes the references; docs/PARITY.md holds the numbers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use alice::conformance::reference::{self, Run};
use alice::conformance::{Outcome, networks};
use alice::models::read_tokenizers;
use alice_checkpoint::Checkpoint;
use alice_diffusion::{Method, NoiseSchedule, Sampler};
use alice_plugin::TextEncoderInfo;
use alice_plugin::load::Plugin;
use serde_json::{Value, json};

use self::bench::{Bench, Distance, psnr};
use crate::harness::{plugin, source};

mod adapters;
mod bench;
mod checkpoints;
mod company;
mod files_with_loras;
mod hires;
mod network;
mod pictures;
mod precision;
mod prompts;

/// The small random models with full runs, one for each family.
const MODELS: [&str; 4] = ["sd1-eps", "sd2-v", "sdxl", "sdxl-refiner"];
/// What the runs of every family are about, beside the samplers.
const FEATURES: [&str; 12] = [
    "no guidance",
    "negative prompt absent",
    "negative prompt empty",
    "both prompts empty",
    "images",
    "clip skip",
    "guidance rescale",
    "guidance interval",
    "no spacing",
    "leading",
    "linspace",
    "trailing",
];
/// Samplers that are one method in different variables, so that no picture can tell them apart: DDIM is Euler's
/// method (except on linspace's fractions of timesteps), DDPM the same with noise.
const ALIKE: [[Method; 2]; 2] = [[Method::Euler, Method::Ddim], [Method::EulerAncestral, Method::Ddpm]];
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
    for name in reference::MODELS {
        let bench = Bench::tiny(name, 1).await;
        assert!(!bench.reference.cases.texts.is_empty());
        for text in &bench.reference.cases.texts {
            assert_eq!(text.ids.len(), bench.tokenizers.len(), "{name}");
            for (tokenizer, chunks) in bench.tokenizers.iter().zip(&text.ids) {
                for (prompt, ids) in text.prompts.iter().zip(chunks) {
                    assert_eq!(&tokenizer.window(prompt).ids, ids, "{name} {}", text.name);
                }
            }
        }
    }
}

#[tokio::test]
async fn encoders_without_tokenizer_files_get_clips_own_words_and_each_its_padding() {
    let copied = tempfile::tempdir().unwrap();
    copy(&source("tests/fixtures/sdxl"), copied.path());
    for tokenizer in ["tokenizer", "tokenizer_2"] {
        fs::remove_dir_all(copied.path().join(tokenizer)).unwrap();
    }
    let checkpoint = Checkpoint::open(copied.path()).unwrap();
    let encoder = TextEncoderInfo { context_length: 6, vocab_size: 49_408, hidden_size: 8 };
    let tokenizers = read_tokenizers(&checkpoint, &[encoder.clone(), encoder]).unwrap();
    let ids: Vec<_> = tokenizers.iter().map(|tokenizer| tokenizer.window("a red apple").ids).collect();
    assert_eq!(ids[0], [49_406, 320, 736, 3_055, 49_407, 49_407]);
    assert_eq!(ids[1], [49_406, 320, 736, 3_055, 49_407, 0]);
}

#[test]
fn the_networks_are_those_of_diffusers_with_every_instruction_set() {
    let mut ways = Vec::new();
    for isa in precision::ISAS {
        let options = json!({"isa": isa, "threads": 1});
        if Plugin::open(&plugin("cpu")).unwrap().start(&options).is_ok() {
            let checks = networks::run(&plugin("cpu"), &options, &source("tests/fixtures")).unwrap();
            assert!(checks.len() > 10);
            for check in checks {
                assert_eq!(check.outcome, Outcome::Passed, "{isa}: {}", check.name);
            }
            ways.push(isa);
        }
    }
    assert!(ways.contains(&"portable"), "{ways:?}");
}

#[test]
fn level_b_finds_out_a_backend_that_does_not_run_the_model() {
    let mut checks = networks::run(&plugin("paint"), &json!({}), &source("tests/fixtures")).unwrap();
    // It reads no prompts back.
    checks.retain(|check| !matches!(check.outcome, Outcome::Skipped(_)));
    assert!(checks.len() > 10);
    for check in checks {
        assert!(matches!(check.outcome, Outcome::Failed(_)), "{check:?}");
    }
}

#[tokio::test]
async fn every_run_gives_the_latents_and_the_picture_of_diffusers() {
    for name in MODELS {
        assert_right(name, &Bench::tiny(name, 1).await.compare_all().await);
    }
}

#[tokio::test]
async fn the_built_in_model_paints_what_diffusers_paints() {
    assert_right("alice-emoji", &Bench::emoji().await.compare_all().await);
}

#[tokio::test]
async fn runs_at_different_timesteps_that_share_forward_passes_give_the_same() {
    for name in MODELS {
        let bench = Bench::tiny(name, 16).await;
        assert_right(name, &bench.compare_together().await);
        assert!(bench.most_timesteps() > 4, "at most {} met", bench.most_timesteps());
    }
}

#[tokio::test]
async fn the_references_cover_every_sampler_schedule_and_feature_and_tell_their_neighbours_apart() {
    for name in MODELS {
        let bench = Bench::tiny(name, 1).await;
        let runs = &bench.reference.cases.runs;
        let has = |sampler: Sampler| runs.iter().any(|run| run.sampler.parse() == Ok(sampler));
        for sampler in Sampler::listed() {
            // Models trained by diffusion have no use for a sampler of flows.
            let fits = bench.schedule(&runs[0], sampler, &bench.scheduler(&runs[0])).is_ok();
            assert!(has(sampler) || !fits, "{name}: {sampler}");
        }
        for schedule in NoiseSchedule::ALL {
            assert!(has(Sampler::from(Method::Euler).on(schedule).unwrap()), "{name}: {}", schedule.name());
        }
        for feature in FEATURES {
            assert!(runs.iter().any(|run| run.feature == feature), "{name}: {feature}");
        }
        for run in runs {
            assert!(!run.neighbours_db.is_empty());
            for (what, db) in &run.neighbours_db {
                assert_wrong(name, run, what, *db);
            }
        }
    }
}

#[tokio::test]
async fn another_sampler_fails_by_15_db() {
    for name in MODELS {
        let bench = Bench::tiny(name, 1).await;
        let about = |method: Method| {
            let own = Sampler::from(method).name();
            bench.reference.cases.runs.iter().find(|run| run.sampler == own && run.feature.is_empty())
        };
        // All families share the samplers, so those with noise are told apart on one.
        let methods: &[_] = match name {
            "sd1-eps" => &[Method::Euler, Method::EulerAncestral],
            _ => &[Method::Euler],
        };
        for &method in methods {
            let run = about(method).unwrap();
            let file = bench.scheduler(run);
            for wrong in Sampler::listed().filter(|&wrong| wrong != method.into()) {
                let alike = ALIKE.iter().any(|pair| pair.contains(&method) && pair.contains(&wrong.method()));
                let Ok(schedule) = bench.schedule(run, wrong, &file) else { continue };
                if !alike {
                    let (_, picture) = bench.paint_along(run, &schedule).await;
                    assert_wrong(name, run, &wrong.name(), bench.picture_db(run, &picture));
                }
            }
        }
    }
}

#[tokio::test]
async fn another_spacing_or_activation_fails_by_15_db() {
    for name in MODELS {
        let bench = Bench::tiny(name, 1).await;
        let run = bench.reference.cases.runs.iter().find(|run| run.feature == "fine").unwrap();
        let sampler: Sampler = run.sampler.parse().unwrap();
        let own = bench.scheduler(run);
        let (_, right) = bench.paint_with(run, sampler, &own).await;
        assert!(bench.picture_db(run, &right) >= RIGHT_DB);

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
        copy_with_other_text_activations(&source("tests/fixtures").join(name), copy.path());
        let other = Bench::new(name, copy.path().to_owned(), 1).await;
        let (_, picture) = other.paint_with(run, sampler, &own).await;
        assert_wrong(name, run, "another activation in the text encoders", bench.picture_db(run, &picture));
    }
}

#[tokio::test]
async fn an_absent_negative_prompt_is_an_empty_one_except_for_sdxl() {
    for name in MODELS {
        let bench = Bench::tiny(name, 1).await;
        let runs = &bench.reference.cases.runs;
        let absent = runs.iter().find(|run| run.feature == "negative prompt absent").unwrap();
        let empty = Run { negative_prompt: Some(String::new()), ..absent.clone() };
        let (sampler, file) = (absent.sampler.parse().unwrap(), bench.scheduler(absent));
        let (_, picture) = bench.paint_with(&empty, sampler, &file).await;
        let db = bench.picture_db(absent, &picture);
        match name {
            "sdxl" => assert_wrong(name, absent, "an empty negative prompt", db),
            _ => assert!(db >= RIGHT_DB, "{name}: {db:.1} dB"),
        }
    }
}

/// `object` with another value for `key`.
fn with(object: &Value, key: &str, value: &Value) -> Value {
    let mut object = object.clone();
    object[key] = value.clone();
    object
}

/// Copies a model; its text encoders get quick GELU for GELU or the other way round.
fn copy_with_other_text_activations(from: &Path, to: &Path) {
    copy(from, to);
    let configs = ["text_encoder", "text_encoder_2"].map(|encoder| to.join(encoder).join("config.json"));
    for path in configs.into_iter().filter(|path| path.exists()) {
        let config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let other = match config["hidden_act"].as_str().unwrap() {
            "gelu" => "quick_gelu",
            _ => "gelu",
        };
        fs::write(path, with(&config, "hidden_act", &other.into()).to_string()).unwrap();
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(std::result::Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// One row of the table: its place, the sampler and what the runs are about.
type Row<'a> = (usize, &'a str, &'a str);

#[tokio::test]
#[ignore = "prints the tables of docs/PARITY.md"]
#[allow(clippy::print_stdout)]
async fn table() {
    println!(
        "| model | sampler | feature | runs | latents, max abs | picture, dB | nearest wrong neighbour, dB |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut benches = Vec::new();
    for name in MODELS {
        benches.push(Bench::tiny(name, 1).await);
    }
    benches.push(Bench::emoji().await);
    for bench in &benches {
        // Several runs of one sampler and feature (images of a request, clip skip 1 and 2) share a row.
        let mut rows: BTreeMap<Row<'_>, Vec<(&Run, Distance)>> = BTreeMap::new();
        let mut order: Vec<(&str, &str)> = Vec::new();
        for (run, distance) in bench.compare_all().await {
            let key = (run.sampler.as_str(), run.feature.as_str());
            let place = order.iter().position(|known| *known == key).unwrap_or_else(|| {
                order.push(key);
                order.len() - 1
            });
            rows.entry((place, key.0, key.1)).or_default().push((run, distance));
        }
        for ((_, sampler, feature), runs) in rows {
            println!("{}", row(&bench.reference.name, sampler, feature, &runs));
        }
    }
    println!("\n| level B | |\n|---|---|");
    for check in networks::run(&plugin("cpu"), &json!({}), &source("tests/fixtures")).unwrap() {
        println!("| {} | {} |", check.name, check.measured.unwrap_or_default());
    }
}

/// One row of the table: the worst of its runs.
fn row(model: &str, sampler: &str, feature: &str, runs: &[(&Run, Distance)]) -> String {
    let latents = runs.iter().map(|(_, distance)| distance.latents).fold(0.0, f32::max);
    let picture = runs.iter().map(|(_, distance)| distance.picture_db).fold(f64::INFINITY, f64::min);
    let picture = if picture.is_finite() { format!("{picture:.1}") } else { "equal".to_owned() };
    let nearest = runs.iter().flat_map(|(run, _)| &run.neighbours_db);
    let nearest = nearest.max_by(|one, other| one.1.total_cmp(other.1));
    let nearest = nearest.map_or("-".to_owned(), |(what, db)| format!("{db:.1} ({what})"));
    let (count, feature) = (runs.len(), if feature.is_empty() { "-" } else { feature });
    format!("| {model} | {sampler} | {feature} | {count} | {latents:.1e} | {picture} | {nearest} |")
}
