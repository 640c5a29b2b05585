// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Plugins from other times: built against an earlier or a later version of the contract's header.
//!
//! The plugin is the one in C. Headers of earlier versions lie in `strangers/` as they were; a later one is the
//! present header with an addition in every place where the contract lets it grow.

use std::fs;
use std::path::{Path, PathBuf};

use alice::conformance::{self, Check, Outcome};
use alice_plugin::ErrorKind;
use alice_plugin::abi::{ABI_MAJOR, ABI_MINOR};
use alice_plugin::load::Plugin;
use serde_json::json;
use tempfile::TempDir;

use crate::contract::{assert_conforms, compiled_against, model};
use crate::harness::source;

/// Checks that this plugin skips in any version: it encodes no pictures, and its models need nothing further.
const LEFT_OUT: [&str; 2] = ["encoding pictures", "an input that the model demands"];

/// Checks of what came with version 1.2, or is said of it since.
const SINCE_1_2: &[&str] = &["hint", "larger", "beside a model"];

/// The plugin in C, compiled against a header of this text.
fn stranger(header: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("alice_backend.h"), header).unwrap();
    let library = compiled_against(directory.path(), directory.path(), "minimal", "minimal.c", "-DNDEBUG");
    (directory, library)
}

fn header(path: &str) -> String {
    fs::read_to_string(source(path)).unwrap()
}

/// A header of a later version: other numbers, and one more field at the end of every struct.
fn later_header(major: u16, minor: u16) -> String {
    let mut text = header("backends/plugin/include/alice_backend.h");
    for (name, now, then) in [("MAJOR", ABI_MAJOR, major), ("MINOR", ABI_MINOR, minor)] {
        let line = format!("#define ALICE_ABI_{name} ");
        assert!(text.contains(&format!("{line}{now}")));
        text = text.replace(&format!("{line}{now}"), &format!("{line}{then}"));
    }
    let ends = text.matches("\n} Alice").count();
    assert!(ends > 10, "the structs are not found");
    text.replace("\n} Alice", "\n    uint64_t later_addition;\n} Alice")
}

fn open(path: &Path) -> (u16, u16) {
    Plugin::open(path).unwrap().abi()
}

#[test]
fn a_plugin_of_version_1_0_conforms_and_does_not_offer_what_came_later() {
    let (_directory, library) = stranger(&header("tests/strangers/alice_backend_1_0.h"));
    assert_eq!(open(&library), (1, 0));
    let (_files, model) = model();
    let checks = conformance::run(&library, &json!({}), Some(&model));
    let later = ["parts of an encoded prompt", "reading a prompt back"];
    assert_conforms(&checks, &[&LEFT_OUT[..], &later, SINCE_1_2].concat());
    let reading = checks.iter().find(|check| check.name.contains("read back in one way for all")).unwrap();
    assert_eq!(reading.outcome, Outcome::Passed);
}

#[test]
fn a_plugin_of_version_1_1_conforms_and_does_not_offer_what_came_later() {
    let (_directory, library) = stranger(&header("tests/strangers/alice_backend_1_1.h"));
    assert_eq!(open(&library), (1, 1));
    let (_files, model) = model();
    let checks = conformance::run(&library, &json!({}), Some(&model));
    assert_conforms(&checks, &[&LEFT_OUT[..], SINCE_1_2].concat());
    let left_out = |check: &&Check| matches!(check.outcome, Outcome::Skipped(_));
    assert!(checks.iter().filter(left_out).count() > 12, "{checks:#?}");
}

#[test]
fn a_plugin_of_version_1_2_conforms() {
    let (_directory, library) = stranger(&header("tests/strangers/alice_backend_1_2.h"));
    assert_eq!(open(&library), (1, 2));
    let (_files, model) = model();
    assert_conforms(&conformance::run(&library, &json!({}), Some(&model)), &LEFT_OUT);
}

#[test]
fn a_plugin_of_a_later_minor_version_with_longer_structs_conforms() {
    let (_directory, library) = stranger(&later_header(ABI_MAJOR, ABI_MINOR + 8));
    assert_eq!(open(&library), (ABI_MAJOR, ABI_MINOR + 8));
    let (_files, model) = model();
    assert_conforms(&conformance::run(&library, &json!({}), Some(&model)), &LEFT_OUT);
}

#[test]
fn a_plugin_of_a_later_major_version_is_refused_with_its_file_and_both_versions() {
    let (_directory, library) = stranger(&later_header(ABI_MAJOR + 1, 3));
    let error = Plugin::open(&library).unwrap_err();
    let (file, later) = (library.display(), ABI_MAJOR + 1);
    let versions = format!("version {later}.3 of the plugin contract, this program {ABI_MAJOR}.{ABI_MINOR}");
    assert_eq!(error.kind, ErrorKind::Contract);
    assert_eq!(error.message, format!("`{file}`: it speaks {versions}"));
}
