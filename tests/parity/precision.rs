// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How far pictures in bf16 are from those in f32, beside PyTorch's: what `dtype: auto` rests on.
//!
//! `tests/fixtures/precision.py` measures PyTorch on the same runs; docs/PARITY.md holds both.

use std::collections::BTreeMap;
use std::fs;

use alice_plugin::load::Plugin;
use alice_plugin::{Backend, Result, TextPart};
use serde::Deserialize;
use serde_json::json;

use super::MODELS;
use super::bench::Bench;
use super::network::Network;
use crate::harness::{plugin, source};

/// Every name of an instruction set that the backend `cpu` may know.
pub(super) const ISAS: [&str; 6] = ["portable", "neon", "avx2", "avx512", "avx512bf16", "amx"];
/// The most that ALICE's pictures may be further from f32 than PyTorch's, in dB.
const MARGIN_DB: f64 = 1.0;

/// The least that pictures in int8 have on the mean of all runs, in dB.
const INT8_DB: f64 = 25.0;

/// The mean squared distance of PyTorch's pictures by model and run, of bytes as 0..1.
#[derive(Deserialize)]
struct Reference {
    #[serde(flatten)]
    models: BTreeMap<String, serde_json::Value>,
}

impl Reference {
    fn open() -> Self {
        let text = fs::read(source("tests/fixtures/precision.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// The distances of the runs of `model`.
    fn of(&self, model: &str) -> BTreeMap<String, f64> {
        serde_json::from_value(self.models[model].clone()).unwrap()
    }
}

/// Both distances on one model, in dB of the mean over all runs and of the worst run.
struct Measured {
    model: &'static str,
    runs: usize,
    ours: [f64; 2],
    pytorch: [f64; 2],
}

/// The instruction sets here that multiply numbers in the format `dtype`.
fn with(dtype: &str) -> impl Iterator<Item = &'static str> {
    let formats = |isa: &str| -> Result<Vec<String>> {
        let mut backend = Plugin::open(&plugin("cpu"))?.start(&json!({"isa": isa, "threads": 1}))?;
        Ok(backend.describe()?.dtypes)
    };
    ISAS.into_iter()
        .filter(move |isa| formats(isa).is_ok_and(|formats| formats.iter().any(|one| one == dtype)))
}

async fn measure(isa: &str, dtype: &str) -> Vec<Measured> {
    let reference = Reference::open();
    let mut measured = Vec::new();
    for model in MODELS.into_iter().chain(["alice-emoji"]) {
        let directory = source(if model == "alice-emoji" { "models" } else { "tests/fixtures" }).join(model);
        let options = json!({"isa": isa, "threads": 1});
        let bench = Bench::computing(model, directory, None, 1, dtype, options).await;
        let pytorch = reference.of(model);
        let mut ours = Vec::new();
        for (run, distance) in bench.compare_all().await {
            assert!(pytorch.contains_key(&run.name), "{model} {} was not measured with PyTorch", run.name);
            ours.push(10f64.powf(-distance.picture_db / 10.0));
        }
        let pytorch: Vec<f64> = pytorch.into_values().collect();
        assert_eq!(ours.len(), pytorch.len(), "{model}");
        measured.push(Measured {
            model,
            runs: ours.len(),
            ours: decibels(&ours),
            pytorch: decibels(&pytorch),
        });
    }
    measured
}

/// The mean of squared distances, and the largest one, in dB.
fn decibels(squares: &[f64]) -> [f64; 2] {
    let mean = squares.iter().sum::<f64>() / squares.len() as f64;
    [mean, squares.iter().copied().fold(0.0, f64::max)].map(|square| -10.0 * square.log10())
}

#[tokio::test]
async fn pictures_in_bf16_are_as_near_to_f32_as_pytorchs() {
    for isa in with("bf16") {
        for Measured { model, ours: [ours, _], pytorch: [pytorch, _], .. } in measure(isa, "bf16").await {
            assert!(ours >= pytorch - MARGIN_DB, "{isa} {model}: {ours:.1} dB, PyTorch has {pytorch:.1} dB");
        }
    }
}

#[tokio::test]
async fn pictures_in_int8_are_those_of_their_prompts() {
    for isa in with("int8") {
        for Measured { model, ours: [ours, _], .. } in measure(isa, "int8").await {
            assert!(ours >= INT8_DB, "{isa} {model}: {ours:.1} dB");
        }
    }
}

#[tokio::test]
#[ignore = "prints a table of docs/PARITY.md"]
#[allow(clippy::print_stdout)]
async fn table() {
    println!(
        "| instructions | format | model | runs | ALICE, dB (worst run) | PyTorch in bf16, dB (worst run) |"
    );
    println!("|---|---|---|---|---|---|");
    for dtype in ["bf16", "int8"] {
        for isa in with(dtype) {
            for Measured { model, runs, ours, pytorch } in measure(isa, dtype).await {
                let [ours, pytorch] = [ours, pytorch].map(|[mean, worst]| format!("{mean:.1} ({worst:.1})"));
                println!("| {isa} | {dtype} | {model} | {runs} | {ours} | {pytorch} |");
            }
        }
    }
}

#[test]
fn a_prompt_in_a_model_in_bf16_is_encoded_in_f32() {
    for isa in with("bf16") {
        for model in ["sd1-eps", "sdxl"] {
            let encoded = |dtype: &str| {
                let path = source("tests/fixtures").join(model);
                let options = json!({"isa": isa, "threads": 1});
                let mut network = Network::load_as(&path, None, dtype, &options);
                let window = |tokenizer: &alice_diffusion::ClipTokenizer| {
                    let ids = tokenizer.window("a red apple").ids;
                    let weights = vec![1.0; ids.len()];
                    vec![(ids, weights)]
                };
                let windows: Vec<_> = network.tokenizers.iter().map(window).collect();
                let prompt = network.encode(&windows, &[], 0);
                [TextPart::Tokens, TextPart::Pooled].map(|part| network.read(prompt, part))
            };
            assert!(encoded("bf16") == encoded("f32"), "{isa} {model}");
        }
    }
}
