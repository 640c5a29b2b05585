// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Deleting models and LoRAs through the API.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::files::{copy_model, lora};
use crate::harness::{Server, ended, install, source};
use crate::stage::Stage;

/// A server over the models `one` and `two`, and its administrator's key.
async fn stage(options: &str, paint: &str) -> (TempDir, Stage, String) {
    let models = tempfile::tempdir().unwrap();
    copy_model(&models.path().join("one"));
    copy_model(&models.path().join("two"));
    let stage = Stage::of_models(models.path(), options, paint).await;
    let key = stage.set_up().await;
    (models, stage, key)
}

async fn ids(stage: &Stage, path: &str, key: &str) -> Vec<String> {
    let (_, list) = stage.call(Method::GET, path, key, None).await;
    list["data"].as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
}

async fn delete(stage: &Stage, path: &str, key: &str) -> (u16, Value) {
    stage.call(Method::DELETE, path, key, None).await
}

/// How many files lie in the source tree's model, which no test may ever touch.
fn shipped() -> usize {
    fs::read_dir(source("models/alice-emoji")).unwrap().count()
}

#[tokio::test]
async fn a_deleted_model_is_gone_from_disk_and_list_and_no_other_is() {
    let (models, stage, key) = stage("", "").await;
    let before = shipped();
    for less_exact in ["foo/one", "sd/on", "download/one", "sd/one/", "gpt-image-1", "sd/..", ".."] {
        let (status, _) = delete(&stage, &format!("/v1/models/{less_exact}"), &key).await;
        assert!(status == 404 || status == 405, "{less_exact}: {status}");
    }
    assert!(models.path().join("one").exists());
    let answer = delete(&stage, "/v1/models/sd/one", &key).await;
    assert_eq!(answer, (200, json!({"status": "deleted", "model_id": "sd/one"})));
    assert!(!models.path().join("one").exists() && models.path().join("two").exists());
    assert_eq!(ids(&stage, "/v1/models", &key).await, ["sd/two"]);
    assert_eq!(delete(&stage, "/v1/models/sd/one", &key).await.0, 404);
    assert_eq!(delete(&stage, "/v1/models/sd%2Ftwo", &key).await.0, 200);
    assert!(ids(&stage, "/v1/models", &key).await.is_empty());
    let (_, log) = stage.call(Method::GET, "/v1/auth/audit", &key, None).await;
    let log = log.to_string();
    assert!(log.contains("model.delete") && log.contains("sd/one") && log.contains("sd/two"), "{log}");
    assert_eq!(shipped(), before, "the links in the copies were deleted, not what they lead to");
}

#[tokio::test]
async fn a_linked_model_loses_its_link_and_one_behind_a_linked_directory_stays() {
    let elsewhere = tempfile::tempdir().unwrap();
    copy_model(&elsewhere.path().join("far"));
    let (models, stage, key) = stage("", "").await;
    symlink(source("models/alice-emoji"), models.path().join("link")).unwrap();
    symlink(elsewhere.path(), models.path().join("nas")).unwrap();
    stage.call(Method::POST, "/v1/models/refresh", &key, None).await;
    assert_eq!(ids(&stage, "/v1/models", &key).await, ["sd/far", "sd/link", "sd/one", "sd/two"]);
    let (status, error) = delete(&stage, "/v1/models/sd/far", &key).await;
    assert_eq!(status, 409, "{error}");
    assert_eq!(delete(&stage, "/v1/models/sd/link", &key).await.0, 200);
    assert!(models.path().join("link").symlink_metadata().is_err());
    assert!(source("models/alice-emoji/model_index.json").exists() && elsewhere.path().join("far").exists());
}

#[tokio::test]
async fn a_model_that_jobs_or_the_configuration_need_stays_until_they_do_not() {
    let (models, stage, key) = stage("pinned: [two]", "step_ms: 60000").await;
    let (status, error) = delete(&stage, "/v1/models/sd/two", &key).await;
    assert_eq!(status, 409, "{error}");
    assert!(error["detail"].as_str().unwrap().contains("`models.pinned`"), "{error}");
    let body = json!({"prompt": "x", "model": "one", "stream": true, "detach": true});
    let request = stage.request(Method::POST, "/v1/images/generations").header("x-api-key", &key).json(&body);
    let job = request.send().await.unwrap();
    let (status, error) = delete(&stage, "/v1/models/sd/one", &key).await;
    assert_eq!(status, 409, "{error}");
    assert!(models.path().join("one/model_index.json").exists());
    assert_eq!(ids(&stage, "/v1/models", &key).await, ["sd/one", "sd/two"], "it is back on the list");
    let id = job.headers()["x-alice-job"].to_str().unwrap();
    stage.call(Method::DELETE, &format!("/v1/jobs/{id}"), &key, None).await;
    // The job ends within a step, which is long here; the backend hears of it at once.
    while delete(&stage, "/v1/models/sd/one", &key).await.0 == 409 {
        tokio::task::yield_now().await;
    }
    assert!(!models.path().join("one").exists());
}

