// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The files of what is deleted: its own, and the directory that they leave behind when nothing else is in it. Beside a
//! model in one file that may be one hidden file, as in the Python ALICE. What lies outside the configured directory is
//! never deleted.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tracing::warn;

use crate::error::{Error, Result};

/// Why the built-in model stays.
pub(super) const BUILT_IN: &str = "the built-in model is part of the program and cannot be deleted";

/// What else may lie in a directory that goes with the last file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// Nothing may.
    Nothing,
    /// One file may whose name begins with a point.
    OneHiddenFile,
}

/// Where what lies at `path` really is, if it may be deleted: it is in `directory`, also when all links are followed,
/// and is no directory `built_in` or in one.
pub(super) fn may_go(path: &Path, directory: &Path, built_in: &[PathBuf]) -> Result<PathBuf> {
    let real = |path: &Path| path.canonicalize().with_context(|| format!("cannot find `{}`", path.display()));
    let (directory, parent) = (real(directory)?, real(path.parent().unwrap_or(path))?);
    if !parent.starts_with(&directory) {
        let message = "it lies outside of `models.directory`, behind a link or above it; delete it there";
        return Err(Error::Conflict(message.to_owned()));
    }
    // Of a link only the link goes, wherever it leads.
    let is_link = path.symlink_metadata().map_err(anyhow::Error::from)?.is_symlink();
    let place = parent.join(path.file_name().unwrap_or_default());
    let mut built_in = built_in.iter().filter_map(|root| root.canonicalize().ok());
    if !is_link && built_in.any(|root| place.starts_with(root)) {
        return Err(Error::Forbidden(BUILT_IN));
    }
    Ok(place)
}

/// Deletes what lies at `path`: a link itself and not what it leads to, a directory with everything in it. Of a file
/// its directory goes too when nothing is left but what may be `beside` it; `directory` stays, also those for what is no
/// model in it, and links.
pub(super) fn delete(path: &Path, directory: &Path, beside: Beside) -> anyhow::Result<()> {
    let metadata = path.symlink_metadata()?;
    if metadata.is_dir() {
        return delete_directory(path, directory)
            .with_context(|| format!("cannot delete all of `{}`", path.display()));
    }
    fs::remove_file(path).with_context(|| format!("cannot delete `{}`", path.display()))?;
    let stays = |parent: &Path| {
        ["", "loras", "embeddings", "controlnets", "upscalers"]
            .iter()
            .any(|own| parent == directory.join(own))
    };
    let goes = |parent: &&Path| !stays(parent) && !parent.is_symlink();
    let Some(parent) = path.parent().filter(goes) else { return Ok(()) };
    let left: Vec<_> = fs::read_dir(parent)?.take(2).collect::<std::io::Result<_>>()?;
    let is_hidden = |entry: &fs::DirEntry| {
        entry.file_name().as_encoded_bytes().starts_with(b".")
            && entry.file_type().is_ok_and(|kind| !kind.is_dir())
    };
    match left.as_slice() {
        [] => {}
        [entry] if beside == Beside::OneHiddenFile && is_hidden(entry) => fs::remove_file(entry.path())?,
        _ => return Ok(()),
    }
    // Others may have put something there: then it stays.
    drop(fs::remove_dir(parent));
    Ok(())
}

/// Where directories go before their files are deleted one by one, in the directory of models. A look for models passes
/// over hidden names.
const LEAVING: &str = ".deleted";

/// Deletes a directory. It is moved away first, so that a daemon that dies meanwhile leaves no half of a model.
fn delete_directory(path: &Path, directory: &Path) -> std::io::Result<()> {
    // Nothing else is being deleted: this holds the turn.
    finish(directory);
    let leaving = directory.join(LEAVING);
    fs::create_dir_all(&leaving)?;
    let moved = leaving.join(path.file_name().unwrap_or_default());
    let gone = match fs::rename(path, &moved) {
        Ok(()) => fs::remove_dir_all(&moved),
        // It lies on another disk.
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => fs::remove_dir_all(path),
        Err(error) => Err(error),
    };
    // What could not be deleted stays in it.
    drop(fs::remove_dir(&leaving));
    gone
}

