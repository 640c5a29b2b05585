// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The dependency arrows of docs/ARCHITECTURE.md, read from the manifests and the sources themselves.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A crate, where it lies, and which of our crates it may know.
struct Rule {
    name: &'static str,
    directory: &'static str,
    may_use: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        name: "alice",
        directory: "host",
        may_use: &["alice-checkpoint", "alice-diffusion", "alice-plugin"],
    },
    Rule { name: "alice-diffusion", directory: "host/diffusion", may_use: &[] },
    Rule { name: "alice-plugin", directory: "backends/plugin", may_use: &[] },
    Rule { name: "alice-checkpoint", directory: "backends/checkpoint", may_use: &[] },
    Rule { name: "alice-nets", directory: "backends/nets", may_use: &["alice-checkpoint", "alice-plugin"] },
    Rule {
        name: "alice-backend-cpu",
        directory: "backends/cpu",
        may_use: &["alice-checkpoint", "alice-nets", "alice-plugin"],
    },
    Rule {
        name: "alice-candle",
        directory: "backends/candle",
        may_use: &["alice-checkpoint", "alice-nets", "alice-plugin"],
    },
    Rule {
        name: "alice-backend-candle-cpu",
        directory: "backends/candle/candle-cpu",
        may_use: &["alice-candle", "alice-plugin"],
    },
    Rule { name: "alice-backend-paint", directory: "backends/paint", may_use: &["alice-plugin"] },
];

/// Libraries that compute with tensors: the daemon and its pure part never link them.
const TENSOR_LIBRARIES: &[&str] =
    &["candle-core", "candle-nn", "candle-transformers", "tch", "torch-sys", "gemm"];

/// What a pure crate has no business with.
const IMPURE: &[&str] = &["std::fs", "std::net", "std::thread", "std::time", "std::env", "std::process"];

/// The directories in which `unsafe` may stand.
const UNSAFE: &[&str] = &[
    "backends/plugin/src",
    "backends/checkpoint/src/tensors.rs",
    "backends/cpu/src/kernels.rs",
    "backends/cpu/src/kernels",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn manifest(path: &Path) -> toml::Table {
    fs::read_to_string(path.join("Cargo.toml")).unwrap().parse().unwrap()
}

/// Names in one table of dependencies.
fn names(manifest: &toml::Table, table: &str) -> BTreeSet<String> {
    let table = manifest.get(table).and_then(toml::Value::as_table);
    table.into_iter().flat_map(|table| table.keys().cloned()).collect()
}

/// The Rust files below `directory`.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
    found
}

/// A file's lines without comments.
fn code(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(str::to_owned).collect()
}

#[test]
fn every_member_has_a_rule() {
    let workspace = manifest(&root());
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let members: BTreeSet<_> = members.iter().map(|member| member.as_str().unwrap()).collect();
    assert_eq!(members, RULES.iter().map(|rule| rule.directory).collect());
}

#[test]
fn manifests_keep_the_arrows() {
    for rule in RULES {
        let manifest = manifest(&root().join(rule.directory));
        assert_eq!(manifest["package"]["name"].as_str(), Some(rule.name));
        for table in ["dependencies", "build-dependencies"] {
            for dependency in names(&manifest, table) {
                let ours = RULES.iter().any(|rule| rule.name == dependency);
                let allowed = !ours || rule.may_use.contains(&dependency.as_str());
                assert!(allowed, "`{}` must not depend on `{dependency}`", rule.name);
            }
        }
    }
}

#[test]
fn sources_keep_the_arrows() {
    for rule in RULES {
        for path in sources(&root().join(rule.directory).join("src")) {
            for line in code(&path) {
                for other in RULES.iter().filter(|other| other.name != rule.name && other.name != "alice") {
                    let named = line.contains(&format!("{}::", other.name.replace('-', "_")));
                    let allowed = !named || rule.may_use.contains(&other.name);
                    assert!(allowed, "{}: `{}` must not use `{}`", path.display(), rule.name, other.name);
                }
            }
        }
    }
}

#[test]
fn the_daemon_and_its_pure_part_link_no_tensor_library() {
    for directory in ["host", "host/diffusion", "backends/plugin", "backends/checkpoint", "backends/nets"] {
        let manifest = manifest(&root().join(directory));
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for library in TENSOR_LIBRARIES {
                assert!(!names(&manifest, table).contains(*library), "{directory} must not know `{library}`");
            }
        }
    }
}

#[test]
fn the_daemon_maps_no_files() {
    // A mapped file that is cut short ends the process. Conformance is a command of its own.
    let conformance = root().join("host/src/conformance");
    for path in sources(&root().join("host/src")).into_iter().filter(|path| !path.starts_with(&conformance)) {
        for line in code(&path) {
            for mapping in ["TensorFile", "TensorSet", ".weights("] {
                assert!(!line.contains(mapping), "{}: `{mapping}` maps a file", path.display());
            }
        }
    }
}

#[test]
fn the_samplers_know_no_files_clocks_or_threads() {
    for path in sources(&root().join("host/diffusion/src")) {
        for line in code(&path) {
            for module in IMPURE {
                assert!(!line.contains(module), "{}: `{module}` in a pure crate", path.display());
            }
        }
    }
}

#[test]
fn unsafe_code_stays_where_it_belongs() {
    let root = root();
    for rule in RULES {
        for path in sources(&root.join(rule.directory).join("src")) {
            let inside = UNSAFE.iter().any(|place| path.starts_with(root.join(place)));
            let found =
                code(&path).iter().any(|line| line.contains("unsafe {") || line.contains("unsafe fn"));
            assert!(inside || !found, "{}: `unsafe` outside the files that may hold it", path.display());
        }
    }
}

#[test]
fn every_source_file_names_its_licence_and_says_what_it_is() {
    let root = root();
    let mut files: Vec<_> =
        RULES.iter().flat_map(|rule| sources(&root.join(rule.directory).join("src"))).collect();
    files.extend(sources(&root.join("tests")));
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let head: Vec<_> = text.lines().take(3).collect();
        assert_eq!(head[0], "// SPDX-License-Identifier: GPL-3.0-only", "{}", path.display());
        assert_eq!(head[1], "// SPDX-FileCopyrightText: ALICE contributors", "{}", path.display());
        assert!(head[2].starts_with("//! "), "{}: no module documentation", path.display());
    }
}
