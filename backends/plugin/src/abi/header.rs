// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The C header is what cbindgen makes of this contract, under the settings in `cbindgen.toml`.
//!
//! After a change of the contract, `ALICE_WRITE_HEADER=1 cargo test -p alice-plugin --all-features` writes it.

use std::fs;
use std::path::{Path, PathBuf};

/// The exported function as C sees it. In Rust `export_backend!` writes it into each plugin, so that no source
/// file here has it.
const ENTRY: &str = r#"
    /// The one exported symbol. The table is never changed or freed; the library is never closed.
    #[no_mangle]
    pub extern "C" fn alice_backend_entry() -> *const Table {}
"#;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The header's text.
fn generated() -> String {
    let directory = tempfile::tempdir().unwrap();
    let entry = directory.path().join("entry.rs");
    fs::write(&entry, ENTRY).unwrap();
    let bindings = cbindgen::Builder::new()
        .with_config(cbindgen::Config::from_file(here("cbindgen.toml")).unwrap())
        .with_src(here("src/abi.rs"))
        .with_src(here("src/abi/structs.rs"))
        .with_src(entry)
        .generate()
        .unwrap();
    let mut text = Vec::new();
    bindings.write(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn the_c_header_is_made_from_this_contract() {
    let (file, text) = (here("include/alice_backend.h"), generated());
    if std::env::var_os("ALICE_WRITE_HEADER").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let checked_in = fs::read_to_string(&file).unwrap();
    assert!(checked_in == text, "the header is not that of src/abi.rs; set ALICE_WRITE_HEADER=1 to write it");
}
