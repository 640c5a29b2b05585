// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Single files of every family against what diffusers makes of them, and against directories of the same weights.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use alice::conformance::reference::Reference;
use alice::models::parse_scheduler;
use alice_checkpoint::{Checkpoint, Family};
use alice_plugin::{ConditioningHandle, TextPart};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::bench::Bench;
use super::network::{Network, Windows, signal};
use super::{RIGHT_DB, assert_right};
use crate::harness::source;
use crate::tensors::{self, RawTensors};

/// The files, and the family that each must be found to be of.
const FILES: [(&str, Family); 7] = [
    ("file-sd1", Family::Sd1),
    ("file-sd1-inpaint", Family::Sd1),
    ("file-sd1-pix2pix", Family::Sd1),
    ("file-sd2-eps", Family::Sd2),
    ("file-sd2-v", Family::Sd2),
    ("file-sdxl", Family::Sdxl),
    ("file-sdxl-refiner", Family::SdxlRefiner),
];
/// Those with full runs.
const WITH_RUNS: [&str; 4] = ["file-sd1", "file-sd2-eps", "file-sd2-v", "file-sdxl"];

/// One of the files, whole.
pub(super) struct Single {
    pub(super) reference: Reference,
    pub(super) path: PathBuf,
    /// The autoencoder, where it is a file of its own.
    vae: Option<PathBuf>,
    /// What the file is as a directory.
    directory: AsDirectory,
    _scratch: TempDir,
}

#[derive(Deserialize)]
struct AsDirectory {
    /// The small files' texts by path.
    files: BTreeMap<String, Value>,
    /// By component and name each weight's shape and the digest of its values.
    weights: BTreeMap<String, BTreeMap<String, (Vec<u64>, String)>>,
}

impl Single {
    pub(super) fn new(name: &str) -> Self {
        let (fixtures, scratch) = (source("tests/fixtures"), tempfile::tempdir().unwrap());
        let path = scratch.path().join("a model of unknown origin.safetensors");
        tensors::write(&path, &tensors::whole(&fixtures, name));
        let vae = Some(fixtures.join(format!("files/{name}-vae.safetensors"))).filter(|path| path.exists());
        let text = fs::read(fixtures.join(format!("{name}.json"))).unwrap();
        let mut cases: Value = serde_json::from_slice(&text).unwrap();
        Self {
            reference: Reference::open(&fixtures, name, path.clone()).unwrap(),
            directory: serde_json::from_value(cases["directory"].take()).unwrap(),
            path,
            vae,
            _scratch: scratch,
        }
    }

    pub(super) fn checkpoint(&self) -> Checkpoint {
        let checkpoint = Checkpoint::open(&self.path).unwrap();
        match &self.vae {
            Some(path) => checkpoint.with_vae(path).unwrap(),
            None => checkpoint,
        }
    }

    /// Writes the same model as a directory, with every weight in f32.
    pub(super) fn write_directory(&self, to: &Path) {
        for (path, text) in &self.directory.files {
            fs::create_dir_all(to.join(path).parent().unwrap()).unwrap();
            fs::write(to.join(path), text.to_string()).unwrap();
        }
        for (component, weights) in &self.directory.weights {
            let read = self.checkpoint().weights(component).unwrap();
            let tensors: RawTensors = weights
                .iter()
                .map(|(name, (shape, _))| {
                    let values = read.tensor(name).unwrap().to_f32().unwrap();
                    (name.clone(), tensors::of_f32(shape, &values))
                })
                .collect();
            let stem = if component.contains("encoder") { "model" } else { "diffusion_pytorch_model" };
            tensors::write(&to.join(component).join(format!("{stem}.safetensors")), &tensors);
        }
    }
}

