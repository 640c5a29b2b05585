// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What each operation of [`Ops`](crate::Ops) means, as the sum that defines it.

use super::array::Array;
use crate::ops::{Activation, ConvSpec, Padding};

/// What `activation` makes of `x`.
pub(super) fn activate(activation: Activation, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::None => x,
        Activation::Silu => x * sigmoid(x),
        Activation::QuickGelu => x * sigmoid(1.702 * x),
        Activation::Gelu => x * 0.5 * (1.0 + error_function(x / 2f64.sqrt())),
        Activation::Relu => x.max(0.0),
        Activation::LeakyRelu => x.max(0.2 * x),
    }
}

/// The error function, by the series of positive terms of Abramowitz and Stegun 7.1.6.
fn error_function(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > 1e-17 {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}

/// Convolution. `weight` is `[output, input, kernel, kernel]`.
pub(super) fn conv(spec: ConvSpec, weight: &Array, bias: Option<&Array>, image: &Array) -> Array {
    let [rows, _, height, width] = sizes(image);
    let (before, after) = match spec.padding {
        Padding::Around(zeros) => (zeros, zeros),
        Padding::BelowAndRight => (0, 1),
    };
    let steps = |side| (side + before + after - spec.kernel) / spec.stride + 1;
    Array::build(&[rows, spec.output, steps(height), steps(width)], |index| {
        let &[row, output, y, x] = index else { unreachable!("the shape has four sizes") };
        let mut sum = bias.map_or(0.0, |bias| bias.at(&[output]));
        for input in 0..spec.input {
            for ky in 0..spec.kernel {
                for kx in 0..spec.kernel {
                    let (y, x) = (y * spec.stride + ky, x * spec.stride + kx);
                    let inside =
                        (before..before + height).contains(&y) && (before..before + width).contains(&x);
                    if inside {
                        let pixel = image.at(&[row, input, y - before, x - before]);
                        sum += weight.at(&[output, input, ky, kx]) * pixel;
                    }
                }
            }
        }
        sum
    })
}

/// Enlargement by nearest neighbour.
pub(super) fn upsample(image: &Array, height: usize, width: usize) -> Array {
    let [rows, channels, old_height, old_width] = sizes(image);
    Array::build(&[rows, channels, height, width], |index| {
        image.at(&[index[0], index[1], index[2] * old_height / height, index[3] * old_width / width])
    })
}

/// Both sides halved by means; odd ones count what is there.
pub(super) fn average_pool(image: &Array) -> Array {
    let [rows, channels, height, width] = sizes(image);
    Array::build(&[rows, channels, height.div_ceil(2), width.div_ceil(2)], |index| {
        let (down, right) =
            (2 * index[2]..(2 * index[2] + 2).min(height), 2 * index[3]..(2 * index[3] + 2).min(width));
        let count = down.len() * right.len();
        let pixels = down.flat_map(|y| right.clone().map(move |x| (y, x)));
        pixels.map(|(y, x)| image.at(&[index[0], index[1], y, x])).sum::<f64>() / count as f64
    })
}

/// Group normalisation of an image.
pub(super) fn group_norm(groups: usize, epsilon: f64, weight: &Array, bias: &Array, image: &Array) -> Array {
    let [rows, channels, height, width] = sizes(image);
    let run = channels / groups * height * width;
    let normed = image.values.chunks(run).flat_map(|group| normalise(group, epsilon)).collect();
    let normed = Array::new(&[rows, channels, height, width], normed);
    Array::build(&image.shape, |index| normed.at(index) * weight.at(&[index[1]]) + bias.at(&[index[1]]))
}

/// Layer normalisation of tokens.
pub(super) fn layer_norm(epsilon: f64, weight: &Array, bias: &Array, tokens: &Array) -> Array {
    let normed = tokens.values.chunks(tokens.shape[2]).flat_map(|token| normalise(token, epsilon)).collect();
    let normed = Array::new(&tokens.shape, normed);
    Array::build(&tokens.shape, |index| normed.at(index) * weight.at(&[index[2]]) + bias.at(&[index[2]]))
}

/// `values` with mean 0 and variance 1.
fn normalise(values: &[f64], epsilon: f64) -> Vec<f64> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    values.iter().map(|value| (value - mean) / (variance + epsilon).sqrt()).collect()
}

