// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The layout of every struct of the contract in numbers, held against Rust and against the C header.
//!
//! A failure here means that plugins built before the change no longer fit: append a field instead, or
//! raise the major version.

use std::fmt::Write as _;
use std::mem::offset_of;
use std::process::Command;

use crate::{ErrorKind, abi};

/// One struct: its name, its size, and the offset of each of its fields.
struct Layout {
    name: &'static str,
    expected: usize,
    found: usize,
    fields: Vec<(&'static str, usize, usize)>,
}

macro_rules! layouts {
    ($($name:ident = $size:literal { $($field:ident: $offset:literal),* $(,)? })*) => {
        vec![$(Layout {
            name: stringify!($name),
            expected: $size,
            found: size_of::<abi::$name>(),
            fields: vec![$((stringify!($field), $offset, offset_of!(abi::$name, $field))),*],
        }),*]
    };
}

/// Version 1.2, counted by hand from the header on a 64-bit machine.
#[rustfmt::skip]
fn layouts() -> Vec<Layout> {
    layouts! {
        Table = 136 {
            struct_size: 0, abi_major: 4, abi_minor: 6, create: 8, destroy: 16, describe: 24, load: 32, adapt: 40,
            encode_text: 48, denoise: 56, decode: 64, encode_image: 72, release: 80, unload: 88, memory: 96,
            read_text: 104, encode_image_tiled: 112, encode_hint: 120, upscale: 128,
        }
        Host = 32 { struct_size: 0, abi_major: 4, abi_minor: 6, user: 8, log: 16, log_enabled: 24 }
        Control = 24 { struct_size: 0, user: 8, progress: 16 }
        Sink = 24 { struct_size: 0, user: 8, emit: 16 }
        Error = 24 { struct_size: 0, message_len: 4, message: 8, message_capacity: 16 }
        Tensor = 48 { struct_size: 0, rank: 4, name: 8, name_len: 16, shape: 24, data: 32, data_len: 40 }
        TextChunk = 40 { struct_size: 0, encoder: 4, ids: 8, id_count: 16, weights: 24, weight_count: 32 }
        TextCall = 48 {
            struct_size: 0, clip_skip: 4, model: 8, chunks: 16, chunk_count: 24, extra_rows: 32, extra_row_count: 40,
        }
        ReadTextCall = 48 { struct_size: 0, conditioning: 8, part: 16, part_len: 24, out: 32, out_len: 40 }
        DenoiseRow = 64 {
            struct_size: 0, timestep: 4, conditioning: 8, latent: 16, latent_len: 24, extras: 32, extra_count: 40,
            hints: 48, hint_count: 56,
        }
        Hint = 24 { struct_size: 0, scale: 4, model: 8, hint: 16 }
        DenoiseCall = 56 {
            struct_size: 0, channels: 4, height: 8, width: 12, model: 16, rows: 24, row_count: 32, out: 40, out_len: 48,
        }
        DecodeCall = 72 {
            struct_size: 0, channels: 4, height: 8, width: 12, model: 16, latents: 24, latents_len: 32,
            options: 40, options_len: 48, out: 56, out_len: 64,
        }
        EncodeImageCall = 88 {
            struct_size: 0, channels: 4, height: 8, width: 12, model: 16, pixels: 24, pixels_len: 32,
            mean: 40, mean_len: 48, deviation: 56, deviation_len: 64, options: 72, options_len: 80,
        }
        HintCall = 40 { struct_size: 0, channels: 4, height: 8, width: 12, model: 16, pixels: 24, pixels_len: 32 }
        UpscaleCall = 72 {
            struct_size: 0, height: 4, width: 8, model: 16, pixels: 24, pixels_len: 32, options: 40, options_len: 48,
            out: 56, out_len: 64,
        }
    }
}

/// The numbers of the statuses, by their names in C.
const STATUSES: [(&str, ErrorKind, i32); 10] = [
    ("INVALID", ErrorKind::Invalid, 1),
    ("UNSUPPORTED", ErrorKind::Unsupported, 2),
    ("BAD_MODEL", ErrorKind::BadModel, 3),
    ("OUT_OF_MEMORY", ErrorKind::OutOfMemory, 4),
    ("CANCELLED", ErrorKind::Cancelled, 5),
    ("DEVICE_LOST", ErrorKind::DeviceLost, 6),
    ("STALE_HANDLE", ErrorKind::StaleHandle, 7),
    ("PANIC", ErrorKind::Panic, 8),
    ("CONTRACT", ErrorKind::Contract, 9),
    ("INTERNAL", ErrorKind::Internal, 10),
];

#[test]
fn every_struct_has_the_layout_of_version_1() {
    for layout in layouts() {
        assert_eq!(layout.found, layout.expected, "size of {}", layout.name);
        for (field, expected, found) in layout.fields {
            assert_eq!(found, expected, "offset of {}::{field}", layout.name);
        }
    }
}

#[test]
fn every_status_has_the_number_of_version_1_and_unknown_ones_are_internal() {
    for (name, kind, number) in STATUSES {
        assert_eq!((abi::status_of(kind), abi::kind_of(number)), (number, kind), "{name}");
    }
    for number in [-1, 11, i32::MIN, i32::MAX] {
        assert_eq!(abi::kind_of(number), ErrorKind::Internal);
    }
}

/// Compiles the header with an assertion for each number above.
#[test]
#[cfg_attr(miri, ignore = "calls the C compiler")]
fn the_c_header_says_the_same() {
    let mut source = String::from("#include <stddef.h>\n#include \"alice_backend.h\"\n");
    let mut assert = |expression: String, value: i64| {
        writeln!(source, "_Static_assert({expression} == {value}, \"{expression}\");").unwrap();
    };
    for layout in layouts() {
        assert(format!("sizeof(Alice{})", layout.name), layout.expected as i64);
        for (field, expected, _) in layout.fields {
            assert(format!("offsetof(Alice{}, {field})", layout.name), expected as i64);
        }
    }
    for (name, _, number) in STATUSES {
        assert(format!("ALICE_{name}"), i64::from(number));
    }
    assert("ALICE_OK".into(), i64::from(abi::OK));
    assert("ALICE_ABI_MAJOR".into(), i64::from(abi::ABI_MAJOR));
    assert("ALICE_ABI_MINOR".into(), i64::from(abi::ABI_MINOR));
    assert("ALICE_LIST_LIMIT".into(), abi::LIST_LIMIT as i64);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("layout.c");
    std::fs::write(&file, source).unwrap();
    let include = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include");
    let arguments = ["-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", include];
    let output = Command::new("cc").args(arguments).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