/// What a network answers to everything that its reference asks, by what it is.
pub(super) fn answers(network: &mut Network, reference: &Reference) -> BTreeMap<String, Vec<f32>> {
    let mut found = BTreeMap::new();
    let mut texts: BTreeMap<&str, ConditioningHandle> = BTreeMap::new();
    for text in &reference.cases.texts {
        let windows = text.ids.iter().map(|chunks| {
            chunks.iter().map(|ids| (ids.clone(), vec![text.weight; ids.len()])).collect::<Windows>()
        });
        let handle = network.encode(&windows.collect::<Vec<_>>(), &[], text.clip_skip);
        texts.insert(&text.name, handle);
        for part in [TextPart::Tokens, TextPart::Pooled] {
            let values = network.read(handle, part);
            found.extend(values.map(|values| (format!("text.{}.{}", text.name, part.name()), values)));
        }
    }
    for case in &reference.cases.denoise {
        let split = |tensor: &str| -> Vec<Vec<f32>> {
            let values = reference.numbers(&format!("denoise.{}.{tensor}", case.name)).unwrap_or_default();
            let length = (values.len() / case.rows.len()).max(1);
            values.chunks(length).map(<[f32]>::to_vec).collect()
        };
        let (latents, concat) = (split("latents"), split("concat"));
        let mut every = Vec::new();
        for (index, row) in case.rows.iter().enumerate() {
            let concat = concat.get(index).map_or(&[][..], Vec::as_slice);
            let inputs = [("time_ids", row.time_ids.as_slice()), ("concat", concat)];
            let (size, text) = ((case.height, case.width), texts[row.text.as_str()]);
            every.extend(network.denoise(size, &latents[index], row.timestep, text, &inputs));
        }
        found.insert(format!("denoise.{}.answers", case.name), every);
    }
    for case in &reference.cases.decode {
        let latents = reference.numbers(&format!("decode.{}.latents", case.name)).unwrap();
        let picture = network.decode((case.height, case.width), &latents);
        // As bytes in the order of the reference: channel by channel.
        let planes = (0..3).flat_map(|channel| picture.iter().skip(channel).step_by(3));
        found.insert(format!("decode.{}.pictures", case.name), planes.map(|byte| f32::from(*byte)).collect());
    }
    for case in &reference.cases.encode {
        let pixels = reference.pixels(&format!("encode.{}.pixels", case.name)).unwrap();
        let (mean, deviation) = network.encode_image((case.height, case.width), &pixels);
        found.insert(format!("encode.{}.mean", case.name), mean);
        found.insert(format!("encode.{}.deviation", case.name), deviation);
    }
    found
}

/// How near each answer comes to the reference, in dB; pictures as bytes.
fn nearness(reference: &Reference, answers: BTreeMap<String, Vec<f32>>) -> BTreeMap<String, f64> {
    answers
        .into_iter()
        .map(|(name, values)| {
            let mut expected = reference.numbers(&name).unwrap();
            if name.ends_with(".pictures") {
                expected.iter_mut().for_each(|value| *value = (*value * 255.0).round_ties_even());
                let off = expected.iter().zip(&values).filter(|(a, b)| (*a - *b).abs() > 1.0).count();
                assert_eq!(off, 0, "{name}");
                // A value on a rounding boundary may fall on either side.
                return (name, f64::INFINITY);
            }
            let db = signal(&expected, &values);
            (name, db)
        })
        .collect()
}

#[test]
fn every_weight_of_a_single_file_is_the_one_that_diffusers_reads() {
    for (name, family) in FILES {
        let single = Single::new(name);
        let checkpoint = single.checkpoint();
        assert_eq!(checkpoint.family(), family, "{name}");
        assert_eq!(checkpoint.components().unwrap().len(), single.directory.weights.len(), "{name}");
        for (component, weights) in &single.directory.weights {
            let found = checkpoint.weights(component).unwrap();
            assert!(weights.len() > 20, "{name} {component}");
            for (weight, (shape, digest)) in weights {
                let tensor = found.tensor(weight).unwrap();
                let own: Vec<_> = tensor.shape.iter().map(|size| *size as u64).collect();
                assert_eq!(own, *shape, "{name} {component} {weight}");
                let values = tensors::of_f32(shape, &tensor.to_f32().unwrap());
                let digest_of_own = Sha256::digest(values.bytes);
                let hex: String = digest_of_own[..16].iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(hex, *digest, "{name} {component} {weight}");
            }
        }
    }
}

#[test]
fn single_files_answer_what_diffusers_answers_with_them_and_what_directories_of_the_same_weights_answer() {
    for (name, _) in FILES {
        let single = Single::new(name);
        let mut network = Network::load(&single.path, single.vae.clone());
        for text in &single.reference.cases.texts {
            for (tokenizer, chunks) in network.tokenizers.iter().zip(&text.ids) {
                for (prompt, ids) in text.prompts.iter().zip(chunks) {
                    assert_eq!(&tokenizer.window(prompt).ids, ids, "{name} {}", text.name);
                }
            }
        }
        let of_file = answers(&mut network, &single.reference);
        for (what, db) in nearness(&single.reference, of_file.clone()) {
            assert!(db >= RIGHT_DB, "{name} {what}: {db:.1} dB");
        }

        let directory = tempfile::tempdir().unwrap();
        single.write_directory(directory.path());
        let mut network = Network::load(directory.path(), None);
        let of_directory = answers(&mut network, &single.reference);
        assert!(of_file == of_directory, "{name}: a directory of the same weights answers otherwise");
    }
}

