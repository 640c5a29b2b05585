// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What models and LoRAs are called.
//!
//! The Python ALICE named a model after its file when that lay at the top, after its directory otherwise, and of
//! several files in one directory it offered the last. Here a name is given to one thing only:
//!
//! 1. The name that the Python ALICE would give, when nothing else of the same rank would have it too. What lies at
//!    the top comes first, so that nothing put deeper down ever takes a name away from it.
//! 2. Else the path inside the directory of models, without the file's ending: `anime/one`.
//! 3. Else the whole path.
//!
//! A name depends on which files there are, and not on when they came or in which order they were found.

use std::collections::{HashMap, HashSet};

/// What something would be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// By the Python ALICE.
    first: String,
    /// Of those that would be called the same, the lowest has it.
    rank: u8,
    /// The path inside the directory of models, without the ending of a file's name.
    path: String,
    /// The path of the file that makes it what it is.
    whole: String,
    /// It is not offered, and has its name only so that nothing else has it: of its rank all others come first.
    unusable: bool,
}

impl Wish {
    /// Of the model at the path `relative`; `root` is the name of the directory of models.
    pub(super) fn of_model(relative: &str, is_directory: bool, root: &str) -> Self {
        let (parent, last) = split(relative);
        let path = match is_directory {
            _ if relative.is_empty() => root,
            true => relative,
            false => stem(relative),
        };
        let whole =
            if is_directory { format!("{relative}/{}", super::walk::INDEX) } else { relative.to_owned() };
        let (first, rank) = match (parent, is_directory) {
            _ if relative.is_empty() => (root, 0),
            (None, false) if last.ends_with(".safetensors") => (stem(last), 0),
            (None, false) => (stem(last), 1),
            (None, true) => (last, 1),
            (Some(_), true) => (last, 2),
            (Some(parent), false) => (split(parent).1, 2),
        };
        Self { first: first.to_owned(), rank, path: path.to_owned(), whole, unusable: false }
    }

    /// Of the LoRA or embedding at the path `relative`, in the directory for such things or elsewhere.
    pub(super) fn of_file(relative: &str, elsewhere: bool) -> Self {
        // All of them lie in the same directory, which need not be repeated.
        let inside =
            if elsewhere { relative } else { relative.split_once('/').map_or(relative, |(_, rest)| rest) };
        let (parent, last) = split(inside);
        let rank = match (elsewhere, parent) {
            (false, None) => 0,
            // As far behind as a model that lies deeper.
            (false, Some(_)) => 2,
            (true, _) => 3,
        };
        let path = stem(inside).to_owned();
        Self { first: stem(last).to_owned(), rank, path, whole: relative.to_owned(), unusable: false }
    }

    /// Of the ControlNet or upscaler at the path `relative`, in the directory for such things or elsewhere.
    pub(super) fn of_network(relative: &str, is_directory: bool, elsewhere: bool) -> Self {
        if !is_directory {
            return Self::of_file(relative, elsewhere);
        }
        // A directory's name has no ending, whatever dots are in it; behind this one it is what is cut off.
        let wish = Self::of_file(&format!("{relative}."), elsewhere);
        Self { whole: format!("{relative}/{}", super::walk::CONFIG), ..wish }
    }

    /// The same of a file that cannot be used. Were it nameless, another one that lies deeper would answer to its name
    /// meanwhile. From nothing that lies as high does it take a name away.
    pub(super) fn of_unusable(self) -> Self {
        Self { unusable: true, rank: self.rank.max(1), ..self }
    }

    /// What the Python ALICE would call it.
    pub(super) fn first(&self) -> &str {
        &self.first
    }

    /// Whether it may get this name, which depends on what else there is.
    pub(super) fn may_become(&self, name: &str) -> bool {
        [&self.first, &self.path, &self.whole].into_iter().any(|own| own == name)
    }

    /// Whether a client that knows the Python ALICE would call it so.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.first == name || split(&self.path).1 == name
    }
}

/// The directory and the name in it.
fn split(path: &str) -> (Option<&str>, &str) {
    path.rsplit_once('/').map_or((None, path), |(parent, last)| (Some(parent), last))
}

/// The path without the ending of the file's name.
pub(super) fn stem(path: &str) -> &str {
    match path.rsplit_once('.') {
        Some((stem, ending)) if !ending.contains('/') && !stem.is_empty() => stem,
        _ => path,
    }
}

