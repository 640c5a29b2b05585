// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! ControlNets and T2I-Adapters against diffusers, upscalers against spandrel, and tiles against the whole, on the small
//! random networks of `tests/fixtures`.
#![expect(clippy::unwrap_used, reason = "the helpers of a test are part of it")]

#[path = "../../../tests/tensors.rs"]
#[allow(dead_code, reason = "other tests need the rest of it")]
mod tensors;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use alice_backend_cpu::{CpuOps, cpu_backend};
use alice_checkpoint::{Checkpoint, TensorFile, control::ControlFile};
use alice_nets::NetBackend;
use alice_plugin::{
    Backend as _, ConditioningHandle, DenoiseRow, EncodeOptions, ErrorKind, Hint, LatentShape, LoadRequest,
    ModelFiles, ModelHandle, ModelInfo, NamedTensor, TextChunk, TextRequest, Uncontrolled, UpscaleOptions,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The least that an answer must agree with the reference's, in dB.
const RIGHT_DB: f64 = 60.0;
/// The most that a wrong neighbour may.
const WRONG_DB: f64 = 45.0;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixtures().join(name)).unwrap()).unwrap()
}

fn request(path: &Path, family: &str) -> LoadRequest {
    let path = path.to_owned();
    let files = if path.is_dir() { ModelFiles::Diffusers { path } } else { ModelFiles::SingleFile { path } };
    LoadRequest { files, family: family.to_owned(), vae: None, dtype: "f32".to_owned(), device: 0 }
}

/// How near `found` comes to `expected`, in dB.
fn signal(expected: &[f32], found: &[f32]) -> f64 {
    assert_eq!(expected.len(), found.len());
    let power: f64 = expected.iter().map(|value| f64::from(*value).powi(2)).sum();
    let squares: f64 = expected.iter().zip(found).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    10.0 * (power / squares.max(1e-30)).log10()
}

#[derive(Deserialize)]
struct Case {
    name: String,
    height: u32,
    width: u32,
    rows: Vec<Row>,
    hints: Vec<HintOfRows>,
    mistakes_db: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Row {
    timestep: f32,
    text: String,
    time_ids: Vec<f32>,
}

#[derive(Deserialize)]
struct HintOfRows {
    model: String,
    scales: Vec<f32>,
}

/// A model with the networks that its cases name.
struct Bench {
    backend: NetBackend<CpuOps>,
    model: ModelHandle,
    info: ModelInfo,
    texts: HashMap<String, ConditioningHandle>,
    networks: HashMap<String, (ModelHandle, ModelInfo)>,
    cases: Vec<Case>,
    reference: TensorFile,
    _scratch: TempDir,
}

impl Bench {
    fn new(name: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let path = match name.starts_with("file-") {
            true => scratch.path().join("model.safetensors"),
            false => fixtures().join(name),
        };
        if name.starts_with("file-") {
            tensors::write(&path, &tensors::whole(&fixtures(), name));
        }
        let mut backend = cpu_backend(&json!({"threads": 2})).unwrap();
        let family = Checkpoint::open(&path).unwrap().family();
        let (model, info) = backend.load(&request(&path, family.as_str()), &Uncontrolled).unwrap();
        let mut texts = HashMap::new();
        for text in read(&format!("{name}.json"))["texts"].as_array().unwrap() {
            let ids: Vec<Vec<Vec<u32>>> = serde_json::from_value(text["ids"].clone()).unwrap();
            let weights = vec![text["weight"].as_f64().unwrap() as f32; ids[0][0].len()];
            let encoders = (0u32..).zip(&ids);
            let chunks: Vec<_> = encoders
                .flat_map(|(encoder, chunks)| chunks.iter().map(move |ids| (encoder, ids)))
                .map(|(encoder, ids)| TextChunk { encoder, ids, weights: &weights })
                .collect();
            let clip_skip = text["clip_skip"].as_u64().unwrap() as u32;
            let request = TextRequest { chunks: &chunks, extra_rows: &[], clip_skip };
            let handle = backend.encode_text(model, &request, &Uncontrolled).unwrap();
            texts.insert(text["name"].as_str().unwrap().to_owned(), handle);
        }
        let cases: Vec<Case> =
            serde_json::from_value(read(&format!("controls-{name}.json"))["cases"].take()).unwrap();
        let mut networks = HashMap::new();
        for hint in cases.iter().flat_map(|case| &case.hints) {
            let path = match fixtures().join("controls").join(&hint.model) {
                path if path.exists() => path,
                _ => fixtures().join(format!("files/{}.safetensors", hint.model)),
            };
            let kind = ControlFile::open(&path).unwrap().kind();
            let loaded = backend.load(&request(&path, kind.as_str()), &Uncontrolled).unwrap();
            networks.insert(hint.model.clone(), loaded);
        }
        let reference = TensorFile::open(&fixtures().join(format!("controls-{name}.safetensors"))).unwrap();
        Self { backend, model, info, texts, networks, cases, reference, _scratch: scratch }
    }

