// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Backends in processes of their own: they compute what they compute inside the daemon, and whatever becomes of
//! such a process is an error with a reason.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use alice::worker::{Patience, Worker};
use alice_plugin::load::Plugin;
use alice_plugin::{
    Adapter, Backend, ConditioningHandle, Control, DecodeOptions, DenoiseRow, EncodeOptions, Error,
    ErrorKind, Hint, LatentShape, LoadRequest, ModelFiles, ModelHandle, ModelInfo, NamedTensor, Result,
    TextChunk, TextPart, TextRequest, Uncontrolled, UpscaleOptions,
};
use serde_json::{Value, json};

use crate::contract::model;
use crate::harness::{plugin, source};

mod fakes;
mod latency;
pub(crate) mod server;

const SHAPE: LatentShape = LatentShape { channels: 4, height: 6, width: 5 };

/// More than anything here takes.
fn patience() -> Patience {
    Patience::new(Duration::from_secs(120))
}

fn start(name: &str, options: &Value, patience: Patience) -> Result<Worker> {
    Worker::start(Path::new(env!("CARGO_BIN_EXE_alice")), &plugin(name), options, patience)
}

fn paint(options: &Value) -> Worker {
    start("paint", options, patience()).unwrap()
}

fn fault(call: &str, effect: &str) -> Value {
    json!({"faults": [{"call": call, "do": effect}]})
}

fn request(directory: &Path) -> LoadRequest {
    LoadRequest {
        files: ModelFiles::Diffusers { path: directory.to_owned() },
        family: "sd1".into(),
        vae: None,
        dtype: "auto".into(),
        device: 0,
    }
}

/// A backend with a model and an encoded prompt.
struct Ready<'a> {
    backend: &'a mut dyn Backend,
    model: ModelHandle,
    prompt: ConditioningHandle,
}

fn ready<'a>(backend: &'a mut dyn Backend, directory: &Path) -> Ready<'a> {
    let (model, info) = backend.load(&request(directory), &Uncontrolled).unwrap();
    let length = info.text_encoders[0].context_length as usize;
    let ids: Vec<u32> = (0..length as u32).collect();
    let weights: Vec<f32> = ids.iter().map(|id| 1.0 + *id as f32 / 7.0).collect();
    let chunks = [TextChunk { encoder: 0, ids: &ids, weights: &weights }];
    let width = info.text_encoders[0].hidden_size as usize;
    let rows = [NamedTensor { name: "rows.0", shape: &[1, width as u32], data: &vec![0.1; width] }];
    // A learned word, where the backend has nothing against it.
    let request = |extra_rows| TextRequest { chunks: &chunks, extra_rows, clip_skip: 1 };
    let prompt = backend.encode_text(model, &request(&rows), &Uncontrolled);
    let prompt = prompt.or_else(|_| backend.encode_text(model, &request(&[]), &Uncontrolled)).unwrap();
    Ready { backend, model, prompt }
}

