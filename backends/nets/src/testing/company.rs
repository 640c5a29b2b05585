// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What must not change a byte: the rows beside a row, and the number of threads.

use alice_checkpoint::{Dtype, Tensor as Weight};

use crate::ops::{Activation, ConvAdd, ConvSpec, Ops, Padding};

/// The sizes of the images and tokens of one check.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Channels of the images and width of the tokens; a multiple of `heads`.
    pub channels: usize,
    /// Height of the images in pixels; with the width the number of tokens.
    pub height: usize,
    /// Width of the images in pixels.
    pub width: usize,
    /// Heads of the attention, and groups of the normalisation.
    pub heads: usize,
}

/// Holds the bytes of a row in company of 1 and 4 others against those of the row alone, for every operation whose
/// sums could be added in another order.
///
/// # Panics
/// When they differ, or an operation fails.
pub fn check_company<O: Ops>(ops: &O, sizes: &[Size]) {
    for size in sizes {
        let alone = first_rows(ops, 1, *size);
        for rows in [2, 5] {
            assert!(first_rows(ops, rows, *size) == alone, "{rows} rows, {size:?}");
        }
    }
}

/// Holds the bytes of the same operations on `many` threads against those on one.
///
/// # Panics
/// As [`check_company`].
pub fn check_threads<O: Ops>(one: &O, many: &O, sizes: &[Size]) {
    for size in sizes {
        assert!(first_rows(one, 2, *size) == first_rows(many, 2, *size), "{size:?}");
    }
}

/// The bits of the first of `rows` rows of each result.
fn first_rows<O: Ops>(ops: &O, rows: usize, size: Size) -> Vec<Vec<u32>> {
    let first =
        |values: Vec<f32>| values[..values.len() / rows].iter().map(|value| value.to_bits()).collect();
    results(ops, rows, size).into_iter().map(first).collect()
}

/// Tokens of another sequence, as many as a prompt has.
const OTHERS: usize = 77;

/// The values of every operation whose sums could be added in another order, on `rows` rows of which each has numbers
/// of its own, the same whatever the number of rows.
///
/// # Panics
/// When an operation fails.
pub fn results<O: Ops>(ops: &O, rows: usize, size: Size) -> Vec<Vec<f32>> {
    let Size { channels, height, width, heads } = size;
    let pixels = height * width;
    let of_rows = |count| (1..).take(rows).flat_map(|row| scattered(count, row)).collect::<Vec<_>>();
    let image = made(ops.image([rows, channels, height, width], &of_rows(channels * pixels)));
    let words = made(ops.tokens([rows, pixels, channels], &of_rows(channels * pixels)));
    let others = made(ops.tokens([rows, OTHERS, channels], &of_rows(channels * OTHERS)));
    let vector = made(ops.tokens([rows, 1, channels], &of_rows(channels)));
    let time = made(ops.precise().tokens([rows, 1, channels], &of_rows(channels)));

    let conv = |kernel, stride, padding| {
        let spec = ConvSpec { input: channels, output: channels, kernel, stride, padding };
        let values = bytes(channels * channels * kernel * kernel, 7);
        made(ops.conv(spec, &weight(&values, &[channels, channels, kernel, kernel]), None))
    };
    let matrix = bytes(2 * channels * channels, 8);
    let matrix = weight(&matrix, &[2 * channels, channels]);
    let (linear, gated) = (made(ops.linear(&matrix, None)), made(ops.gated(&matrix, None)));
    let scale = bytes(channels, 9);
    let scale = weight(&scale, &[channels]);
    let group_norm = made(ops.group_norm(heads, 1e-5, &scale, &scale));
    let layer_norm = made(ops.layer_norm(1e-5, &scale, &scale));

    let three = conv(3, 1, Padding::Around(1));
    let add = ConvAdd { per_channel: Some(&time), residual: Some(&image), activation: Activation::Silu };
    let halved = height.div_ceil(2) * width.div_ceil(2);
    [
        (ops.apply_conv(&three, &image, add), pixels * channels),
        (ops.apply_conv(&conv(3, 2, Padding::Around(1)), &image, ConvAdd::default()), halved * channels),
        (ops.apply_conv(&conv(1, 1, Padding::Around(0)), &image, ConvAdd::default()), pixels * channels),
        (
            ops.upsample_conv(&three, &image, 2 * height, 2 * width, Activation::LeakyRelu),
            4 * pixels * channels,
        ),
        (ops.apply_linear(&linear, &words, Activation::Silu, None), 2 * pixels * channels),
        (ops.apply_linear(&linear, &vector, Activation::Silu, None), 2 * channels),
        (ops.apply_geglu(&gated, &words), pixels * channels),
        (ops.attention(&words, &words, &words, heads, false), pixels * channels),
        (ops.attention(&words, &words, &words, heads, true), pixels * channels),
        (ops.attention(&words, &others, &others, heads, false), pixels * channels),
        (ops.attention(&vector, &words, &words, heads, false), channels),
        (ops.attention(&words, &vector, &vector, heads, false), pixels * channels),
        (ops.apply_group_norm(&group_norm, &image, Activation::Silu), pixels * channels),
        (ops.apply_layer_norm(&layer_norm, &words), pixels * channels),
        (ops.average_pool(&image), halved * channels),
        (ops.add_scaled(&image, &image, &vec![0.3; rows]), pixels * channels),
    ]
    .map(|(tensor, count)| {
        let mut values = vec![0.0; rows * count];
        made(ops.download(&made(tensor), &mut values));
        values
    })
    .into()
}

fn made<T>(result: alice_plugin::Result<T>) -> T {
    result.expect("operations on small shapes do not fail")
}

/// `count` numbers in -1..1 without a pattern, different for each seed.
pub fn scattered(count: usize, seed: u32) -> Vec<f32> {
    let scramble = |place: u32| {
        let x = (place ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
        let x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
        (x ^ (x >> 16)) as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    (0..).take(count).map(scramble).collect()
}

/// The bytes of so many scattered numbers.
pub fn bytes(count: usize, seed: u32) -> Vec<u8> {
    scattered(count, seed).iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A weight in f32 of that shape, made of its bytes.
pub fn weight<'a>(bytes: &'a [u8], shape: &[usize]) -> Weight<'a> {
    Weight { name: "weight".into(), dtype: Dtype::F32, shape: shape.to_vec(), bytes: bytes.into() }
}
