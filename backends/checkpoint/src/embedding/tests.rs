// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The three kinds of files, and those that are refused.

use std::fs;

use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use super::*;

/// A file of f32 tensors: name, shape, values.
fn file(tensors: &[(&str, &[usize], &[f32])]) -> NamedTempFile {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, shape, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let offsets = [start, data.len()];
        header.insert((*name).to_owned(), json!({"dtype": "F32", "shape": shape, "data_offsets": offsets}));
    }
    written(&[Value::from(header).to_string().as_bytes(), &data])
}

/// A file of a header and data.
fn written([header, data]: &[&[u8]; 2]) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), [&(header.len() as u64).to_le_bytes(), *header, *data].concat()).unwrap();
    file
}

fn open(file: &NamedTempFile) -> Result<Embedding, Error> {
    Embedding::open(file.path())
}

#[track_caller]
fn assert_refused<T>(result: Result<T, Error>, says: &str) {
    let text = result.err().unwrap().to_string();
    assert!(text.contains(says), "{text:?} does not say {says:?}");
    assert!(text.len() < 1500, "{} bytes", text.len());
}

#[test]
fn the_vectors_of_every_kind_are_read_in_order() {
    let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let a1111 = open(&file(&[("emb_params", &[3, 2], &values)])).unwrap();
    assert_eq!((a1111.count(), a1111.rows(&[2]).unwrap()), (3, vec![&values[..]]));
    for shape in [&[2][..], &[1, 2]] {
        let diffusers = open(&file(&[("<word>", shape, &values[..2])])).unwrap();
        assert_eq!((diffusers.count(), diffusers.rows(&[2]).unwrap()), (1, vec![&values[..2]]));
    }
    let pair = open(&file(&[("clip_g", &[2, 3], &values), ("clip_l", &[2, 1], &[7.0, 8.0])])).unwrap();
    assert_eq!((pair.count(), pair.rows(&[1, 3]).unwrap()), (2, vec![&[7.0, 8.0][..], &values]));
    assert_eq!(pair.rows(&[3]).unwrap(), [&values], "the refiner has the second encoder alone");
}

#[test]
fn vectors_for_other_encoders_are_refused_with_both_widths() {
    let one = open(&file(&[("emb_params", &[1, 2], &[1.0; 2])])).unwrap();
    let pair = open(&file(&[("clip_g", &[1, 3], &[1.0; 3]), ("clip_l", &[1, 2], &[1.0; 2])])).unwrap();
    assert_refused(one.rows(&[3]), "[2] wide, those of the model's text encoders [3]");
    assert_refused(one.rows(&[2, 3]), "[2, 3]");
    assert_refused(pair.rows(&[2]), "[2, 3] wide");
    assert_refused(pair.rows(&[3, 2]), "[3, 2]");
}

#[test]
fn widths_tell_the_family() {
    let base = |width: usize| open(&file(&[("emb_params", &[1, width], &vec![0.0; width])])).unwrap().base();
    assert_eq!(
        [768, 1024, 1280, 32].map(base),
        [Some(Family::Sd1), Some(Family::Sd2), Some(Family::SdxlRefiner), None]
    );
}

#[test]
fn files_that_hold_something_else_are_refused() {
    assert_refused(open(&file(&[])), "neither one tensor");
    assert_refused(open(&file(&[("a", &[1], &[0.0]), ("b", &[1], &[0.0])])), "neither one tensor");
    assert_refused(open(&file(&[("emb_params", &[1, 1, 1], &[0.0])])), "shape");
    assert_refused(open(&file(&[("emb_params", &[], &[0.0])])), "shape");
    assert_refused(open(&file(&[("emb_params", &[0, 2], &[])])), "up to 75");
    assert_refused(open(&file(&[("emb_params", &[76, 1], &[0.0; 76])])), "up to 75");
    assert_refused(open(&file(&[("emb_params", &[1, 2], &[0.0, f32::NAN])])), "finite");
    let unequal: [(&str, &[usize], &[f32]); 2] =
        [("clip_g", &[2, 1], &[0.0; 2]), ("clip_l", &[1, 1], &[0.0])];
    assert_refused(open(&file(&unequal)), "1 vectors for one");
    let integers = br#"{"emb_params":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}"#;
    assert_refused(open(&written(&[integers, &[0; 4]])), "I32");
    let endless = br#"{"emb_params":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}"#;
    assert_refused(open(&written(&[endless, &[0; 4]])), "damaged");
}

#[test]
fn a_pickle_is_refused_whatever_its_name_with_the_way_out() {
    let file = NamedTempFile::with_suffix(".safetensors").unwrap();
    fs::write(file.path(), [b"\x80\x02}q".as_slice(), &[0; 64]].concat()).unwrap();
    assert!(matches!(open(&file), Err(Error::UnsafeFormat { .. })));
    assert_refused(open(&file), "emb_params");
}
