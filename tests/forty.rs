// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A directory as people have it: models of every kind in both layouts, LoRAs, embeddings, an autoencoder, and what
//! else comes out of downloads. Everything is listed as what it is or refused with a reason, and each model paints.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::chaos::children;
use crate::harness::{Server, source};
use crate::parity;
use crate::tensors;

/// Directories among the models.
const DIRECTORIES: [&str; 6] = ["sd1-eps", "sd1-inpaint", "sd1-pix2pix", "sd2-v", "sdxl", "sdxl-refiner"];
/// One whose weights are in several files, one whose files are called a variant, and a file with all numbers in f32.
const SHARDED: (&str, &str) = ("sd2-v", "sd2 in shards");
const VARIANT: (&str, &str) = ("sdxl", "xl-fp16");
const WIDENED: (&str, &str) = ("file-sd1", "full/file-sd1-f32.safetensors");
/// Single files, and where they lie.
const FILES: [(&str, &str); 7] = [
    ("file-sd1", "file-sd1.safetensors"),
    ("file-sd1-inpaint", "checkpoints/painting/inpaint v2 (final).safetensors"),
    ("file-sd1-pix2pix", "pix2pix/file-sd1-pix2pix.safetensors"),
    ("file-sd2-eps", "512-base.safetensors"),
    ("file-sd2-v", "Модели/768-v.safetensors"),
    ("file-sdxl", "xl.safetensors"),
    ("file-sdxl-refiner", "deep/er/and/deeper/refiner.safetensors"),
];
/// What is listed: each model's id and family.
const LISTED: [(&str, &str); 17] = [
    ("sd/512-base", "sd2"),
    ("sd/alice-emoji", "sd1"),
    ("sd/deeper", "sdxl_refiner"),
    ("sd/file-sd1", "sd1"),
    ("sd/full", "sd1"),
    ("sd/painting", "sd1"),
    ("sd/pix2pix", "sd1"),
    ("sd/sd1-eps", "sd1"),
    ("sd/sd1-inpaint", "sd1"),
    ("sd/sd1-pix2pix", "sd1"),
    ("sd/sd2 in shards", "sd2"),
    ("sd/sd2-v", "sd2"),
    ("sd/sdxl", "sdxl"),
    ("sd/sdxl-refiner", "sdxl_refiner"),
    ("sd/xl", "sdxl"),
    ("sd/xl-fp16", "sdxl"),
    ("sd/Модели", "sd2"),
];
/// What two models of one family predict, by what their files say.
const PREDICTS: [(&str, &str); 2] = [("sd/512-base", "epsilon"), ("sd/Модели", "v_prediction")];
/// Models of the same weights.
const SAME: [[&str; 2]; 3] =
    [["sd/sd2-v", "sd/sd2 in shards"], ["sd/sdxl", "sd/xl-fp16"], ["sd/file-sd1", "sd/full"]];
/// What is no model, LoRA or embedding, and a word of the reason; none where there is nothing to say about it.
const JUNK: [(&str, &[u8], Option<&str>); 12] = [
    ("pickle.safetensors", b"\x80\x02}q\x00(X\x05\x00\x00\x00stateq\x01K\x01u.", Some("can run a program")),
    (
        "zip.safetensors",
        b"PK\x03\x04\x14\x00\x00\x00\x00\x00\x00\x00archive/data.pkl",
        Some("can run a program"),
    ),
    ("old.ckpt", b"\x80\x02}q\x00.", Some("can run a program")),
    ("lfs.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", Some("LFS")),
    ("page.safetensors", b"<!DOCTYPE html><html><title>Log in</title></html>", Some("web page")),
    ("empty.safetensors", b"", Some("empty")),
    ("huge.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", Some("header")),
    ("words.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{\"a\": \"b\"}      ", Some("header")),
    ("quantised.gguf", b"GGUF\x03\x00\x00\x00\x00\x00\x00\x00", Some("GGUF")),
    ("readme.txt", b"see the page", None),
    ("preview.png", b"\x89PNG\r\n\x1a\n", None),
    (".hidden.safetensors", b"not looked at", None),
];

/// What is half there or leads in a circle, and a word of the reason.
const DAMAGED: [(&str, &str); 4] = [
    ("half.safetensors", "are there"),
    ("broken", "model_index.json"),
    ("lost.safetensors", "cannot be looked at"),
    ("again", "looked at already"),
];

