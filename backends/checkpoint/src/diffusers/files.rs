// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The files that hold the weights of one network: one file or several shards with an index, in full precision
//! or as a variant with fewer bits.
//!
//! Source: diffusers `utils/constants.py` and `models/model_loading_utils.py`, `transformers`
//! `utils/__init__.py`: the names of the files and what an index says.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use serde::Deserialize;

use super::read_if_there;
use crate::{
    Error, Listing,
    catalog::{Catalog, Entry},
    error::CONVERT_MODEL,
};

/// What the files of a network are called, those of diffusers first.
const STEMS: [&str; 2] = ["diffusion_pytorch_model", "model"];
/// The variants, the preferred one first: full precision before half, and of the halves the finer one.
const VARIANTS: [&str; 4] = ["", "fp32", "fp16", "bf16"];
/// Files that hold pickles.
const PICKLES: [&str; 5] = ["bin", "ckpt", "pkl", "pt", "pth"];
/// The largest index names some thousand tensors in a few hundred bytes each.
const MAX_INDEX_BYTES: u64 = 8 << 20;
/// The largest models that are published in shards have some hundred.
const MAX_SHARDS: usize = 1024;

/// What an index says: for each tensor the file that it is in.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// The tensors of the network in `directory`, at half precision if there are no others.
pub(super) fn catalog(directory: &Path) -> Result<Catalog, Error> {
    for variant in VARIANTS {
        for stem in STEMS {
            let whole = directory.join(file_name(stem, variant));
            if whole.exists() {
                return Ok(Catalog::all(&Listing::open(&whole)?));
            }
            for index in index_names(stem, variant) {
                let index = directory.join(index);
                if index.exists() {
                    return sharded(directory, &index);
                }
            }
        }
    }
    match pickle_in(directory) {
        Some(path) => {
            Err(Error::UnsafeFormat { path, format: "a file of pickled tensors", convert: CONVERT_MODEL })
        }
        None => {
            let what = format!("`{}`", STEMS.map(|stem| file_name(stem, "")).join("` or `"));
            Err(Error::Missing { path: directory.to_owned(), what })
        }
    }
}

fn file_name(stem: &str, variant: &str) -> String {
    match variant {
        "" => format!("{stem}.safetensors"),
        _ => format!("{stem}.{variant}.safetensors"),
    }
}

/// The names that an index of a variant has or had.
fn index_names(stem: &str, variant: &str) -> Vec<String> {
    match variant {
        "" => vec![format!("{stem}.safetensors.index.json")],
        _ => vec![
            format!("{stem}.safetensors.index.{variant}.json"),
            format!("{stem}.{variant}.safetensors.index.json"),
        ],
    }
}

/// The tensors that `index` names, out of the files that it says beside it.
fn sharded(directory: &Path, index: &Path) -> Result<Catalog, Error> {
    let damaged = |reason| Error::Damaged { path: index.to_owned(), reason };
    let text = read_if_there(index, MAX_INDEX_BYTES)?
        .ok_or_else(|| Error::Missing { path: directory.to_owned(), what: index.display().to_string() })?;
    let ShardIndex { weight_map } =
        serde_json::from_slice(&text).map_err(|cause| Error::Json { path: index.to_owned(), cause })?;
    let (mut catalog, mut listings) = (Catalog::default(), BTreeMap::<&str, (usize, Listing)>::new());
    for (name, shard) in &weight_map {
        if !listings.contains_key(shard.as_str()) {
            if !is_beside(shard) {
                return Err(damaged(format!(
                    "it speaks of the file {:?}, which is not beside it",
                    short(shard)
                )));
            }
            if listings.len() == MAX_SHARDS {
                return Err(damaged(format!("it speaks of more than {MAX_SHARDS} files")));
            }
            let path = directory.join(shard);
            if !path.exists() {
                let what = format!("file {:?}, of which `{}` speaks", short(shard), index.display());
                return Err(Error::Missing { path: directory.to_owned(), what });
            }
            listings.insert(shard, (catalog.files.len(), Listing::open(&path)?));
            catalog.files.push(path);
        }
        let (file, listing) = &listings[shard.as_str()];
        let missing = || Error::MissingTensor { path: listing.path().to_owned(), name: short(name) };
        let entry = Entry::whole(listing, name).ok_or_else(missing)?;
        catalog.entries.insert(name.clone(), Entry { file: *file, ..entry });
    }
    Ok(catalog)
}

/// Whether `name` is the plain name of a safetensors file, so that it can only lie in the index's own directory.
fn is_beside(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    plain && name.ends_with(".safetensors") && !name.contains(['/', '\\'])
}

/// A stranger's word, short enough for a sentence.
fn short(word: &str) -> String {
    word.chars().take(200).collect()
}

/// A file in `directory` whose name says that it holds pickles.
fn pickle_in(directory: &Path) -> Option<PathBuf> {
    let mut paths: Vec<_> = directory.read_dir().ok()?.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter().find(|path| {
        path.extension().is_some_and(|kind| PICKLES.iter().any(|pickle| kind.eq_ignore_ascii_case(pickle)))
    })
}