    fn shape(case: &Case) -> LatentShape {
        LatentShape { channels: 4, height: case.height, width: case.width }
    }

    fn numbers(&self, name: &str) -> Vec<f32> {
        self.reference.tensor(name).unwrap().to_f32().unwrap()
    }

    /// Each row's hints, encoded.
    fn encode(&mut self, index: usize) -> Vec<Vec<Hint>> {
        let mut rows = vec![Vec::new(); self.cases[index].rows.len()];
        for place in 0..self.cases[index].hints.len() {
            let case = &self.cases[index];
            let (hint, name) = (&case.hints[place], format!("{}.pixels.{place}", case.name));
            let pixels = self.reference.tensor(&name).unwrap().bytes.to_vec();
            let (model, shape) = (self.networks[&hint.model].0, Self::shape(case));
            for (row, pixels) in pixels.chunks_exact(pixels.len() / rows.len()).enumerate() {
                let encoded = self.backend.encode_hint(model, shape, pixels, &Uncontrolled).unwrap();
                rows[row].push(Hint { model, hint: encoded, scale: hint.scales[row] });
            }
        }
        rows
    }

    /// What the model answers to these rows of a case.
    fn denoise(&mut self, index: usize, rows: &[usize], hints: &[Vec<Hint>]) -> Vec<f32> {
        let case = &self.cases[index];
        let latents = self.numbers(&format!("{}.latents", case.name));
        let latent = latents.len() / case.rows.len();
        let inputs: Vec<Vec<NamedTensor<'_>>> = case
            .rows
            .iter()
            .map(|row| {
                let input = NamedTensor { name: "time_ids", shape: &[6], data: &row.time_ids };
                if self.info.inputs.is_empty() { Vec::new() } else { vec![input] }
            })
            .collect();
        let asked: Vec<_> = rows
            .iter()
            .map(|&row| DenoiseRow {
                latent: &latents[row * latent..][..latent],
                timestep: case.rows[row].timestep,
                conditioning: self.texts[&case.rows[row].text],
                extras: &inputs[row],
                hints: &hints[row],
            })
            .collect();
        let mut out = vec![0.0; rows.len() * latent];
        self.backend.denoise(self.model, Self::shape(case), &asked, &mut out, &Uncontrolled).unwrap();
        out
    }
}

const MODELS: [&str; 3] = ["sd1-eps", "sdxl", "file-sd1"];

#[test]
fn models_with_hints_answer_as_diffusers_does_and_rows_alone_as_in_company() {
    for name in MODELS {
        let mut bench = Bench::new(name);
        for index in 0..bench.cases.len() {
            let hints = bench.encode(index);
            let every: Vec<usize> = (0..hints.len()).collect();
            let found = bench.denoise(index, &every, &hints);
            let case = &bench.cases[index].name;
            let db = signal(&bench.numbers(&format!("{case}.answers")), &found);
            assert!(db >= RIGHT_DB, "{name} {case}: {db:.1} dB");
            let alone: Vec<f32> =
                every.iter().flat_map(|&row| bench.denoise(index, &[row], &hints)).collect();
            let same = alone.iter().zip(&found).all(|(one, other)| one.to_bits() == other.to_bits());
            assert!(same, "{name} {}: a row depends on its company", bench.cases[index].name);
        }
    }
}

#[test]
fn the_references_tell_mistakes_with_hints_apart_and_so_does_the_backend() {
    for name in MODELS {
        let mut bench = Bench::new(name);
        for index in 0..bench.cases.len() {
            let case = &bench.cases[index];
            assert!(case.mistakes_db.len() > 7);
            for (what, db) in &case.mistakes_db {
                assert!(*db <= WRONG_DB, "{name} {}: {what} reaches {db:.1} dB", case.name);
            }
            let right = bench.numbers(&format!("{}.answers", case.name));
            let hints = bench.encode(index);
            for place in 0..hints[0].len() {
                let mut weaker = hints.clone();
                weaker.iter_mut().for_each(|row| row[place].scale *= 0.8);
                let found = bench.denoise(index, &[0, 1], &weaker);
                let db = signal(&right, &found);
                assert!(
                    db <= WRONG_DB,
                    "{name} {}: a weaker one reaches {db:.1} dB",
                    bench.cases[index].name
                );
            }
        }
    }
}

#[test]
fn a_hint_of_no_strength_is_none_whoever_is_in_its_company() {
    for name in ["sd1-eps", "sdxl"] {
        let mut bench = Bench::new(name);
        for index in 0..bench.cases.len() {
            let (hints, none) = (bench.encode(index), vec![Vec::new(); 2]);
            let plain = bench.denoise(index, &[0], &none);
            let mut silent = hints.clone();
            silent[0].iter_mut().for_each(|hint| hint.scale = 0.0);
            assert!(bench.denoise(index, &[0], &silent) == plain, "{name} {index}: alone");
            let together = bench.denoise(index, &[0, 1], &silent);
            assert!(together[..plain.len()] == plain, "{name} {index}: in company");
        }
    }
}

#[test]
fn a_network_for_another_model_is_refused_with_a_sentence() {
    let mut bench = Bench::new("sd1-eps");
    let shape = LatentShape { channels: 4, height: 8, width: 8 };
    for (network, family, pixels) in
        [("controlnet-sdxl", "controlnet", 32 * 32 * 3), ("t2i-full-sdxl", "t2i_adapter", 32 * 32 * 3)]
    {
        let path = fixtures().join("controls").join(network);
        let (model, _) = bench.backend.load(&request(&path, family), &Uncontrolled).unwrap();
        let hint = bench.backend.encode_hint(model, shape, &vec![9; pixels], &Uncontrolled).unwrap();
        let (latent, hints) = (vec![0.5; shape.len()], [Hint { model, hint, scale: 1.0 }]);
        let row = DenoiseRow {
            latent: &latent,
            timestep: 1.0,
            conditioning: bench.texts["plain"],
            extras: &[],
            hints: &hints,
        };
        let mut out = vec![0.0; shape.len()];
        let refused = bench.backend.denoise(bench.model, shape, &[row], &mut out, &Uncontrolled);
        let error = refused.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(error.message.contains("another kind of model"), "{error}");
    }
}

/// An upscaler and its answers.
struct Upscaling {
    backend: NetBackend<CpuOps>,
    model: ModelHandle,
    scale: u32,
}

impl Upscaling {
    fn new(name: &str) -> Self {
        let mut backend = cpu_backend(&json!({"threads": 2})).unwrap();
        let path = fixtures().join(format!("upscalers/{name}.safetensors"));
        let (model, info) = backend.load(&request(&path, "upscaler"), &Uncontrolled).unwrap();
        assert_eq!((info.latent_channels, info.output_channels), (3, 3));
        Self { backend, model, scale: info.latent_scale }
    }