/// Puts the forty files and directories into `models`.
fn fill(models: &Path) {
    let fixtures = source("tests/fixtures");
    for name in DIRECTORIES {
        parity::copy(&fixtures.join(name), &models.join(name));
    }
    for (name, place) in FILES {
        fs::create_dir_all(models.join(place).parent().unwrap()).unwrap();
        tensors::write(&models.join(place), &tensors::whole(&fixtures, name));
    }
    for (name, place) in [SHARDED, VARIANT] {
        parity::copy(&fixtures.join(name), &models.join(place));
    }
    let parts =
        [("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model"), ("text_encoder", "model")];
    for (component, stem) in parts {
        tensors::shard(&models.join(SHARDED.1).join(component), stem);
    }
    for (component, stem) in parts.into_iter().chain([("text_encoder_2", "model")]) {
        tensors::call_variant(&models.join(VARIANT.1).join(component), stem);
    }
    let narrow = FILES.into_iter().find(|(name, _)| *name == WIDENED.0).unwrap().1;
    fs::create_dir_all(models.join(WIDENED.1).parent().unwrap()).unwrap();
    tensors::write(&models.join(WIDENED.1), &tensors::widened(&models.join(narrow)));
    let vae = "file-sd1-pix2pix-vae.safetensors";
    fs::create_dir_all(models.join("VAE")).unwrap();
    fs::copy(fixtures.join("files").join(vae), models.join("VAE").join(vae)).unwrap();
    fs::write(models.join("pix2pix/file-sd1-pix2pix.yaml"), format!("vae: VAE/{vae}\n")).unwrap();
    parity::copy(&fixtures.join("loras"), &models.join("loras/by others"));
    // One that lies elsewhere is told by its tensors.
    fs::rename(models.join("loras/by others/sdxl-peft.safetensors"), models.join("astray.safetensors"))
        .unwrap();
    fs::create_dir_all(models.join("embeddings")).unwrap();
    for (from, to) in
        [("sd1-eps/wobbly", "wobbly"), ("sd1-eps/zigzag", "zigzag"), ("sdxl/wobbly", "wobbly-xl")]
    {
        let (from, to) = (format!("embeddings/{from}.safetensors"), format!("embeddings/{to}.safetensors"));
        fs::copy(fixtures.join(from), models.join(to)).unwrap();
    }
    for (name, bytes, _) in JUNK {
        fs::write(models.join(name), bytes).unwrap();
    }
    let whole = fs::read(models.join("xl.safetensors")).unwrap();
    fs::write(models.join("half.safetensors"), &whole[..whole.len() / 2]).unwrap();
    fs::create_dir_all(models.join("broken")).unwrap();
    fs::write(models.join("broken/model_index.json"), "{\"_class_name\": ").unwrap();
    fs::create_dir_all(models.join("folder.safetensors")).unwrap();
    symlink(models, models.join("again")).unwrap();
    symlink(models.join("nowhere"), models.join("lost.safetensors")).unwrap();
}

/// A server over the forty.
fn server() -> Server {
    let directory = tempfile::tempdir().unwrap();
    let models = directory.path().join("models");
    fs::create_dir(&models).unwrap();
    fill(&models);
    let config = "server: { port: 0 }\nmodels: { directory: models }\ngeneration: { backend: cpu }\n";
    fs::write(directory.path().join("config.yaml"), config).unwrap();
    Server::start(directory, &[])
}

async fn listed(server: &Server, path: &str) -> Vec<Value> {
    server.get_json(path).await["data"].as_array().unwrap().clone()
}