#[tokio::test]
async fn runs_from_single_files_paint_what_diffusers_paints_from_them() {
    for name in WITH_RUNS {
        let single = Single::new(name);
        let bench = Bench::new(name, single.path.clone(), 1).await;
        assert_right(name, &bench.compare_all().await);
    }
}

#[test]
fn marks_of_a_file_say_what_its_network_predicts() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("marked.safetensors");
    let prediction = |tensors: &RawTensors| {
        tensors::write(&path, tensors);
        let checkpoint = Checkpoint::open(&path).unwrap();
        let text = String::from_utf8(checkpoint.scheduler_config().unwrap()).unwrap();
        parse_scheduler(&text, checkpoint.family()).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        let zero = config["rescale_betas_zero_snr"].as_bool().unwrap_or(false);
        (config["prediction_type"].as_str().unwrap().to_owned(), zero)
    };
    let kept =
        |name: &str| tensors::read(&source("tests/fixtures/files").join(format!("{name}.safetensors")));
    let (mut xl, sd2) = (kept("file-sdxl"), kept("file-sd2-v"));
    assert_eq!(prediction(&sd2), ("v_prediction".to_owned(), true));
    assert_eq!(prediction(&xl), ("epsilon".to_owned(), false));
    for mark in tensors::MARKS {
        xl.insert(mark.into(), sd2[mark].clone());
    }
    assert_eq!(prediction(&xl), ("v_prediction".to_owned(), true));
    let unmarked = tensors::whole(&source("tests/fixtures"), tensors::UNMARKED.0);
    assert_eq!(prediction(&unmarked), ("epsilon".to_owned(), false));
}

#[test]
fn shards_and_variants_of_a_directory_are_the_same_weights() {
    let own = source("tests/fixtures/sd1-eps");
    let copy = tempfile::tempdir().unwrap();
    super::copy(&own, copy.path());
    tensors::shard(&copy.path().join("unet"), "diffusion_pytorch_model");
    for (component, stem) in [("vae", "diffusion_pytorch_model"), ("text_encoder", "model")] {
        tensors::call_variant(&copy.path().join(component), stem);
    }
    let (one, other) = (Checkpoint::open(&own).unwrap(), Checkpoint::open(copy.path()).unwrap());
    for component in ["unet", "vae", "text_encoder"] {
        let (one, other) = (one.weights(component).unwrap(), other.weights(component).unwrap());
        let names: Vec<_> = one.names().collect();
        assert!(names.len() > 20 && names == other.names().collect::<Vec<_>>(), "{component}");
        for name in names {
            assert_eq!(one.tensor(name).unwrap().bytes, other.tensor(name).unwrap().bytes, "{name}");
        }
    }
}

#[tokio::test]
#[ignore = "prints a table of docs/PARITY.md"]
#[allow(clippy::print_stdout)]
async fn table_of_files() {
    println!(
        "| file | text, dB | UNet, dB | encoded picture, dB | runs: latents, max abs | runs: picture, dB |"
    );
    println!("|---|---|---|---|---|---|");
    for (name, _) in FILES {
        let single = Single::new(name);
        let mut network = Network::load(&single.path, single.vae.clone());
        let found = answers(&mut network, &single.reference);
        let nearness = nearness(&single.reference, found);
        let worst = |start: &str| {
            let those = nearness.iter().filter(|(name, _)| name.starts_with(start));
            those.map(|(_, db)| *db).fold(f64::INFINITY, f64::min)
        };
        let (mut latents, mut picture) = ("-".to_owned(), "-".to_owned());
        if WITH_RUNS.contains(&name) {
            let bench = Bench::new(name, single.path.clone(), 1).await;
            let distances = bench.compare_all().await;
            let every = || distances.iter().map(|(_, distance)| distance);
            latents = format!("{:.1e}", every().map(|one| one.latents).fold(0.0, f32::max));
            picture = format!("{:.1}", every().map(|one| one.picture_db).fold(f64::INFINITY, f64::min));
        }
        let (text, denoised, encoded) = (worst("text"), worst("denoise"), worst("encode"));
        let picture = picture.replace("inf", "equal");
        println!("| {name} | {text:.0} | {denoised:.0} | {encoded:.0} | {latents} | {picture} |");
    }
}