impl Ready<'_> {
    fn denoise(&mut self, shape: LatentShape, rows: usize, control: &dyn Control) -> Result<Vec<f32>> {
        let latents: Vec<Vec<f32>> = (0..rows)
            .map(|row| (0..shape.len()).map(|at| (at * (row + 3)) as f32 / 17.0 - 1.0).collect())
            .collect();
        let time_ids = [NamedTensor { name: "time_ids", shape: &[6], data: &[0.3; 6] }];
        let rows: Vec<_> = latents
            .iter()
            .enumerate()
            .map(|(row, latent)| DenoiseRow {
                latent,
                timestep: 1.0 / 3.0 + row as f32,
                conditioning: self.prompt,
                extras: &time_ids,
                hints: &[],
            })
            .collect();
        let mut out = vec![f32::NAN; rows.len() * shape.len()];
        self.backend.denoise(self.model, shape, &rows, &mut out, control).map(|()| out)
    }

    fn decode(&mut self, shape: LatentShape) -> Result<Vec<u8>> {
        let latent: Vec<f32> = (0..shape.len()).map(|at| (at as f32).sin()).collect();
        let mut out = vec![0; shape.height as usize * shape.width as usize * 64 * 3];
        let options = DecodeOptions { tile: Some(32) };
        self.backend.decode(self.model, shape, &latent, &options, &mut out, &Uncontrolled).map(|()| out)
    }

    fn encode_image(&mut self, shape: LatentShape) -> Result<(Vec<f32>, Vec<f32>)> {
        let pixels: Vec<u8> = (0..shape.height * shape.width * 64 * 3).map(|at| at as u8).collect();
        let (mut mean, mut deviation) = (vec![0.0; shape.len()], vec![0.0; shape.len()]);
        self.backend
            .encode_image(
                self.model,
                shape,
                &pixels,
                &EncodeOptions::default(),
                &mut mean,
                &mut deviation,
                &Uncontrolled,
            )
            .map(|()| (mean, deviation))
    }

    /// What networks beside the model can be asked, as one text that shows every bit.
    fn beside(&mut self, directory: &Path) -> String {
        let mut load = |family: &str, files| {
            let request = LoadRequest { family: family.into(), files, ..request(directory) };
            self.backend.load(&request, &Uncontrolled)
        };
        let control = load("controlnet", ModelFiles::Diffusers { path: directory.join("control") });
        let upscaler = load("upscaler", ModelFiles::SingleFile { path: directory.join("upscaler/weights") });
        // Where there is none, what is said of an unknown one is compared.
        let handle = |loaded: &Result<(ModelHandle, ModelInfo)>| {
            loaded.as_ref().map_or(ModelHandle(9), |(handle, _)| *handle)
        };
        let (guide, larger) = (handle(&control), handle(&upscaler));
        let pixels: Vec<u8> = (0..SHAPE.height * SHAPE.width * 64 * 3).map(|at| (at / 7) as u8).collect();
        let hint = self.backend.encode_hint(guide, SHAPE, &pixels, &Uncontrolled);
        let hints = hint.iter().map(|hint| Hint { model: guide, hint: *hint, scale: 1.0 / 3.0 });
        let hints: Vec<_> = hints.collect();
        let (latent, mut out) = (vec![0.25; SHAPE.len()], vec![0.0; SHAPE.len()]);
        let conditioning = self.prompt;
        let row = DenoiseRow { latent: &latent, timestep: 7.5, conditioning, extras: &[], hints: &hints };
        let guided = self.backend.denoise(self.model, SHAPE, &[row], &mut out, &Uncontrolled);
        let (options, mut picture) = (UpscaleOptions { tile: Some(2) }, vec![0; 4 * 6 * 3]);
        let enlarged =
            self.backend.upscale(larger, 2, 3, &pixels[..18], &options, &mut picture, &Uncontrolled);
        let (mut mean, mut deviation) = (vec![0.0; SHAPE.len()], vec![0.0; SHAPE.len()]);
        let options = EncodeOptions { tile: Some(0), ..EncodeOptions::default() };
        let (model, control_of) = (self.model, &Uncontrolled);
        let tile =
            self.backend.encode_image(model, SHAPE, &pixels, &options, &mut mean, &mut deviation, control_of);
        let released = hint.clone().and_then(|hint| self.backend.release(hint));
        format!(
            "{control:?} {upscaler:?} {hint:?} {guided:?} {out:?} {enlarged:?} {picture:?} {tile:?} {released:?}"
        )
    }

    /// Everything that the contract can be asked, as one text that shows every bit.
    fn everything(&mut self) -> String {
        let adapters = [Adapter { path: source("Cargo.toml"), scale: 0.1 }];
        let adapted = self.backend.adapt(self.model, &adapters, &Uncontrolled);
        let narrow = LatentShape { channels: 3, ..SHAPE };
        let (model, prompt) = (self.model, self.prompt);
        [
            format!("{adapted:?}"),
            format!("{:?}", self.denoise(SHAPE, 1, &Uncontrolled)),
            format!("{:?}", self.denoise(SHAPE, 3, &Uncontrolled)),
            format!("{:?}", self.denoise(narrow, 1, &Uncontrolled)),
            format!("{:?}", self.denoise(SHAPE, 0, &Uncontrolled)),
            format!("{:?}", self.decode(SHAPE)),
            format!("{:?}", self.encode_image(SHAPE)),
            format!("{:?}", self.backend.read_text(prompt, TextPart::Tokens)),
            format!("{:?}", self.backend.read_text(prompt, TextPart::Pooled)),
            format!("{:?}", self.backend.memory()),
            format!("{:?}", self.backend.describe().map(|description| description.name)),
            format!("{:?}", self.backend.release(prompt)),
            format!("{:?}", self.backend.release(prompt)),
            format!("{:?}", self.denoise(SHAPE, 1, &Uncontrolled)),
            format!("{:?}", self.backend.unload(model)),
            format!("{:?}", self.backend.unload(model)),
        ]
        .join("\n")
    }
}

