// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Times the networks of a Stable Diffusion 1.x model in diffusers' layout:
//!
//! `MODEL=DIRECTORY [DTYPE=bf16] [SIDE=64] [ROWS=2] [REPEATS=3] cargo bench -p alice-backend-cpu --bench network`
//!
//! Prints seconds by the clock and of the processor for each pass of the denoiser and for decoding one picture.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its table and may stop anywhere"
)]

use std::{env, time::Instant};

use alice_backend_cpu::cpu_backend;
use alice_plugin::{
    Backend, DecodeOptions, DenoiseRow, LatentShape, LoadRequest, ModelFiles, TextChunk, TextRequest,
    Uncontrolled,
};
use serde_json::Value;

fn main() {
    let variable = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let number = |name: &str, default: &str| variable(name, default).parse::<usize>().unwrap();
    let Ok(path) = env::var("MODEL") else {
        println!("`MODEL` names no directory; nothing is measured");
        return;
    };
    let (side, rows, repeats) = (number("SIDE", "64"), number("ROWS", "2"), number("REPEATS", "3"));
    let mut backend = cpu_backend(&Value::Null).unwrap();
    let request = LoadRequest {
        files: ModelFiles::Diffusers { path: path.into() },
        family: "sd1".to_owned(),
        vae: None,
        dtype: variable("DTYPE", "f32"),
        device: 0,
    };
    let began = Instant::now();
    let (model, _) = backend.load(&request, &Uncontrolled).unwrap();
    println!("load     {:7.3} s", began.elapsed().as_secs_f64());
    let ids = [vec![49_406], vec![49_407; 76]].concat();
    let chunks = [TextChunk { encoder: 0, ids: &ids, weights: &[1.0; 77] }];
    let text = TextRequest { chunks: &chunks, extra_rows: &[], clip_skip: 0 };
    let conditioning = backend.encode_text(model, &text, &Uncontrolled).unwrap();
    let shape = LatentShape { channels: 4, height: side as u32, width: side as u32 };
    let latent: Vec<f32> = (0..4 * side * side).map(|i| (i as f32 * 0.7).sin()).collect();
    let row = DenoiseRow { latent: &latent, timestep: 500.0, conditioning, extras: &[], hints: &[] };
    let all = vec![row; rows];
    let mut out = vec![0.0; rows * latent.len()];
    for _ in 0..repeats {
        measure("denoise", || backend.denoise(model, shape, &all, &mut out, &Uncontrolled).unwrap());
    }
    println!("first values {:?}", &out[..4]);
    let mut pixels = vec![0; 3 * 64 * side * side];
    for _ in 0..repeats {
        let options = DecodeOptions::default();
        measure("decode", || {
            backend.decode(model, shape, &latent, &options, &mut pixels, &Uncontrolled).unwrap();
        });
    }
}

/// Prints seconds by the clock and of the processor.
fn measure(what: &str, work: impl FnOnce()) {
    let (began, before) = (Instant::now(), processor());
    work();
    println!(
        "{what:8} {:7.3} s, {:7.3} s of the processor",
        began.elapsed().as_secs_f64(),
        processor() - before
    );
}

/// Seconds that this process has computed, of all its threads; 0 where there is no `/proc`.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = |place: usize| stat.split_whitespace().nth(place).and_then(|ticks| ticks.parse::<f64>().ok());
    // User and system time in hundredths of a second, behind a name without spaces.
    (ticks(13).unwrap_or(0.0) + ticks(14).unwrap_or(0.0)) / 100.0
}