/// Ends what was begun to be deleted in the directory of models, by a daemon that died or without success.
pub fn finish(directory: &Path) {
    let leaving = directory.join(LEAVING);
    let gone = match fs::remove_dir_all(&leaving) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    if let Err(error) = gone {
        warn!("Cannot delete `{}`, which nobody needs: {error}", leaving.display());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory with these files, which hold one byte each.
    fn directory(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        root
    }

    fn files(root: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_goes_alone_and_its_empty_directory_with_it() {
        let root = directory(&[
            "a.safetensors",
            "a.yaml",
            "sub/b.safetensors",
            "sub/.note",
            "two/c.sft",
            "two/c.yaml",
        ]);
        let root = root.path();
        delete(&root.join("a.safetensors"), root, Beside::OneHiddenFile).unwrap();
        assert_eq!(files(root), ["a.yaml", "sub", "two"], "the sidecar stays");
        delete(&root.join("sub/b.safetensors"), root, Beside::OneHiddenFile).unwrap();
        assert_eq!(files(root), ["a.yaml", "two"]);
        delete(&root.join("two/c.sft"), root, Beside::OneHiddenFile).unwrap();
        assert_eq!(files(&root.join("two")), ["c.yaml"]);
        fs::remove_file(root.join("a.yaml")).unwrap();
        fs::remove_dir_all(root.join("two")).unwrap();
        fs::write(root.join("last.sft"), "").unwrap();
        delete(&root.join("last.sft"), root, Beside::OneHiddenFile).unwrap();
        assert!(root.is_dir(), "the directory of models stays");
    }

    #[test]
    fn beside_a_lora_nothing_goes_and_the_directories_for_such_things_stay() {
        let root = directory(&[
            "loras/a.sft",
            "loras/.note",
            "loras/sub/b.sft",
            "loras/sub/.note",
            "loras/two/c.sft",
        ]);
        let root = root.path();
        for lora in ["sub/b.sft", "two/c.sft"] {
            delete(&root.join("loras").join(lora), root, Beside::Nothing).unwrap();
        }
        assert_eq!(files(&root.join("loras")), [".note", "a.sft", "sub"]);
        assert_eq!(files(&root.join("loras/sub")), [".note"], "it is not ours");
        for (file, beside) in [("a.sft", Beside::Nothing), ("model.sft", Beside::OneHiddenFile)] {
            let file = root.join("loras").join(file);
            fs::write(&file, "x").unwrap();
            fs::remove_dir_all(root.join("loras/sub")).ok();
            delete(&file, root, beside).unwrap();
            assert_eq!(files(&root.join("loras")), [".note"]);
        }
        fs::remove_file(root.join("loras/.note")).unwrap();
        fs::write(root.join("loras/last.sft"), "x").unwrap();
        delete(&root.join("loras/last.sft"), root, Beside::Nothing).unwrap();
        assert!(root.join("loras").is_dir());
    }

    #[test]
    fn links_go_and_what_they_lead_to_stays() {
        let (elsewhere, root) = (directory(&["model/unet/x", "file"]), directory(&["dir/model_index.json"]));
        let root = root.path();
        symlink(elsewhere.path().join("model"), root.join("linked")).unwrap();
        symlink(elsewhere.path().join("file"), root.join("file.safetensors")).unwrap();
        symlink(elsewhere.path().join("model"), root.join("dir/inside")).unwrap();
        for name in ["linked", "file.safetensors", "dir"] {
            may_go(&root.join(name), root, &[]).unwrap();
            delete(&root.join(name), root, Beside::OneHiddenFile).unwrap();
        }
        assert_eq!(files(root), Vec::<String>::new());
        assert!(elsewhere.path().join("model/unet/x").exists() && elsewhere.path().join("file").exists());
    }

    #[test]
    fn a_directory_goes_at_one_stroke_and_with_it_what_was_left_of_others() {
        let root = directory(&["a/b/model/model_index.json", ".deleted/model/unet/x"]);
        let root = root.path();
        delete(&root.join("a/b/model"), root, Beside::Nothing).unwrap();
        assert_eq!((files(root), files(&root.join("a/b"))), (vec!["a".to_owned()], Vec::new()));
        fs::create_dir_all(root.join(".deleted/other/unet")).unwrap();
        finish(root);
        finish(root);
        assert_eq!(files(root), ["a"]);
        fs::write(root.join(".deleted"), "somebody else's").unwrap();
        fs::create_dir(root.join("model")).unwrap();
        delete(&root.join("model"), root, Beside::Nothing).unwrap_err();
        assert_eq!(files(root), [".deleted", "a", "model"], "it is whole or gone");
    }

    #[test]
    fn what_lies_behind_a_link_is_not_ours_to_delete() {
        let (elsewhere, root) = (directory(&["x.safetensors"]), directory(&["y"]));
        symlink(elsewhere.path(), root.path().join("nas")).unwrap();
        let refused = may_go(&root.path().join("nas/x.safetensors"), root.path(), &[]).unwrap_err();
        assert!(matches!(refused, Error::Conflict(_)), "{refused}");
        let refused = may_go(root.path(), root.path(), &[]).unwrap_err();
        assert!(matches!(refused, Error::Conflict(_)), "the directory of models itself: {refused}");
    }

    #[test]
    fn the_built_in_model_stays_but_a_link_to_it_may_go() {
        let (shipped, root) = (directory(&["emoji/model_index.json"]), directory(&["y"]));
        let built_in = [shipped.path().to_owned()];
        let refused = may_go(&shipped.path().join("emoji"), shipped.path(), &built_in).unwrap_err();
        assert!(matches!(refused, Error::Forbidden(_)), "{refused}");
        symlink(shipped.path().join("emoji"), root.path().join("emoji")).unwrap();
        may_go(&root.path().join("emoji"), root.path(), &built_in).unwrap();
    }
}
