// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Whole pictures on the engine: many at a time, with the stand-in and with the built-in model's networks.

use std::sync::{Arc, Mutex};

use alice::config::{MaxRows, file};
use alice::denoiser::{Denoiser, contract_shape};
use alice::engine::{Engine, Instance, Settings};
use alice::metrics::Metrics;
use alice::models::{Model, Registry};
use alice::prompts::{Encoder, Words};
use alice_diffusion::guidance::Guidance;
use alice_diffusion::{LatentShape, Noise, Schedule};
use alice_plugin::load::Plugin;
use alice_plugin::{LoadRequest, ModelFiles};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{plugin, source};

/// An engine over a plugin that was built for these tests.
fn engine(name: &str, options: Value, settings: Settings) -> Engine {
    let plugin = Plugin::open(&plugin(name)).unwrap();
    let start = move || Ok(Box::new(plugin.start(&options)?) as Box<dyn Instance>);
    Engine::start(Box::new(start), settings, Arc::new(Metrics::default())).unwrap()
}

fn paint(options: Value) -> Engine {
    engine("paint", options, Settings::default())
}

/// The built-in model.
fn model() -> Arc<Model> {
    let text = format!("models: {{ directory: {} }}", source("models").display());
    let config = file::parse(&source("config.yaml"), &text).unwrap().config;
    Registry::discover(&config.models).unwrap().find(None).unwrap()
}

fn request(model: &Model) -> LoadRequest {
    let files = ModelFiles::Diffusers { path: model.path.clone() };
    LoadRequest {
        files,
        family: model.family.as_str().to_owned(),
        vae: None,
        dtype: "auto".into(),
        device: 0,
    }
}

/// A picture to be made.
#[derive(Clone)]
struct Job {
    caller: u64,
    order: u64,
    prompt: String,
    sampler: &'static str,
    steps: usize,
    guidance: f32,
}

/// Jobs of three callers that differ in everything in which requests can differ and still share passes.
fn jobs(count: usize) -> Vec<Job> {
    let samplers = ["euler", "dpm++_2m", "heun", "ddim"];
    let job = |index: usize| Job {
        caller: index as u64 % 3,
        order: index as u64,
        prompt: format!("a red apple, number {index}"),
        sampler: samplers[index % samplers.len()],
        steps: 2 + index % 5,
        guidance: if index % 4 == 3 { 1.0 } else { 4.0 },
    };
    (0..count).map(job).collect()
}

/// Makes the picture, seeded by its order, of so many cells a side.
async fn make(engine: &Engine, model: &Model, side: usize, job: &Job) -> Vec<u8> {
    let seat = engine.seat(job.caller, job.order);
    let loaded = seat.load(request(model)).await.unwrap();
    let encoder = Encoder {
        seat: &seat,
        model: &loaded,
        tokenizers: model.tokenizers(&loaded.info.text_encoders).unwrap(),
        adapters: Arc::default(),
        words: &Words::default(),
        settings: model.settings,
        size: (64, 64),
        most_chunks: 1,
        limit_s: 120,
    };
    let negative = (job.guidance > 1.0).then_some(None);
    let prompts = encoder.prompts(&job.prompt, negative, 0).await.unwrap();
    let schedule = Schedule::new(job.sampler.parse().unwrap(), &model.scheduler, job.steps).unwrap();
    let guidance = Guidance { scale: job.guidance, rescale: 0.0, interval: (0.0, 1.0) };
    let denoiser = Denoiser {
        seat: &seat,
        model: &loaded,
        prompts: &prompts,
        steering: &[],
        guidance,
        steps: schedule.points().len(),
        limit_s: 120,
        done: 0.into(),
        stepped: &|_, _| {},
    };
    let shape = LatentShape { channels: loaded.info.latent_channels as usize, height: side, width: side };
    let latent = schedule.sample(&denoiser, &mut Noise::new(job.order), shape).await.unwrap();
    seat.decode(&loaded, contract_shape(shape).unwrap(), latent.values).await.unwrap()
}

/// Makes all of them at once; gives the pictures, and in which order they were finished.
async fn make_all(engine: &Engine, model: &Model, side: usize, jobs: &[Job]) -> (Vec<Vec<u8>>, Vec<u64>) {
    let finished = Mutex::new(Vec::new());
    let one = async |job: &Job| {
        let picture = make(engine, model, side, job).await;
        finished.lock().unwrap().push(job.order);
        picture
    };
    let pictures = join_all(jobs.iter().map(one)).await;
    (pictures, finished.into_inner().unwrap())
}

