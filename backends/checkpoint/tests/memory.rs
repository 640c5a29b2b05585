// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The most memory that a file can cost, measured: opening a hostile one, and reading a large one. The only test of its
//! process, so that the process's peak is this test's.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "the helpers of a test are part of it")]

use std::{fmt::Write as _, fs, path::Path};

use alice_checkpoint::{Checkpoint, TensorFile, TensorSet};

/// The largest header accepted by the library.
const HEADER_BYTES: usize = 16 << 20;

/// The process's peak memory in MiB.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Writes a file whose header is `unit` again and again between `head` and `tail`, as long as is allowed.
fn write_filled(path: &Path, head: &str, tail: &str, unit: impl Fn(usize) -> String) {
    let mut json = head.to_owned();
    for i in 0.. {
        let piece = unit(i);
        if json.len() + piece.len() + tail.len() > HEADER_BYTES {
            break;
        }
        json.push_str(&piece);
    }
    write!(json, "{tail}").unwrap();
    fs::write(path, [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat()).unwrap();
}

/// Reads 320 MiB of zeros in 20 tensors, and once more the first while the last is held.
fn read_large_file(path: &Path) {
    const TENSORS: usize = 20;
    const BYTES: usize = 16 << 20;
    let entry = |i: usize| {
        format!(
            r#""{i}":{{"dtype":"U8","shape":[{BYTES}],"data_offsets":[{},{}]}}"#,
            i * BYTES,
            (i + 1) * BYTES
        )
    };
    let json = format!("{{{}}}", (0..TENSORS).map(entry).collect::<Vec<_>>().join(","));
    fs::write(path, [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat()).unwrap();
    // The zeros take no room on the disk.
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len((8 + json.len() + TENSORS * BYTES) as u64).unwrap();
    let tensors = TensorFile::open(path).unwrap();
    let first = tensors.tensor("0").unwrap();
    for i in 0..TENSORS {
        let tensor = tensors.tensor(&i.to_string()).unwrap();
        assert!(tensor.bytes.iter().all(|byte| *byte == 0));
    }
    assert!(first.bytes.iter().all(|byte| *byte == 0), "a slice outlives its pages");
}

#[test]
fn reading_a_large_file_and_the_worst_headers_cost_a_bounded_amount_of_memory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bomb.safetensors");
    read_large_file(&path);
    let peak = peak_mib();
    assert!(peak < 128, "the peak of reading was {peak} MiB");

    let entry = |name: &str| format!(r#""{name}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}},"#);

    write_filled(&path, r#"{"a":{"dtype":"U8","data_offsets":[0,0],"shape":["#, "0]}}", |_| "0,".to_owned());
    assert!(TensorFile::open(&path).unwrap_err().to_string().contains("dimensions"));
    write_filled(&path, r#"{"__metadata__":["#, "0]}", |_| "0,".to_owned());
    assert!(TensorFile::open(&path).is_ok(), "free text is skipped, whatever it is");
    write_filled(&path, r#"{"__metadata__":""#, r#""}"#, |_| r"\u0041".to_owned());
    TensorFile::open(&path).unwrap();
    write_filled(&path, "{", r#""__metadata__":0}"#, |i| entry(&i.to_string()));
    assert!(TensorFile::open(&path).unwrap_err().to_string().contains("more than"));
    write_filled(&path, "{", r#""__metadata__":0}"#, |i| entry(&format!("{i:0300}")));
    TensorFile::open(&path).unwrap();
    let names = TensorSet::of_file(&path).unwrap().names().count();
    assert!(names > 30_000, "{names}");
    write_filled(&path, "{", r#""__metadata__":0}"#, |i| entry(&format!("model.diffusion_model.{i:0300}")));
    assert!(Checkpoint::open(&path).unwrap_err().to_string().contains("another build"));

    // The files themselves are mapped and counted, and the test has held each of them in memory twice.
    let peak = peak_mib();
    assert!(peak < 256, "the peak was {peak} MiB");
}
