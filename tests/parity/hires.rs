// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Runs in two parts, the second on the enlarged picture of the first, as a client asks for them over HTTP, against
//! diffusers' pipelines one after the other. `tests/fixtures/hires_runs.py` makes the references.

use alice::conformance::reference::{Reference, Run};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::bench::psnr;
use super::{RIGHT_DB, assert_wrong};
use crate::harness::{Server, source};

const MODELS: [&str; 2] = ["sd1-eps", "sdxl"];

/// The references of one model, and what is asked for each of them.
struct Wanted {
    model: &'static str,
    reference: Reference,
    hires: Vec<Value>,
}

impl Wanted {
    fn of(model: &'static str) -> Self {
        let (fixtures, name) = (source("tests/fixtures"), format!("hires-{model}"));
        let reference = Reference::open(&fixtures, &name, fixtures.join(model)).unwrap();
        let text = std::fs::read(fixtures.join(format!("{name}.json"))).unwrap();
        let cases: Value = serde_json::from_slice(&text).unwrap();
        let hires = cases["runs"].as_array().unwrap().iter().map(|run| run["hires"].clone()).collect();
        Self { model, reference, hires }
    }

    fn runs(&self) -> impl Iterator<Item = (&Run, &Value)> {
        self.reference.cases.runs.iter().zip(&self.hires)
    }

    /// How near a run with this second part comes to the reference of `run`, in dB.
    async fn compare(&self, server: &Server, run: &Run, hires: &Value) -> f64 {
        let body = json!({
            "model": self.model, "prompt": run.prompt, "negative_prompt": run.negative_prompt, "seed": run.seed,
            "width": run.width, "height": run.height, "steps": run.steps, "guidance_scale": run.guidance,
            "scheduler": run.sampler, "hires": hires, "response_format": "b64_json",
        });
        let answer = server.post_json("/v1/images/generations", &body).await;
        let file = BASE64_STANDARD.decode(answer["data"][0]["b64_json"].as_str().unwrap()).unwrap();
        let picture = image::load_from_memory(&file).unwrap().into_rgb8();
        let expected = self.reference.pixels(&format!("run.{}.pixels", run.name)).unwrap();
        let size = (u64::from(picture.width()), u64::from(picture.height()));
        assert_eq!((hires["width"].as_u64(), hires["height"].as_u64()), (Some(size.0), Some(size.1)));
        psnr(picture.as_raw(), &expected)
    }
}

/// A server over the small models and upscalers.
async fn server() -> Server {
    let directory = source("tests/fixtures").display().to_string();
    let models = format!("models: {{ directory: {directory}, default_model: sd1-eps }}");
    Server::with(&format!(
        "generation: {{ backend: cpu, backend_options: {{ cpu: {{ dtype: f32 }} }} }}\n{models}"
    ))
    .await
}

#[tokio::test]
async fn a_second_run_is_diffusers_run_on_the_enlarged_picture() {
    let server = server().await;
    let mut enlargers = std::collections::BTreeSet::new();
    for model in MODELS {
        let wanted = Wanted::of(model);
        for (run, hires) in wanted.runs() {
            let db = wanted.compare(&server, run, hires).await;
            assert!(db >= RIGHT_DB, "{model} {}: {db:.1} dB", run.name);
            enlargers.insert(hires["upscaler"].to_string());
        }
    }
    assert_eq!(enlargers.len(), 5, "{enlargers:?}");
}

#[tokio::test]
async fn another_enlarger_and_another_strength_of_the_second_run_fail_by_15_db() {
    let server = server().await;
    for model in MODELS {
        let wanted = Wanted::of(model);
        for (run, hires) in wanted.runs() {
            let latent = hires["upscaler"].as_str().unwrap().starts_with("latent");
            let step = 1.0 / hires["steps"].as_f64().unwrap();
            let strength = hires["strength"].as_f64().unwrap() - step;
            let others = [
                ("upscaler", json!(if latent { "lanczos" } else { "latent" })),
                ("strength", json!(strength)),
            ];
            for (field, other) in others {
                let mut wrong = hires.clone();
                wrong[field] = other;
                assert_wrong(model, run, field, wanted.compare(&server, run, &wrong).await);
            }
            for (what, db) in &run.neighbours_db {
                assert_wrong(model, run, what, *db);
            }
        }
    }
}

#[tokio::test]
#[ignore = "prints the table of docs/PARITY.md"]
#[allow(clippy::print_stdout)]
async fn table() {
    let server = server().await;
    println!("| model | sampler | between the runs | sizes | picture, dB | nearest wrong neighbour, dB |");
    println!("|---|---|---|---|---|---|");
    for model in MODELS {
        let wanted = Wanted::of(model);
        for (run, hires) in wanted.runs() {
            let db = wanted.compare(&server, run, hires).await;
            let picture = if db.is_finite() { format!("{db:.1}") } else { "equal".to_owned() };
            let nearest = run.neighbours_db.iter().max_by(|one, other| one.1.total_cmp(other.1)).unwrap();
            let (enlarger, sampler) = (hires["upscaler"].as_str().unwrap(), &run.sampler);
            println!(
                "| {model} | {sampler} | {enlarger} | {}x{} to {}x{} | {picture} | {:.1} ({}) |",
                run.width, run.height, hires["width"], hires["height"], nearest.1, nearest.0
            );
        }
    }
}
