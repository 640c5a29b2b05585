// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The published upscalers by their headers, in every spelling, and what is none.

use std::fs;

use serde_json::json;

use super::*;
use crate::single::tests::published::{Tensors, write};

/// A network of so many blocks, input channels and steps up, by Real-ESRGAN's names.
fn rrdb(blocks: usize, input: usize, steps: usize) -> Tensors {
    let (features, growth, mut all) = (64, 32, Tensors::new());
    let mut layer = |name: String, output: usize, input: usize| {
        all.push((format!("{name}.weight"), vec![output, input, 3, 3]));
        all.push((format!("{name}.bias"), vec![output]));
    };
    layer("conv_first".into(), features, input);
    for block in 0..blocks {
        for dense in 1..=3 {
            for place in 1..=5 {
                let output = if place == 5 { features } else { growth };
                let input = features + growth * (place - 1);
                layer(format!("body.{block}.rdb{dense}.conv{place}"), output, input);
            }
        }
    }
    layer("conv_body".into(), features, features);
    (1..=steps).for_each(|step| layer(format!("conv_up{step}"), features, features));
    layer("conv_hr".into(), features, features);
    layer("conv_last".into(), 3, features);
    all
}

/// The same by the names of the first release, whose layers are counted with those that have no weights.
fn first_release(blocks: usize, input: usize, steps: usize) -> Tensors {
    let name = |name: String| {
        let (module, kind) = name.rsplit_once('.').unwrap();
        let behind = 3 * steps;
        let module = match module {
            "conv_first" => "0".to_owned(),
            "conv_body" => format!("1.sub.{blocks}"),
            "conv_hr" => format!("{}", behind + 2),
            "conv_last" => format!("{}", behind + 4),
            up if up.starts_with("conv_up") => format!("{}", 3 * up[7..].parse::<usize>().unwrap()),
            block => {
                let part = block.strip_prefix("body.").unwrap().replace("rdb", "RDB");
                format!("1.sub.{part}.0")
            }
        };
        format!("model.{module}.{kind}")
    };
    rrdb(blocks, input, steps).into_iter().map(|(old, shape)| (name(old), shape)).collect()
}

/// The same by the names of the revision.
fn revision(blocks: usize, input: usize, steps: usize) -> Tensors {
    let name = |name: String| {
        let name = name.replace("body.", "RRDB_trunk.").replace("conv_RRDB_trunk", "trunk_conv");
        let name = name.replace("rdb", "RDB").replace("conv_up", "upconv").replace("conv_hr", "HRconv");
        name.replace("conv_body", "trunk_conv")
    };
    rrdb(blocks, input, steps).into_iter().map(|(old, shape)| (name(old), shape)).collect()
}

fn open(tensors: &Tensors) -> Result<UpscalerFile, Error> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("network");
    write(&path, tensors, &json!({}));
    let opened = UpscalerFile::open(&path)?;
    assert_eq!(opened.weights()?.names().count(), tensors.len());
    Ok(opened)
}

fn refusal(tensors: &Tensors) -> String {
    match open(tensors) {
        Err(error) => error.to_string(),
        Ok(upscaler) => panic!("it was taken for an upscaler by {}", upscaler.scale()),
    }
}

#[test]
fn the_factor_is_that_of_the_steps_up_over_the_folding() {
    // RealESRGAN_x4plus has 16.7 million values in 702 tensors.
    let published = open(&rrdb(23, 3, 2)).unwrap();
    assert_eq!((published.scale(), published.unshuffle()), (4, 1));
    assert_eq!(published.values(), 16_697_987);
    for (input, steps, scale, unshuffle) in
        [(3, 2, 4, 1), (12, 2, 2, 2), (48, 2, 1, 4), (3, 1, 2, 1), (3, 3, 8, 1), (3, 0, 1, 1)]
    {
        let opened = open(&rrdb(1, input, steps)).unwrap();
        assert_eq!((opened.scale(), opened.unshuffle()), (scale, unshuffle));
    }
}

#[test]
fn every_spelling_has_the_same_tensors() {
    let names = |tensors: &Tensors| {
        let upscaler = open(tensors).unwrap();
        let shape = |(name, entry): (String, crate::catalog::Entry)| (name, entry.shape);
        (upscaler.scale(), upscaler.catalog.entries.into_iter().map(shape).collect::<Vec<_>>())
    };
    for (blocks, input, steps) in [(2, 3, 2), (6, 12, 2), (1, 3, 1), (2, 3, 0), (1, 3, 3)] {
        let mut wanted = rrdb(blocks, input, steps);
        wanted.sort();
        let (scale, found) = names(&rrdb(blocks, input, steps));
        assert_eq!(found, wanted);
        assert_eq!(names(&first_release(blocks, input, steps)), (scale, found.clone()), "the first release");
        assert_eq!(names(&revision(blocks, input, steps)), (scale, found), "the revision");
    }
    for prefix in ["params_ema.", "params."] {
        let trained = rrdb(1, 3, 2).into_iter().map(|(name, shape)| (format!("{prefix}{name}"), shape));
        assert_eq!(open(&trained.collect()).unwrap().scale(), 4);
    }
}

#[test]
fn what_is_no_upscaler_is_refused_with_a_sentence() {
    let and = |mut tensors: Tensors, name: &str, shape: &[usize]| {
        tensors.retain(|(known, _)| known != name);
        tensors.push((name.to_owned(), shape.to_vec()));
        tensors
    };
    let plain = || rrdb(1, 3, 2);
    for (tensors, word) in [
        (Tensors::new(), "another build"),
        (vec![("body.0.weight".to_owned(), vec![64, 3, 3, 3])], "another build"),
        (and(plain(), "conv_first.weight", &[64, 1, 3, 3]), "1 channels"),
        (and(plain(), "conv_first.weight", &[64, 3]), "shape"),
        (and(plain(), "conv_last.weight", &[1, 64, 3, 3]), "1 channels"),
        (and(plain(), "body.0.rdb1.conv1x1.weight", &[64, 64, 1, 1]), "conv1x1"),
        (and(plain(), "body.99999999999999999999.rdb1.conv1.weight", &[1]), "not known here"),
        (rrdb(1, 48, 1), "folded 4 times"),
        (rrdb(1, 3, 4), "4 times"),
    ] {
        let message = refusal(&tensors);
        assert!(message.contains(word) && message.contains("cannot be used as an upscaler"), "{message}");
    }
    let all = plain();
    for left_out in all.iter().step_by(3) {
        refusal(&all.iter().filter(|tensor| *tensor != left_out).cloned().collect());
    }
}

#[test]
fn a_pickle_is_refused_whatever_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("RealESRGAN_x4plus.safetensors");
    for beginning in [&b"PK\x03\x04archive/data.pkl"[..], &[0x80, 2, b'}', b'q', 0]] {
        fs::write(&path, beginning).unwrap();
        assert!(matches!(UpscalerFile::open(&path), Err(Error::UnsafeFormat { .. })));
    }
    assert!(matches!(UpscalerFile::open(directory.path()), Err(Error::NotAFile { .. })));
}