fn ids(entries: &[Value]) -> BTreeSet<&str> {
    entries.iter().map(|entry| entry["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn everything_in_a_directory_of_forty_is_listed_or_refused_with_a_reason_and_every_model_paints() {
    let server = server();
    let models = listed(&server, "/v1/models").await;
    let families: BTreeSet<_> = models
        .iter()
        .map(|model| (model["id"].as_str().unwrap(), model["family"].as_str().unwrap()))
        .collect();
    assert_eq!(families, BTreeSet::from(LISTED));
    let loras = listed(&server, "/v1/loras").await;
    let embeddings = listed(&server, "/v1/embeddings").await;
    assert_eq!(loras.len(), 16, "{:?}", ids(&loras));
    assert_eq!(
        ids(&embeddings),
        BTreeSet::from(["embedding/wobbly", "embedding/wobbly-xl", "embedding/zigzag"])
    );
    let log = server.early_log.join("\n");
    for (name, _, reason) in JUNK {
        let line = log.lines().find(|line| line.contains(&format!("Passed over `{name}`")));
        assert_eq!(line.is_some(), reason.is_some(), "{name}: {line:?}\n{log}");
        if let (Some(line), Some(reason)) = (line, reason) {
            assert!(line.contains(reason), "{name}: {line}");
        }
    }
    for (name, reason) in DAMAGED {
        let line = log.lines().find(|line| line.contains(&format!("Passed over `{name}`")));
        assert!(line.is_some_and(|line| line.contains(reason)), "{name}: {line:?}\n{log}");
    }
    let told = JUNK.iter().filter(|(_, _, reason)| reason.is_some()).count() + DAMAGED.len();
    assert_eq!(log.matches("Passed over").count(), told, "{log}");

    let mut pictures = BTreeMap::new();
    for model in &models {
        let id = model["id"].as_str().unwrap();
        let info = server.get_json(&format!("/v1/models/{}/info", id.replace(' ', "%20"))).await;
        let body =
            json!({"model": id, "prompt": "a (red:1.2) apple", "seed": 7, "steps": 2, "size": "64x64"});
        let answer = server.post("/v1/images/generations", &body).await;
        let status = answer.status();
        let text = answer.text().await.unwrap();
        if let Some((_, prediction)) = PREDICTS.iter().find(|(which, _)| *which == id) {
            assert_eq!(info["prediction"], *prediction, "{id}");
        }
        match info["needs_picture"].as_bool() {
            Some(true) => {
                assert!(status.is_client_error() && text.contains("picture"), "{id}: {status} {text}")
            }
            _ => {
                assert_eq!(status, StatusCode::OK, "{id}: {text}");
                let answer: Value = serde_json::from_str(&text).unwrap();
                pictures.insert(id, pixels(&answer));
            }
        }
    }
    // All but the four that begin with a picture.
    assert_eq!(pictures.len(), models.len() - 4);
    for [one, other] in SAME {
        assert!(pictures[one] == pictures[other], "{one} and {other} have the same weights");
    }

    // Two LoRAs and an embedding together, and one of another family.
    let prompt = "an apple, wobbly <lora:sd1-eps-kohya:0.5> <lora:sd1-eps-tucker:-0.3>";
    let body = json!({"model": "sd/sd1-eps", "prompt": prompt, "steps": 1, "size": "64x64"});
    let answer = server.post("/v1/images/generations", &body).await;
    assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap());
    let body = json!({"model": "sd/sd1-eps", "prompt": "x <lora:sdxl-kohya:1>", "steps": 1, "size": "64x64"});
    assert_eq!(server.post("/v1/images/generations", &body).await.status(), StatusCode::BAD_REQUEST);
}

/// The values of the pixels of an answer's picture, without the text beside them.
fn pixels(answer: &Value) -> Vec<u8> {
    let png = BASE64_STANDARD.decode(answer["data"][0]["b64_json"].as_str().unwrap()).unwrap();
    image::load_from_memory(&png).unwrap().into_rgb8().into_raw()
}

/// One request for a picture of the smallest kind.
async fn paint(server: &Server, model: &str, prompt: &str) -> (StatusCode, Value) {
    let body = json!({"model": model, "prompt": prompt, "steps": 1, "size": "64x64"});
    let answer = server.post("/v1/images/generations", &body).await;
    (answer.status(), answer.json().await.unwrap())
}

/// Cuts the file at `path` short as soon as the worker has mapped it, and stops the worker meanwhile.
fn cut_when_mapped(daemon: u32, path: &Path) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let maps = |worker: &u32| fs::read_to_string(format!("/proc/{worker}/maps")).unwrap_or_default();
    let begin = Instant::now();
    let worker = loop {
        assert!(begin.elapsed() < Duration::from_secs(60), "nobody maps `{name}`");
        if let Some(worker) = children(daemon).into_iter().find(|worker| maps(worker).contains(name)) {
            break worker;
        }
    };
    let signal = |which: &str| {
        assert!(Command::new("kill").args([which, &worker.to_string()]).status().unwrap().success());
    };
    signal("-STOP");
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(8).unwrap();
    signal("-CONT");
}

#[tokio::test]
async fn a_model_that_is_cut_short_while_it_is_mapped_kills_the_worker_and_not_the_daemon() {
    let server = server();
    let (status, said) = paint(&server, "sd/file-sd1", "a dog").await;
    assert_eq!(status, StatusCode::OK, "{said}");
    let workers = children(server.process_id());
    let (daemon, path) = (server.process_id(), server.directory.path().join("models/xl.safetensors"));
    let cutter = std::thread::spawn(move || cut_when_mapped(daemon, &path));
    let (status, said) = paint(&server, "sd/xl", "a fox").await;
    cutter.join().unwrap();
    assert!(status.is_server_error(), "{status} {said}");
    assert!(said["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{said}");
    server.wait_for_log("started anew");
    assert_ne!(children(server.process_id()), workers, "the worker lives");
    let (status, said) = paint(&server, "sd/file-sd1", "a dog").await;
    assert_eq!(status, StatusCode::OK, "{said}");
    // The file is what it is now, and that is said.
    let (status, said) = paint(&server, "sd/xl", "a fox").await;
    assert!(!status.is_success() && said.to_string().contains("xl.safetensors"), "{status} {said}");
}
