// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What comes out of jobs that pictures come with, with real networks, by the pixels.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::RgbImage;
use serde_json::{Value, json};

use crate::edits::{mask_in_white, picture};
use crate::harness::{Server, source};
use crate::tensors;

const GENERATIONS: &str = "/v1/images/generations";

/// A server over the small models of the tests.
async fn server() -> Server {
    server_of(&source("tests/fixtures")).await
}

/// A server over the models in `directory`, among them `sd1-eps`.
async fn server_of(directory: &Path) -> Server {
    let models = format!("models: {{ directory: {}, default_model: sd1-eps }}", directory.display());
    Server::with(&format!("generation: {{ backend: cpu, backend_options: {{ cpu: {{ dtype: f32 }} }}, default_steps: 4 }}\n{models}")).await
}

fn text(file: &[u8]) -> String {
    BASE64_STANDARD.encode(file)
}

/// What is asked of `sd1-eps`, always with the same seed.
fn asked(fields: Value) -> Value {
    let mut body =
        json!({"prompt": "a red apple", "seed": 3, "size": "64x64", "response_format": "b64_json"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

async fn painted(server: &Server, fields: Value) -> RgbImage {
    let answer = server.post_json(GENERATIONS, &asked(fields)).await;
    let file = BASE64_STANDARD.decode(answer["data"][0]["b64_json"].as_str().unwrap()).unwrap();
    image::load_from_memory(&file).unwrap().into_rgb8()
}

/// The mean difference of the channels of pixels in columns `columns`.
fn difference(one: &RgbImage, other: &RgbImage, columns: std::ops::Range<u32>) -> f64 {
    assert_eq!(one.dimensions(), other.dimensions());
    let pixels = one.enumerate_pixels().filter(|(x, ..)| columns.contains(x));
    let values = pixels.flat_map(|(x, y, pixel)| {
        let pairs = pixel.0.into_iter().zip(other.get_pixel(x, y).0);
        pairs.map(|(one, other)| f64::from(one.abs_diff(other)))
    });
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}

fn opened(file: &[u8]) -> RgbImage {
    image::load_from_memory(file).unwrap().into_rgb8()
}

#[tokio::test]
async fn what_the_mask_does_not_cover_stays_to_the_bit_with_both_kinds_of_network() {
    let server = server().await;
    let (image, mask) = (picture(64, 64), mask_in_white(64, 64));
    for model in ["sd1-eps", "sd1-inpaint"] {
        let fields = json!({
            "model": model, "input_images": [text(&image)], "mask": text(&mask), "mask_blur": 0, "strength": 1,
        });
        let result = painted(&server, fields).await;
        assert_eq!(difference(&result, &opened(&image), 32..64), 0.0, "{model}");
        assert!(difference(&result, &opened(&image), 0..32) > 5.0, "{model} paints the rest anew");
    }
}

#[tokio::test]
async fn only_the_masked_region_is_painted_and_the_picture_keeps_its_size() {
    let server = server().await;
    let (image, mask) = (picture(200, 120), mask_in_white(200, 120));
    let fields = json!({
        "input_images": [text(&image)], "mask": text(&mask), "mask_blur": 0, "only_masked": true,
        "only_masked_padding": 8, "strength": 0.9,
    });
    let result = painted(&server, fields).await;
    assert_eq!(result.dimensions(), (200, 120));
    assert_eq!(difference(&result, &opened(&image), 100..200), 0.0);
    assert!(difference(&result, &opened(&image), 0..100) > 3.0);
}

#[tokio::test]
async fn a_weak_run_stays_nearer_to_its_picture_than_a_strong_one() {
    let server = server().await;
    let image = picture(64, 64);
    let at = async |strength: f64| {
        let fields = json!({"input_images": [text(&image)], "strength": strength, "steps": 10});
        difference(&painted(&server, fields).await, &opened(&image), 0..64)
    };
    let (weak, strong) = (at(0.1).await, at(1.0).await);
    assert!(weak < strong, "{weak} {strong}");
    let body = asked(json!({"input_images": [text(&image)], "strength": 0.05, "steps": 10}));
    let answer = server.post(GENERATIONS, &body).await;
    assert_eq!(answer.status(), 400);
    let said: Value = answer.json().await.unwrap();
    assert_eq!(said["error"]["param"], "strength", "{said}");
}

#[tokio::test]
async fn a_second_run_makes_a_larger_picture_of_the_same_thing_and_its_steps_count() {
    let server = server().await;
    for upscaler in ["latent", "latent_bicubic", "lanczos", "real-x2"] {
        let hires = json!({"scale": 2, "upscaler": upscaler, "strength": 0.5, "steps": 6});
        let body = asked(json!({"steps": 4, "hires": hires}));
        let answer = server.post_json(GENERATIONS, &body).await;
        let file = BASE64_STANDARD.decode(answer["data"][0]["b64_json"].as_str().unwrap()).unwrap();
        assert_eq!(opened(&file).dimensions(), (128, 128), "{upscaler}");
        let jobs = server.get_json("/v1/jobs").await;
        assert_eq!(jobs["data"][0]["steps"], 7, "{upscaler}: {jobs}");
    }
}

#[tokio::test]
async fn a_network_that_steers_changes_the_picture_in_its_part_of_the_run_only() {
    let server = server().await;
    let plain = painted(&server, json!({})).await;
    let with = async |control: Value| {
        let mut control = control;
        control["image"] = json!(text(&picture(64, 64)));
        painted(&server, json!({"controls": [control]})).await
    };
    for model in ["controlnet-sd1-eps", "t2i-full-sd1-eps"] {
        let steered = with(json!({"model": model})).await;
        assert!(difference(&steered, &plain, 0..64) > 1.0, "{model}");
        // No step lies wholly in the last tenth of four.
        let late = with(json!({"model": model, "start": 0.9})).await;
        assert_eq!(difference(&late, &plain, 0..64), 0.0, "{model}");
        let canny = with(json!({"model": model, "preprocessor": "canny"})).await;
        assert!(difference(&canny, &steered, 0..64) > 0.0, "{model}");
    }
}

#[tokio::test]
async fn an_upscaler_makes_the_finished_picture_larger() {
    let server = server().await;
    let result = painted(&server, json!({"upscaler": "real-x2"})).await;
    assert_eq!(result.dimensions(), (128, 128));
}

#[tokio::test]
async fn a_network_that_cannot_be_loaded_any_more_is_named_instead_of_its_model() {
    let models = tempfile::tempdir().unwrap();
    symlink(source("tests/fixtures/sd1-eps"), models.path().join("sd1-eps")).unwrap();
    let upscaler = models.path().join("upscalers/double.safetensors");
    fs::create_dir_all(upscaler.parent().unwrap()).unwrap();
    fs::copy(source("tests/fixtures/upscalers/real-x2.safetensors"), &upscaler).unwrap();
    let server = server_of(models.path()).await;
    fs::write(&upscaler, "what is no network").unwrap();
    let refused = server.post(GENERATIONS, &asked(json!({"upscaler": "double"}))).await.text().await.unwrap();
    assert!(refused.contains("`upscaler/double`") && !refused.contains("sd1-eps"), "{refused}");
    painted(&server, json!({})).await;
}

#[tokio::test]
async fn a_picture_that_is_made_larger_is_what_the_reference_makes_of_it() {
    let server = server().await;
    let numbers = tensors::read(&source("tests/fixtures/upscalers.safetensors"));
    for name in ["real-x4", "real-x2", "real-x1", "bsrgan-x4", "old-x4", "old-x2", "old-x8"] {
        for place in 0..2 {
            let (pixels, right) =
                (&numbers[&format!("{name}.{place}.pixels")], &numbers[&format!("{name}.{place}.answer")]);
            let sides = |shape: &[u64]| (shape[1] as u32, shape[0] as u32);
            let (width, height) = sides(&pixels.shape);
            let sent = RgbImage::from_raw(width, height, pixels.bytes.clone()).unwrap();
            let mut file = std::io::Cursor::new(Vec::new());
            sent.write_to(&mut file, image::ImageFormat::Png).unwrap();
            let body = json!({"image": text(&file.into_inner()), "upscaler": name});
            let answer = server.post_json("/v1/images/upscale", &body).await;
            let file = BASE64_STANDARD.decode(answer["data"][0]["b64_json"].as_str().unwrap()).unwrap();
            let larger = opened(&file);
            assert_eq!(larger.dimensions(), sides(&right.shape), "{name}");
            let right =
                right.bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
            let squares = right.zip(larger.as_raw()).map(|(right, got)| {
                let off = f64::from(right.round()) - f64::from(*got);
                off * off
            });
            let mean = squares.sum::<f64>() / larger.as_raw().len() as f64;
            // 60 dB.
            assert!(mean <= 255.0 * 255.0 / 1e6, "{name}: {mean}");
        }
    }
}
