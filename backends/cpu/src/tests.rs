// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The operations against their definitions with every instruction set that this processor has, and what must not
//! change their bytes.

use std::sync::Arc;

use alice_checkpoint::{Dtype, Tensor as Weight};
use alice_nets::{Activation, ConvAdd, ConvSpec, Ops, Padding, testing::check_ops};
use alice_plugin::{Backend, ErrorKind};
use serde_json::json;

use crate::{CpuOps, Format, Isa, Threads, cpu_backend, tensor::Tensor};

fn ops(isa: Isa, format: Format, threads: usize) -> CpuOps {
    CpuOps::new(isa, format, Arc::new(Threads::new(threads).unwrap()))
}

/// Every instruction set with every format that it multiplies.
fn ways() -> impl Iterator<Item = (Isa, Format)> {
    let formats =
        |isa: Isa| [Some(Format::F32), isa.has_bf16().then_some(Format::Bf16)].into_iter().flatten();
    Isa::available().flat_map(move |isa| formats(isa).map(move |format| (isa, format)))
}

/// Numbers in -1..1 without a pattern, different for each seed.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let scramble = |i: u32| {
        let x = (i ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
        let x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
        (x ^ (x >> 16)) as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    (0..count as u32).map(scramble).collect()
}

/// A weight of that shape, given to `build`.
fn weight<T>(shape: &[usize], seed: u32, build: impl FnOnce(&Weight<'_>) -> T) -> T {
    let values = numbers(shape.iter().product(), seed);
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    build(&Weight { name: "w".into(), dtype: Dtype::F32, shape: shape.to_vec(), bytes: (&bytes[..]).into() })
}

#[derive(Clone, Copy)]
struct Size {
    channels: usize,
    height: usize,
    width: usize,
    heads: usize,
}

/// From a single pixel to several blocks of rows, panels, slabs, queries and keys.
const SIZES: [Size; 5] = [
    Size { channels: 32, height: 1, width: 2, heads: 4 },
    Size { channels: 64, height: 8, width: 8, heads: 4 },
    Size { channels: 40, height: 9, width: 7, heads: 8 },
    Size { channels: 416, height: 17, width: 16, heads: 4 },
    Size { channels: 24, height: 25, width: 40, heads: 2 },
];

/// Every operation whose sums could be added in another order, on `rows` rows. Returns the values of each result.
fn results(ops: &CpuOps, rows: usize, size: Size) -> Vec<Vec<f32>> {
    let Size { channels, height, width, heads } = size;
    let tokens = height * width;
    let image_values: Vec<f32> =
        (0..rows as u32).flat_map(|row| numbers(channels * tokens, row + 1)).collect();
    let image = ops.image([rows, channels, height, width], &image_values).unwrap();
    let words = ops.tokens([rows, tokens, channels], &image_values).unwrap();
    let vector_values: Vec<f32> = (0..rows as u32).flat_map(|row| numbers(channels, row + 1)).collect();
    let vector = ops.tokens([rows, 1, channels], &vector_values).unwrap();

    let spec =
        |kernel, stride, padding| ConvSpec { input: channels, output: channels, kernel, stride, padding };
    let conv = |spec: ConvSpec| {
        let shape = [channels, channels, spec.kernel, spec.kernel];
        weight(&shape, 7, |w| ops.conv(spec, w, None)).unwrap()
    };
    let linear = weight(&[2 * channels, channels], 8, |w| ops.linear(w, None)).unwrap();
    let gated = weight(&[2 * channels, channels], 8, |w| ops.gated(w, None)).unwrap();
    let group_norm = weight(&[channels], 9, |w| ops.group_norm(heads, 1e-5, w, w)).unwrap();
    let layer_norm = weight(&[channels], 9, |w| ops.layer_norm(1e-5, w, w)).unwrap();

    let three = conv(spec(3, 1, Padding::Around(1)));
    let add = ConvAdd { per_channel: Some(&vector), residual: Some(&image), activation: Activation::Silu };
    let results = [
        ops.apply_conv(&three, &image, add),
        ops.apply_conv(&conv(spec(3, 2, Padding::Around(1))), &image, ConvAdd::default()),
        ops.apply_conv(&conv(spec(1, 1, Padding::Around(0))), &image, ConvAdd::default()),
        ops.upsample_conv(&three, &image, 2 * height, 2 * width, Activation::LeakyRelu),
        ops.apply_linear(&linear, &words, Activation::Silu, None),
        ops.apply_linear(&linear, &vector, Activation::Silu, None),
        ops.apply_geglu(&gated, &words),
        ops.attention(&words, &words, &words, heads, false),
        ops.attention(&words, &words, &words, heads, true),
        ops.apply_group_norm(&group_norm, &image, Activation::Silu),
        ops.apply_layer_norm(&layer_norm, &words),
        ops.average_pool(&image),
        ops.add_scaled(&image, &image, &vec![0.3; rows]),
    ];
    let values = |tensor: Tensor| {
        let mut values = vec![0.0; tensor.shape.count()];
        ops.download(&tensor, &mut values).unwrap();
        values
    };
    results.into_iter().map(|result| values(result.unwrap())).collect()
}

/// The bits of the first of `rows` rows of each result.
fn first_rows(ops: &CpuOps, rows: usize, size: Size) -> Vec<Vec<u32>> {
    let first =
        |values: Vec<f32>| values[..values.len() / rows].iter().map(|value| value.to_bits()).collect();
    results(ops, rows, size).into_iter().map(first).collect()
}

#[test]
fn the_operations_do_what_their_definitions_say() {
    for isa in Isa::available() {
        for threads in [1, 3] {
            check_ops(&ops(isa, Format::F32, threads));
        }
    }
}

#[test]
fn all_instruction_sets_agree_on_larger_shapes() {
    for size in SIZES {
        let expected = results(&ops(Isa::Portable, Format::F32, 2), 2, size);
        for (isa, format) in ways() {
            let found = results(&ops(isa, format, 2), 2, size);
            for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let deviation = |pick: fn(f32, f32) -> f32| {
                    let squares = found.iter().zip(expected).map(|(a, b)| f64::from(pick(*a, *b)).powi(2));
                    (squares.sum::<f64>() / found.len() as f64).sqrt()
                };
                let (error, scale) = (deviation(|found, expected| found - expected), deviation(|_, b| b));
                // Every factor of bf16 has 8 bits.
                let allowed = if format == Format::F32 { 2e-6 } else { 2e-2 };
                let channels = size.channels;
                assert!(
                    error <= allowed * scale,
                    "{isa}, {format:?}, {channels} channels: result {place} is {error:e} of {scale} away"
                );
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bytes_alone_and_in_company() {
    for (isa, format) in ways() {
        let ops = ops(isa, format, 2);
        for size in SIZES {
            let alone = first_rows(&ops, 1, size);
            for rows in [2, 3] {
                assert!(
                    first_rows(&ops, rows, size) == alone,
                    "{isa}, {format:?}, {} channels",
                    size.channels
                );
            }
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_byte() {
    for (isa, format) in ways() {
        for size in SIZES {
            let alone = first_rows(&ops(isa, format, 1), 2, size);
            assert!(first_rows(&ops(isa, format, 3), 2, size) == alone, "{isa}, {} channels", size.channels);
        }
    }
}

#[test]
fn a_head_that_is_too_wide_is_refused() {
    let ops = ops(Isa::Portable, Format::F32, 1);
    let words = ops.tokens([1, 2, 520], &numbers(1040, 1)).unwrap();
    let error = ops.attention(&words, &words, &words, 1, false).unwrap_err();
    assert!(error.kind == ErrorKind::Unsupported && error.message.contains("520"), "{error}");
    assert!(ops.attention(&words, &words, &words, 2, false).is_ok());
}

#[test]
fn a_weight_that_is_no_real_number_is_a_bad_model() {
    let bytes = [0; 32];
    let weight =
        Weight { name: "w".into(), dtype: Dtype::I64, shape: vec![2, 2], bytes: (&bytes[..]).into() };
    let error = ops(Isa::Portable, Format::F32, 1).linear(&weight, None).err().unwrap();
    assert_eq!(error.kind, ErrorKind::BadModel);
    assert!(error.message.contains("\"w\"") && error.message.contains("I64"), "{error}");
}

#[test]
fn the_backend_describes_this_machine_and_takes_its_number_of_threads() {
    for options in [json!(null), json!({}), json!({"threads": 1}), json!({"threads": null, "other": 7})] {
        let description = cpu_backend(&options).unwrap().describe().unwrap();
        assert_eq!((description.name.as_str(), description.score > 0), ("cpu", true));
        assert_eq!(description.dtypes[0], "f32");
        assert!(description.families.contains(&"sd1".to_owned()));
        let device = &description.devices[0];
        assert!(device.kind == "cpu" && !device.name.is_empty());
        assert!(!cfg!(target_os = "linux") || device.memory_total > device.memory_free, "{device:?}");
    }
    for options in [json!({"threads": 0}), json!({"threads": "two"}), json!({"threads": -1})] {
        let error = cpu_backend(&options).err().unwrap();
        assert_eq!(error.kind, ErrorKind::Invalid, "{options}: {error}");
    }
}
