// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Any bytes as a file on the disk, for what opens files by their paths.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use tempfile::NamedTempFile;

thread_local! {
    /// One file for all, because to make and remove one takes longer than everything else.
    static FILE: NamedTempFile = NamedTempFile::new().expect("there is a place for temporary files");
}

/// Writes `bytes` to the file, over what was there: to empty it first would wait for the disk.
pub(crate) fn written(bytes: &[u8]) -> PathBuf {
    FILE.with(|file| {
        let mut open = OpenOptions::new().write(true).open(file.path()).expect("the file is there");
        open.write_all(bytes).expect("a temporary file can be written");
        open.set_len(bytes.len() as u64).expect("a temporary file can be cut");
        file.path().to_owned()
    })
}
