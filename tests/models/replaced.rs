// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Models whose files are replaced under their names.

use std::fs;
use std::path::Path;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::files::copy_model;
use super::refresh;
use crate::harness::Server;

const IMAGES: &str = "/v1/images/generations";

/// A server over the model `one` with these further settings of models and of the stand-in.
fn server(models: &str, paint: &str) -> Server {
    let directory = tempfile::tempdir().unwrap();
    copy_model(&directory.path().join("models/one"));
    start(directory, models, paint)
}

fn start(directory: tempfile::TempDir, models: &str, paint: &str) -> Server {
    let config = format!(
        "server: {{ port: 0 }}\nmodels: {{ directory: models, {models} }}\n\
         generation: {{ backend: paint, backend_options: {{ paint: {{ model_mib: 100, {paint} }} }} }}\n"
    );
    fs::write(directory.path().join("config.yaml"), config).unwrap();
    Server::start(directory, &[])
}

/// Puts another noise schedule in the place of the model's own.
fn replace(directory: &Path) {
    let path = directory.join("models/one/scheduler/scheduler_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["beta_end"] = json!(0.02);
    // It is a link to the original.
    fs::remove_file(&path).unwrap();
    fs::write(path, config.to_string()).unwrap();
}

fn asked(steps: u32) -> Value {
    json!({"prompt": "a red apple", "model": "one", "seed": 7, "steps": steps})
}

async fn picture(server: &Server, steps: u32) -> Value {
    server.post_json(IMAGES, &asked(steps)).await["data"][0]["b64_json"].clone()
}

async fn one(server: &Server) -> Value {
    server.get_json("/v1/models/one").await
}

async fn wait_until(server: &Server, wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let entry = one(server).await;
        if wanted(&entry) {
            return entry;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_model_whose_files_were_replaced_is_loaded_anew_after_a_refresh() {
    let server = server("", "");
    let old = picture(&server, 4).await;
    fs::write(server.directory.path().join("models/one/model_config.yaml"), "description: An apple\n")
        .unwrap();
    refresh(&server).await;
    assert_eq!(one(&server).await["state"], "loaded", "its weights are the same");
    replace(server.directory.path());
    refresh(&server).await;
    assert_eq!(one(&server).await["state"], "unloaded");
    wait_until(&server, |entry| entry["memory_bytes"] == 0).await;
    let new = picture(&server, 4).await;
    assert_ne!(new, old);
    let entry = one(&server).await;
    assert_eq!((&entry["state"], &entry["memory_bytes"]), (&json!("loaded"), &json!(100 << 20)));
    let afresh = start(server.kill(), "", "");
    assert_eq!(picture(&afresh, 4).await, new, "half of the old model acts on");
}

#[tokio::test]
async fn who_has_begun_with_the_old_files_ends_with_them_and_then_they_go() {
    let server = server("", "step_ms: 20");
    let old = picture(&server, 20).await;
    let running = picture(&server, 20);
    let replaced = async {
        wait_until(&server, |entry| entry["users"] == 1).await;
        replace(server.directory.path());
        refresh(&server).await;
        let entry = one(&server).await;
        assert_eq!((&entry["state"], &entry["users"]), (&json!("unloaded"), &json!(1)));
        let refused = server.post("/v1/models/one/unload", &json!({})).await;
        assert_eq!(refused.status(), StatusCode::CONFLICT);
        let loaded = server.post_json("/v1/models/one/load", &json!({})).await;
        assert_eq!((&loaded["state"], &loaded["memory_bytes"]), (&json!("loaded"), &json!(200 << 20)));
    };
    let (same, ()) = tokio::join!(running, replaced);
    assert_eq!(same, old);
    let entry = wait_until(&server, |entry| entry["memory_bytes"] == 100 << 20).await;
    assert_eq!((&entry["state"], &entry["users"]), (&json!("loaded"), &json!(0)));
    let unloaded = server.post_json("/v1/models/one/unload", &json!({})).await;
    assert_eq!((&unloaded["state"], &unloaded["memory_bytes"]), (&json!("unloaded"), &json!(0)));
}

#[tokio::test]
async fn a_pinned_model_is_pinned_in_its_new_version() {
    let server = server("pinned: [one]", "");
    wait_until(&server, |entry| entry["pinned"] == true && entry["state"] == "loaded").await;
    replace(server.directory.path());
    refresh(&server).await;
    let entry = wait_until(&server, |entry| entry["state"] == "loaded").await;
    assert_eq!((&entry["pinned"], &entry["memory_bytes"]), (&json!(true), &json!(100 << 20)));
}