#[test]
fn every_call_gives_the_bits_and_the_errors_that_it_gives_in_process() {
    let (_directory, configurations) = model();
    for (name, directory) in [("paint", configurations.directory), ("cpu", source("models/alice-emoji"))] {
        let options = json!({"threads": 2});
        let mut plugin = Plugin::open(&plugin(name)).unwrap().start(&options).unwrap();
        let mut here = ready(&mut plugin, &directory);
        let inside = here.beside(&directory) + &here.everything();
        let mut worker = start(name, &options, patience()).unwrap();
        let mut there = ready(&mut worker, &directory);
        let outside = there.beside(&directory) + &there.everything();
        assert!(inside.contains("Ok([") && inside.contains("StaleHandle"), "{name}");
        assert_eq!(inside, outside, "{name}");
    }
}

#[test]
fn the_end_of_the_process_is_an_error_that_says_how_and_when() {
    let (_directory, model) = model();
    for (effect, how) in [
        ("abort", "was aborted by its library (signal 6)"),
        ("segfault", "crashed (signal 11)"),
        ("kill", "was killed (signal 9), perhaps because the machine ran out of memory"),
        ("exit", "ended by itself with exit code 3"),
    ] {
        for (call, when) in [
            ("load", "while it loaded a model"),
            ("denoise", "while it computed a step"),
            ("decode", "while it decoded a picture"),
        ] {
            let mut worker = paint(&fault(call, effect));
            let error = match call {
                "load" => worker.load(&request(&model.directory), &Uncontrolled).unwrap_err(),
                "denoise" => {
                    ready(&mut worker, &model.directory).denoise(SHAPE, 2, &Uncontrolled).unwrap_err()
                }
                _ => ready(&mut worker, &model.directory).decode(SHAPE).unwrap_err(),
            };
            assert_eq!(error.kind, ErrorKind::DeviceLost);
            assert_eq!(error.message, format!("the compute worker of `paint` {how} {when}"));
            // Everything else has the same answer, as everything else was lost with it.
            assert_eq!(worker.memory().unwrap_err(), error);
            assert_eq!(worker.process_id(), None);
        }
    }
}

#[test]
fn a_library_that_ends_its_process_when_it_is_started_is_no_backend() {
    let error = start("paint", &fault("create", "abort"), patience()).unwrap_err();
    let sentence =
        "the compute worker of `paint` was aborted by its library (signal 6) while it opened its library";
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::DeviceLost, sentence));
    let error = start("paint", &json!({"brushes": 3}), patience()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    let missing = Worker::start(Path::new("/no/such/program"), &plugin("paint"), &json!({}), patience());
    assert!(missing.unwrap_err().message.contains("/no/such/program"));
}

#[test]
fn a_panic_frees_what_the_process_held() {
    let mut worker = paint(&fault("memory", "panic"));
    let process = worker.process_id().unwrap();
    assert_eq!(worker.memory().unwrap_err().kind, ErrorKind::Panic);
    assert!(!exists(process));
}

#[test]
fn silence_ends_the_process_and_slowness_does_not() {
    let (_directory, model) = model();
    for call in ["load", "denoise"] {
        let limit = Patience::new(Duration::from_millis(300));
        let mut worker = start("paint", &fault(call, "hang"), limit).unwrap();
        let process = worker.process_id().unwrap();
        let error = match call {
            "load" => worker.load(&request(&model.directory), &Uncontrolled).unwrap_err(),
            _ => ready(&mut worker, &model.directory).denoise(SHAPE, 1, &Uncontrolled).unwrap_err(),
        };
        assert_eq!(error.kind, ErrorKind::DeviceLost);
        assert!(error.message.contains("gave no sign of life for"), "{error}");
        assert!(!exists(process));
    }
    let limit = Patience::new(Duration::from_secs(1));
    let mut worker = start("paint", &json!({"step_ms": 2500}), limit).unwrap();
    assert!(ready(&mut worker, &model.directory).denoise(SHAPE, 1, &Uncontrolled).is_ok());
}

