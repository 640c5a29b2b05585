// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Opening files of every kind, and reading values.

use std::{fs, os::unix::fs::symlink};

use safetensors::tensor::TensorView;

use super::*;

/// Writes a file with these tensors by the format's own library.
fn write(path: &Path, tensors: &[(&str, Dtype, &[usize], &[u8])]) {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn tensors_come_back_as_they_were_written() {
    let directory = directory();
    let path = directory.path().join("model.safetensors");
    write(&path, &[("a.weight", Dtype::U8, &[2, 2], &[1, 2, 3, 4]), ("b", Dtype::F16, &[1], &[0, 0x3c])]);
    let file = TensorFile::open(&path).unwrap();
    let tensor = file.tensor("a.weight").unwrap();
    assert_eq!(
        (tensor.name.as_str(), tensor.dtype, &*tensor.bytes),
        ("a.weight", Dtype::U8, &[1, 2, 3, 4][..])
    );
    assert_eq!(tensor.shape, [2, 2]);
    assert_eq!(file.names().collect::<Vec<_>>(), ["a.weight", "b"]);
    assert!(file.contains("b") && !file.contains("c"));
    assert_eq!((file.bytes(), file.path()), (6, path.as_path()));
    let message = file.tensor("c").unwrap_err().to_string();
    assert!(message.contains("model.safetensors") && message.contains("\"c\""), "{message}");
}

#[test]
fn every_real_format_reads_as_f32_and_others_say_why_not() {
    let tensor = |dtype, bytes: &[u8]| Tensor {
        name: "x".into(),
        dtype,
        shape: vec![2],
        bytes: bytes.to_vec().into(),
    };
    let f32_bytes = [1.5_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat();
    assert_eq!(tensor(Dtype::F32, &f32_bytes).to_f32().unwrap(), [1.5, -2.0]);
    let f64_bytes = [0.1_f64.to_le_bytes(), (-2.0_f64).to_le_bytes()].concat();
    assert_eq!(tensor(Dtype::F64, &f64_bytes).to_f32().unwrap(), [0.1, -2.0]);
    let f16_bytes = [f16::from_f32(1.5).to_le_bytes(), f16::from_f32(-2.0).to_le_bytes()].concat();
    assert_eq!(tensor(Dtype::F16, &f16_bytes).to_f32().unwrap(), [1.5, -2.0]);
    let bf16_bytes = [bf16::from_f32(1.5).to_le_bytes(), bf16::from_f32(-2.0).to_le_bytes()].concat();
    assert_eq!(tensor(Dtype::BF16, &bf16_bytes).to_f32().unwrap(), [1.5, -2.0]);
    // Largest, smallest normal, smallest, zero, minus one, not a number; as `torch.float8_e4m3fn` reads them.
    let e4m3 = tensor(Dtype::F8_E4M3, &[0x7e, 0x08, 0x01, 0x80, 0xb8, 0x7f]).to_f32().unwrap();
    assert_eq!(e4m3[..5], [448.0, 0.015_625, 0.001_953_125, 0.0, -1.0]);
    assert!(e4m3[5].is_nan());
    let e5m2 = tensor(Dtype::F8_E5M2, &[0x7b, 0x04, 0x01, 0x80, 0xbc, 0x7c]).to_f32().unwrap();
    assert_eq!(e5m2, [57344.0, 2.0_f32.powi(-14), 2.0_f32.powi(-16), 0.0, -1.0, f32::INFINITY]);
    let message = tensor(Dtype::I64, &[0; 16]).to_f32().unwrap_err().to_string();
    assert!(message.contains("\"x\"") && message.contains("I64"), "{message}");
}

#[test]
fn every_16_bit_pattern_widens_as_the_half_crate_says_at_any_address() {
    // One byte in front makes the address odd; more values than one run of the conversion.
    let bytes: Vec<u8> = [0].into_iter().chain((0..=u16::MAX).flat_map(u16::to_le_bytes)).collect();
    let tensor = |dtype| Tensor { name: "x".into(), dtype, shape: vec![1 << 16], bytes: bytes[1..].into() };
    let (wide, wide_brain) = (tensor(Dtype::F16).to_f32().unwrap(), tensor(Dtype::BF16).to_f32().unwrap());
    for bits in 0..=u16::MAX {
        let (expected, found) = (f16::from_bits(bits).to_f32(), wide[bits as usize]);
        assert!(expected == found || (expected.is_nan() && found.is_nan()), "{bits:#x}");
        let (expected, found) = (bf16::from_bits(bits).to_f32(), wide_brain[bits as usize]);
        assert!(expected == found || (expected.is_nan() && found.is_nan()), "{bits:#x}");
    }
}

#[test]
fn things_that_are_no_regular_files_are_refused_without_waiting_for_them() {
    let directory = directory();
    let pipe = directory.path().join("pipe.safetensors");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [directory.path(), &pipe, Path::new("/dev/zero"), Path::new("/dev/null")] {
        assert!(matches!(TensorFile::open(path), Err(Error::NotAFile { .. })), "{}", path.display());
    }
    let missing = directory.path().join("missing.safetensors");
    assert!(matches!(TensorFile::open(&missing), Err(Error::Io { .. })));
}

#[test]
fn an_empty_file_is_refused() {
    let directory = directory();
    let path = directory.path().join("empty.safetensors");
    fs::write(&path, "").unwrap();
    assert!(matches!(TensorFile::open(&path), Err(Error::Damaged { .. })));
}

#[test]
fn a_symbolic_link_to_a_sound_file_is_followed() {
    let directory = directory();
    let (path, link) = (directory.path().join("blob"), directory.path().join("model.safetensors"));
    write(&path, &[("a", Dtype::U8, &[1], &[7])]);
    symlink(&path, &link).unwrap();
    assert_eq!(TensorFile::open(&link).unwrap().tensor("a").unwrap().bytes[..], [7]);
}

#[test]
fn a_pickle_with_an_honest_name_is_refused_with_the_way_out() {
    let directory = directory();
    let path = directory.path().join("model.safetensors");
    fs::write(&path, b"PK\x03\x04\x00\x00\x08\x08\x00\x00\x00\x00").unwrap();
    let error = TensorFile::open(&path).unwrap_err();
    assert!(matches!(error, Error::UnsafeFormat { .. }));
    let message = error.to_string();
    assert!(message.contains("model.safetensors") && message.contains("save_pretrained"), "{message}");
}

#[test]
fn a_name_with_control_characters_is_escaped_in_messages() {
    let error = Error::MissingTensor { path: "m".into(), name: "\u{1b}[31mred".into() };
    assert!(!error.to_string().contains('\u{1b}'));
}
