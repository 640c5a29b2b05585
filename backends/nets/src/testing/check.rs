// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The one test of the operations, which every implementation of [`Ops`] runs.

use alice_checkpoint::{Dtype, Tensor as Weight};
use alice_plugin::Result;

use super::{
    array::{Array, numbers},
    definitions as define,
};
use crate::ops::{Activation, ConvAdd, ConvSpec, Ops, Padding};

/// The largest difference from the definition, for values up to 1 absolute, above relative. Sums of some
/// hundred products of numbers up to 1 stay below it in f32, in whatever order they are added.
const TOLERANCE: f64 = 2e-5;

/// Holds every operation of `ops` against its definition, on small odd shapes, to an accuracy that f32 can
/// reach and half precision cannot.
///
/// # Panics
/// At the first result that is off or an error, with the operation's name and the case.
pub fn check_ops<O: Ops>(ops: &O) {
    let check = Check { ops };
    check.in_and_out();
    check.layouts();
    check.number_formats();
    check.convolutions();
    check.what_joins_a_convolution();
    check.enlarging_convolutions();
    check.pools();
    check.scaled_sums();
    check.group_norms();
    check.layer_norms();
    check.linear_layers();
    check.gated_layers();
    check.attention();
    check.causal_attention();
    check.embeddings();
}

struct Check<'a, O> {
    ops: &'a O,
}