    fn upscale(&mut self, [height, width]: [u32; 2], pixels: &[u8], tile: Option<u32>) -> Vec<u8> {
        let mut out = vec![0; pixels.len() * self.scale.pow(2) as usize];
        let options = UpscaleOptions { tile };
        self.backend.upscale(self.model, height, width, pixels, &options, &mut out, &Uncontrolled).unwrap();
        out
    }
}

#[test]
fn pictures_become_larger_as_with_spandrel() {
    let cases = read("upscalers.json");
    let reference = TensorFile::open(&fixtures().join("upscalers.safetensors")).unwrap();
    for case in cases["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let mut upscaling = Upscaling::new(name);
        assert_eq!(u64::from(upscaling.scale), case["scale"].as_u64().unwrap(), "{name}");
        let mistakes = case["mistakes_db"].as_object().unwrap();
        assert!(mistakes.len() > 6 && mistakes.values().all(|db| db.as_f64().unwrap() <= WRONG_DB));
        let sizes: Vec<[u32; 2]> = serde_json::from_value(case["sizes"].clone()).unwrap();
        for (place, size) in sizes.into_iter().enumerate() {
            let pixels = reference.tensor(&format!("{name}.{place}.pixels")).unwrap();
            let found = upscaling.upscale(size, &pixels.bytes, None);
            let expected = reference.tensor(&format!("{name}.{place}.answer")).unwrap().to_f32().unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                // A value on the boundary of rounding may fall on either side.
                assert!((f32::from(*found) - expected).abs() <= 0.502, "{name}: {found}, not {expected}");
            }
        }
    }
}

/// A smooth picture: slow waves of colour, `[height, width, 3]`.
fn smooth([height, width]: [u32; 2]) -> Vec<u8> {
    let value = |y: u32, x: u32, channel: u32| {
        let (y, x) = (y as f32 / 37.0, x as f32 / 29.0);
        (127.5 + 60.0 * (y + channel as f32).sin() + 60.0 * (x - channel as f32 + y / 2.0).cos()) as u8
    };
    let lines = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
    lines.flat_map(|(y, x)| (0..3).map(move |channel| value(y, x, channel))).collect()
}

