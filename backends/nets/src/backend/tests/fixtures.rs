// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The networks against diffusers and transformers: encoded prompts with their pooled vectors, and pictures
//! before they are rounded to bytes. The small random models and the references are those of
//! `tests/fixtures`.

use alice_checkpoint::TensorFile;
use serde_json::Value;

use super::*;

const MODELS: [&str; 6] = ["sd1-eps", "sd2-v", "sdxl", "sdxl-refiner", "sd1-inpaint", "sd1-pix2pix"];
/// The most that a value may be away.
const TOLERANCE: f32 = 1e-4;

/// A model of `tests/fixtures` with its references.
pub(super) struct Fixture {
    pub(super) loaded: Loaded,
    cases: Value,
    references: TensorFile,
}

impl Fixture {
    /// The directory of the model.
    pub(super) fn directory(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
    }

    pub(super) fn new(name: &str) -> Self {
        let mut backend = backend();
        let (model, info) = backend.load(&request(Self::directory(name)), &Uncontrolled).unwrap();
        let references = Self::directory(name).with_extension("safetensors");
        let cases = std::fs::read(references.with_extension("json")).unwrap();
        Self {
            loaded: Loaded { backend, model, info, _files: None },
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
        assert!(texts.len() >= 8, "{name}");
        for text in &texts {
            // Of each encoder the chunks' tokens.
            let ids: Vec<Vec<Vec<u32>>> = serde_json::from_value(text["ids"].clone()).unwrap();
            let weights = vec![text["weight"].as_f64().unwrap() as f32; ids[0][0].len()];
            let encoders = (0u32..).zip(&ids);
            let chunks: Vec<_> = encoders
                .flat_map(|(encoder, chunks)| chunks.iter().map(move |ids| (encoder, ids)))
                .map(|(encoder, ids)| TextChunk { encoder, ids, weights: &weights })
                .collect();
            let skip = text["clip_skip"].as_u64().unwrap() as u32;
            let encoded = fixture.loaded.encode_chunks(&chunks, skip).unwrap();
            let part = |part| format!("text.{}.{part}", text["name"].as_str().unwrap());
            let found = fixture.loaded.tokens(encoded);
            assert_within(&found, &fixture.reference(&part("tokens")), &format!("{name} {}", part("tokens")));
            if fixture.references.contains(&part("pooled")) {
                let found = fixture.loaded.backend.read_text(encoded, TextPart::Pooled).unwrap();
                assert_within(
                    &found,
                    &fixture.reference(&part("pooled")),
                    &format!("{name} {}", part("pooled")),
                );
            }
        }
    }
}

#[test]
fn pictures_before_rounding_are_those_of_diffusers() {
    for name in MODELS {
        let fixture = Fixture::new(name);
        let model = fixture.loaded.backend.models.get(fixture.loaded.model.0).unwrap().model().unwrap();
        let expected = fixture.reference("decode.9x7.pictures");
        let mut picture = vec![0.0; expected.len()];
        // A size that the autoencoder's levels do not divide.
        let latent = fixture.reference("decode.9x7.latents");
        let progress = Progress::begin(&Uncontrolled, 0).unwrap();
        model.vae.picture(&model.ops, [1, 4, 9, 7], &latent, &mut picture, &progress).unwrap();
        let picture: Vec<f32> = picture.iter().map(|value| (value * 0.5 + 0.5).clamp(0.0, 1.0)).collect();
        assert_within(&picture, &expected, name);
    }
}