impl<O: Ops> Check<'_, O> {
    fn in_and_out(&self) {
        let (image, tokens) = (numbers(&[2, 3, 4, 5], 1), numbers(&[2, 7, 3], 2));
        self.expect("image", Ok(self.upload(&image)), &image);
        self.expect("tokens", Ok(self.upload(&tokens)), &tokens);
        assert_eq!(self.ops.image_shape(&self.upload(&image)), [2, 3, 4, 5], "image_shape");
        let precise = self.ops.precise().image([2, 3, 4, 5], &image.to_f32());
        self.expect("adopt", precise.and_then(|precise| self.ops.adopt(&precise)), &image);
    }

    fn layouts(&self) {
        let (image, other) = (numbers(&[2, 3, 4, 5], 1), numbers(&[2, 2, 4, 5], 2));
        let (first, second) = (self.upload(&image), self.upload(&other));
        let joined = self.ops.concat_channels(&first, &second);
        self.expect("concat_channels", joined, &define::concat_channels(&image, &other));

        let tokens = define::image_to_tokens(&image);
        self.expect("image_to_tokens", self.ops.image_to_tokens(&first), &tokens);
        self.expect("tokens_to_image", self.ops.tokens_to_image(&self.upload(&tokens), 4, 5), &image);

        let (one, two) = (numbers(&[1, 3, 4, 5], 3), numbers(&[2, 7, 3], 4));
        let images = [&self.upload(&one), &first, &self.upload(&one)];
        self.expect("stack of images", self.ops.stack(&images), &define::stack(&[&one, &image, &one]));
        let tokens = self.upload(&two);
        self.expect("stack of tokens", self.ops.stack(&[&tokens, &tokens]), &define::stack(&[&two, &two]));
        self.expect("stack of one", self.ops.stack(&[&tokens]), &two);
        for activation in ACTIVATIONS {
            let sum = define::add(&two, &two).map(|value| define::activate(activation, value));
            self.expect(&format!("add, {activation:?}"), self.ops.add(&tokens, &tokens, activation), &sum);
        }
        let sum = self.ops.add(&first, &first, Activation::None);
        self.expect("add of images", sum, &define::add(&image, &image));
    }

    /// The numbers are the same in both formats, so the results are too.
    fn number_formats(&self) {
        let (weight, bias, tokens) = (numbers(&[5, 3], 1), numbers(&[5], 2), numbers(&[1, 2, 3], 3));
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            let linear = in_file(&[&weight, &bias], dtype, |file| self.ops.linear(&file[0], Some(&file[1])));
            let result = self.ops.apply_linear(&linear, &self.upload(&tokens), Activation::None, None);
            let expected = define::linear(&weight, Some(&bias), &tokens);
            self.expect(&format!("linear layer of {dtype:?}"), result, &expected);
        }
    }

    fn convolutions(&self) {
        let around = Padding::Around;
        let cases = [
            (3, 1, around(1), [2, 3, 5, 7], 5),
            (3, 1, around(1), [1, 3, 1, 1], 2),
            (3, 1, around(1), [3, 17, 9, 4], 33),
            (3, 2, around(1), [2, 3, 5, 7], 4),
            (3, 2, around(1), [1, 4, 6, 4], 4),
            (3, 2, around(1), [1, 2, 1, 2], 2),
            (3, 2, Padding::BelowAndRight, [2, 3, 6, 4], 4),
            (3, 2, Padding::BelowAndRight, [1, 3, 5, 7], 3),
            (1, 1, around(0), [2, 5, 3, 4], 7),
        ];
        for (kernel, stride, padding, shape, output) in cases {
            let spec = ConvSpec { input: shape[1], output, kernel, stride, padding };
            let image = numbers(&shape, 1);
            let (weight, bias) = (numbers(&[output, shape[1], kernel, kernel], 2), numbers(&[output], 3));
            for bias in [None, Some(&bias)] {
                let conv = self.conv(spec, &weight, bias);
                let result = self.ops.apply_conv(&conv, &self.upload(&image), ConvAdd::default());
                let expected = define::conv(spec, &weight, bias, &image);
                let case = format!("apply_conv of {shape:?} by {spec:?}, bias: {}", bias.is_some());
                self.expect(&case, result, &expected);
            }
        }
    }

    fn what_joins_a_convolution(&self) {
        let spec = ConvSpec { input: 3, output: 4, kernel: 3, stride: 1, padding: Padding::Around(1) };
        let (weight, bias) = (numbers(&[4, 3, 3, 3], 1), numbers(&[4], 2));
        let (image, residual) = (numbers(&[2, 3, 5, 3], 3), numbers(&[2, 4, 5, 3], 4));
        let per_channel = numbers(&[2, 1, 4], 5);
        let conv = self.conv(spec, &weight, Some(&bias));
        let alone = define::conv(spec, &weight, Some(&bias), &image);
        let with_channels = define::add_per_channel(&alone, &per_channel);
        let (image, uploaded) = (self.upload(&image), self.upload(&residual));
        let channels = self.upload(&per_channel);
        let apply = |per_channel, residual| {
            let activation = Activation::None;
            self.ops.apply_conv(&conv, &image, ConvAdd { per_channel, residual, activation })
        };

        self.expect("conv + per_channel", apply(Some(&channels), None), &with_channels);
        self.expect("conv + residual", apply(None, Some(&uploaded)), &define::add(&alone, &residual));
        let both = define::add(&with_channels, &residual);
        self.expect("conv + per_channel + residual", apply(Some(&channels), Some(&uploaded)), &both);
        for activation in ACTIVATIONS {
            let add = ConvAdd { per_channel: Some(&channels), residual: Some(&uploaded), activation };
            let activated = both.map(|value| define::activate(activation, value));
            let case = format!("conv + per_channel + residual, {activation:?}");
            self.expect(&case, self.ops.apply_conv(&conv, &image, add), &activated);
        }

        // A 1x1 convolution that the file keeps as a matrix.
        let spec = ConvSpec { kernel: 1, padding: Padding::Around(0), ..spec };
        let weight = numbers(&[4, 3], 6);
        let conv = self.conv(spec, &weight, Some(&bias));
        let kernel = Array::new(&[4, 3, 1, 1], weight.values);
        let plain = define::conv(spec, &kernel, Some(&bias), &numbers(&[2, 3, 5, 3], 3));
        let add = ConvAdd { residual: Some(&uploaded), ..ConvAdd::default() };
        let result = self.ops.apply_conv(&conv, &image, add);
        self.expect("1x1 conv from a matrix + residual", result, &define::add(&plain, &residual));
    }

    fn enlarging_convolutions(&self) {
        let spec = ConvSpec { input: 3, output: 4, kernel: 3, stride: 1, padding: Padding::Around(1) };
        let (weight, bias) = (numbers(&[4, 3, 3, 3], 1), numbers(&[4], 2));
        let conv = self.conv(spec, &weight, Some(&bias));
        for (height, width) in [(6, 8), (5, 7), (5, 8), (3, 4)] {
            let image = numbers(&[2, 3, 3, 4], 3);
            let plain = define::conv(spec, &weight, Some(&bias), &define::upsample(&image, height, width));
            for activation in ACTIVATIONS {
                let result = self.ops.upsample_conv(&conv, &self.upload(&image), height, width, activation);
                let expected = plain.map(|value| define::activate(activation, value));
                let case = format!("upsample_conv from 3x4 to {height}x{width}, {activation:?}");
                self.expect(&case, result, &expected);
            }
        }
    }

    fn pools(&self) {
        for shape in [[2, 3, 4, 6], [1, 2, 5, 4], [2, 1, 4, 7], [1, 3, 5, 1], [1, 1, 1, 1]] {
            let image = numbers(&shape, 1);
            let result = self.ops.average_pool(&self.upload(&image));
            self.expect(&format!("average_pool of {shape:?}"), result, &define::average_pool(&image));
        }
    }

    fn scaled_sums(&self) {
        let (first, second) = (numbers(&[3, 2, 3, 5], 1), numbers(&[3, 2, 3, 5], 2));
        let (one, other) = (self.upload(&first), self.upload(&second));
        for scales in [[0.2; 3], [-1.5, 0.0, 0.75]] {
            let expected = define::add_scaled(&first, &second, &scales);
            self.expect(
                &format!("add_scaled by {scales:?}"),
                self.ops.add_scaled(&one, &other, &scales),
                &expected,
            );
        }
        // What a row does not ask for may be anything.
        let endless = self.ops.image([3, 2, 3, 5], &[f32::INFINITY; 90]).expect("an image can be uploaded");
        self.expect("add_scaled by 0", self.ops.add_scaled(&one, &endless, &[0.0; 3]), &first);
    }

    fn group_norms(&self) {
        let (weight, bias) = (numbers(&[6], 1), numbers(&[6], 2));
        // An offset that is large against the spread: the mean of the squares minus the square of the mean
        // would have lost its digits.
        for (groups, offset, epsilon) in [(1, 0.0, 1e-5), (2, 0.0, 1e-2), (3, 30.0, 1e-6), (6, 0.0, 1e-6)] {
            let norm = in_file(&[&weight, &bias], Dtype::F32, |file| {
                self.ops.group_norm(groups, epsilon, &file[0], &file[1])
            });
            let image = numbers(&[2, 6, 5, 3], 3).map(|value| value + offset);
            let normed = define::group_norm(groups, f64::from(epsilon), &weight, &bias, &image);
            for activation in ACTIVATIONS {
                let result = self.ops.apply_group_norm(&norm, &self.upload(&image), activation);
                let expected = normed.map(|value| define::activate(activation, value));
                self.expect(&format!("group norm, {groups} groups, {activation:?}"), result, &expected);
            }
        }
    }

    fn layer_norms(&self) {
        let (weight, bias) = (numbers(&[37], 1), numbers(&[37], 2));
        for (offset, epsilon) in [(0.0, 1e-5), (30.0, 1e-5), (0.0, 1e-2)] {
            let norm = in_file(&[&weight, &bias], Dtype::F32, |file| {
                self.ops.layer_norm(epsilon, &file[0], &file[1])
            });
            let tokens = numbers(&[2, 5, 37], 3).map(|value| value + offset);
            let expected = define::layer_norm(f64::from(epsilon), &weight, &bias, &tokens);
            self.expect("layer norm", self.ops.apply_layer_norm(&norm, &self.upload(&tokens)), &expected);
        }
    }

    fn linear_layers(&self) {
        let (weight, bias) = (numbers(&[19, 37], 1), numbers(&[19], 2));
        // Wide enough for the two kinds of GELU to differ, and for the sigmoids to saturate.
        let tokens = numbers(&[3, 5, 37], 3).map(|value| 2.0 * value);
        let residual = numbers(&[3, 5, 19], 4);
        let (input, uploaded) = (self.upload(&tokens), self.upload(&residual));
        for (bias, kept) in
            [(None, vec![19, 37]), (Some(&bias), vec![19, 37]), (Some(&bias), vec![19, 37, 1, 1])]
        {
            let linear = self.linear(&Array::new(&kept, weight.values.clone()), bias);
            let plain = define::linear(&weight, bias, &tokens);
            for activation in ACTIVATIONS {
                let activated = plain.map(|value| define::activate(activation, value));
                let case = format!("linear layer from {kept:?}, {activation:?}");
                let result = self.ops.apply_linear(&linear, &input, activation, None);
                self.expect(&case, result, &activated);
                let result = self.ops.apply_linear(&linear, &input, activation, Some(&uploaded));
                self.expect(&format!("{case} + residual"), result, &define::add(&activated, &residual));
            }
        }
        let vector = numbers(&[3, 1, 37], 5);
        let linear = self.linear(&weight, Some(&bias));
        let result = self.ops.apply_linear(&linear, &self.upload(&vector), Activation::None, None);
        self.expect("linear layer on vectors", result, &define::linear(&weight, Some(&bias), &vector));
    }

    fn gated_layers(&self) {
        let (weight, bias) = (numbers(&[22, 7], 1), numbers(&[22], 2));
        let tokens = numbers(&[2, 5, 7], 3).map(|value| 2.0 * value);
        let gated = in_file(&[&weight, &bias], Dtype::F32, |file| self.ops.gated(&file[0], Some(&file[1])));
        let result = self.ops.apply_geglu(&gated, &self.upload(&tokens));
        self.expect("geglu", result, &define::geglu(&define::linear(&weight, Some(&bias), &tokens)));
    }

    fn attention(&self) {
        for (heads, keys, loudness) in [(1, 5, 1.0), (3, 5, 1.0), (2, 9, 1.0), (6, 1, 1.0), (2, 13, 40.0)] {
            // Loud scores overflow a softmax that does not subtract the largest first.
            let query = numbers(&[2, 5, 12], 1).map(|value| loudness * value);
            let (key, value) = (numbers(&[2, keys, 12], 2), numbers(&[2, keys, 12], 3));
            let expected = define::attention(&query, &key, &value, heads, false);
            let (query, key, value) = (self.upload(&query), self.upload(&key), self.upload(&value));
            let result = self.ops.attention(&query, &key, &value, heads, false);
            self.expect(
                &format!("attention, {heads} heads, 5 tokens to {keys}, x{loudness}"),
                result,
                &expected,
            );
        }
    }

    fn causal_attention(&self) {
        for heads in [1, 3] {
            let [query, key, value] = [1, 2, 3].map(|seed| numbers(&[2, 7, 12], seed));
            let expected = define::attention(&query, &key, &value, heads, true);
            let (query, key, value) = (self.upload(&query), self.upload(&key), self.upload(&value));
            let result = self.ops.attention(&query, &key, &value, heads, true);
            self.expect(&format!("causal attention, {heads} heads"), result, &expected);
        }
    }

    fn embeddings(&self) {
        let table = numbers(&[11, 5], 1);
        let embedding = in_file(&[&table], Dtype::F32, |file| self.ops.embedding(&file[0]));
        let ids = [3, 0, 10, 3];
        let expected = Array::build(&[1, 4, 5], |index| table.at(&[ids[index[1]] as usize, index[2]]));
        self.expect("embed", self.ops.embed(&embedding, &ids), &expected);
    }

    /// The array on the device: an image or tokens, by its number of sizes.
    fn upload(&self, array: &Array) -> O::Tensor {
        let values = array.to_f32();
        let tensor = match array.shape[..] {
            [rows, tokens, width] => self.ops.tokens([rows, tokens, width], &values),
            _ => self.ops.image(define::sizes(array), &values),
        };
        tensor.expect("an array can be uploaded")
    }

    fn conv(&self, spec: ConvSpec, weight: &Array, bias: Option<&Array>) -> O::Conv {
        let weights: Vec<&Array> = [weight].into_iter().chain(bias).collect();
        in_file(&weights, Dtype::F32, |file| self.ops.conv(spec, &file[0], file.get(1)))
    }

    fn linear(&self, weight: &Array, bias: Option<&Array>) -> O::Linear {
        let weights: Vec<&Array> = [weight].into_iter().chain(bias).collect();
        in_file(&weights, Dtype::F32, |file| self.ops.linear(&file[0], file.get(1)))
    }

    fn expect(&self, case: &str, result: Result<O::Tensor>, expected: &Array) {
        let tensor = result.unwrap_or_else(|error| panic!("{case}: {error}"));
        if expected.shape.len() == 4 {
            assert_eq!(self.ops.image_shape(&tensor)[..], expected.shape, "{case}: shape");
        }
        let mut found = vec![f32::NAN; expected.values.len()];
        self.ops.download(&tensor, &mut found).unwrap_or_else(|error| panic!("{case}: download: {error}"));
        for (place, (found, expected)) in found.iter().zip(&expected.values).enumerate() {
            let difference = (f64::from(*found) - expected).abs();
            let allowed = TOLERANCE * expected.abs().max(1.0);
            // Written so that a value that is no number fails.
            assert!(difference <= allowed, "{case}: value {place} is {found}, expected {expected}");
        }
    }
}

