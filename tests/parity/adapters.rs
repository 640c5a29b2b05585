// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! LoRAs of every format against diffusers and LyCORIS.

use std::collections::BTreeMap;

use alice::conformance::reference::Reference;
use alice_plugin::{Adapter, TextPart};
use serde::Deserialize;

use super::checkpoints::Single;
use super::network::{Network, Windows, signal};
use super::{RIGHT_DB, WRONG_DB};
use crate::harness::source;

/// The models that have LoRAs.
const MODELS: [&str; 4] = ["sd1-eps", "sdxl", "file-sd2-v", "file-sdxl"];

/// What `loras-<model>.json` says.
#[derive(Deserialize)]
struct Cases {
    asked: Asked,
    cases: Vec<Case>,
}

/// What every case is asked.
#[derive(Deserialize)]
struct Asked {
    ids: Vec<Vec<u32>>,
    timestep: f32,
    height: u32,
    width: u32,
    time_ids: Vec<f32>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    loras: Vec<Entry>,
    mistakes_db: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Entry {
    file: String,
    scale: f32,
}

/// A model and its cases.
struct Bench {
    network: Network,
    reference: Reference,
    cases: Cases,
    /// The single file, where the model is one.
    _file: Option<Single>,
}

/// How near each part of an answer comes, in dB.
type Nearness = Vec<(&'static str, f64)>;

impl Bench {
    fn new(model: &str) -> Self {
        let fixtures = source("tests/fixtures");
        let name = format!("loras-{model}");
        let text = std::fs::read(fixtures.join(format!("{name}.json"))).unwrap();
        let file = model.starts_with("file-").then(|| Single::new(model));
        let path = file.as_ref().map_or_else(|| fixtures.join(model), |file| file.path.clone());
        Self {
            network: Network::load(&path, None),
            reference: Reference::open(&fixtures, &name, path).unwrap(),
            cases: serde_json::from_slice(&text).unwrap(),
            _file: file,
        }
    }

    fn adapters(case: &Case) -> Vec<Adapter> {
        let path = source("tests/fixtures/loras");
        let entries = case.loras.iter();
        entries.map(|entry| Adapter { path: path.join(&entry.file), scale: entry.scale }).collect()
    }

    /// What the model says as it is now: tokens, pooled vector, denoised latent.
    fn answer(&mut self) -> Vec<(&'static str, Vec<f32>)> {
        let asked = &self.cases.asked;
        let windows: Vec<Windows> =
            asked.ids.iter().map(|ids| vec![(ids.clone(), vec![1.0; ids.len()])]).collect();
        let text = self.network.encode(&windows, &[], 0);
        let latents = self.reference.numbers("latents").unwrap();
        let inputs = [("time_ids", asked.time_ids.as_slice())];
        let size = (asked.height, asked.width);
        let denoised = self.network.denoise(size, &latents, asked.timestep, text, &inputs);
        let mut parts = vec![("denoised", denoised)];
        for part in [TextPart::Tokens, TextPart::Pooled] {
            parts.extend(self.network.read(text, part).map(|values| (part.name(), values)));
        }
        parts
    }

    fn compare(&mut self, case: usize, adapters: &[Adapter]) -> Nearness {
        self.network.adapt(adapters);
        let answer = self.answer();
        let name = &self.cases.cases[case].name;
        let near = |(part, values): (&'static str, Vec<f32>)| {
            let expected = self.reference.numbers(&format!("{name}.{part}")).ok()?;
            Some((part, signal(&expected, &values)))
        };
        answer.into_iter().filter_map(near).collect()
    }
}

#[test]
fn every_format_changes_a_model_as_the_references_do_whatever_was_applied_before() {
    for model in MODELS {
        let mut bench = Bench::new(model);
        let plain = bench.answer();
        for index in 0..bench.cases.cases.len() {
            let adapters = Bench::adapters(&bench.cases.cases[index]);
            let nearness = bench.compare(index, &adapters);
            let name = &bench.cases.cases[index].name;
            assert_eq!(nearness.len(), if model.ends_with("sdxl") { 3 } else { 2 }, "{model} {name}");
            for (part, db) in nearness {
                assert!(db >= RIGHT_DB, "{model} {name}: {part} comes within {db:.1} dB");
            }
        }
        bench.network.adapt(&[]);
        assert!(bench.answer() == plain, "{model}: something is left of the LoRAs");
    }
}

#[test]
fn the_references_tell_mistakes_with_loras_apart_and_so_does_the_backend() {
    for model in MODELS {
        let mut bench = Bench::new(model);
        for index in 0..bench.cases.cases.len() {
            let case = &bench.cases.cases[index];
            assert!(case.mistakes_db.len() > 3);
            for (what, db) in &case.mistakes_db {
                assert!(*db <= WRONG_DB, "{model} {}: {what} reaches {db:.1} dB", case.name);
            }
            let mut weaker = Bench::adapters(case);
            weaker[0].scale *= 0.8;
            let name = case.name.clone();
            for (part, db) in bench.compare(index, &weaker) {
                // A LoRA for the denoiser alone leaves the text as it is.
                let says = part == "denoised" || name == "kohya";
                assert!(!says || db <= WRONG_DB, "{model} {name}: a weaker one reaches {db:.1} dB");
            }
        }
    }
}

#[test]
#[ignore = "prints a table of docs/PARITY.md"]
#[allow(clippy::print_stdout)]
fn table_of_loras() {
    println!(
        "| model | LoRA | tokens, dB | pooled, dB | UNet, dB | nearest mistake, dB |\n|---|---|---|---|---|---|"
    );
    for model in MODELS {
        let mut bench = Bench::new(model);
        for index in 0..bench.cases.cases.len() {
            let adapters = Bench::adapters(&bench.cases.cases[index]);
            let nearness: BTreeMap<_, _> = bench.compare(index, &adapters).into_iter().collect();
            let cell = |part: &str| nearness.get(part).map_or("-".to_owned(), |db| format!("{db:.0}"));
            let case = &bench.cases.cases[index];
            let nearest = case.mistakes_db.iter().max_by(|one, other| one.1.total_cmp(other.1)).unwrap();
            let (tokens, pooled, denoised) = (cell("tokens"), cell("pooled"), cell("denoised"));
            let (name, mistake) = (&case.name, nearest.0);
            println!(
                "| {model} | {name} | {tokens} | {pooled} | {denoised} | {:.0} ({mistake}) |",
                nearest.1
            );
        }
    }
}
