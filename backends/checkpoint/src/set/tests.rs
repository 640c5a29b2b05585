// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Tensors that are parts or other arrangements of what files store.

use std::fs;

use safetensors::{Dtype, tensor::TensorView};

use super::*;
use crate::Listing;

/// A file with one matrix of two rows and three columns, and what is listed of it.
fn matrix() -> (tempfile::TempDir, Entry, Catalog) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    write(&path, &[("m", &[2, 3], &[0, 1, 2, 3, 4, 5])]);
    let catalog = Catalog::all(&Listing::open(&path).unwrap());
    (directory, catalog.entries["m"].clone(), catalog)
}

/// Writes a file of bytes.
fn write(path: &Path, tensors: &[(&str, &[usize], &[u8])]) {
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| (*name, TensorView::new(Dtype::U8, shape.to_vec(), bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn a_tensor_can_be_rows_of_another_or_another_arrangement() {
    let (_directory, whole, mut catalog) = matrix();
    let of = |shape: &[usize], change| Entry { shape: shape.to_vec(), change, ..whole.clone() };
    catalog.entries.insert("rows".into(), of(&[1, 3], Change::Rows(1)));
    catalog.entries.insert("turned".into(), of(&[3, 2], Change::Transpose));
    catalog.entries.insert("flat".into(), of(&[6], Change::None));
    let set = TensorSet::open(catalog).unwrap();
    let found = |name| {
        let tensor = set.tensor(name).unwrap();
        (tensor.shape, tensor.bytes.to_vec())
    };
    assert_eq!(found("rows"), (vec![1, 3], vec![3, 4, 5]));
    assert_eq!(found("turned"), (vec![3, 2], vec![0, 3, 1, 4, 2, 5]));
    assert_eq!(found("flat"), (vec![6], vec![0, 1, 2, 3, 4, 5]));
    let of_two_bytes = [1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(transposed(&of_two_bytes, &[2, 2]), [1, 2, 5, 6, 3, 4, 7, 8]);
    assert!(transposed(&[], &[0, usize::MAX]).is_empty());
}

#[test]
fn a_file_that_changed_since_it_was_listed_is_refused() {
    let (directory, _, catalog) = matrix();
    write(&directory.path().join("model.safetensors"), &[("m", &[3, 2], &[0; 6])]);
    let message = TensorSet::open(catalog.clone()).unwrap_err().to_string();
    assert!(message.contains("has changed"), "{message}");
    fs::remove_file(directory.path().join("model.safetensors")).unwrap();
    assert!(matches!(TensorSet::open(catalog), Err(Error::Io { .. })));
}

#[test]
fn a_scope_adds_its_path_to_the_name_and_insists_on_the_shape() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    write(&path, &[("down_blocks.0.conv.weight", &[2, 1], &[1, 2])]);
    let set = TensorSet::of_file(&path).unwrap();
    let conv = Scope::root(&set).at("down_blocks").at(0).at("conv");
    assert!(conv.contains("weight") && !conv.contains("bias"));
    assert_eq!(conv.tensor("weight", &[2, 1]).unwrap().bytes[..], [1, 2]);
    let message = conv.tensor("weight", &[2, 3]).unwrap_err().to_string();
    for part in ["model.safetensors", "down_blocks.0.conv.weight", "[2, 1]", "[2, 3]"] {
        assert!(message.contains(part), "{message}");
    }
    let message = conv.tensor("bias", &[2]).unwrap_err().to_string();
    assert!(message.contains("down_blocks.0.conv.bias"), "{message}");
}
