// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The operations against their definitions with every instruction set that this processor has, and what must not
//! change their bytes.

use std::sync::Arc;

use alice_checkpoint::{Dtype, Tensor as Weight};
use alice_nets::{
    Ops,
    testing::{Size, check_company, check_ops, check_threads, results, scattered},
};
use alice_plugin::{Backend, ErrorKind};
use serde_json::json;

use crate::{CpuOps, Format, Isa, Threads, cpu_backend};

mod convolution;

fn ops(isa: Isa, format: Format, threads: usize) -> CpuOps {
    CpuOps::new(isa, format, Arc::new(Threads::new(threads).unwrap())).unwrap()
}

/// Every instruction set with every format that it multiplies.
fn ways() -> impl Iterator<Item = (Isa, Format)> {
    let formats = |isa: Isa| {
        let more = [(isa.has_bf16(), Format::Bf16), (isa.has_int8(), Format::Int8)];
        [Format::F32].into_iter().chain(more.into_iter().filter_map(|(has, format)| has.then_some(format)))
    };
    Isa::available().flat_map(move |isa| formats(isa).map(move |format| (isa, format)))
}

/// From a single pixel to several blocks of rows, panels, slabs, queries and keys.
const SIZES: [Size; 9] = [
    Size { channels: 32, height: 1, width: 1, heads: 4 },
    Size { channels: 6, height: 5, width: 3, heads: 2 },
    Size { channels: 32, height: 1, width: 2, heads: 4 },
    Size { channels: 64, height: 8, width: 8, heads: 4 },
    Size { channels: 40, height: 9, width: 7, heads: 8 },
    Size { channels: 416, height: 17, width: 16, heads: 4 },
    Size { channels: 24, height: 25, width: 40, heads: 2 },
    Size { channels: 80, height: 30, width: 33, heads: 2 },
    Size { channels: 512, height: 12, width: 12, heads: 1 },
];

#[test]
fn the_operations_do_what_their_definitions_say() {
    for isa in Isa::available() {
        for threads in [1, 3] {
            check_ops(&ops(isa, Format::F32, threads));
        }
        // Where there is no bf16, these are the same.
        check_ops(ops(isa, Format::Bf16, 1).precise());
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
                let allowed = match format {
                    Format::F32 => 2e-6,
                    Format::Bf16 => 2e-2,
                    Format::Int8 => 4e-2,
                };
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
    ways().for_each(|(isa, format)| check_company(&ops(isa, format, 2), &SIZES));
}

#[test]
fn the_number_of_threads_does_not_change_a_byte() {
    ways().for_each(|(isa, format)| check_threads(&ops(isa, format, 1), &ops(isa, format, 3), &SIZES));
}

#[test]
fn a_head_that_is_too_wide_is_refused() {
    let ops = ops(Isa::Portable, Format::F32, 1);
    let words = ops.tokens([1, 2, 520], &scattered(1040, 1)).unwrap();
    let error = ops.attention(&words, &words, &words, 1, false).unwrap_err();
    assert!(error.kind == ErrorKind::Unsupported && error.message.contains("520"), "{error}");
    assert!(ops.attention(&words, &words, &words, 2, false).is_ok());
}

#[test]
fn in_int8_the_autoencoder_and_what_is_precise_are_not_in_int8() {
    let Some(isa) = Isa::available().find(|isa| isa.has_int8()) else { return };
    let ops = ops(isa, Format::Int8, 2);
    let size = SIZES[5];
    let bf16 = results(&self::ops(isa, Format::Bf16, 2), 2, size);
    assert!(results(ops.fine(), 2, size) == bf16);
    assert!(results(&ops, 2, size) != bf16);
    check_ops(ops.precise());
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
fn the_backend_describes_this_machine_and_takes_its_options() {
    let isa = Isa::chosen().unwrap();
    let (has_bf16, has_int8) = (isa.has_bf16(), isa.has_int8());
    for options in [json!(null), json!({}), json!({"threads": 1}), json!({"threads": null, "other": 7})] {
        let description = cpu_backend(&options).unwrap().describe().unwrap();
        assert_eq!((description.name.as_str(), description.score > 0), ("cpu", true));
        let formats: &[&str] = match (has_bf16, has_int8) {
            (_, true) => &["bf16", "f32", "int8"],
            (true, false) => &["bf16", "f32"],
            (false, false) => &["f32"],
        };
        assert_eq!(description.dtypes, formats);
        assert!(description.families.contains(&"sd1".to_owned()));
        let device = &description.devices[0];
        assert!(device.kind == "cpu" && !device.name.is_empty());
        assert!(!cfg!(target_os = "linux") || device.memory_total > device.memory_free, "{device:?}");
    }
    let described = |dtype: &str| {
        let backend = cpu_backend(&json!({"threads": 1, "dtype": dtype}));
        backend.and_then(|mut backend| backend.describe()).map(|description| description.dtypes[0].clone())
    };
    assert_eq!(described("f32").unwrap(), "f32");
    for (dtype, has) in [("bf16", has_bf16), ("int8", has_int8)] {
        match described(dtype) {
            Ok(first) => assert!(has && first == dtype),
            Err(error) => assert!(!has && error.kind == ErrorKind::Unsupported, "{error}"),
        }
    }
    let refused =
        [json!({"threads": 0}), json!({"threads": "two"}), json!({"threads": -1}), json!({"dtype": "f8"})];
    for options in refused {
        let error = cpu_backend(&options).err().unwrap();
        assert_eq!(error.kind, ErrorKind::Invalid, "{options}: {error}");
    }
}
