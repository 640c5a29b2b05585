// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Walking through a directory of models: which files and directories are worth opening. Nothing is opened here.
//!
//! The directory is its owner's, but what lies in it was downloaded: links in circles, pipes and a million files
//! are met with bounds.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Directories inside each other that are looked into.
const MAX_DEPTH: usize = 12;
/// Files and directories that are looked at.
const MAX_ENTRIES: usize = 50_000;
/// Files and directories that are opened.
const MAX_FOUND: usize = 10_000;
/// How the names of files end that hold weights, or claim to. What they hold, their content says.
const WEIGHTS: [&str; 9] = ["safetensors", "sft", "ckpt", "pt", "pth", "bin", "pkl", "gguf", "onnx"];
/// What makes a directory a model.
pub(super) const INDEX: &str = "model_index.json";
/// What makes a directory one network of a model, or a ControlNet.
pub(super) const CONFIG: &str = "config.json";

/// Where something lies, which says what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Anywhere else.
    Models,
    /// Below `loras/`.
    Loras,
    /// Below `embeddings/`.
    Embeddings,
    /// Below `controlnets/`, where T2I-Adapters lie too.
    Controlnets,
    /// Below `upscalers/`.
    Upscalers,
}

/// A file or a directory worth opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The path, through the directory that was walked.
    pub(super) path: PathBuf,
    /// The path inside that directory, with `/` between its parts; empty for the directory itself.
    pub(super) relative: String,
    /// Whether it is a directory, with a `model_index.json` or, where ControlNets lie, a `config.json`.
    pub(super) is_directory: bool,
    /// Where it lies.
    pub(super) place: Place,
}

/// What came of a walk.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// What is worth opening, sorted by path.
    pub(super) found: Vec<Found>,
    /// What could not be looked at, and why.
    pub(super) passed_over: Vec<(PathBuf, String)>,
    /// Containers that were looked into, by where they really are: a second way there leads nowhere new.
    seen: HashSet<PathBuf>,
    entries: usize,
}

impl Walk {
    /// Looks through `root`, which need not be there.
    pub(super) fn through(root: &Path) -> Self {
        let mut walk = Self::default();
        if root.is_dir() {
            walk.enter(root, "", Place::Models, 0);
        }
        walk
    }

    fn enter(&mut self, path: &Path, relative: &str, place: Place, depth: usize) {
        let is_network = place == Place::Controlnets && path.join(CONFIG).is_file();
        if is_network || path.join(INDEX).is_file() {
            return self.keep(path, relative, true, place);
        }
        if depth > MAX_DEPTH {
            let why = format!("it lies more than {MAX_DEPTH} directories deep");
            return self.pass_over(path, why);
        }
        let entries = path.canonicalize().and_then(|real| Ok((real, fs::read_dir(path)?)));
        let (real, entries) = match entries {
            Ok(entries) => entries,
            Err(error) => return self.pass_over(path, format!("it cannot be read: {error}")),
        };
        if !self.seen.insert(real) {
            let why = "it leads to a directory that was looked at already, where its files have their names";
            return self.pass_over(path, why.to_owned());
        }
        let mut children: Vec<_> = entries.flatten().take(MAX_ENTRIES).map(|entry| entry.path()).collect();
        children.sort();
        for child in children {
            if self.entries == MAX_ENTRIES {
                let why =
                    format!("there are more than {MAX_ENTRIES} files; it and what follows is not looked at");
                return self.pass_over(&child, why);
            }
            self.entries += 1;
            self.look(child, relative, place, depth);
        }
    }

    /// Looks at one entry of the directory `parent`.
    fn look(&mut self, path: PathBuf, parent: &str, place: Place, depth: usize) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return self.pass_over(&path, "its name is not UTF-8; give it another".to_owned());
        };
        if name.starts_with('.') {
            return;
        }
        let relative = if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
        // Of links it is asked what they lead to.
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(_) if !is_weights(&path) => return,
            Err(error) => return self.pass_over(&path, format!("it cannot be looked at: {error}")),
        };
        if name.contains(char::is_control) && (metadata.is_dir() || is_weights(&path)) {
            return self.pass_over(&path, "its name has control characters; give it another".to_owned());
        }
        if metadata.is_dir() {
            let place = match (parent, name) {
                ("", "loras") => Place::Loras,
                ("", "embeddings") => Place::Embeddings,
                ("", "controlnets") => Place::Controlnets,
                ("", "upscalers") => Place::Upscalers,
                _ => place,
            };
            self.enter(&path, &relative, place, depth + 1);
        } else if is_weights(&path) {
            match metadata.is_file() {
                true => self.keep(&path, &relative, false, place),
                false => self.pass_over(&path, "it is not a regular file".to_owned()),
            }
        }
    }

    fn keep(&mut self, path: &Path, relative: &str, is_directory: bool, place: Place) {
        if self.found.len() == MAX_FOUND {
            return self.pass_over(path, format!("there are {MAX_FOUND} models and LoRAs before it"));
        }
        let (path, relative) = (path.to_owned(), relative.to_owned());
        self.found.push(Found { path, relative, is_directory, place });
    }

    fn pass_over(&mut self, path: &Path, why: String) {
        self.passed_over.push((path.to_owned(), why));
    }
}