/// How many passes there were, by whether they had more than so many rows: (more, not more).
fn passes(engine: &Engine, rows: usize) -> (u64, u64) {
    let (more, others): (Vec<_>, Vec<_>) =
        engine.measurements().into_iter().partition(|seen| seen.rows > rows);
    let count = |seen: Vec<alice::engine::Measurement>| seen.iter().map(|seen| seen.passes).sum();
    (count(more), count(others))
}

fn at_most(rows: u32) -> Settings {
    Settings { max_rows: MaxRows::Rows(rows), ..Settings::default() }
}

#[tokio::test]
async fn sixteen_pictures_of_all_kinds_share_passes_and_each_is_as_if_it_were_alone() {
    let (model, jobs) = (model(), jobs(16));
    let together = engine("paint", json!({"step_ms": 1}), at_most(16));
    let (pictures, finished) = make_all(&together, &model, 8, &jobs).await;
    let (full, others) = passes(&together, 4);
    assert!(full >= 5, "{full} passes of more than 4 rows, {others} of fewer");
    assert_ne!(finished, (0..16).collect::<Vec<_>>(), "those with fewer steps overtake");
    let alone = paint(json!({}));
    for (job, picture) in jobs.iter().zip(pictures) {
        assert!(make(&alone, &model, 8, job).await == picture, "{} {}", job.sampler, job.order);
    }
}

#[tokio::test]
async fn a_short_late_picture_is_not_stuck_behind_long_ones() {
    let model = model();
    let engine = engine("paint", json!({"step_ms": 1}), at_most(1));
    let long = |order| Job { caller: 1, order, steps: 150, sampler: "euler", ..jobs(1).remove(0) };
    let short = Job { caller: 2, order: 9, steps: 3, ..long(0) };
    let finished = Mutex::new(Vec::new());
    let run = async |job: Job| {
        make(&engine, &model, 8, &job).await;
        finished.lock().unwrap().push(job.order);
    };
    let late = async {
        while passes(&engine, 0).0 < 10 {
            tokio::task::yield_now().await;
        }
        run(short).await;
    };
    futures::join!(run(long(0)), run(long(1)), run(long(2)), late);
    assert_eq!(finished.into_inner().unwrap()[0], 9);
}

#[tokio::test]
async fn passes_grow_where_rows_are_cheap() {
    let model = model();
    let jobs: Vec<_> = jobs(16).into_iter().map(|job| Job { steps: 20, ..job }).collect();
    // Long enough that everybody has asked again before a pass is over, however busy the machine is.
    let engine = paint(json!({"step_ms": 25, "row_ms": 0.01, "kind": "cuda"}));
    make_all(&engine, &model, 8, &jobs).await;
    let (full, _) = passes(&engine, 8);
    assert!(full > 0, "{:?}", engine.measurements());
    let rows: u64 = engine.measurements().iter().map(|seen| seen.passes * seen.rows as u64).sum();
    let (all, _) = passes(&engine, 0);
    assert!(all * 4 < rows, "{all} passes for {rows} rows");
}

#[tokio::test]
async fn a_picture_has_the_same_bytes_alone_and_among_seven_others() {
    let (model, jobs) = (model(), jobs(8));
    let side = model.native_size as usize / 8;
    let together = engine("cpu", Value::Null, at_most(8));
    let (pictures, _) = make_all(&together, &model, side, &jobs).await;
    let (full, _) = passes(&together, 3);
    assert!(full > 0, "{:?}", together.measurements());
    let alone = engine("cpu", Value::Null, at_most(8));
    for (job, picture) in jobs.iter().zip(pictures) {
        assert!(make(&alone, &model, side, job).await == picture, "{} {}", job.sampler, job.order);
    }
}

#[tokio::test]
async fn models_take_turns_on_a_device_that_holds_one() {
    let (model, directory) = (model(), tempfile::tempdir().unwrap());
    let engine =
        paint(json!({"memory_mib": 100, "model_mib": 60, "load_ms": 1, "kind": "cuda", "devices": 2}));
    let other = directory.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("model_index.json"), "{}").unwrap();
    let here = request(&model);
    let there = LoadRequest { files: ModelFiles::Diffusers { path: other }, ..here.clone() };
    let users = (0..20).map(|order| {
        let (seat, request) = (engine.seat(order % 4, order), if order % 2 == 0 { &here } else { &there });
        async move { seat.load(request.clone()).await.map(drop) }
    });
    assert!(join_all(users).await.into_iter().all(|loaded| loaded.is_ok()));
    assert_eq!(engine.models().len(), 1);
    let second = Settings { device: 1, ..Settings::default() };
    let second = self::engine("paint", json!({"devices": 2}), second);
    assert_eq!(second.load(here, false).await.unwrap().latent_channels, 4);
    assert_eq!(second.models()[0].request.device, 1);
}
