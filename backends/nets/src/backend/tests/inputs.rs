// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What models hear beside latent, timestep and one prompt, on the small random models of `tests/fixtures`:
//! several encoders, pooled vectors, sizes and further channels.

use std::{fs, path::Path};

use alice_plugin::InputInfo;
use serde_json::Value;

use super::{fixtures::Fixture, *};

const SIDES: LatentShape = LatentShape { channels: 4, height: 3, width: 5 };

fn input(name: &str, shape: &[u32]) -> InputInfo {
    InputInfo { name: name.to_owned(), shape: shape.to_vec() }
}

/// One chunk of token 3 for each encoder, with these weights.
fn encode(loaded: &mut Loaded, weight: f32) -> ConditioningHandle {
    let length = loaded.info.text_encoders[0].context_length as usize;
    let (ids, weights) = (vec![3; length], vec![weight; length]);
    let encoders = 0..loaded.info.text_encoders.len() as u32;
    let chunks: Vec<_> =
        encoders.map(|encoder| TextChunk { encoder, ids: &ids, weights: &weights }).collect();
    loaded.encode_chunks(&chunks, 0).unwrap()
}

#[test]
fn models_say_which_inputs_they_need() {
    for (model, inputs) in [
        ("sd1-eps", vec![]),
        ("sd2-v", vec![]),
        ("sdxl", vec![input("time_ids", &[6])]),
        ("sdxl-refiner", vec![input("time_ids", &[5])]),
        ("sd1-inpaint", vec![input("concat", &[5, 0, 0])]),
        ("sd1-pix2pix", vec![input("concat", &[4, 0, 0])]),
    ] {
        assert_eq!(Fixture::new(model).loaded.info.inputs, inputs, "{model}");
    }
}

#[test]
fn a_row_without_an_input_or_with_another_is_refused() {
    let mut loaded = Fixture::new("sd1-inpaint").loaded;
    let conditioning = encode(&mut loaded, 1.0);
    let (latent, further) = ([0.5; 60], [0.5; 75]);
    let concat = NamedTensor { name: "concat", shape: &[5, 3, 5], data: &further };
    let mut denoise = |extras: &[NamedTensor<'_>]| {
        let row = DenoiseRow { latent: &latent, timestep: 1.0, conditioning, extras, hints: &[] };
        loaded.backend.denoise(loaded.model, SIDES, &[row], &mut [0.0; 60], &Uncontrolled)
    };
    denoise(&[concat]).unwrap();
    assert_eq!(denoise(&[]).unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(denoise(&[NamedTensor { shape: &[5, 5, 3], ..concat }]).unwrap_err().kind, ErrorKind::Invalid);
    let other = NamedTensor { name: "time_ids", shape: &[6], data: &[0.0; 6] };
    assert_eq!(denoise(&[concat, other]).unwrap_err().kind, ErrorKind::Unsupported);
}

#[test]
fn every_encoder_gets_the_same_number_of_chunks() {
    let mut loaded = Fixture::new("sdxl").loaded;
    let (ids, weights) = ([3; 20], [1.0; 20]);
    let [first, second] = [0, 1].map(|encoder| TextChunk { encoder, ids: &ids, weights: &weights });
    for chunks in [vec![first], vec![second], vec![first, second, second], vec![first, first, second]] {
        assert_eq!(loaded.encode_chunks(&chunks, 0).unwrap_err().kind, ErrorKind::Invalid);
    }
    // The order of the encoders' chunks among each other says nothing.
    let one = loaded.encode_chunks(&[first, second], 0).unwrap();
    let other = loaded.encode_chunks(&[second, first], 0).unwrap();
    assert_eq!(loaded.tokens(one), loaded.tokens(other));
}

#[test]
fn a_repeated_chunk_is_encoded_once_by_each_encoder_and_the_first_is_pooled() {
    let mut loaded = Fixture::new("sdxl").loaded;
    let (ids, others, weights) = ([3; 20], [4; 20], [1.0; 20]);
    let chunk = |encoder: u32, ids| TextChunk { encoder, ids, weights: &weights };
    let once = [chunk(0, &ids[..]), chunk(0, &others), chunk(1, &ids), chunk(1, &others)];
    let thrice = [[once[0], once[1], once[0]], [once[2], once[3], once[2]]].concat();
    let mut encode = |chunks: &[TextChunk<'_>]| {
        let control = Counting::default();
        let request = TextRequest { chunks, extra_rows: &[], clip_skip: 0 };
        let conditioning = loaded.backend.encode_text(loaded.model, &request, &control).unwrap();
        let [tokens, pooled] = [TextPart::Tokens, TextPart::Pooled]
            .map(|part| loaded.backend.read_text(conditioning, part).unwrap());
        (tokens, pooled, control.0.get())
    };
    let (tokens, pooled, blocks) = encode(&once);
    let again = &tokens[..tokens.len() / 2];
    assert_eq!(encode(&thrice), ([&tokens[..], again].concat(), pooled, blocks));
}

#[test]
fn a_prompt_can_leave_out_all_that_the_denoiser_hears_and_no_more() {
    // The first encoder has four layers, the second three; the last of each is never heard.
    let mut loaded = Fixture::new("sdxl").loaded;
    let (ids, weights) = ([3; 20], [1.0; 20]);
    let chunks = [0, 1].map(|encoder| TextChunk { encoder, ids: &ids, weights: &weights });
    loaded.encode_chunks(&chunks, 2).unwrap();
    let error = loaded.encode_chunks(&chunks, 3).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("text encoder 1"), "{error}");
}

