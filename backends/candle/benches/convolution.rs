// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! This crate's convolution beside candle's own, on the layers of Stable Diffusion 1.5 and of a small model.
//!
//! `cargo bench -p alice-candle` prints, for each layer, the best of some runs of both and their ratio; only
//! the ratios travel from one machine to another.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its table and may stop anywhere"
)]

use std::{hint::black_box, sync::Arc, time::Instant};

use alice_candle::CandleOps;
use alice_checkpoint::{Dtype, Tensor as Weight};
use alice_nets::{ConvAdd, ConvSpec, Ops, Padding};
use candle_core::{Device, Tensor};
use rayon::ThreadPoolBuilder;

/// Channels in, channels out, side of the image.
const LAYERS: [(usize, usize, usize); 9] = [
    (320, 320, 64),
    (960, 320, 64),
    (640, 640, 32),
    (1280, 1280, 16),
    (2560, 1280, 8),
    (64, 64, 16),
    (128, 128, 8),
    (512, 512, 64),
    (128, 128, 256),
];

fn main() {
    let threads = candle_core::utils::get_num_threads();
    let pool = Arc::new(ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
    let ops = CandleOps::cpu(Arc::clone(&pool));
    println!("{threads} threads, 2 rows, 3x3 kernels\nlayer                   candle       here  ratio");
    for (input, output, side) in LAYERS {
        let weight = Tensor::randn(0_f32, 0.05, (output, input, 3, 3), &Device::Cpu).unwrap();
        let image = Tensor::randn(0_f32, 1.0, (2, input, side, side), &Device::Cpu).unwrap();
        let spec = ConvSpec { input, output, kernel: 3, stride: 1, padding: Padding::Around(1) };
        let bytes: Vec<u8> = weight
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap()
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let file = Weight {
            name: "w".into(),
            dtype: Dtype::F32,
            shape: vec![output, input, 3, 3],
            bytes: (&bytes[..]).into(),
        };
        let conv = ops.conv(spec, &file, None).unwrap();
        let (mut theirs, mut ours) = (f64::INFINITY, f64::INFINITY);
        // In turns, so that a change of the machine's load meets both.
        for _ in 0..5 {
            theirs = theirs.min(seconds(|| pool.install(|| image.conv2d(&weight, 1, 1, 1, 1)).unwrap()));
            ours = ours.min(seconds(|| ops.apply_conv(&conv, &image, ConvAdd::default()).unwrap()));
        }
        let layer = format!("{input} -> {output}, {side}x{side}");
        println!("{layer:20} {:7.2} ms {:7.2} ms {:6.2}", theirs * 1e3, ours * 1e3, theirs / ours);
    }
}

fn seconds<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_secs_f64()
}
