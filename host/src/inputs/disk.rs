// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How many bytes the directory of inputs may have on the disk. What is there says how many it has: no count of our own
//! could be wrong after a crash, or about a file that could not be removed.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::store::is_partial;
use crate::error::{Error, Result};

/// Seconds after which a client that found no room should try again: jobs have to end until then.
const RETRY_AFTER_S: u64 = 30;

/// Whether all files of `directory` have at most `most` bytes when each that is being written has `written` of them at its
/// end. The caller's own is among those already, so that of two who come at the same time each sees the other's.
///
/// # Errors
/// [`Error::NoRoom`] when they would have more; what the disk says.
pub(super) fn check(directory: &Path, most: u64, written: u64) -> Result<()> {
    match used(directory, written).map_err(anyhow::Error::from)? {
        used if used <= most => Ok(()),
        _ => Err(Error::NoRoom { retry_after_s: RETRY_AFTER_S }),
    }
}

fn used(directory: &Path, written: u64) -> io::Result<u64> {
    let mut used: u64 = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let bytes = match entry.metadata() {
            // Gone in between.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            _ if is_partial(&entry.file_name()) => written,
            metadata => metadata?.len(),
        };
        used = used.saturating_add(bytes);
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_being_written_count_as_what_they_may_become() {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("{}.png", "0a".repeat(16));
        fs::write(directory.path().join(&name), [0; 30]).unwrap();
        fs::write(directory.path().join(format!(".{name}.part")), [0; 1]).unwrap();
        check(directory.path(), 80, 50).unwrap();
        assert!(matches!(check(directory.path(), 79, 50), Err(Error::NoRoom { .. })));
    }
}
