// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the contract does not show of a network, against diffusers and transformers: encoded prompts, and
//! pictures before they are rounded to bytes. The small random models and the references are those of
//! `tests/fixtures`.

use alice_checkpoint::TensorFile;
use serde_json::Value;

use super::*;

const MODELS: [&str; 2] = ["sd1-eps", "sd1-v"];
/// The most that a value may be away.
const TOLERANCE: f32 = 1e-3;

/// A model of `tests/fixtures` with its references.
struct Fixture {
    loaded: Loaded,
    cases: Value,
    references: TensorFile,
}

impl Fixture {
    fn new(name: &str) -> Self {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
        let mut backend = backend();
        let (model, info) = backend.load(&request(directory.join(name)), &Uncontrolled).unwrap();
        let references = directory.join(name).with_extension("safetensors");
        let cases = std::fs::read(references.with_extension("json")).unwrap();
        Self {
            loaded: Loaded { backend, model, info },
            cases: serde_json::from_slice(&cases).unwrap(),
            references: TensorFile::open(&references).unwrap(),
        }
    }

    fn reference(&self, name: &str) -> Vec<f32> {
        self.references.tensor(name).unwrap().to_f32().unwrap()
    }
}

#[track_caller]
fn assert_within(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let close = (found - expected).abs() <= TOLERANCE;
        assert!(close, "{what}: value {place} is {found}, expected {expected}");
    }
}

#[test]
fn encoded_prompts_are_those_of_transformers() {
    for name in MODELS {
        let mut fixture = Fixture::new(name);
        let texts = fixture.cases["texts"].as_array().unwrap().clone();
        assert!(!texts.is_empty());
        for text in &texts {
            let ids: Vec<u32> = serde_json::from_value(text["ids"].clone()).unwrap();
            let skip = text["clip_skip"].as_u64().unwrap() as u32;
            let encoded = fixture.loaded.encode(&[(&ids, &vec![1.0; ids.len()])], skip).unwrap();
            let tensor = format!("text.{}.states", text["name"].as_str().unwrap());
            assert_within(
                &fixture.loaded.tokens(encoded),
                &fixture.reference(&tensor),
                &format!("{name} {tensor}"),
            );
        }
    }
}

#[test]
fn pictures_before_rounding_are_those_of_diffusers() {
    for name in MODELS {
        let fixture = Fixture::new(name);
        let model = fixture.loaded.backend.models.get(fixture.loaded.model.0).unwrap();
        // One that the autoencoder's levels do not divide.
        let latent = model.vae.plan.space.to_own(&fixture.reference("decode.9x7.latents"));
        let latent = model.ops.image([1, 4, 9, 7], &latent).unwrap();
        let progress = Progress::begin(&Uncontrolled, 0).unwrap();
        let picture = model.vae.decoder.forward(&model.ops, &latent, &progress).unwrap().to_f32();
        let picture: Vec<f32> = picture.iter().map(|value| (value * 0.5 + 0.5).clamp(0.0, 1.0)).collect();
        assert_within(&picture, &fixture.reference("decode.9x7.pictures"), name);
    }
}
