// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Times the networks of a model in diffusers' layout (Stable Diffusion 1, 2 or XL):
//!
//! `MODEL=DIRECTORY [DTYPE=f32] [SIDE=64] [ROWS=2] [THREADS=N] [REPEATS=3] cargo bench -p alice-backend-cpu --bench network`
//!
//! Prints seconds by the clock and of the processor for each pass of the denoiser and for decoding one picture.
//!
//! With `SERVE=1` it is one of those that `benches/peers/run.py` lets take turns: it prints `ready DTYPE`, then does
//! what each line of the standard input says and answers with the seconds that it took. The lines are `unet` or `decode`,
//! with the path of a file behind it if the answer is wanted: `[ROWS, 4, SIDE, SIDE]` numbers in f32, the picture's
//! bytes in RGB.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its table and may stop anywhere"
)]

use std::{env, fs, io, path::PathBuf, time::Instant};

use alice_backend_cpu::cpu_backend;
use alice_checkpoint::Checkpoint;
use alice_plugin::{
    Backend, ConditioningHandle, DecodeOptions, DenoiseRow, LatentShape, LoadRequest, ModelFiles,
    ModelHandle, ModelInfo, NamedTensor, TextChunk, TextRequest, Uncontrolled,
};
use serde_json::{Value, json};

/// Channels of a latent, and pixels of one of its cells along a side.
const CHANNELS: usize = 4;
const SCALE: usize = 8;

fn main() {
    let Some(path) = env::var_os("MODEL") else {
        println!("`MODEL` names no directory; nothing is measured");
        return;
    };
    let began = Instant::now();
    let mut networks = Networks::load(path.into());
    if env::var_os("SERVE").is_some() {
        serve(&mut networks);
    } else {
        println!("load     {:7.3} s", began.elapsed().as_secs_f64());
        print_table(&mut networks);
    }
}

/// Answers each line of the standard input.
fn serve(networks: &mut Networks) {
    println!("ready {}", networks.info.dtype);
    for line in io::stdin().lines() {
        let line = line.unwrap();
        let (work, file) = line.split_once(' ').unwrap_or((&line, ""));
        let began = Instant::now();
        let answer = match work {
            "unet" => bytemuck::cast_slice(&networks.denoise()).to_vec(),
            "decode" => networks.decode(),
            other => panic!("`{other}` is neither `unet` nor `decode`"),
        };
        let seconds = began.elapsed().as_secs_f64();
        if !file.is_empty() {
            fs::write(file, answer).unwrap();
        }
        println!("{seconds}");
    }
}

/// Does everything as often as `REPEATS` says.
fn print_table(networks: &mut Networks) {
    let repeats = number("REPEATS", 3);
    for _ in 0..repeats {
        let out = measure("denoise", || networks.denoise());
        println!("first values {:?}", &out[..CHANNELS]);
    }
    for _ in 0..repeats {
        measure("decode", || networks.decode());
    }
}

/// A loaded model with everything that a pass needs.
struct Networks {
    backend: Box<dyn Backend>,
    model: ModelHandle,
    info: ModelInfo,
    conditioning: ConditioningHandle,
    /// Cells of the latent along a side.
    side: usize,
    rows: usize,
    latent: Vec<f32>,
}

impl Networks {
    fn load(path: PathBuf) -> Self {
        let threads =
            env::var("THREADS").ok().map(|count| json!({"threads": count.parse::<usize>().unwrap()}));
        let mut backend = Box::new(cpu_backend(&threads.unwrap_or(Value::Null)).unwrap());
        let request = LoadRequest {
            family: Checkpoint::open(&path).unwrap().family().as_str().to_owned(),
            files: ModelFiles::Diffusers { path },
            vae: None,
            dtype: env::var("DTYPE").unwrap_or_else(|_| "f32".to_owned()),
            device: 0,
        };
        let (model, info) = backend.load(&request, &Uncontrolled).unwrap();
        let conditioning = encode(&mut *backend, model, &info);
        let side = number("SIDE", 64);
        let latent = (0..CHANNELS * side * side).map(|i| (i as f32 * 0.7).sin()).collect();
        Self { backend, model, info, conditioning, side, rows: number("ROWS", 2), latent }
    }

    fn shape(&self) -> LatentShape {
        let side = self.side as u32;
        LatentShape { channels: CHANNELS as u32, height: side, width: side }
    }

    fn denoise(&mut self) -> Vec<f32> {
        let pixels = (self.side * SCALE) as f32;
        let sizes = [pixels, pixels, 0.0, 0.0, pixels, pixels];
        let sizes = NamedTensor { name: "time_ids", shape: &[6], data: &sizes };
        let hears_sizes = self.info.inputs.iter().any(|input| input.name == sizes.name);
        let row = DenoiseRow {
            latent: &self.latent,
            timestep: 500.0,
            conditioning: self.conditioning,
            extras: if hears_sizes { &[sizes] } else { &[] },
            hints: &[],
        };
        let rows = vec![row; self.rows];
        let mut out = vec![0.0; self.rows * self.latent.len()];
        self.backend.denoise(self.model, self.shape(), &rows, &mut out, &Uncontrolled).unwrap();
        out
    }

    fn decode(&mut self) -> Vec<u8> {
        let mut pixels = vec![0; 3 * (SCALE * self.side).pow(2)];
        let (shape, options) = (self.shape(), DecodeOptions::default());
        self.backend.decode(self.model, shape, &self.latent, &options, &mut pixels, &Uncontrolled).unwrap();
        pixels
    }
}

/// A prompt without words: CLIP's numbers for its begin and end are the last two.
fn encode(backend: &mut dyn Backend, model: ModelHandle, info: &ModelInfo) -> ConditioningHandle {
    let prompts = info.text_encoders.iter().map(|encoder| {
        let length = encoder.context_length as usize;
        let mut ids = vec![encoder.vocab_size - 1; length];
        ids[0] -= 1;
        (ids, vec![1.0; length])
    });
    let prompts: Vec<_> = prompts.collect();
    let chunks = (0..).zip(&prompts).map(|(encoder, (ids, weights))| TextChunk { encoder, ids, weights });
    let chunks: Vec<_> = chunks.collect();
    let text = TextRequest { chunks: &chunks, extra_rows: &[], clip_skip: 0 };
    backend.encode_text(model, &text, &Uncontrolled).unwrap()
}

/// The number in an environment variable.
fn number(name: &str, default: usize) -> usize {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Prints seconds by the clock and of the processor.
fn measure<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (began, before) = (Instant::now(), processor());
    let answer = work();
    println!(
        "{what:8} {:7.3} s, {:7.3} s of the processor",
        began.elapsed().as_secs_f64(),
        processor() - before
    );
    answer
}

/// Seconds that this process has computed, of all its threads; 0 where there is no `/proc`.
fn processor() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = |place: usize| stat.split_whitespace().nth(place).and_then(|ticks| ticks.parse::<f64>().ok());
    // User and system time in hundredths of a second, behind a name without spaces.
    (ticks(13).unwrap_or(0.0) + ticks(14).unwrap_or(0.0)) / 100.0
}