#[test]
fn a_process_that_is_stopped_is_given_up() {
    let mut worker = start("paint", &json!({}), Patience::new(Duration::from_millis(300))).unwrap();
    let process = worker.process_id().unwrap();
    signal("-STOP", process);
    let error = worker.memory().unwrap_err();
    assert_eq!(error.kind, ErrorKind::DeviceLost);
    assert!(error.message.contains("gave no sign of life"), "{error}");
    assert!(!exists(process));
}

#[test]
fn a_process_that_was_killed_between_two_calls_is_missed_by_the_next() {
    let mut worker = paint(&json!({}));
    signal("-KILL", worker.process_id().unwrap());
    let error = worker.memory().unwrap_err();
    assert_eq!(error.kind, ErrorKind::DeviceLost);
    assert!(error.message.contains("was killed (signal 9)"), "{error}");
}

#[test]
fn a_dropped_worker_is_gone() {
    let worker = paint(&json!({}));
    let process = worker.process_id().unwrap();
    assert!(exists(process));
    drop(worker);
    assert!(!exists(process));
}

/// Remembers what it hears, and stops the call when it has heard enough.
struct Listener {
    heard: RefCell<Vec<(u64, u64)>>,
    enough: usize,
}

impl Control for Listener {
    fn progress(&self, done: u64, total: u64) -> Result<()> {
        let mut heard = self.heard.borrow_mut();
        heard.push((done, total));
        match heard.len() < self.enough {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Cancelled, "the caller has gone for lunch")),
        }
    }
}

#[test]
fn a_caller_hears_of_progress_and_stops_a_call_that_would_take_an_hour() {
    let (_directory, model) = model();
    let mut worker = paint(&json!({"step_ms": 3_600_000}));
    let mut ready = ready(&mut worker, &model.directory);
    let listener = Listener { heard: RefCell::default(), enough: 5 };
    let error = ready.denoise(SHAPE, 1, &listener).unwrap_err();
    assert_eq!(error, Error::new(ErrorKind::Cancelled, "the caller has gone for lunch"));
    let heard = listener.heard.into_inner();
    let told: Vec<_> = heard.iter().filter(|(_, total)| *total == 3_600_000).collect();
    assert!(heard.len() == 5 && told.len() >= 2 && told.is_sorted(), "{heard:?}");
    // It is the call that was stopped, not the worker.
    assert!(ready.decode(SHAPE).is_ok());
}

#[test]
fn a_caller_that_has_gone_is_noticed_while_the_library_is_silent() {
    let limit = Patience::new(Duration::from_secs(2));
    let mut worker = start("paint", &fault("load", "hang"), limit.clone()).unwrap();
    let listener = Listener { heard: RefCell::default(), enough: 3 };
    let (_directory, model) = model();
    let error = worker.load(&request(&model.directory), &listener).unwrap_err();
    assert_eq!(error.kind, ErrorKind::DeviceLost, "a library that does not listen is ended all the same");
    assert_eq!(listener.heard.into_inner().len(), 3, "whoever has said stop is not asked again");
}

#[test]
fn no_socket_to_the_world_can_be_opened() {
    let look = fault("memory", "network");
    assert!(Plugin::open(&plugin("paint")).unwrap().start(&look).unwrap().memory().is_ok());
    if cfg!(target_os = "linux") {
        let error = paint(&look).memory().unwrap_err();
        assert!(error.message.contains("no socket: Permission denied"), "{error}");
    }
}

/// Whether there is a process of this number, a zombie included.
fn exists(process: u32) -> bool {
    Command::new("kill").arg("-0").arg(process.to_string()).output().unwrap().status.success()
}

pub(crate) fn signal(signal: &str, process: u32) {
    assert!(Command::new("kill").arg(signal).arg(process.to_string()).status().unwrap().success());
}

/// An executable script. The shell writes it: a file that another thread's new process still holds open for
/// writing could not be run.
fn script(directory: &Path, text: &str) -> PathBuf {
    let path = directory.join("worker");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#, "sh"])
        .arg(&path)
        .arg(text);
    assert!(shell.status().unwrap().success());
    path
}
