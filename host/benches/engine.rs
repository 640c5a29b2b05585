// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the daemon adds to a backend that takes 1 ms a step, for one job and for 64 at once; how soon it is ready,
//! and the memory of one that idles. By HTTP, from the real program in a process of its own.
//!
//! `cargo bench -p alice --bench engine -- [DIRECTORY]...` has the daemon's data in each of the directories in turn
//! (without any: the temporary one, and /dev/shm), because a picture is on the disk before it is in the answer.
//! `ALICE_BENCH_PROGRAM` is another program to measure.
// The numbers are this program's answer.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use alice_plugin::load::{Plugin, PluginBackend};
use alice_plugin::{
    Backend, DecodeOptions, DenoiseRow, LatentShape, LoadRequest, ModelFiles, ModelHandle, TextChunk,
    TextRequest, Uncontrolled,
};
use futures::future::join_all;
use harness::Server;
use serde_json::{Value, json};

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/harness.rs"]
mod harness;

const STEPS: usize = 20;
const JOBS: usize = 64;
/// How often one job is measured, 64 jobs, and the start.
const ROUNDS: [usize; 3] = [100, 7, 20];
const PAINT: &str = "generation: { backend: paint, backend_options: { paint: { step_ms: 1 } } }\n\
                     limits: { waiting: 64 }\n";

/// The backend alone, in this process: the calls of one job and nothing else.
struct Bare {
    backend: PluginBackend,
    model: ModelHandle,
    shape: LatentShape,
    scale: usize,
    ids: Vec<u32>,
}

impl Bare {
    fn new() -> Self {
        let plugin = Plugin::open(&harness::plugin("paint")).unwrap();
        let mut backend = plugin.start(&json!({"step_ms": 1})).unwrap();
        let files = ModelFiles::Diffusers { path: harness::source("models/alice-emoji") };
        let load = LoadRequest { files, family: "sd1".into(), vae: None, dtype: "auto".into(), device: 0 };
        let (model, info) = backend.load(&load, &Uncontrolled).unwrap();
        let (scale, cells) = (info.latent_scale as usize, 128 / info.latent_scale);
        let shape = LatentShape { channels: info.latent_channels, height: cells, width: cells };
        let ids = vec![1; info.text_encoders[0].context_length as usize];
        Self { backend, model, shape, scale, ids }
    }

    fn job(&mut self) -> f64 {
        let weights = vec![1.0; self.ids.len()];
        let (latent, mut answer) = (vec![0.5; self.shape.len()], vec![0.0; self.shape.len()]);
        let mut picture = vec![0; (self.shape.height * self.shape.width) as usize * self.scale.pow(2) * 3];
        let began = Instant::now();
        let chunks = [TextChunk { encoder: 0, ids: &self.ids, weights: &weights }];
        let request = TextRequest { chunks: &chunks, extra_rows: &[], clip_skip: 0 };
        let conditioning = self.backend.encode_text(self.model, &request, &Uncontrolled).unwrap();
        for step in 0..STEPS {
            let row =
                DenoiseRow { latent: &latent, timestep: step as f32, conditioning, extras: &[], hints: &[] };
            self.backend.denoise(self.model, self.shape, &[row], &mut answer, &Uncontrolled).unwrap();
        }
        let options = DecodeOptions::default();
        self.backend.decode(self.model, self.shape, &latent, &options, &mut picture, &Uncontrolled).unwrap();
        self.backend.release(conditioning).unwrap();
        began.elapsed().as_secs_f64()
    }
}

fn start(directory: &Path, config: &str) -> Server {
    let data = tempfile::tempdir_in(directory).unwrap();
    std::fs::write(data.path().join("config.yaml"), format!("server: {{ port: 0 }}\n{config}")).unwrap();
    let program = std::env::var_os("ALICE_BENCH_PROGRAM").map(PathBuf::from);
    Server::start_program(&program.unwrap_or(env!("CARGO_BIN_EXE_alice").into()), data, &[])
}

/// One job without guidance: one row in each of its steps.
async fn job(server: &Server) -> f64 {
    let body = json!({"prompt": "a red apple", "steps": STEPS, "scheduler": "euler", "guidance_scale": 1, "seed": 7});
    let began = Instant::now();
    let answer = server.post_json("/v1/images/generations", &body).await;
    assert!(matches!(&answer["data"][0]["b64_json"], Value::String(_)));
    began.elapsed().as_secs_f64()
}

