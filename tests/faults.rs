// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What happens when backends, models and clients misbehave: the server says what is wrong and goes on.

use std::fs;
use std::path::Path;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Server, install, source};

const IMAGES: &str = "/v1/images/generations";

/// A configuration for the paint backend with one accident.
fn fault(call: &str, at: u32, effect: &str) -> String {
    let fault = format!("{{ call: {call}, at: {at}, do: {effect} }}");
    format!("generation: {{ backend: paint, backend_options: {{ paint: {{ faults: [{fault}] }} }} }}")
}

/// The status and error of a generation.
async fn generate(server: &Server, model: Option<&str>) -> (u16, Value) {
    let answer = server.post(IMAGES, &json!({"prompt": "a red apple", "model": model, "steps": 4})).await;
    let status = answer.status().as_u16();
    (status, answer.json::<Value>().await.unwrap()["error"].clone())
}

#[tokio::test]
async fn a_backend_that_panics_is_started_anew() {
    // Each instance counts its own calls, so the new one meets the same accident, and this request has had its chance.
    for (call, at) in [("load", 1), ("encode_text", 2), ("denoise", 1), ("decode", 1)] {
        let server = Server::with(&fault(call, at, "panic")).await;
        let (status, error) = generate(&server, None).await;
        assert_eq!((status, error["code"].as_str()), (500, Some("backend_error")), "{call}: {error}");
        assert_eq!(server.get("/livez").await.status(), StatusCode::OK);
        server.wait_for_log("started anew");
        let (status, _) = generate(&server, None).await;
        assert_eq!(status, 500, "{call}");
    }
}

#[tokio::test]
async fn a_picture_goes_on_at_its_step_after_the_backend_has_died() {
    let whole = Server::paint().await;
    let server = Server::with(&fault("denoise", 3, "panic")).await;
    let body = json!({"prompt": "a red apple", "seed": 5, "steps": 4, "response_format": "b64_json"});
    let picture = |answer: Value| answer["data"][0]["b64_json"].as_str().unwrap().to_owned();
    let expected = picture(whole.post_json(IMAGES, &body).await);
    // It dies at the third step and does the third and the fourth in its second life.
    assert!(picture(server.post_json(IMAGES, &body).await) == expected, "the same bytes");
    server.wait_for_log("started anew");
}

#[tokio::test]
async fn a_backend_that_fails_once_serves_the_next_request() {
    // What does not fit is tried with fewer rows.
    for (effect, expected) in [("internal", 500), ("out_of_memory", 200), ("bad_model", 500)] {
        let server = Server::with(&fault("denoise", 2, effect)).await;
        let (status, error) = generate(&server, None).await;
        assert_eq!(status, expected, "{effect}: {error}");
        assert_eq!(generate(&server, None).await.0, 200, "{effect}");
        let metrics = server.get_json("/metrics").await;
        assert_eq!(metrics["outOfMemory"], u64::from(effect == "out_of_memory"), "{effect}");
        assert_eq!(metrics["workerRestarts"], 0, "{effect}");
    }
}

#[tokio::test]
async fn a_step_that_never_ends_is_given_up() {
    let slow =
        "generation: { backend: paint, request_timeout: 1, backend_options: { paint: { step_ms: 60000 } } }";
    let server = Server::with(slow).await;
    let (status, error) = generate(&server, None).await;
    assert_eq!((status, error["code"].as_str()), (504, Some("timeout")), "{error}");
}