#[test]
fn weights_of_zero_are_zeros_tokens_and_pooled_vector_alike() {
    for model in ["sdxl", "sdxl-refiner"] {
        let mut loaded = Fixture::new(model).loaded;
        let zeros = encode(&mut loaded, 0.0);
        for part in [TextPart::Tokens, TextPart::Pooled] {
            let values = loaded.backend.read_text(zeros, part).unwrap();
            assert!(!values.is_empty() && values.iter().all(|value| *value == 0.0), "{model} {part:?}");
        }
    }
}

#[test]
fn a_model_without_a_pooled_vector_says_so() {
    let mut loaded = Fixture::new("sd2-v").loaded;
    let conditioning = encode(&mut loaded, 1.0);
    let error = loaded.backend.read_text(conditioning, TextPart::Pooled).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    loaded.backend.release(conditioning).unwrap();
    let error = loaded.backend.read_text(conditioning, TextPart::Tokens).unwrap_err();
    assert_eq!(error.kind, ErrorKind::StaleHandle);
}

/// Why a copy of the model `sdxl` with another value in one of its files is not loaded.
fn refusal(file: &str, key: &str, value: Value) -> Error {
    let copy = tempfile::tempdir().unwrap();
    copy_directory(&Fixture::directory("sdxl"), copy.path());
    let file = copy.path().join(file);
    let mut json: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    json[key] = value;
    fs::write(file, json.to_string()).unwrap();
    let request = LoadRequest { family: "sdxl".to_owned(), ..request(copy.path()) };
    backend().load(&request, &Uncontrolled).unwrap_err()
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_directory(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn encoders_that_do_not_fit_each_other_or_the_denoiser_are_refused() {
    for (file, key, value, kind, says) in [
        (
            "unet/config.json",
            "projection_class_embeddings_input_dim",
            json!(76),
            ErrorKind::Unsupported,
            "76",
        ),
        ("unet/config.json", "addition_time_embed_dim", json!(9), ErrorKind::Unsupported, "sizes of 9"),
        ("text_encoder_2/config.json", "projection_dim", json!(21), ErrorKind::Unsupported, "vector of 21"),
        ("text_encoder_2/config.json", "max_position_embeddings", json!(21), ErrorKind::Unsupported, "21"),
        ("text_encoder/config.json", "hidden_size", json!(27), ErrorKind::BadModel, "59 together"),
        (
            "model_index.json",
            "text_encoder_2",
            json!(["transformers", "CLIPTextModel"]),
            ErrorKind::Unsupported,
            "vector of 0",
        ),
    ] {
        let error = refusal(file, key, value);
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(says), "{error} does not say {says}");
    }
}

#[test]
fn a_tiny_autoencoder_answers_with_no_deviation() {
    let Loaded { mut backend, model, info, .. } = Fixture::new("sd1-pix2pix").loaded;
    assert_eq!(info.latent_scale, 4);
    let (mut mean, mut deviation) = ([7.0; 60], [7.0; 60]);
    backend
        .encode_image(
            model,
            SIDES,
            &[9; 12 * 20 * 3],
            &EncodeOptions::default(),
            &mut mean,
            &mut deviation,
            &Uncontrolled,
        )
        .unwrap();
    assert_eq!(deviation, [0.0; 60]);
    assert!(mean.iter().all(|value| value.is_finite() && *value != 7.0));
}

#[test]
fn every_block_of_two_encoders_and_of_a_tiny_autoencoder_is_a_sign_of_life() {
    let mut loaded = Fixture::new("sdxl").loaded;
    let (ids, weights) = ([3; 20], [1.0; 20]);
    let chunks = [0, 1].map(|encoder| TextChunk { encoder, ids: &ids, weights: &weights });
    // Two layers of the first, and all three of the second, which makes the pooled vector.
    assert_cancellable(2 + 3, |control| {
        let request = TextRequest { chunks: &chunks, extra_rows: &[], clip_skip: 1 };
        loaded.backend.encode_text(loaded.model, &request, control).map(drop)
    });
    let Loaded { mut backend, model, .. } = Fixture::new("sd1-pix2pix").loaded;
    let (mut mean, mut deviation) = ([0.0; 60], [0.0; 60]);
    assert_cancellable(4, |control| {
        backend.encode_image(
            model,
            SIDES,
            &[9; 12 * 20 * 3],
            &EncodeOptions::default(),
            &mut mean,
            &mut deviation,
            control,
        )
    });
    assert_cancellable(4, |control| {
        backend.decode(model, SIDES, &mean, &DecodeOptions::default(), &mut [0; 12 * 20 * 3], control)
    });
}

#[test]
fn tiles_as_large_as_the_latent_change_nothing_and_smaller_ones_give_a_picture_as_large() {
    let Loaded { mut backend, model, info, .. } = Loaded::new();
    let latents: Vec<f32> = (0..2 * SHAPE.len()).map(|value| (value as f32).sin()).collect();
    let pixels = 2 * 3 * 5 * info.latent_scale.pow(2) as usize;
    let mut decode = |tile| {
        let mut pixels = vec![0; 3 * pixels];
        let options = DecodeOptions { tile };
        backend.decode(model, SHAPE, &latents, &options, &mut pixels, &Uncontrolled).unwrap();
        pixels
    };
    let whole = decode(None);
    assert_eq!(decode(Some(5)), whole);
    assert_eq!(decode(Some(2048)), whole);
    let tiled = decode(Some(2));
    assert!(tiled != whole && tiled.iter().any(|value| *value > 0));
}

#[test]
fn a_picture_is_encoded_in_tiles_and_one_as_large_as_it_changes_nothing() {
    for model in ["sd1-eps", "sd1-pix2pix"] {
        let Loaded { mut backend, model, info, .. } = Fixture::new(model).loaded;
        let scale = info.latent_scale as usize;
        let pixels: Vec<u8> = (0..3 * 5 * scale * 3 * scale).map(|value| (value * 37 % 251) as u8).collect();
        let mut encode = |tile| {
            let (mut mean, mut deviation) = ([0.0; 60], [0.0; 60]);
            let options = EncodeOptions { tile, ..EncodeOptions::default() };
            backend
                .encode_image(model, SIDES, &pixels, &options, &mut mean, &mut deviation, &Uncontrolled)
                .map(|()| (mean, deviation))
        };
        let whole = encode(None).unwrap();
        assert_eq!(encode(Some(5)).unwrap(), whole);
        let tiled = encode(Some(2)).unwrap();
        assert!(tiled != whole && tiled.0.iter().all(|value| value.is_finite()));
        assert_eq!(encode(Some(0)).unwrap_err().kind, ErrorKind::Invalid);
    }
    let Loaded { mut backend, model, .. } = Loaded::new();
    let (mut mean, mut deviation) = ([0.0; 60], [0.0; 60]);
    // Two tiles down and three across, of four blocks each.
    assert_cancellable(6 * 4, |control| {
        let options = EncodeOptions { tile: Some(2), ..EncodeOptions::default() };
        backend.encode_image(model, SHAPE, &[7; 180], &options, &mut mean, &mut deviation, control)
    });
}
