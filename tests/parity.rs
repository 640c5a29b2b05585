// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Full runs, from prompt and seed to picture, against diffusers: through the plugin, the engine's mailbox and
//! the samplers. The references are made by tests/fixtures/make.py.

use std::path::PathBuf;
use std::sync::Arc;

use alice::conformance::reference::{MODELS, Reference, Run};
use alice::conformance::{Outcome, networks};
use alice::denoiser::{Denoiser, Prompts};
use alice::engine::{Chunk, Conditioning, Engine, LoadedModel};
use alice::models::{read_scheduler, read_tokenizer};
use alice_checkpoint::diffusers::Directory;
use alice_diffusion::{ClipTokenizer, LatentShape, Noise, Sampler, Schedule, SchedulerConfig, guidance};
use alice_plugin::load::Plugin;
use alice_plugin::{Backend, LoadRequest, ModelFiles};
use serde_json::json;

use crate::harness::{plugin, source};

/// The most that a value of a final latent may be away.
const LATENT_TOLERANCE: f32 = 1e-3;
/// The least that a picture must agree, in dB.
const RIGHT_DB: f64 = 60.0;
/// How much worse every wrong neighbour must be, in dB.
const MARGIN_DB: f64 = 15.0;

/// Everything that a run needs: the model on the candle backend, and its files.
struct Bench {
    reference: Reference,
    engine: Engine,
    model: Arc<LoadedModel>,
    tokenizer: ClipTokenizer,
    scheduler: SchedulerConfig,
}

/// What a run gave, against what it should have given.
struct Result {
    worst_latent: f32,
    picture_db: f64,
}

impl Bench {
    /// `max_rows` rows may share a forward pass.
    async fn new(name: &str, model: PathBuf, max_rows: usize) -> Self {
        let library = Plugin::open(&plugin("candle_cpu")).unwrap();
        let start = move || Ok(Box::new(library.start(&json!({}))?) as Box<dyn Backend>);
        let engine = Engine::start(Box::new(start), max_rows).unwrap();
        let files = ModelFiles::Diffusers { path: model.clone() };
        let request = LoadRequest { files, family: "sd1".into(), dtype: "f32".into(), device: 0 };
        let loaded = engine.load(request).await.unwrap();
        let directory = Directory::open(&model).unwrap();
        let context_length = loaded.info.text_encoders[0].context_length as usize;
        let tokenizer = read_tokenizer(&directory, context_length).unwrap();
        let scheduler = read_scheduler(&directory).unwrap();
        let reference = Reference::open(&source("tests/fixtures"), name, model).unwrap();
        Self { reference, engine, model: loaded, tokenizer, scheduler }
    }

    /// A small random model.
    async fn tiny(name: &str, max_rows: usize) -> Self {
        Self::new(name, source("tests/fixtures").join(name), max_rows).await
    }

    async fn encode(&self, text: &str) -> Arc<Conditioning> {
        let ids = self.tokenizer.window(text).ids;
        let chunk = Chunk { encoder: 0, weights: vec![1.0; ids.len()], ids };
        self.engine.encode(&self.model, vec![chunk]).await.unwrap()
    }

    /// The final latent and the picture of `run`, with `sampler` for its own.
    async fn paint(&self, run: &Run, sampler: Sampler) -> (Vec<f32>, Vec<u8>) {
        let changed = run.scheduler.as_ref().map(|config| SchedulerConfig::from_json(&config.to_string()).unwrap());
        let config = changed.map_or(self.scheduler.clone(), SchedulerConfig::for_stable_diffusion);
        let unconditional = match guidance::is_used(run.guidance) {
            true => Some(self.encode(run.negative_prompt.as_deref().unwrap_or("")).await),
            false => None,
        };
        let prompts = Prompts { conditional: self.encode(&run.prompt).await, unconditional };
        let (engine, model) = (&self.engine, &self.model);
        let denoiser = Denoiser { engine, model, prompts: &prompts, guidance_scale: run.guidance, limit_s: 600 };
        let scale = model.info.latent_scale;
        let shape = LatentShape {
            channels: model.info.latent_channels as usize,
            height: (run.height / scale) as usize,
            width: (run.width / scale) as usize,
        };
        let schedule = Schedule::new(sampler, &config, run.steps).unwrap();
        let latent = schedule.sample(&denoiser, &mut Noise::new(run.seed), shape).await.unwrap();
        let shape = alice::denoiser::contract_shape(latent.shape).unwrap();
        let picture = engine.decode(model, shape, latent.values.clone()).await.unwrap();
        (latent.values, picture)
    }

    async fn compare(&self, run: &Run) -> Result {
        let (latent, picture) = self.paint(run, run.sampler.parse().unwrap()).await;
        let expected = self.reference.numbers(&format!("run.{}.latents", run.name)).unwrap();
        assert_eq!(latent.len(), expected.len(), "{}", run.name);
        let worst = latent.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        Result { worst_latent: worst, picture_db: psnr(&picture, &self.pixels(run)) }
    }

