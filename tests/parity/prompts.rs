// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Prompts with weights, `BREAK`, several chunks and embeddings against A1111's rules and diffusers' encoders.

use std::collections::BTreeMap;
use std::path::PathBuf;

use alice::conformance::reference::Reference;
use alice_checkpoint::embedding::Embedding;
use alice_diffusion::prompt::{Names, Part, Span, parse};
use alice_plugin::{ConditioningHandle, TextPart};
use serde::Deserialize;

use super::network::{Network, Windows, signal};
use super::{RIGHT_DB, WRONG_DB};
use crate::harness::source;

/// The models that have prompts.
const MODELS: [&str; 2] = ["sd1-eps", "sdxl"];
/// More than any prompt here has.
const MOST_CHUNKS: usize = 40;

/// What `prompts-<model>.json` says.
#[derive(Deserialize)]
struct Cases {
    encoded: Vec<Encoded>,
    guided: Vec<Guided>,
}

#[derive(Deserialize)]
struct Encoded {
    name: String,
    prompt: String,
    clip_skip: u32,
    /// Names of the embeddings that go along, in the order of their vectors.
    embeddings: Vec<String>,
    /// For each text encoder its chunks.
    chunks: Vec<Vec<Chunk>>,
    mistakes_db: BTreeMap<String, f64>,
}

/// What stands between a chunk's start and end.
#[derive(Deserialize)]
struct Chunk {
    ids: Vec<u32>,
    weights: Vec<f32>,
}

/// A short prompt and a negative one of more chunks.
#[derive(Deserialize)]
struct Guided {
    prompt: String,
    negative: String,
    timestep: f32,
    height: u32,
    width: u32,
    time_ids: Vec<f32>,
}

struct Bench {
    network: Network,
    reference: Reference,
    cases: Cases,
    embeddings: PathBuf,
}

impl Bench {
    fn new(model: &str) -> Self {
        let fixtures = source("tests/fixtures");
        let name = format!("prompts-{model}");
        let text = std::fs::read(fixtures.join(format!("{name}.json"))).unwrap();
        Self {
            network: Network::load(&fixtures.join(model), None),
            reference: Reference::open(&fixtures, &name, fixtures.join(model)).unwrap(),
            cases: serde_json::from_slice(&text).unwrap(),
            embeddings: fixtures.join("embeddings").join(model),
        }
    }

    /// The windows of a prompt for each text encoder, checked against the reference's, and the rows that go along.
    fn windows(&self, case: &Encoded) -> (Vec<Windows>, Vec<Vec<f32>>) {
        let embeddings: Vec<_> = case.embeddings.iter().map(|name| self.embedding(name)).collect();
        let parts = placed(parse(&case.prompt).unwrap(), &case.embeddings, &embeddings);
        let encoders = self.network.tokenizers.iter().zip(&self.network.info.text_encoders);
        let windows = encoders.zip(&case.chunks).map(|((tokenizer, encoder), expected)| {
            let chunks = tokenizer.chunks(&parts, encoder.vocab_size, MOST_CHUNKS).unwrap();
            assert_eq!(chunks.len(), expected.len(), "{}", case.name);
            for (found, expected) in chunks.iter().zip(expected) {
                assert_eq!(found.ids[1..][..expected.ids.len()], expected.ids, "{}", case.name);
                for (one, other) in found.weights[1..].iter().zip(&expected.weights) {
                    assert!((one - other).abs() < 1e-6, "{}", case.name);
                }
            }
            chunks.into_iter().map(|chunk| (chunk.ids, chunk.weights)).collect::<Windows>()
        });
        (windows.collect(), self.rows(&embeddings))
    }

    fn embedding(&self, name: &str) -> Embedding {
        Embedding::open(&self.embeddings.join(format!("{name}.safetensors"))).unwrap()
    }

    /// The embeddings' vectors for each text encoder, one after the other.
    fn rows(&self, embeddings: &[Embedding]) -> Vec<Vec<f32>> {
        if embeddings.is_empty() {
            return Vec::new();
        }
        let encoders = &self.network.info.text_encoders;
        let widths: Vec<_> = encoders.iter().map(|encoder| encoder.hidden_size as usize).collect();
        let mut rows = vec![Vec::new(); widths.len()];
        for embedding in embeddings {
            let vectors = embedding.rows(&widths).unwrap();
            rows.iter_mut().zip(vectors).for_each(|(rows, vectors)| rows.extend_from_slice(vectors));
        }
        rows
    }

    fn encode(&mut self, index: usize) -> ConditioningHandle {
        let (windows, rows) = self.windows(&self.cases.encoded[index]);
        let clip_skip = self.cases.encoded[index].clip_skip;
        self.network.encode(&windows, &rows, clip_skip)
    }

    /// How near each part of an encoded prompt comes, in dB.
    fn compare(&mut self, index: usize) -> Vec<(&'static str, f64)> {
        let text = self.encode(index);
        let mut nearness = Vec::new();
        for part in [TextPart::Tokens, TextPart::Pooled] {
            if let Some(values) = self.network.read(text, part) {
                let name = format!("{}.{}", self.cases.encoded[index].name, part.name());
                nearness.push((part.name(), signal(&self.reference.numbers(&name).unwrap(), &values)));
            }
        }
        nearness
    }
}