#[tokio::test]
async fn a_model_whose_autoencoder_another_uses_stays() {
    let (models, stage, key) = stage("", "").await;
    fs::write(models.path().join("two/model_config.yaml"), "vae: one/vae\n").unwrap();
    stage.call(Method::POST, "/v1/models/refresh", &key, None).await;
    let (status, error) = delete(&stage, "/v1/models/sd/one", &key).await;
    assert_eq!(status, 409, "{error}");
    assert!(error["detail"].as_str().unwrap().contains("`sd/two` uses its autoencoder"), "{error}");
    assert!(models.path().join("one/vae").exists());
    assert_eq!(ids(&stage, "/v1/models", &key).await, ["sd/one", "sd/two"]);
    assert_eq!(delete(&stage, "/v1/models/sd/two", &key).await.0, 200);
    assert_eq!(delete(&stage, "/v1/models/sd/one", &key).await.0, 200);
}

#[tokio::test]
async fn a_loaded_model_is_unloaded_before_it_goes() {
    let (models, stage, key) = stage("", "").await;
    assert_eq!(stage.call(Method::POST, "/v1/models/sd/one/load", &key, None).await.0, 200);
    assert_eq!(delete(&stage, "/v1/models/one", &key).await.0, 200);
    assert!(!models.path().join("one").exists());
    assert!(stage.app.engines.all().iter().all(|engine| engine.models().is_empty()));
}

#[tokio::test]
async fn a_lora_goes_alone_and_takes_its_empty_directory_with_it() {
    let (models, stage, key) = stage("", "").await;
    let file = |name: &str| models.path().join("loras").join(name);
    lora(&file("elm.safetensors"));
    lora(&file("elm-2.safetensors"));
    lora(&file("sub/oak.safetensors"));
    fs::write(file("elm.yaml"), "trigger: elm\n").unwrap();
    stage.call(Method::POST, "/v1/models/refresh", &key, None).await;
    let (status, answer) = delete(&stage, "/v1/loras/el", &key).await;
    assert_eq!(
        (status, answer["detail"].as_str()),
        (404, Some("the LoRA `el` does not exist")),
        "only a whole name"
    );
    let answer = delete(&stage, "/v1/loras/lora/elm", &key).await;
    assert_eq!(answer, (200, json!({"status": "deleted", "lora_id": "lora/elm"})));
    assert_eq!(delete(&stage, "/v1/loras/lora%2Foak", &key).await.0, 200);
    let left = |path: &Path| path.exists();
    assert!(!left(&file("elm.safetensors")) && !left(&file("sub")));
    assert!(left(&file("elm.yaml")) && left(&file("elm-2.safetensors")));
    assert_eq!(ids(&stage, "/v1/loras", &key).await, ["lora/elm-2"]);
}

#[tokio::test]
async fn a_lora_that_a_job_needs_stays() {
    let (models, stage, key) = stage("", "step_ms: 60000").await;
    symlink(source("tests/fixtures/sd1-eps"), models.path().join("tiny")).unwrap();
    let file = models.path().join("loras/kohya.safetensors");
    fs::create_dir(models.path().join("loras")).unwrap();
    fs::copy(source("tests/fixtures/loras/sd1-eps-kohya.safetensors"), &file).unwrap();
    stage.call(Method::POST, "/v1/models/refresh", &key, None).await;
    let body = json!({"prompt": "x <lora:kohya:1>", "model": "tiny", "stream": true, "detach": true});
    let request = stage.request(Method::POST, "/v1/images/generations").header("x-api-key", &key).json(&body);
    let job = request.send().await.unwrap();
    assert_eq!(job.status(), 200, "{}", job.text().await.unwrap());
    let (status, error) = delete(&stage, "/v1/loras/kohya", &key).await;
    assert_eq!(status, 409, "{error}");
    assert!(file.exists());
    assert_eq!(ids(&stage, "/v1/loras", &key).await, ["lora/kohya"], "it is back on the list");
}

#[tokio::test]
async fn the_built_in_model_cannot_be_deleted() {
    let directory = tempfile::tempdir().unwrap();
    // A program that lies elsewhere has its own built-in model, and no test can delete the source tree's.
    let program = directory.path().join("bin/alice");
    fs::create_dir(directory.path().join("bin")).unwrap();
    install(&program);
    let built_in = directory.path().join("share/alice/models/shipped");
    copy_model(&built_in);
    // Also when the directory of models is where the built-in model lies.
    for models in ["models", "share/alice/models"] {
        let config = format!(
            "server: {{ port: 0 }}\nmodels: {{ directory: {models} }}\ngeneration: {{ backend: paint }}\n\
             storage: {{ database: \"{models}.db\" }}\n"
        );
        let place = tempfile::tempdir_in(directory.path()).unwrap();
        for link in ["models", "share"] {
            fs::create_dir_all(directory.path().join(link)).unwrap();
            symlink(directory.path().join(link), place.path().join(link)).unwrap();
        }
        fs::write(place.path().join("config.yaml"), config.replace("share/alice/models.db", "two.db"))
            .unwrap();
        let made = ended(Command::new(&program).current_dir(place.path()).args(["admin", "create", "chief"]));
        let key = made.stdout.trim().to_owned();
        let server = Server::start_program(&program, place, &[]);
        let address = format!("{}/v1/models/sd/shipped", server.base);
        let answer = server.client.delete(address).header("x-api-key", key).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{models}: {}", answer.text().await.unwrap());
        assert!(built_in.join("model_index.json").exists());
    }
}