/// The largest step between two neighbours from left to right, `[height, width, channels]`.
fn steepest<T: Copy + Into<f32>>(values: &[T], width: usize, channels: usize) -> f32 {
    let line = |line: &[T]| {
        let pairs = line.iter().zip(&line[channels..]);
        pairs.map(|(a, b)| ((*a).into() - (*b).into()).abs()).fold(0.0, f32::max)
    };
    values.chunks_exact(width * channels).map(line).fold(0.0, f32::max)
}

#[test]
fn tiles_of_a_larger_picture_show_no_seam() {
    for (name, fold) in [("real-x4", 1), ("real-x2", 2), ("real-x1", 4), ("old-x4", 1)] {
        let mut upscaling = Upscaling::new(name);
        let size = [40 * fold + 1, 110 * fold - 1];
        let pixels = smooth(size);
        let whole = upscaling.upscale(size, &pixels, None);
        assert!(upscaling.upscale(size, &pixels, Some(128 * fold)) == whole, "{name}: one tile is the whole");
        let tiled = upscaling.upscale(size, &pixels, Some(48 * fold));
        let apart = whole.iter().zip(&tiled).map(|(a, b)| f32::from(a.abs_diff(*b)));
        let apart = apart.sum::<f32>() / whole.len() as f32;
        assert!(apart < 0.5, "{name}: {apart} levels apart on average");
        let width = (size[1] * upscaling.scale) as usize;
        let steps = [&whole, &tiled].map(|picture| steepest(picture, width, 3));
        assert!(steps[1] <= 1.02 * steps[0], "{name}: the steepest steps are {steps:?}");
    }
}

/// How far `tiled_encode` of diffusers 0.42.1 is from its own whole encoding of the picture below, with tiles of 32
/// cells: on average, in proportion to the latent's spread. The autoencoder's random weights make much of the
/// statistics of a tile.
const OF_DIFFUSERS: f32 = 0.312;

#[test]
fn tiles_of_an_encoded_picture_show_no_seam() {
    let mut bench = Bench::new("sd1-eps");
    let shape = LatentShape { channels: 4, height: 80, width: 40 };
    let pixels = smooth([80 * 8, 40 * 8]);
    let mut encode = |tile| {
        let (mut mean, mut deviation) = (vec![0.0; shape.len()], vec![0.0; shape.len()]);
        let options = EncodeOptions { tile, ..EncodeOptions::default() };
        let (backend, model) = (&mut bench.backend, bench.model);
        backend
            .encode_image(model, shape, &pixels, &options, &mut mean, &mut deviation, &Uncontrolled)
            .unwrap();
        (mean, deviation)
    };
    let whole = encode(None);
    assert!(encode(Some(80)) == whole, "one tile is the whole");
    let tiled = encode(Some(32));
    let spread = (whole.0.iter().map(|value| value * value).sum::<f32>() / whole.0.len() as f32).sqrt();
    let apart = whole.0.iter().zip(&tiled.0).map(|(a, b)| (a - b).abs());
    let mean_apart = apart.clone().sum::<f32>() / whole.0.len() as f32 / spread;
    let steps = [&whole.0, &tiled.0].map(|latent| steepest(latent, 40, 1));
    assert!(mean_apart < OF_DIFFUSERS, "{mean_apart} of the spread apart on average");
    assert!(steps[1] <= steps[0], "the steepest steps are {steps:?}");
    assert!(tiled.1.iter().all(|deviation| deviation.is_finite() && *deviation > 0.0));
}

#[test]
#[ignore = "prints a table of docs/PARITY.md"]
#[allow(clippy::print_stdout)]
fn table() {
    println!(
        "| model | case | networks | sides | UNet, dB | nearest mistake, dB |\n|---|---|---|---|---|---|"
    );
    for name in MODELS {
        let mut bench = Bench::new(name);
        for index in 0..bench.cases.len() {
            let hints = bench.encode(index);
            let found = bench.denoise(index, &[0, 1], &hints);
            let case = &bench.cases[index];
            let db = signal(&bench.numbers(&format!("{}.answers", case.name)), &found);
            let nearest = case.mistakes_db.iter().max_by(|one, other| one.1.total_cmp(other.1));
            let (what, near) = nearest.unwrap();
            let networks = case.hints.iter().map(|hint| hint.model.as_str()).collect::<Vec<_>>().join(", ");
            let (case, height, width) = (&case.name, case.height, case.width);
            println!("| {name} | {case} | {networks} | {height}x{width} | {db:.0} | {near:.1} ({what}) |");
        }
    }
}
