// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Times single operations at the sizes that they have in Stable Diffusion 1.x, for a picture of 512x512:
//!
//! `[DTYPE=bf16] [THREADS=N] [REPEATS=5] [ONLY=attention] cargo bench -p alice-backend-cpu --bench operations`
//!
//! Prints for each the median of its times and 10^9 multiply-adds per second: beside what the processor could do,
//! this says what is left.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its table and may stop anywhere"
)]

use std::{env, num::NonZero, sync::Arc, thread, time::Instant};

use alice_backend_cpu::{CpuOps, Format, Isa, Threads};
use alice_checkpoint::Tensor as Weight;
use alice_nets::{
    Activation, ConvAdd, ConvSpec, Ops, Padding,
    testing::{scattered, weight},
};

/// Rows of the batch: those of one step with guidance.
const ROWS: usize = 2;

struct Bench {
    ops: CpuOps,
    repeats: usize,
    /// What the names of the operations that are timed have in them.
    only: String,
}

fn main() {
    let number = |name: &str| env::var(name).ok().map(|value| value.parse::<usize>().unwrap());
    let threads =
        number("THREADS").unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get));
    let format = match env::var("DTYPE").as_deref() {
        Ok("int8") => Format::Int8,
        Ok("bf16") => Format::Bf16,
        _ => Format::F32,
    };
    let isa = Isa::chosen().unwrap();
    println!("{isa}, {format:?}, {threads} threads, {ROWS} rows");
    let ops = CpuOps::new(isa, format, Arc::new(Threads::new(threads).unwrap())).unwrap();
    let bench =
        Bench { ops, repeats: number("REPEATS").unwrap_or(5), only: env::var("ONLY").unwrap_or_default() };
    for [input, output, side] in
        [[320, 320, 64], [640, 640, 32], [1280, 1280, 16], [1280, 1280, 8], [2560, 1280, 16], [960, 320, 64]]
    {
        bench.conv(input, output, side);
    }
    for [input, output, tokens] in [
        [320, 320, 4096],
        [1280, 320, 4096],
        [640, 640, 1024],
        [2560, 640, 1024],
        [1280, 1280, 256],
        [5120, 1280, 256],
        [768, 320, 77],
    ] {
        bench.linear(input, output, tokens);
    }
    for [width, tokens] in [[320, 4096], [640, 1024], [1280, 256]] {
        bench.gated(width, tokens);
    }
    for [width, tokens, keys] in [[320, 4096, 4096], [640, 1024, 1024], [1280, 256, 256], [320, 4096, 77]] {
        bench.attention(width, tokens, keys);
    }
    for [channels, side] in [[320, 64], [640, 32]] {
        bench.norms(channels, side);
    }
}

impl Bench {
    fn conv(&self, input: usize, output: usize, side: usize) {
        let spec = ConvSpec { input, output, kernel: 3, stride: 1, padding: Padding::Around(1) };
        let conv = layer(&[output, input, 3, 3], |weight| self.ops.conv(spec, weight, None).unwrap());
        let image = self.image(input, side);
        let work = ROWS * 9 * input * output * side * side;
        self.time(&format!("3x3 {input} -> {output}, {side}x{side}"), work, || {
            self.ops.apply_conv(&conv, &image, ConvAdd::default()).unwrap();
        });
    }

    fn linear(&self, input: usize, output: usize, count: usize) {
        let linear = layer(&[output, input], |weight| self.ops.linear(weight, None).unwrap());
        let tokens = self.tokens(input, count);
        self.time(&format!("linear {input} -> {output}, {count}"), ROWS * input * output * count, || {
            self.ops.apply_linear(&linear, &tokens, Activation::None, None).unwrap();
        });
    }

    fn gated(&self, width: usize, count: usize) {
        let gated = layer(&[8 * width, width], |weight| self.ops.gated(weight, None).unwrap());
        let tokens = self.tokens(width, count);
        self.time(
            &format!("gated {width} -> {}, {count}", 4 * width),
            ROWS * 8 * width * width * count,
            || {
                self.ops.apply_geglu(&gated, &tokens).unwrap();
            },
        );
    }

    fn attention(&self, width: usize, queries: usize, keys: usize) {
        let (query, key) = (self.tokens(width, queries), self.tokens(width, keys));
        self.time(
            &format!("attention {width}, {queries} x {keys}"),
            ROWS * 2 * width * queries * keys,
            || {
                self.ops.attention(&query, &key, &key, 8, false).unwrap();
            },
        );
    }

    fn norms(&self, channels: usize, side: usize) {
        let image = self.image(channels, side);
        let norm = layer(&[channels], |weight| self.ops.group_norm(32, 1e-5, weight, weight).unwrap());
        self.time(&format!("group norm {channels}, {side}x{side}"), ROWS * channels * side * side, || {
            self.ops.apply_group_norm(&norm, &image, Activation::Silu).unwrap();
        });
        let tokens = self.tokens(channels, side * side);
        let norm = layer(&[channels], |weight| self.ops.layer_norm(1e-5, weight, weight).unwrap());
        self.time(&format!("layer norm {channels}, {}", side * side), ROWS * channels * side * side, || {
            self.ops.apply_layer_norm(&norm, &tokens).unwrap();
        });
    }

    fn image(&self, channels: usize, side: usize) -> <CpuOps as Ops>::Tensor {
        self.ops.image([ROWS, channels, side, side], &scattered(ROWS * channels * side * side, 2)).unwrap()
    }

    fn tokens(&self, width: usize, count: usize) -> <CpuOps as Ops>::Tensor {
        self.ops.tokens([ROWS, count, width], &scattered(ROWS * count * width, 2)).unwrap()
    }

    /// Prints the median time of `work`, which has so many multiply-adds.
    fn time(&self, name: &str, multiply_adds: usize, work: impl Fn()) {
        if !name.contains(&self.only) {
            return;
        }
        work();
        let once = || {
            let began = Instant::now();
            work();
            began.elapsed().as_secs_f64()
        };
        let mut times: Vec<f64> = (0..self.repeats).map(|_| once()).collect();
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        println!("{name:32} {:9.3} ms {:8.1} G/s", median * 1e3, multiply_adds as f64 / median / 1e9);
    }
}

/// A weight of that shape whose results are about one, as they are in a network.
fn layer<T>(shape: &[usize], build: impl FnOnce(&Weight<'_>) -> T) -> T {
    let scale = (shape[0] as f32 / shape.iter().product::<usize>() as f32).sqrt();
    let values = scattered(shape.iter().product(), 1);
    let bytes: Vec<u8> = values.iter().flat_map(|x| (x * scale).to_le_bytes()).collect();
    build(&weight(&bytes, shape))
}