/// Whether a file's name says that it holds weights.
fn is_weights(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    WEIGHTS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// What is found in a directory with these files; those that end in `/` are directories.
    fn found(files: &[&str]) -> (tempfile::TempDir, Walk) {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let walk = Walk::through(root.path());
        (root, walk)
    }

    fn relatives(walk: &Walk) -> Vec<&str> {
        walk.found.iter().map(|found| found.relative.as_str()).collect()
    }

    #[test]
    fn files_of_weights_and_model_directories_are_found_at_any_depth() {
        let (_root, walk) = found(&[
            "b.safetensors",
            "a/deep/er/C.CKPT",
            "dir/model_index.json",
            "dir/unet/diffusion_pytorch_model.safetensors",
            "notes.txt",
            "b.yaml",
            ".hidden.safetensors",
            ".git/x.safetensors",
        ]);
        assert_eq!(relatives(&walk), ["a/deep/er/C.CKPT", "b.safetensors", "dir"]);
        assert!(walk.found[2].is_directory && !walk.found[1].is_directory);
        assert!(walk.passed_over.is_empty());
    }

    #[test]
    fn the_place_is_that_of_the_directory_at_the_top() {
        let (_root, walk) = found(&["loras/a/x.safetensors", "embeddings/y.pt", "z/loras/w.safetensors"]);
        let places: Vec<_> = walk.found.iter().map(|found| found.place).collect();
        assert_eq!(places, [Place::Embeddings, Place::Loras, Place::Models]);
    }

    #[test]
    fn a_network_alone_in_a_directory_is_found_where_controlnets_lie() {
        let (_root, walk) = found(&[
            "controlnets/edges/config.json",
            "controlnets/edges/diffusion_pytorch_model.safetensors",
            "controlnets/deep/poses.safetensors",
            "upscalers/x4.safetensors",
            "vae/config.json",
            "vae/diffusion_pytorch_model.safetensors",
        ]);
        let expected = [
            "controlnets/deep/poses.safetensors",
            "controlnets/edges",
            "upscalers/x4.safetensors",
            "vae/diffusion_pytorch_model.safetensors",
        ];
        assert_eq!(relatives(&walk), expected);
        let places: Vec<_> = walk.found.iter().map(|found| found.place).collect();
        assert_eq!(places, [Place::Controlnets, Place::Controlnets, Place::Upscalers, Place::Models]);
    }

    #[test]
    fn links_in_circles_and_to_nothing_end() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("x.safetensors"), "").unwrap();
        symlink(root.path(), path.join("up")).unwrap();
        symlink("..", path.join("up2")).unwrap();
        symlink("nowhere", root.path().join("gone.safetensors")).unwrap();
        symlink("nowhere", root.path().join("gone.txt")).unwrap();
        let walk = Walk::through(root.path());
        assert_eq!(relatives(&walk), ["a/b/x.safetensors"]);
        let passed_over: Vec<_> = walk.passed_over.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(passed_over, ["a/b/up", "a/b/up2", "gone.safetensors"].map(|path| root.path().join(path)));
        assert!(walk.passed_over[0].1.contains("looked at already"), "{:?}", walk.passed_over);
    }

    #[test]
    fn a_model_directory_may_be_linked_under_several_names() {
        let (root, _) = found(&["one/model_index.json"]);
        symlink("one", root.path().join("two")).unwrap();
        assert_eq!(relatives(&Walk::through(root.path())), ["one", "two"]);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{}x.safetensors", "d/".repeat(MAX_DEPTH + 1));
        let (_root, walk) = found(&[&deep]);
        assert!(walk.found.is_empty());
        assert!(walk.passed_over[0].1.contains("directories deep"), "{:?}", walk.passed_over);
    }

    #[test]
    fn a_directory_that_is_a_model_itself_is_found() {
        let (_root, walk) = found(&["model_index.json", "unet/diffusion_pytorch_model.safetensors"]);
        assert_eq!(relatives(&walk), [""]);
    }
}
