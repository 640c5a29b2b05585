// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The definitions against PyTorch 2.13, in double precision.
//!
//! Inputs are `sin(0.7 i + phase)` for the i-th value. Each expected number is the sum of a result's values
//! times `cos(0.3 i)`, by the function of `torch.nn.functional` named beside it.

use super::*;

fn wave(shape: &[usize], phase: f64) -> Array {
    let count: usize = shape.iter().product();
    Array::new(shape, (0..count).map(|i| (0.7 * i as f64 + phase).sin()).collect())
}

fn assert_sum(result: &Array, expected: f64) {
    let terms = result.values.iter().enumerate().map(|(i, value)| value * (0.3 * i as f64).cos());
    let sum: f64 = terms.sum();
    assert!((sum - expected).abs() < 1e-10, "{sum} instead of {expected}");
}

#[test]
fn convolutions_are_those_of_pytorch() {
    let (image, weight, bias) = (wave(&[2, 4, 5, 3], 0.0), wave(&[3, 4, 3, 3], 2.0), wave(&[3], 3.0));
    let cases = [
        (1, Padding::Around(1), -6.846629578491958),      // conv2d
        (2, Padding::Around(1), 10.950744204070576),      // conv2d
        (2, Padding::BelowAndRight, -12.080833306486602), // pad by (0, 1, 0, 1), conv2d
    ];
    for (stride, padding, expected) in cases {
        let spec = ConvSpec { input: 4, output: 3, kernel: 3, stride, padding };
        assert_sum(&conv(spec, &weight, Some(&bias), &image), expected);
    }
    assert_sum(&upsample(&image, 9, 6), 3.873348460948997); // interpolate, mode nearest
    assert_sum(&average_pool(&image), 0.19373267511506914); // avg_pool2d by 2, ceil_mode
}

#[test]
fn normalisations_are_those_of_pytorch() {
    let image = wave(&[2, 4, 5, 3], 0.0);
    assert_sum(&group_norm(2, 1e-5, &wave(&[4], 2.0), &wave(&[4], 3.0), &image), 5.176490850129101);
    let tokens = wave(&[2, 5, 6], 1.0);
    assert_sum(&layer_norm(1e-5, &wave(&[6], 2.0), &wave(&[6], 3.0), &tokens), 4.909880598584965);
}

#[test]
fn linear_layers_and_activations_are_those_of_pytorch() {
    let plain = linear(&wave(&[8, 6], 2.0), Some(&wave(&[8], 3.0)), &wave(&[2, 5, 6], 1.0));
    assert_sum(&plain, 0.8759933111790055);
    assert_sum(&plain.map(|value| activate(Activation::Silu, value)), -7.103250240083538);
    assert_sum(&plain.map(|value| activate(Activation::Gelu, value)), -7.263959687909887);
    assert_sum(&plain.map(|value| activate(Activation::LeakyRelu, value)), -5.730547874472881); // slope 0.2
    // x * sigmoid(1.702 x), as transformers writes it.
    assert_sum(&plain.map(|value| activate(Activation::QuickGelu, value)), -7.278286508543001);
    // First half times gelu of the second, as diffusers writes it.
    assert_sum(&geglu(&plain), 1.4177088408858847);
    let curve = [
        (-7.0, -8.958667141456544e-12),
        (-3.0, -0.00404969409489031),
        (0.5, 0.34573123063700656),
        (9.0, 9.0),
    ];
    for (x, expected) in curve {
        assert!((activate(Activation::Gelu, x) - expected).abs() < 1e-14, "gelu of {x}");
    }
}

#[test]
fn attention_is_that_of_pytorch() {
    // scaled_dot_product_attention with three heads.
    let query = wave(&[2, 5, 6], 1.0);
    let result = attention(&query, &wave(&[2, 7, 6], 2.0), &wave(&[2, 7, 6], 3.0), 3, false);
    assert_sum(&result, -0.55275810551458);
    let result = attention(&query, &wave(&[2, 5, 6], 2.0), &wave(&[2, 5, 6], 3.0), 3, true);
    assert_sum(&result, -2.5045735302709455);
}