const ACTIVATIONS: [Activation; 6] = [
    Activation::None,
    Activation::Silu,
    Activation::QuickGelu,
    Activation::Gelu,
    Activation::Relu,
    Activation::LeakyRelu,
];

/// What `build` makes of `arrays` as they would come out of a file of `dtype`.
fn in_file<T>(arrays: &[&Array], dtype: Dtype, build: impl Fn(&[Weight<'_>]) -> Result<T>) -> T {
    let bytes: Vec<Vec<u8>> = arrays.iter().map(|array| file_bytes(array, dtype)).collect();
    let mut weights = Vec::new();
    for (array, bytes) in arrays.iter().zip(&bytes) {
        let (name, shape) = ("weight".to_owned(), array.shape.clone());
        weights.push(Weight { name, dtype, shape, bytes: bytes[1..].into() });
    }
    build(&weights).expect("a layer can be built")
}

/// A weight's values as a file has them, after one byte of something else: nothing promises alignment.
fn file_bytes(array: &Array, dtype: Dtype) -> Vec<u8> {
    let mut bytes = vec![0];
    for value in array.to_f32() {
        match dtype {
            Dtype::F16 => bytes.extend(f16_bits(value).to_le_bytes()),
            // The upper half of an f32 is a bf16.
            Dtype::BF16 => bytes.extend(&value.to_le_bytes()[2..]),
            _ => bytes.extend(value.to_le_bytes()),
        }
    }
    bytes
}

/// The half-precision number of the same value, for 0 and for values that are exact and not tiny.
fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let (sign, exponent, fraction) = (bits >> 31, (bits >> 23) & 0xFF, bits & 0x7F_FFFF);
    let magnitude = if exponent == 0 { 0 } else { ((exponent + 15 - 127) << 10) | (fraction >> 13) };
    (sign << 15 | magnitude) as u16
}
