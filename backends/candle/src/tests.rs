// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The operations against their definitions, and what must not change their bytes.

use std::sync::Arc;

use alice_checkpoint::{Dtype, Tensor as Weight};
use alice_nets::{
    Ops,
    testing::{Size, check_company, check_ops, check_threads},
};
use alice_plugin::{Backend, ErrorKind};
use rayon::ThreadPoolBuilder;
use serde_json::json;

use crate::{CandleOps, cpu_backend, values::failed};

fn ops(threads: usize) -> CandleOps {
    CandleOps::cpu(Arc::new(ThreadPoolBuilder::new().num_threads(threads).build().unwrap()))
}

/// From a single pixel to more than one band of a convolution and one block of attention.
const SIZES: [Size; 5] = [
    Size { channels: 32, height: 1, width: 2, heads: 4 },
    Size { channels: 64, height: 8, width: 8, heads: 4 },
    Size { channels: 40, height: 9, width: 7, heads: 8 },
    Size { channels: 160, height: 16, width: 16, heads: 4 },
    Size { channels: 24, height: 40, width: 40, heads: 2 },
];

#[test]
fn the_operations_do_what_their_definitions_say() {
    check_ops(&ops(1));
    check_ops(&ops(3));
}

#[test]
fn a_row_has_the_same_bytes_alone_and_in_company() {
    check_company(&ops(2), &SIZES);
}

#[test]
fn the_number_of_threads_does_not_change_a_byte() {
    check_threads(&ops(1), &ops(3), &SIZES);
}

#[test]
fn a_weight_that_is_no_real_number_is_a_bad_model() {
    let bytes = [0; 32];
    let weight =
        Weight { name: "w".into(), dtype: Dtype::I64, shape: vec![2, 2], bytes: (&bytes[..]).into() };
    let error = ops(1).linear(&weight, None).err().unwrap();
    assert_eq!(error.kind, ErrorKind::BadModel);
    assert!(error.message.contains("\"w\"") && error.message.contains("I64"), "{error}");
}

#[test]
fn a_full_device_is_told_apart_from_other_failures() {
    let kind = |text: &str| failed(candle_core::Error::Msg(text.to_owned())).kind;
    assert_eq!(kind("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")"), ErrorKind::OutOfMemory);
    assert_eq!(kind("shape mismatch in matmul"), ErrorKind::Internal);
}

#[test]
fn the_backend_describes_this_machine_and_takes_its_number_of_threads() {
    for options in [json!(null), json!({}), json!({"threads": 1}), json!({"threads": null, "other": 7})] {
        let description = cpu_backend(&options).unwrap().describe().unwrap();
        assert_eq!((description.name.as_str(), description.score > 0), ("candle-cpu", true));
        assert_eq!(description.dtypes, ["f32"]);
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