async fn measure(directory: &Path, bare: &mut Bare) {
    let server = start(directory, PAINT);
    job(&server).await;
    let (mut alone, mut by_http) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS[0] {
        // In turns, so that both meet the same machine.
        alone.push(tokio::task::block_in_place(|| bare.job()));
        by_http.push(job(&server).await);
    }
    let mut crowds = Vec::new();
    for _ in 0..ROUNDS[1] {
        let began = Instant::now();
        join_all((0..JOBS).map(|_| job(&server))).await;
        crowds.push(began.elapsed().as_secs_f64());
    }
    println!("data in {} ({})", directory.display(), filesystem(directory));
    let serial: Vec<_> = alone.iter().map(|time| time * JOBS as f64).collect();
    line(&format!("backend alone, {STEPS} steps of 1 ms"), &alone, None);
    line("one job by HTTP", &by_http, Some(&alone));
    line(&format!("{JOBS} times the backend alone"), &serial, None);
    line(&format!("{JOBS} jobs at once by HTTP"), &crowds, Some(&serial));
}

/// One measurement in milliseconds, and by how much it is over another. The shortest of each is what a quiet
/// machine does.
fn line(what: &str, times: &[f64], bare: Option<&[f64]>) {
    let (median, least) = (median(times), least(times));
    let over = bare.map(|bare| {
        let over = |time: f64, bare: f64| (time / bare - 1.0) * 100.0;
        let (of_medians, of_least) = (over(median, self::median(bare)), over(least, self::least(bare)));
        format!("; over the backend alone {of_medians:+.1} %, of the least {of_least:+.1} %")
    });
    let (median, least) = (median * 1e3, least * 1e3);
    println!("  {what:<34} median {median:9.3} ms, least {least:9.3} ms{}", over.unwrap_or_default());
}

async fn idle(directory: &Path) {
    let (mut starts, mut sizes, mut workers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS[2] {
        let began = Instant::now();
        let server = start(directory, "");
        assert_eq!(server.get("/readyz").await.status(), 200);
        starts.push(began.elapsed().as_secs_f64());
        let tree = below(std::process::id());
        let (worker, host): (Vec<_>, Vec<_>) = tree.into_iter().partition(|process| is_worker(*process));
        sizes.push(host.into_iter().map(pss).sum());
        workers.extend(worker.into_iter().map(pss));
    }
    println!("idle, data in {} ({})", directory.display(), filesystem(directory));
    line("from the start to ready", &starts, None);
    println!("  {:<34} median {:9.1} MB", "PSS without the worker", median(&sizes));
    match workers.is_empty() {
        true => println!("  no worker: the backend runs in the daemon's process"),
        false => println!("  {:<34} median {:9.1} MB", "PSS of one worker", median(&workers)),
    }
}

/// The processes that `process` has started, and those that these have started.
fn below(process: u32) -> Vec<u32> {
    let numbers = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let children: Vec<u32> = numbers.filter(|child| parent(*child) == Some(process)).collect();
    children.iter().copied().chain(children.iter().flat_map(|child| below(*child))).collect()
}

fn parent(process: u32) -> Option<u32> {
    // It may have ended meanwhile.
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

fn is_worker(process: u32) -> bool {
    let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|argument| argument == b"worker")
}

/// Its part of the machine's memory in megabytes: what it shares with others is divided among them.
fn pss(process: u32) -> f64 {
    let sums = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let line = sums.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<f64>().unwrap() * 1024.0 / 1e6
}

/// The kind of the file system that is mounted nearest above `directory`.
fn filesystem(directory: &Path) -> String {
    let (directory, mounts) =
        (directory.canonicalize().unwrap(), std::fs::read_to_string("/proc/mounts").unwrap());
    let mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let above = mounts.filter(|mount| directory.starts_with(mount[1]));
    above.max_by_key(|mount| mount[1].len()).unwrap()[2].to_owned()
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
async fn main() {
    // Cargo adds an option of its own.
    let mut directories: Vec<_> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).map(PathBuf::from).collect();
    if directories.is_empty() {
        directories = vec![std::env::temp_dir(), "/dev/shm".into()];
        directories.retain(|directory| directory.is_dir());
    }
    let mut bare = Bare::new();
    for directory in &directories {
        measure(directory, &mut bare).await;
    }
    for directory in &directories {
        idle(directory).await;
    }
}
