// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The files that belong to one model: how large they are, and whether they have changed since somebody looked.

use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A model has some twenty files in directories that lie two deep.
const MAX_DEPTH: usize = 4;
const MAX_FILES: usize = 2000;

/// Bytes of the file, or of all files in the directory, at `path`.
pub(super) fn size(path: &Path) -> u64 {
    let mut bytes = 0;
    each(path, 0, &mut 0, &mut |_, metadata| bytes += metadata.len());
    bytes
}

/// A number that changes when one of these files, or one in these directories, is written, comes or goes.
pub(super) fn stamp<'a>(paths: impl IntoIterator<Item = &'a Path>) -> u64 {
    stamp_without(paths, &[])
}

/// The same, whatever becomes of the files `besides`.
pub(super) fn stamp_without<'a>(paths: impl IntoIterator<Item = &'a Path>, besides: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in paths {
        path.hash(&mut hasher);
        each(path, 0, &mut 0, &mut |path, metadata| {
            if besides.iter().any(|other| other == path) {
                return;
            }
            let modified = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            (path, metadata.len(), modified).hash(&mut hasher);
        });
    }
    hasher.finish()
}

/// Shows every regular file at and below `path`, in the order of their names; links are followed.
fn each(path: &Path, depth: usize, count: &mut usize, see: &mut dyn FnMut(&Path, &Metadata)) {
    let Ok(metadata) = fs::metadata(path) else { return };
    if metadata.is_file() {
        *count += 1;
        see(path, &metadata);
    } else if metadata.is_dir() && depth < MAX_DEPTH {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let mut children: Vec<_> = entries.take(MAX_FILES).map(|entry| entry.path()).collect();
        children.sort();
        for child in children {
            if *count < MAX_FILES {
                each(&child, depth + 1, count, see);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamp_changes_with_the_files_and_with_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        fs::create_dir(path.join("unet")).unwrap();
        fs::write(path.join("unet/a"), "one").unwrap();
        let first = stamp([path]);
        assert_eq!(stamp([path]), first);
        fs::write(path.join("unet/a"), "longer").unwrap();
        let second = stamp([path]);
        assert_ne!(second, first);
        fs::write(path.join("b"), "").unwrap();
        assert_ne!(stamp([path]), second);
        assert_eq!(stamp_without([path], &[path.join("b")]), second);
        assert_eq!(size(path), 6);
        assert_eq!(size(&path.join("gone")), 0);
    }
}