/// The parts of a prompt with vectors in the place of names; those of the first name are the first rows.
fn placed(parts: Vec<Part>, names: &[String], embeddings: &[Embedding]) -> Vec<Part> {
    let known = Names::new(names.iter().map(String::as_str));
    let first = |number: usize| embeddings[..number].iter().map(|one| one.count() as u32).sum();
    let place = |part| match part {
        Part::Text { text, weight } => {
            let spans = known.split(&text).into_iter();
            let place = |span| match span {
                Span::Text(text) => Part::Text { text: text.to_owned(), weight },
                Span::Name(number) => {
                    let count = embeddings[number].count() as u32;
                    Part::Vectors { first: first(number), count, weight }
                }
            };
            spans.map(place).collect()
        }
        other => vec![other],
    };
    parts.into_iter().flat_map(place).collect()
}

#[test]
fn weighed_long_and_embedded_prompts_are_encoded_as_the_rules_say() {
    for model in MODELS {
        let mut bench = Bench::new(model);
        for index in 0..bench.cases.encoded.len() {
            let nearness = bench.compare(index);
            let name = &bench.cases.encoded[index].name;
            assert_eq!(nearness.len(), if model == "sdxl" { 2 } else { 1 }, "{model} {name}");
            for (part, db) in nearness {
                assert!(db >= RIGHT_DB, "{model} {name}: {part} comes within {db:.1} dB");
            }
            let mistakes = &bench.cases.encoded[index].mistakes_db;
            assert!(!mistakes.is_empty() && mistakes.values().all(|db| *db <= WRONG_DB), "{model} {name}");
        }
    }
}

#[test]
fn a_short_prompt_and_a_long_negative_one_are_each_heard_as_they_are() {
    for model in MODELS {
        let mut bench = Bench::new(model);
        let asked = bench.cases.guided.remove(0);
        let latents = bench.reference.numbers("guided.latents").unwrap();
        for name in [&asked.prompt, &asked.negative] {
            let index = bench.cases.encoded.iter().position(|case| case.name == *name).unwrap();
            let text = bench.encode(index);
            let inputs = [("time_ids", asked.time_ids.as_slice())];
            let size = (asked.height, asked.width);
            let answer = bench.network.denoise(size, &latents, asked.timestep, text, &inputs);
            let expected = bench.reference.numbers(&format!("guided.{name}.answers")).unwrap();
            let db = signal(&expected, &answer);
            assert!(db >= RIGHT_DB, "{model} {name}: {db:.1} dB");
        }
    }
}

#[test]
fn a_prompt_that_is_repeated_is_heard_as_if_it_were_there_once() {
    for model in MODELS {
        let mut bench = Bench::new(model);
        let asked = bench.cases.guided.remove(0);
        let latents = bench.reference.numbers("guided.latents").unwrap();
        let index = bench.cases.encoded.iter().position(|case| case.name == asked.prompt).unwrap();
        let (mut windows, _) = bench.windows(&bench.cases.encoded[index]);
        let inputs = [("time_ids", asked.time_ids.as_slice())];
        let size = (asked.height, asked.width);
        let expected = bench.reference.numbers(&format!("guided.{}.answers", asked.prompt)).unwrap();
        for windows in &mut windows {
            *windows = windows.iter().cloned().cycle().take(3).collect();
        }
        let text = bench.network.encode(&windows, &[], 0);
        let answer = bench.network.denoise(size, &latents, asked.timestep, text, &inputs);
        assert!(signal(&expected, &answer) >= RIGHT_DB, "{model}");
        // Chunks of an empty text are heard.
        for (windows, tokenizer) in windows.iter_mut().zip(&bench.network.tokenizers) {
            windows.truncate(1);
            let chunk = tokenizer.empty_chunk();
            windows.push((chunk.ids, chunk.weights));
        }
        let text = bench.network.encode(&windows, &[], 0);
        let answer = bench.network.denoise(size, &latents, asked.timestep, text, &inputs);
        assert!(signal(&expected, &answer) <= WRONG_DB, "{model}");
    }
}

#[test]
#[ignore = "prints a table of docs/PARITY.md"]
#[allow(clippy::print_stdout)]
fn table_of_prompts() {
    println!("| model | prompt | tokens, dB | pooled, dB | nearest mistake, dB |\n|---|---|---|---|---|");
    for model in MODELS {
        let mut bench = Bench::new(model);
        for index in 0..bench.cases.encoded.len() {
            let nearness: BTreeMap<_, _> = bench.compare(index).into_iter().collect();
            let cell = |part: &str| nearness.get(part).map_or("-".to_owned(), |db| format!("{db:.0}"));
            let case = &bench.cases.encoded[index];
            let nearest = case.mistakes_db.iter().max_by(|one, other| one.1.total_cmp(other.1)).unwrap();
            let (name, tokens, pooled) = (&case.name, cell("tokens"), cell("pooled"));
            println!("| {model} | {name} | {tokens} | {pooled} | {:.0} ({}) |", nearest.1, nearest.0);
        }
    }
}
