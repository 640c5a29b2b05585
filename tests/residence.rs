// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Models in memory: brought there on request, by configuration and by jobs, and out of it again.

use std::os::unix::fs::symlink;
use std::process::Command;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Server, source};

/// A server with the models `one` and `two`, of 100 MiB each, and these further lines of configuration.
pub(crate) fn server(paint: &str, models: &str, more: &str) -> Server {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("models")).unwrap();
    for name in ["one", "two"] {
        symlink(source("models/alice-emoji"), directory.path().join("models").join(name)).unwrap();
    }
    let config = format!(
        "server: {{ port: 0 }}\nmodels: {{ directory: models, {models} }}\n{more}\n\
         generation: {{ backend: paint, backend_options: {{ paint: {{ model_mib: 100, {paint} }} }} }}\n"
    );
    std::fs::write(directory.path().join("config.yaml"), config).unwrap();
    Server::start(directory, &[])
}

/// What is said of one model.
async fn entry(server: &Server, name: &str) -> Value {
    let list = server.get_json("/v1/models").await;
    let models = list["data"].as_array().unwrap().clone();
    models.into_iter().find(|model| model["name"] == name).unwrap()
}

pub(crate) async fn wait_until(server: &Server, name: &str, state: &str) -> Value {
    loop {
        let entry = entry(server, name).await;
        if entry["state"] == state {
            return entry;
        }
        tokio::task::yield_now().await;
    }
}

/// Posts without a body; gives status and JSON.
async fn act(server: &Server, path: &str) -> (StatusCode, Value) {
    let answer = server.client.post(format!("{}/v1/models/{path}", server.base)).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn paint(server: &Server, model: &str) -> StatusCode {
    let body = json!({"prompt": "x", "steps": 1, "model": model});
    server.post("/v1/images/generations", &body).await.status()
}

#[tokio::test]
async fn a_pinned_model_comes_back_by_itself_when_the_worker_has_died() {
    let server = server("load_ms: 1", "pinned: [one]", "");
    for _ in 0..2 {
        wait_until(&server, "one", "loaded").await;
        let of_server = server.process_id().to_string();
        let worker = Command::new("pkill").args(["-KILL", "-P", &of_server]).status().unwrap();
        assert!(worker.success());
        server.wait_for_log("while it had nothing to do");
        server.wait_for_log("`one` is in memory and stays there");
    }
    wait_until(&server, "one", "loaded").await;
}

#[tokio::test]
async fn a_model_is_loaded_and_unloaded_on_request() {
    let server = server("load_ms: 1", "auto_unload_timeout: 0", "");
    assert_eq!(entry(&server, "one").await["state"], "unloaded");
    let (status, loaded) = act(&server, "sd/one/load").await;
    assert_eq!(
        (status, &loaded["state"], &loaded["memory_bytes"]),
        (StatusCode::OK, &json!("loaded"), &json!(100 << 20))
    );
    assert_eq!(server.get_json("/health").await["modelsLoaded"], 1);
    let (status, unloaded) = act(&server, "one/unload").await;
    assert_eq!((status, &unloaded["state"]), (StatusCode::OK, &json!("unloaded")));
    assert_eq!(
        act(&server, "one/unload").await.0,
        StatusCode::OK,
        "what is not there is as good as unloaded"
    );
    for path in ["sd/three/load", "one/fly", "load"] {
        assert_eq!(act(&server, path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_model_on_its_way_tells_how_far_it_has_come() {
    // The worker gives a sign of life more seldom than the server looks.
    let server = server("load_ms: 2000, breath_ms: 150", "auto_unload_timeout: 0", "");
    assert_eq!(entry(&server, "one").await["progress"], Value::Null);
    let load = server.client.post(format!("{}/v1/models/one/load", server.base)).send();
    let load = tokio::spawn(load);
    let mut seen = Vec::new();
    loop {
        let entry = entry(&server, "one").await;
        match entry["state"].as_str().unwrap() {
            "unloaded" => assert!(seen.is_empty(), "{seen:?}"),
            "loading" => seen.push(entry["progress"].as_f64().unwrap_or(0.0)),
            "loaded" => break assert!(entry.get("progress").is_none(), "{entry}"),
            other => panic!("{other}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(load.await.unwrap().unwrap().status(), StatusCode::OK);
    assert!(seen.iter().any(|&progress| progress > 0.0 && progress < 1.0), "{seen:?}");
    assert!(seen.is_sorted() && seen.iter().all(|&progress| progress <= 1.0), "{seen:?}");
}

#[tokio::test]
async fn a_model_in_use_stays_and_says_so() {
    let server = server("step_ms: 60000", "auto_unload_timeout: 1", "");
    let body = json!({"prompt": "x", "model": "one", "stream": true, "detach": true});
    let job = server.post("/v1/images/generations", &body).await;
    let entry = wait_until(&server, "one", "loaded").await;
    assert_eq!(entry["users"], 1);
    let (status, error) = act(&server, "one/unload").await;
    assert_eq!(status, StatusCode::CONFLICT, "{error}");
    assert!(error["detail"].as_str().unwrap().contains("being made with `sd/one`"), "{error}");
    let id = job.headers()["x-alice-job"].to_str().unwrap();
    let cancelled = server.client.delete(format!("{}/v1/jobs/{id}", server.base)).send().await.unwrap();
    assert_eq!(cancelled.status(), StatusCode::OK);
    // Then it is idle, and goes by itself.
    wait_until(&server, "one", "unloaded").await;
}

#[tokio::test]
async fn the_model_used_longest_ago_makes_room_and_what_never_fits_says_both_numbers() {
    let server = server("", "auto_unload_timeout: 0", "engine: { memory_mib: 150 }");
    assert_eq!(paint(&server, "one").await, StatusCode::OK);
    assert_eq!(paint(&server, "two").await, StatusCode::OK);
    assert_eq!(entry(&server, "one").await["state"], "unloaded");
    assert_eq!(entry(&server, "two").await["state"], "loaded");
    assert_eq!(server.get_json("/metrics").await["modelEvictions"], 1);

    let small = self::server("", "auto_unload_timeout: 0", "engine: { memory_mib: 1 }");
    let (status, error) = act(&small, "two/load").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{error}");
    let message = error["detail"].as_str().unwrap();
    assert!(message.contains("needs") && message.contains("1.0 MB can be had"), "{message}");
    assert_eq!(paint(&small, "one").await, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn pinned_models_and_the_configured_default_are_loaded_at_the_start() {
    let server = server("", "auto_unload_timeout: 1, pinned: [sd/two], default_model: one", "");
    let pinned = wait_until(&server, "two", "loaded").await;
    assert_eq!(pinned["pinned"], true);
    // The default one is loaded too, and as idle as any other.
    server.wait_for_log("`one` is in memory");
    wait_until(&server, "one", "unloaded").await;
    assert_eq!(entry(&server, "two").await["state"], "loaded");
}

#[tokio::test]
async fn a_pinned_model_that_is_not_there_refuses_to_start() {
    let directory = tempfile::tempdir().unwrap();
    let config = "server: { port: 0 }\ngeneration: { backend: paint }\nmodels: { pinned: [nowhere] }\n";
    std::fs::write(directory.path().join("config.yaml"), config).unwrap();
    let ran = crate::harness::run(directory.path(), &[]);
    assert!(!ran.status.success() && ran.stderr.contains("`models.pinned: nowhere`"), "{}", ran.stderr);
}