/// One name for each of `wishes`, none twice and none out of `taken`.
pub(super) fn assign<'w>(wishes: &'w [Wish], taken: &HashSet<String>) -> Vec<String> {
    let mut used = taken.clone();
    let mut names: Vec<Option<String>> = vec![None; wishes.len()];
    for round in 0..2 {
        let wanted = |wish: &'w Wish| match round {
            0 => (&*wish.first, (wish.rank, wish.unusable)),
            _ => (&*wish.path, (0, wish.unusable)),
        };
        let mut groups: HashMap<&'w str, Vec<usize>> = HashMap::new();
        for (index, wish) in wishes.iter().enumerate().filter(|(index, _)| names[*index].is_none()) {
            groups.entry(wanted(wish).0).or_default().push(index);
        }
        for (name, group) in groups {
            let least = group.iter().map(|&index| wanted(&wishes[index]).1).min();
            let mut foremost = group.iter().filter(|&&index| Some(wanted(&wishes[index]).1) == least);
            if let (Some(&index), None) = (foremost.next(), foremost.next())
                && used.insert(name.to_owned())
            {
                names[index] = Some(name.to_owned());
            }
        }
    }
    let last = |wish: &Wish, used: &mut HashSet<String>| {
        let more = (2..).map(|number| format!("{}~{number}", wish.whole));
        let mut names = std::iter::once(wish.whole.clone()).chain(more);
        names.find(|name| used.insert(name.clone())).expect("the numbers do not end")
    };
    let named = names.into_iter().zip(wishes);
    named.map(|(name, wish)| name.unwrap_or_else(|| last(wish, &mut used))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The names of models at these paths; a path without an ending is a directory.
    fn names(paths: &[&str]) -> Vec<String> {
        let wish = |path: &&str| Wish::of_model(path, !path.contains('.'), "models");
        assign(&paths.iter().map(wish).collect::<Vec<_>>(), &HashSet::new())
    }

    #[test]
    fn names_that_only_one_has_are_those_of_the_python_alice() {
        let paths = ["dream.safetensors", "sd15", "sub/b.safetensors", "deep/er/c.safetensors", "x/turbo"];
        assert_eq!(names(&paths), ["dream", "sd15", "sub", "er", "turbo"]);
    }

    #[test]
    fn several_files_in_one_directory_are_told_apart_by_their_paths() {
        assert_eq!(names(&["sub/a.safetensors", "sub/b.safetensors"]), ["sub/a", "sub/b"]);
        assert_eq!(names(&["one/sub/a.safetensors", "two/sub/a.safetensors"]), ["one/sub/a", "two/sub/a"]);
    }

    #[test]
    fn what_lies_at_the_top_keeps_its_name() {
        assert_eq!(names(&["sub.safetensors", "sub/a.safetensors"]), ["sub", "sub/a"]);
        assert_eq!(names(&["x", "deep/x", "far/x"]), ["x", "deep/x", "far/x"]);
        assert_eq!(names(&["x", "x.safetensors"]), ["x/model_index.json", "x"], "as the Python ALICE chose");
    }

    #[test]
    fn the_same_path_with_two_endings_is_two_names() {
        assert_eq!(names(&["d/a.safetensors", "d/a.sft"]), ["d/a.safetensors", "d/a.sft"]);
        assert_eq!(names(&["a.safetensors", "a.ckpt"]), ["a", "a.ckpt"]);
    }

    #[test]
    fn the_directory_of_models_may_be_a_model_and_dots_belong_to_names() {
        assert_eq!(names(&[""]), ["models"]);
        assert_eq!(names(&["v1.5-pruned.safetensors"]), ["v1.5-pruned"]);
    }

    #[test]
    fn loras_are_called_by_their_files_names() {
        let wishes = [
            Wish::of_file("loras/a.safetensors", false),
            Wish::of_file("loras/sub/a.safetensors", false),
            Wish::of_file("loras/sub/b.safetensors", false),
            Wish::of_file("models/c.safetensors", true),
            Wish::of_file("models/b.safetensors", true),
        ];
        assert_eq!(assign(&wishes, &HashSet::new()), ["a", "sub/a", "b", "c", "models/b"]);
        assert_eq!(assign(&wishes[..1], &HashSet::from(["a".to_owned()])), ["loras/a.safetensors"]);
    }

    #[test]
    fn what_cannot_be_used_keeps_its_name_from_what_lies_deeper_and_from_nothing_else() {
        let wish = |path: &str| Wish::of_model(path, !path.contains('.'), "models");
        let names = |wishes: &[Wish]| assign(wishes, &HashSet::new());
        let broken = wish("x.safetensors").of_unusable();
        assert_eq!(names(&[broken.clone(), wish("deep/x")]), ["x", "deep/x"]);
        for beside in ["x.ckpt", "x.safetensors"] {
            assert_eq!(names(&[wish(beside).of_unusable(), wish("x")])[1], "x");
        }
        assert_eq!(names(&[broken, wish("sub/a.safetensors")]), ["x", "sub"]);
    }

    proptest! {
        /// Any set of paths, in any order, has distinct names that do not depend on the order.
        #[test]
        fn names_are_distinct_and_depend_on_nothing_but_the_paths(
            paths in prop::collection::hash_set("([ab]/){0,3}[ab]{1,2}(\\.(sft|ckpt|safetensors))?", 1..20),
        ) {
            let paths: Vec<_> = paths.iter().map(String::as_str).collect();
            let forward = names(&paths);
            prop_assert_eq!(forward.iter().collect::<HashSet<_>>().len(), paths.len());
            let reversed: Vec<_> = paths.iter().rev().copied().collect();
            let mut backward = names(&reversed);
            backward.reverse();
            prop_assert_eq!(forward, backward);
        }
    }
}