#[tokio::test]
async fn a_backend_that_hangs_costs_nobody_more_than_the_limit() {
    for call in ["load", "encode_text", "decode"] {
        let fault = format!("{{ call: {call}, do: hang }}");
        let paint = format!("backend_options: {{ paint: {{ faults: [{fault}] }} }}");
        let server =
            Server::with(&format!("generation: {{ backend: paint, request_timeout: 1, {paint} }}")).await;
        for _ in 0..2 {
            let (status, error) = generate(&server, None).await;
            assert_eq!((status, error["code"].as_str()), (504, Some("timeout")), "{call}: {error}");
        }
        assert_eq!(server.get("/livez").await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn pictures_of_one_request_do_not_run_into_each_others_limit() {
    let slow =
        "generation: { backend: paint, request_timeout: 4, backend_options: { paint: { step_ms: 500 } } }";
    let server = Server::with(slow).await;
    let body = json!({"prompt": "x", "n": 10, "steps": 1});
    assert_eq!(server.post(IMAGES, &body).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_sidecar_with_values_out_of_range_is_no_model() {
    let bad = ["width: 4294967288", "steps: 0", "guidance_scale: .nan", "scheduler: quantum"];
    let directory = tempfile::tempdir().unwrap();
    for (index, line) in bad.iter().enumerate() {
        copy_model(directory.path(), &format!("bad-{index}"));
        let sidecar = directory.path().join(format!("models/bad-{index}/model_config.yaml"));
        fs::write(sidecar, format!("fixed_size: true\ndefaults:\n  {line}\n")).unwrap();
    }
    fs::write(directory.path().join("config.yaml"), "server: { port: 0 }\ngeneration: { backend: paint }\n")
        .unwrap();
    let server = Server::start(directory, &[]);
    let list = server.get_json("/v1/models").await;
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "only the built-in model: {list}");
}

#[tokio::test]
async fn a_full_line_is_answered_503_with_a_time_to_come_back() {
    let slow = "generation: { backend: paint, max_concurrent: 1, backend_options: { paint: { step_ms: 50 } } }\n\
         limits: { waiting: 0 }";
    let server = Server::with(slow).await;
    let request =
        server.client.post(format!("{}{IMAGES}", server.base)).json(&json!({"prompt": "x", "steps": 150}));
    let running = tokio::spawn(request.send());
    while server.get_json("/health").await["modelsLoaded"] == 0 {
        tokio::task::yield_now().await;
    }
    let refused = server.post(IMAGES, &json!({"prompt": "x"})).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(refused.json::<Value>().await.unwrap()["error"]["code"], "server_busy");
    // The client goes away: its work stops and its place is free, long before its 150 steps would have ended.
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    while server.post(IMAGES, &json!({"prompt": "x", "steps": 1})).await.status() != StatusCode::OK {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_time_to_come_back_follows_the_measured_pace() {
    let mut told = Vec::new();
    for step_ms in [5, 200] {
        let server = Server::with(&format!(
            "generation: {{ backend: paint, max_concurrent: 1, \
             backend_options: {{ paint: {{ step_ms: {step_ms} }} }} }}\n\
             limits: {{ waiting: 0 }}"
        ))
        .await;
        let body = json!({"prompt": "x", "steps": 150, "guidance_scale": 1.0});
        let request = server.client.post(format!("{}{IMAGES}", server.base)).json(&body);
        let running = tokio::spawn(request.send());
        let steps = async || server.get_json("/metrics").await["totalSteps"].as_u64().unwrap();
        while steps().await < 3 {
            tokio::task::yield_now().await;
        }
        let refused = server.post(IMAGES, &body).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        let seconds: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        // At least as long as what was left afterwards takes by itself, nearly.
        let left = (150 - steps().await) as f64 * f64::from(step_ms) / 1000.0;
        assert!(seconds as f64 >= 0.9 * left, "{seconds} s for {left} s");
        told.push(seconds);
        running.abort();
    }
    assert!(told[0] < 10 && told[1] > 20 && told[1] < 150, "{told:?}");
}

/// A copy of the built-in model under another name, in the server's own directory of models.
fn copy_model(directory: &Path, name: &str) {
    let (from, to) = (source("models/alice-emoji"), directory.join("models").join(name));
    for part in ["", "scheduler", "text_encoder", "tokenizer", "unet", "vae"] {
        fs::create_dir_all(to.join(part)).unwrap();
        for entry in fs::read_dir(from.join(part)).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_file() {
                fs::copy(&entry, to.join(part).join(entry.file_name().unwrap())).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn models_that_cannot_be_used_are_named_and_the_others_serve() {
    let directory = tempfile::tempdir().unwrap();
    let models = directory.path().join("models");
    for name in ["hostile-header", "truncated", "wrong-shape", "no-tokenizer"] {
        copy_model(directory.path(), name);
    }
    let weights = "unet/diffusion_pytorch_model.safetensors";
    fs::write(models.join("hostile-header").join(weights), [0xff; 64]).unwrap();
    let whole = fs::read(models.join("truncated").join(weights)).unwrap();
    fs::write(models.join("truncated").join(weights), &whole[..whole.len() / 2]).unwrap();
    let config = fs::read_to_string(models.join("wrong-shape/unet/config.json")).unwrap();
    let wrong = config.replace("\"cross_attention_dim\": 128", "\"cross_attention_dim\": 768");
    assert_ne!(config, wrong);
    fs::write(models.join("wrong-shape/unet/config.json"), wrong).unwrap();
    fs::remove_dir_all(models.join("no-tokenizer/tokenizer")).unwrap();
    fs::create_dir_all(models.join("no-model")).unwrap();
    fs::write(models.join("no-model/model_index.json"), "{}").unwrap();
    fs::write(
        directory.path().join("config.yaml"),
        "server: { port: 0 }\nmodels: { default_model: alice-emoji }\n",
    )
    .unwrap();

    let server = Server::start(directory, &[]);
    assert!(server.early_log.iter().any(|line| line.contains("no-model")), "junk is named in the log");
    let list = server.get_json("/v1/models").await;
    let ids: Vec<_> =
        list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert!(!ids.contains(&"sd/no-model") && ids.contains(&"sd/alice-emoji"), "{ids:?}");
    for name in ["hostile-header", "truncated", "wrong-shape", "no-tokenizer"] {
        let (status, error) = generate(&server, Some(name)).await;
        // Either it was refused at the start (and is no model), or the request says what is wrong with it.
        let listed = ids.contains(&format!("sd/{name}").as_str());
        assert_eq!(status, if listed { 500 } else { 404 }, "{name}: {error}");
    }
    assert_eq!(generate(&server, None).await.0, 200);
}

#[tokio::test]
async fn without_any_model_the_server_starts_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    // Away from the source tree the program finds no built-in model.
    let program = directory.path().join("alice");
    install(&program);
    let config = "server: { port: 0 }\nmodels: { directory: missing }\ngeneration: { backend: paint }\n";
    fs::write(directory.path().join("config.yaml"), config).unwrap();
    let server = Server::start_program(&program, directory, &[]);
    assert_eq!(server.get_json("/v1/models").await["data"], json!([]));
    let (status, error) = generate(&server, None).await;
    assert_eq!((status, error["code"].as_str()), (404, Some("model_not_found")), "{error}");
    let page = server.get("/").await;
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.text().await.unwrap().contains("There is no model yet"), "the page says what is missing");
}

#[tokio::test]
async fn prompts_are_never_logged() {
    let server = Server::with(&fault("denoise", 1, "internal")).await;
    let secret = "a prompt that nobody else may read";
    let body = json!({"prompt": secret, "negative_prompt": secret, "steps": 1});
    assert_eq!(server.post(IMAGES, &body).await.status(), 500);
    assert_eq!(server.post(IMAGES, &body).await.status(), 200);
    let log = server.wait_for_log("backend failed") + &server.wait_for_log("Pictures made");
    assert!(!log.contains("nobody else"), "{log}");
}
