// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Convolutions of 3 x 3 in f32, of which most are computed in tiles, against the definition in f64.

use alice_nets::{
    Activation, ConvSpec, Ops, Padding,
    testing::{bytes, scattered, weight},
};

use super::ops;
use crate::{Format, Isa, kernels::winograd::Tiles};

/// Channels and sizes: of the image, and of what it is enlarged to.
struct Case {
    input: usize,
    output: usize,
    image: [usize; 2],
    seen: [usize; 2],
}

/// Whole and cut tiles, one task and several, slabs of channels that are not full, panels that are not full.
const CASES: [Case; 6] = [
    Case { input: 64, output: 64, image: [8, 8], seen: [8, 8] },
    Case { input: 16, output: 7, image: [11, 9], seen: [11, 9] },
    Case { input: 80, output: 72, image: [30, 33], seen: [30, 33] },
    Case { input: 320, output: 36, image: [16, 17], seen: [16, 17] },
    Case { input: 48, output: 130, image: [7, 10], seen: [14, 20] },
    Case { input: 1600, output: 20, image: [5, 6], seen: [9, 11] },
];

const ROWS: usize = 2;

/// A convolution with bias of the image `[rows, input, height, width]` that is first enlarged, by its definition: in
/// f64, and with one sum in f32 after the other.
fn by_definition(case: &Case, image: &[f32], weights: &[f32], bias: &[f32]) -> (Vec<f64>, Vec<f32>) {
    let ([height, width], [tall, wide]) = (case.image, case.seen);
    let value = |place: usize| {
        let (row, channel) = (place / (case.output * tall * wide), place / (tall * wide) % case.output);
        let (y, x) = (place / wide % tall, place % wide);
        let (mut sum, mut single) = (f64::from(bias[channel]), 0.0_f32);
        for tap in 0..9 {
            let (Some(y), Some(x)) = ((y + tap / 3).checked_sub(1), (x + tap % 3).checked_sub(1)) else {
                continue;
            };
            if y >= tall || x >= wide {
                continue;
            }
            let pixel = y * height / tall * width + x * width / wide;
            for depth in 0..case.input {
                let value = image[(row * case.input + depth) * height * width + pixel];
                let weight = weights[(channel * case.input + depth) * 9 + tap];
                sum += f64::from(value) * f64::from(weight);
                single = value.mul_add(weight, single);
            }
        }
        (sum, single + bias[channel])
    };
    (0..ROWS * case.output * tall * wide).map(value).unzip()
}

/// How far `found` is from `expected`, as the root of the mean square of both.
fn distance(found: &[f32], expected: &[f64]) -> f64 {
    let errors = found.iter().zip(expected).map(|(found, expected)| (f64::from(*found) - expected).powi(2));
    (errors.sum::<f64>() / expected.iter().map(|value| value.powi(2)).sum::<f64>()).sqrt()
}

#[test]
fn a_convolution_in_tiles_is_nearly_as_exact_as_the_direct_one() {
    for case in &CASES {
        let Case { input, output, image, seen } = *case;
        let spec = ConvSpec { input, output, kernel: 3, stride: 1, padding: Padding::Around(1) };
        assert!(
            Tiles::of(spec, image, seen).is_some(),
            "{input} channels of {image:?} are computed in tiles"
        );
        // Behind SiLU most values are small, and a few are large.
        let values = scattered(ROWS * input * image[0] * image[1], 3);
        let values: Vec<f32> = values.iter().map(|x| 3.0 * x / (1.0 + (-3.0 * x).exp())).collect();
        let (expected, single) =
            by_definition(case, &values, &scattered(output * input * 9, 7), &scattered(output, 8));
        let (weights, bias) = (bytes(output * input * 9, 7), bytes(output, 8));
        let allowed = 2.5 * distance(&single, &expected);
        for isa in Isa::available() {
            let ops = ops(isa, Format::F32, 2);
            let conv =
                ops.conv(spec, &weight(&weights, &[output, input, 3, 3]), Some(&weight(&bias, &[output])));
            let tensor = ops.image([ROWS, input, image[0], image[1]], &values).unwrap();
            let found = ops.upsample_conv(&conv.unwrap(), &tensor, seen[0], seen[1], Activation::None);
            let mut out = vec![0.0; expected.len()];
            ops.download(&found.unwrap(), &mut out).unwrap();
            let error = distance(&out, &expected);
            assert!(
                error < allowed,
                "{isa}, {input} channels of {image:?}: {error:e} from the definition, {allowed:e} are allowed"
            );
        }
    }
}