/// A linear layer on tokens. `weight` is `[output, input]`.
pub(super) fn linear(weight: &Array, bias: Option<&Array>, tokens: &Array) -> Array {
    let (output, input) = (weight.shape[0], weight.shape[1]);
    Array::build(&[tokens.shape[0], tokens.shape[1], output], |index| {
        let bias = bias.map_or(0.0, |bias| bias.at(&[index[2]]));
        let product = |i| weight.at(&[index[2], i]) * tokens.at(&[index[0], index[1], i]);
        bias + (0..input).map(product).sum::<f64>()
    })
}

/// The first half of each token times the activated second half.
pub(super) fn geglu(tokens: &Array) -> Array {
    let half = tokens.shape[2] / 2;
    Array::build(&[tokens.shape[0], tokens.shape[1], half], |index| {
        let gate = tokens.at(&[index[0], index[1], half + index[2]]);
        tokens.at(index) * activate(Activation::Gelu, gate)
    })
}

/// Attention of several heads.
pub(super) fn attention(query: &Array, key: &Array, value: &Array, heads: usize, causal: bool) -> Array {
    let head_width = query.shape[2] / heads;
    Array::build(&query.shape, |index| {
        let &[row, token, channel] = index else { unreachable!("tokens have three sizes") };
        let head = channel / head_width * head_width;
        let score = |other| {
            let product = |i| query.at(&[row, token, head + i]) * key.at(&[row, other, head + i]);
            (0..head_width).map(product).sum::<f64>() / (head_width as f64).sqrt()
        };
        let seen = if causal { token + 1 } else { key.shape[1] };
        let scores: Vec<f64> = (0..seen).map(score).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let shares: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
        let found = shares.iter().enumerate().map(|(other, share)| share * value.at(&[row, other, channel]));
        found.sum::<f64>() / shares.iter().sum::<f64>()
    })
}

/// An image's pixels as tokens.
pub(super) fn image_to_tokens(image: &Array) -> Array {
    let [rows, channels, height, width] = sizes(image);
    Array::build(&[rows, height * width, channels], |index| {
        image.at(&[index[0], index[2], index[1] / width, index[1] % width])
    })
}

/// Tokens as an image's pixels.
pub(super) fn tokens_to_image(tokens: &Array, height: usize, width: usize) -> Array {
    Array::build(&[tokens.shape[0], tokens.shape[2], height, width], |index| {
        tokens.at(&[index[0], index[2] * width + index[3], index[1]])
    })
}

/// Two images as one with the channels of both.
pub(super) fn concat_channels(first: &Array, second: &Array) -> Array {
    let [rows, channels, height, width] = sizes(first);
    Array::build(&[rows, channels + second.shape[1], height, width], |index| {
        match index[1].checked_sub(channels) {
            None => first.at(index),
            Some(channel) => second.at(&[index[0], channel, index[2], index[3]]),
        }
    })
}

/// Arrays joined along the first axis.
pub(super) fn stack(arrays: &[&Array]) -> Array {
    let mut shape = arrays[0].shape.clone();
    shape[0] = arrays.iter().map(|array| array.shape[0]).sum();
    Array::new(&shape, arrays.iter().flat_map(|array| array.values.iter().copied()).collect())
}

/// The sum of two arrays of one shape.
pub(super) fn add(first: &Array, second: &Array) -> Array {
    assert_eq!(first.shape, second.shape);
    Array::build(&first.shape, |index| first.at(index) + second.at(index))
}

/// The first array and each row's scale times the second.
pub(super) fn add_scaled(first: &Array, second: &Array, scales: &[f32]) -> Array {
    assert_eq!(first.shape, second.shape);
    Array::build(&first.shape, |index| match scales[index[0]] {
        0.0 => first.at(index),
        scale => first.at(index) + f64::from(scale) * second.at(index),
    })
}

/// One value per row and channel, `[rows, 1, channels]`, added to an image.
pub(super) fn add_per_channel(image: &Array, values: &Array) -> Array {
    Array::build(&image.shape, |index| image.at(index) + values.at(&[index[0], 0, index[1]]))
}

/// The four sizes of an image.
pub(super) fn sizes(image: &Array) -> [usize; 4] {
    image.shape[..].try_into().expect("an image has four sizes")
}

#[cfg(test)]
mod tests;