    fn pixels(&self, run: &Run) -> Vec<u8> {
        self.reference.pixels(&format!("run.{}.pixels", run.name)).unwrap()
    }

    /// Compares every run: one after the other, or all at once so that they meet in the mailbox.
    async fn compare_all(&self, together: bool) -> Vec<(&Run, Result)> {
        let runs = &self.reference.cases.runs;
        let jobs = runs.iter().map(|run| async move { (run, self.compare(run).await) });
        if together {
            return futures::future::join_all(jobs).await;
        }
        let mut results = Vec::new();
        for job in jobs {
            results.push(job.await);
        }
        results
    }
}

/// Peak signal-to-noise ratio of two pictures in dB; 120 stands for equality.
fn psnr(one: &[u8], other: &[u8]) -> f64 {
    assert_eq!(one.len(), other.len());
    let squares: f64 = one.iter().zip(other).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    let mean = squares / one.len() as f64 / (255.0 * 255.0);
    if mean == 0.0 { 120.0 } else { -10.0 * mean.log10() }
}

fn assert_right(model: &str, results: Vec<(&Run, Result)>) {
    assert!(!results.is_empty());
    for (run, Result { worst_latent, picture_db }) in results {
        let right = worst_latent <= LATENT_TOLERANCE && picture_db >= RIGHT_DB;
        assert!(right, "{model} {}: latents {worst_latent:.1e}, picture {picture_db:.1} dB", run.name);
    }
}

#[tokio::test]
async fn every_run_gives_diffusers_latents_and_pictures() {
    for name in MODELS {
        assert_right(name, Bench::tiny(name, 1).await.compare_all(false).await);
    }
}

#[tokio::test]
async fn runs_that_share_forward_passes_give_the_same() {
    for name in MODELS {
        assert_right(name, Bench::tiny(name, 16).await.compare_all(true).await);
    }
}

#[tokio::test]
async fn the_references_cover_every_sampler() {
    for name in MODELS {
        let reference = Reference::open(&source("tests/fixtures"), name, PathBuf::new()).unwrap();
        for sampler in Sampler::ALL {
            assert!(reference.cases.runs.iter().any(|run| run.sampler == sampler.name()), "{name}: {sampler}");
        }
    }
}

#[tokio::test]
async fn wrong_neighbours_would_be_found_out() {
    for name in MODELS {
        let bench = Bench::tiny(name, 1).await;
        for run in &bench.reference.cases.runs {
            let nearest = run.neighbours_db.values().copied().fold(0.0, f64::max);
            assert!(nearest <= RIGHT_DB - MARGIN_DB, "{name} {}: a wrong picture reaches {nearest} dB", run.name);
        }
        // The distances above are diffusers' own; here our samplers take each other's place.
        let run = &bench.reference.cases.runs[0];
        let right: Sampler = run.sampler.parse().unwrap();
        for &wrong in Sampler::ALL.iter().filter(|sampler| **sampler != right) {
            // With the same timesteps, DDIM is Euler's method in other variables.
            if [right, wrong] == [Sampler::Euler, Sampler::Ddim] {
                continue;
            }
            let (_, picture) = bench.paint(run, wrong).await;
            let db = psnr(&picture, &bench.pixels(run));
            assert!(db <= RIGHT_DB - MARGIN_DB, "{name} {}: {wrong} reaches {db:.1} dB", run.name);
        }
    }
}

#[tokio::test]
async fn the_built_in_model_paints_what_diffusers_paints() {
    let bench = Bench::new("alice-emoji", source("models/alice-emoji"), 1).await;
    assert_right("alice-emoji", bench.compare_all(false).await);
}

#[test]
fn candles_networks_are_diffusers_networks() {
    let checks = networks::run(&plugin("candle_cpu"), &json!({}), &source("tests/fixtures")).unwrap();
    assert!(checks.len() > 10);
    for check in checks {
        assert_eq!(check.outcome, Outcome::Passed, "{}", check.name);
    }
}

#[tokio::test]
#[ignore = "prints the table of docs/PARITY.md: --ignored --exact parity::table --nocapture"]
#[allow(clippy::print_stdout)]
async fn table() {
    println!("| model | run | steps | guidance | latents, max abs | picture | nearest wrong neighbour |");
    println!("|---|---|---|---|---|---|---|");
    let emoji = Bench::new("alice-emoji", source("models/alice-emoji"), 1).await;
    for bench in [Bench::tiny(MODELS[0], 1).await, Bench::tiny(MODELS[1], 1).await, emoji] {
        for (run, Result { worst_latent, picture_db }) in bench.compare_all(false).await {
            let (what, db) = run.neighbours_db.iter().max_by(|one, other| one.1.total_cmp(other.1)).unwrap();
            let picture = if picture_db >= 120.0 { "equal".to_owned() } else { format!("{picture_db:.1} dB") };
            println!(
                "| {} | {} | {} | {} | {worst_latent:.1e} | {picture} | {what}, {db} dB |",
                bench.reference.name, run.sampler, run.steps, run.guidance
            );
        }
    }
}
