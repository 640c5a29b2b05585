// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `alice bench`: what it prints, and what it says of what it cannot measure. Nothing here is about how fast
//! anything is, but for what cannot be otherwise.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Ran, plugin, run, source};

/// Backend and model in few repetitions.
const QUICK: [&str; 7] = ["bench", "--backend", "paint", "--repeats", "2", "--steps", "2"];

/// A directory whose configuration makes the stand-in slow enough to be seen.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let config =
        "generation: { backend_options: { paint: { step_ms: 3, row_ms: 5, load_ms: 20, max_rows: 8 } } }\n";
    std::fs::write(directory.path().join("config.yaml"), config).unwrap();
    directory
}

fn bench(directory: &Path, arguments: &[&str]) -> Ran {
    run(directory, &[&QUICK, arguments].concat())
}

/// The object that a run prints, and nothing else.
fn measured(arguments: &[&str]) -> Value {
    let directory = directory();
    let ran = bench(directory.path(), &[&["--json"], arguments].concat());
    assert!(ran.status.success(), "{}", ran.stderr);
    assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn json_is_one_object_with_everything_that_was_measured() {
    let report = measured(&[]);
    for key in ["encode_text_s", "decode_s", "load_s", "request_s", "bare_s", "weights_mib"] {
        assert!(number(&report[key]) > 0.0, "{key}: {report}");
    }
    let rows: Vec<_> = report["denoise"].as_object().unwrap().keys().collect();
    assert_eq!(rows, ["1", "2", "4"]);
    for (rows, times) in report["denoise"].as_object().unwrap() {
        // The stand-in sleeps, and a sleep is never too short.
        let least = 0.003 + 0.005 * rows.parse::<f64>().unwrap();
        let [min, median, max] = ["min_s", "median_s", "max_s"].map(|key| number(&times[key]));
        assert!(least <= min && min <= median && median <= max, "{rows}: {times}");
    }
    assert!(number(&report["load_s"]) >= 0.020);
    assert!(number(&report["bare_s"]) >= 2.0 * 0.008);
    let overhead = number(&report["request_s"]) / number(&report["bare_s"]) - 1.0;
    assert!((number(&report["host_overhead"]) - overhead).abs() < 1e-9, "{report}");
    #[cfg(target_os = "linux")]
    assert!(number(&report["peak_mib"]) > 1.0);
    for (key, value) in [("backend", "paint"), ("model", "sd/alice-emoji"), ("dtype", "f32")] {
        assert_eq!(report[key], value);
    }
    for (key, value) in [("width", 128), ("height", 128), ("steps", 2), ("repeats", 2)] {
        assert_eq!(report[key], value, "{key}");
    }
    assert_eq!(report["alice"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_model_by_path_a_library_by_path_a_size_and_rows_are_taken() {
    let (model, library) = (source("tests/fixtures/sd1-eps"), plugin("paint"));
    assert!(model.is_dir(), "{}", model.display());
    let (model, library) = (model.to_str().unwrap(), library.to_str().unwrap());
    let arguments =
        ["--model", model, "--backend", library, "--size", "64x96", "--rows", "2,3", "--dtype", "f32"];
    let directory = directory();
    let arguments = [&["bench", "--json", "--repeats", "1", "--steps", "1"], arguments.as_slice()].concat();
    let ran = run(directory.path(), &arguments);
    assert!(ran.status.success(), "{}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let rows: Vec<_> = report["denoise"].as_object().unwrap().keys().collect();
    assert_eq!(rows, ["2", "3"]);
    assert_eq!((&report["width"], &report["height"]), (&64.into(), &96.into()));
    assert!(number(&report["request_s"]) > 0.0);
    assert!(report["model"].as_str().unwrap().starts_with("sd/"));
}

#[test]
fn people_get_a_table_and_nothing_stays_behind() {
    let (directory, temporary) = (directory(), tempfile::tempdir().unwrap());
    let mut command = crate::harness::alice(directory.path());
    command.args(QUICK).args(["--rows", "1"]).env("TMPDIR", temporary.path());
    let ran = crate::harness::ended(&mut command);
    assert!(ran.status.success(), "{}", ran.stderr);
    for line in ["encode text", "denoise, rows: 1", "decode", "request by HTTP", "added by the daemon"] {
        assert!(ran.stdout.lines().any(|printed| printed.starts_with(line)), "{line}: {}", ran.stdout);
    }
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
    let left: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["config.yaml"], "the server's own data is not touched");
}

#[test]
fn what_cannot_be_measured_is_said_and_nothing_is_printed() {
    let directory = directory();
    let cases: &[(&[&str], &str)] = &[
        (&["--backend", "nonesuch"], "no backend for `generation.backend: nonesuch`"),
        (&["--backend", "./nonesuch.so"], "nonesuch.so"),
        (&["--model", "sd/nonesuch"], "the model `sd/nonesuch` does not exist; available: "),
        (&["--model", "/"], "`/` is no model"),
        (&["--size", "0x64"], "`width` must be 64 to 2048, not 0"),
        (&["--size", "64x99999"], "`height` must be 64 to 2048, not 99999"),
        (&["--size", "large"], "it is not of the form 512x768"),
        (&["--size", "64"], "it is not of the form 512x768"),
        (&["--rows", "0"], "invalid value '0' for '--rows"),
        (&["--rows", "1,x"], "invalid value 'x' for '--rows"),
        (&["--rows", "9"], "a forward pass of 9 rows"),
        (&["--dtype", "f99"], "the backend `paint` does not compute in `f99`; it offers: f32"),
        (&["--steps", "0"], "`steps` must be 1 to 150, not 0"),
        (&["--repeats", "0"], "invalid value '0' for '--repeats"),
    ];
    for (arguments, sentence) in cases {
        // The same option twice would be another mistake.
        let quick = ["--backend", "paint", "--repeats", "1", "--steps", "1"];
        let quick = quick.chunks(2).filter(|option| option[0] != arguments[0]).flatten();
        let arguments =
            ["bench", "--json"].iter().chain(quick).chain(*arguments).copied().collect::<Vec<_>>();
        let ran = run(directory.path(), &arguments);
        assert!(matches!(ran.status.code(), Some(1 | 2)), "{arguments:?}: {:?}", ran.status);
        assert!(ran.stdout.is_empty(), "{arguments:?}: {}", ran.stdout);
        assert!(ran.stderr.contains(sentence), "{arguments:?}: {}", ran.stderr);
    }
}
