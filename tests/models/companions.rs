// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! ControlNets, T2I-Adapters and upscalers in the directory of models.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use alice::draft::Enlargement;
use alice::error::Error;
use alice::inputs::Input;
use alice::jobs::stored::Stored;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use super::files::{copy_model, lora, pickles, safetensors};
use crate::harness::source;
use crate::stage::Stage;

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// A copy of the fixture's directory `from` at `to`.
fn copy(from: &str, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in ["config.json", WEIGHTS] {
        fs::copy(source("tests/fixtures/controls").join(from).join(name), to.join(name)).unwrap();
    }
}

fn upscaler(from: &str, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(source("tests/fixtures/upscalers").join(from), to).unwrap();
}

async fn list(stage: &Stage, path: &str, key: &str) -> Vec<Value> {
    let (status, list) = stage.call(Method::GET, path, key, None).await;
    assert_eq!(status, 200, "{list}");
    list["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn they_are_listed_found_refreshed_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let models = directory.path();
    copy_model(&models.join("one"));
    symlink(source("tests/fixtures/sd1-eps"), models.join("tiny")).unwrap();
    symlink(source("tests/fixtures/sdxl"), models.join("tiny-xl")).unwrap();
    copy("controlnet-sd1-eps", &models.join("controlnets/edges-1.1"));
    copy("controlnet-sdxl", &models.join("controlnets/xl/poses"));
    copy("t2i-full-sd1-eps", &models.join("controlnets/sketch"));
    copy("t2i-full-sdxl", &models.join("controlnets/xl/strokes"));
    upscaler("real-x4.safetensors", &models.join("upscalers/photo.safetensors"));
    upscaler("old-x2.safetensors", &models.join("elsewhere/double.safetensors"));
    // What is none of these: a pickle, rubbish, another network.
    for place in ["controlnets", "upscalers"] {
        pickles(&models.join(place));
        safetensors(&models.join(place).join("odd.safetensors"), &[("what", &[1, 2, 3, 4])]);
    }
    lora(&models.join("controlnets/ink.safetensors"));
    let stage = Stage::of_models(models, "", "").await;
    let key = stage.set_up().await;

    let controls = list(&stage, "/v1/controlnets", &key).await;
    let told = |entry: &Value| ["id", "kind", "family", "models"].map(|key| entry[key].clone());
    // The copy of the built-in model is as wide as none of them.
    let expected = [
        [json!("controlnet/edges-1.1"), json!("controlnet"), json!("sd1"), json!(["sd/tiny"])],
        [json!("controlnet/poses"), json!("controlnet"), json!("sdxl"), json!(["sd/tiny-xl"])],
        [json!("controlnet/sketch"), json!("t2i_adapter"), json!("sd1"), json!(["sd/tiny"])],
        [json!("controlnet/strokes"), json!("t2i_adapter"), json!("sdxl"), json!(["sd/tiny-xl"])],
    ];
    assert_eq!(controls.iter().map(told).collect::<Vec<_>>(), expected);
    assert!(controls[0]["size_mb"].as_f64().unwrap() > 0.1, "{}", controls[0]);
    let upscalers = list(&stage, "/v1/upscalers", &key).await;
    let told = |entry: &Value| (entry["id"].clone(), entry["scale"].clone());
    let expected = [(json!("upscaler/double"), json!(2)), (json!("upscaler/photo"), json!(4))];
    assert_eq!(upscalers.iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(list(&stage, "/v1/models", &key).await.len(), 3);
    assert_eq!(list(&stage, "/v1/loras", &key).await[0]["id"], "lora/ink", "tensors tell");

    let registry = &stage.app.models;
    for (asked, id) in [("edges-1.1", "edges-1.1"), ("controlnet/xl", ""), ("EDGES", "edges-1.1"), ("s", "")]
    {
        match registry.control(asked) {
            Ok(found) => assert_eq!(found.name, id, "{asked}"),
            Err(Error::Invalid { param, problem }) => {
                assert_eq!((param.as_str(), id), ("controls", ""), "{asked}");
                assert!(
                    problem.contains("does not exist") || problem.contains("could be any of"),
                    "{problem}"
                );
            }
            Err(other) => panic!("{asked}: {other}"),
        }
    }
    for unusable in ["odd", "old", "disguised"] {
        assert!(matches!(registry.control(unusable), Err(Error::Refused { .. })), "{unusable}");
        assert!(matches!(registry.upscaler(unusable), Err(Error::Refused { .. })), "{unusable}");
    }
    let image = BASE64_STANDARD.encode(crate::edits::picture(64, 64));
    for (fields, param, code) in [
        (json!({"upscaler": "odd"}), "upscaler", "upscaler_unusable"),
        (json!({"hires": {"upscaler": "odd"}}), "hires.upscaler", "upscaler_unusable"),
        (json!({"controls": [{"model": "odd", "image": image}]}), "controls[0].model", "controlnet_unusable"),
    ] {
        let mut body = json!({"prompt": "x", "model": "tiny", "size": "64x64"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let (status, answer) = stage.call(Method::POST, "/v1/images/generations", &key, Some(body)).await;
        let error = &answer["error"];
        assert_eq!((status, &error["param"], &error["code"]), (400, &json!(param), &json!(code)), "{answer}");
    }
    let request = registry.control("sketch").unwrap().load_request();
    assert_eq!((request.what.family.as_str(), request.what.files.path().is_dir()), ("t2i_adapter", true));
    let request = registry.upscaler("photo").unwrap().load_request();
    assert_eq!((request.what.family.as_str(), request.what.files.path().is_file()), ("upscaler", true));

    let before = registry.control("edges-1.1").unwrap();
    fs::remove_dir_all(models.join("controlnets/sketch")).unwrap();
    upscaler("real-x1.safetensors", &models.join("upscalers/photo.safetensors"));
    let (_, found) = stage.call(Method::POST, "/v1/models/refresh", &key, None).await;
    assert_eq!((&found["controlnets_found"], &found["upscalers_found"]), (&json!(3), &json!(2)));
    assert_eq!(registry.upscaler("photo").unwrap().scale, 1, "the file was replaced");
    let restored = |factor| {
        let (input, upscaler) = (Input::default(), Some("upscaler/photo".to_owned()));
        let (scale, width, height, origin) = (1.0, 1, 1, None);
        let enlargement = Enlargement { input, upscaler, factor, scale, width, height, origin };
        Stored::Enlarge { enlarge: Box::new(enlargement) }.restore(registry)
    };
    assert!(restored(1).is_ok());
    assert!(matches!(restored(4), Err(Error::ModelGone { .. })), "a job of before is not done with it");
    assert!(std::sync::Arc::ptr_eq(&before, &registry.control("edges-1.1").unwrap()), "this one was not");

    for (path, id) in [
        ("/v1/controlnets/", "controlnet/edges-1.1"),
        ("/v1/controlnets/", "poses"),
        ("/v1/controlnets/", "strokes"),
        ("/v1/upscalers/", "photo"),
    ] {
        let (status, answer) = stage.call(Method::DELETE, &format!("{path}{id}"), &key, None).await;
        assert_eq!(status, 200, "{answer}");
    }
    assert!(!models.join("controlnets/edges-1.1").exists() && !models.join("controlnets/xl/poses").exists());
    assert!(models.join("controlnets").is_dir() && models.join("upscalers").is_dir());
    assert_eq!(stage.call(Method::DELETE, "/v1/upscalers/photo", &key, None).await.0, 404);
    assert_eq!(stage.call(Method::DELETE, "/v1/controlnets/doub", &key, None).await.0, 404);
    assert!(list(&stage, "/v1/controlnets", &key).await.is_empty());
}

#[tokio::test]
async fn an_upscaler_stays_as_long_as_a_job_makes_a_picture_larger_with_it() {
    let directory = tempfile::tempdir().unwrap();
    copy_model(&directory.path().join("one"));
    upscaler("old-x2.safetensors", &directory.path().join("upscalers/double.safetensors"));
    let stage = Stage::of_models(directory.path(), "", "step_ms: 60000").await;
    let key = stage.set_up().await;
    let image = BASE64_STANDARD.encode(crate::edits::picture(30, 20));
    let asked = stage.request(Method::POST, "/v1/images/upscale").header("x-api-key", &key);
    let answer = asked.json(&json!({"image": image, "stream": true})).send().await.unwrap();
    let job = answer.headers()["x-alice-job"].to_str().unwrap().to_owned();
    let (status, said) = stage.call(Method::DELETE, "/v1/upscalers/double", &key, None).await;
    assert_eq!((status, said.to_string().contains("jobs need")), (409, true), "{said}");
    let (status, ended) = stage.call(Method::DELETE, &format!("/v1/jobs/{job}"), &key, None).await;
    assert_eq!((status, &ended["status"]), (200, &json!("cancelled")), "{ended}");
    assert_eq!(stage.call(Method::DELETE, "/v1/upscalers/double", &key, None).await.0, 200);
}
