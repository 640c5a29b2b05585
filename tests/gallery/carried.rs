// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What pictures carry away: archives of many, and what each says of how it was made.

use std::io::{Cursor, Read};
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Scene, paint};

/// The bytes of an archive.
async fn archive(scene: &Scene, key: &str, query: &str) -> Vec<u8> {
    let request = scene.stage.request(Method::GET, &format!("/v1/gallery/export?{query}"));
    let answer = request.header("x-api-key", key).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{query}");
    assert_eq!(answer.headers()["content-type"], "application/zip");
    answer.bytes().await.unwrap().to_vec()
}

/// The names in an archive, in their order.
fn names(archive: Vec<u8>) -> Vec<String> {
    let archive = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    (0..archive.len()).map(|place| archive.name_for_index(place).unwrap().unwrap().into_owned()).collect()
}

async fn file(scene: &Scene, id: &str) -> Vec<u8> {
    let request = scene.stage.request(Method::GET, &format!("/images/{id}.png"));
    request.header("x-api-key", &scene.ada.key).send().await.unwrap().bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn an_archive_holds_what_was_named_or_meant_and_nothing_of_others() {
    let scene = Scene::new("").await;
    let key = &scene.ada.key;
    let fox = scene.paint(json!({"prompt": "A red FOX, (large)/../"})).await;
    let apple = scene.paint(json!({"prompt": "ein Äpfelchen"})).await;
    let others = paint(&scene.stage, &scene.bob.key, json!({})).await;
    let name = |words: &str, id: &str| format!("{words}-{}.png", &id[..12]);
    let both = vec![name("ein-äpfelchen", &apple), name("a-red-fox-large", &fox)];
    assert_eq!(names(archive(&scene, key, "").await), both);
    assert_eq!(names(archive(&scene, key, "search=fox").await), both[1..]);
    assert_eq!(names(archive(&scene, key, "limit=1").await), both[..1]);
    let named = archive(&scene, key, &format!("ids={fox},{others},{apple}")).await;
    let mut zip = zip::ZipArchive::new(Cursor::new(named)).unwrap();
    let mut content = Vec::new();
    zip.by_index(0).unwrap().read_to_end(&mut content).unwrap();
    assert_eq!((zip.len(), content), (2, file(&scene, &fox).await));
    for query in ["search=nothing", &format!("ids={others}"), "ids="] {
        let path = format!("/v1/gallery/export?{query}");
        assert_eq!(scene.call(Method::GET, &path, key, None).await.0, 404, "{query}");
    }
}

#[tokio::test]
#[ignore = "needs python3: .ci/run has it"]
async fn python_reads_the_archive() {
    let scene = Scene::new("").await;
    scene.paint(json!({"n": 3})).await;
    let path = scene.stage.directory().join("pictures.zip");
    std::fs::write(&path, archive(&scene, &scene.ada.key, "").await).unwrap();
    let program = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\nprint(len(z.namelist()))";
    let ran = Command::new("python3").args(["-c", program]).arg(&path).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "3", "{}", String::from_utf8_lossy(&ran.stderr));
}

#[tokio::test]
async fn a_picture_says_how_it_was_made_to_clients_of_either_kind() {
    let scene = Scene::new("").await;
    let fields =
        json!({"prompt": "a red fox", "negative_prompt": "rain", "steps": 3, "seed": 5, "clip_skip": 1});
    let id = scene.paint(fields).await;
    let bytes = file(&scene, &id).await;
    let bare = BASE64_STANDARD.encode(&bytes);
    for (path, image) in
        [("/v1/png-info", bare.clone()), ("/sdapi/v1/png-info", format!("data:image/png;base64,{bare}"))]
    {
        let (status, told) =
            scene.call(Method::POST, path, &scene.ada.key, Some(json!({"image": image}))).await;
        assert_eq!(status, 200);
        assert!(told["info"].as_str().unwrap().starts_with("a red fox\nNegative prompt: rain\nSteps: 3, "));
        assert_eq!(told["items"]["parameters"], told["info"]);
        assert_eq!(
            (&told["parameters"]["Prompt"], &told["parameters"]["Steps"]),
            (&json!("a red fox"), &json!("3"))
        );
        let request = &told["request"];
        let expected = json!({"prompt": "a red fox", "negative_prompt": "rain", "steps": 3, "seed": 5,
                              "width": 128, "height": 128, "clip_skip": 1, "model": "alice-emoji"});
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&request[name], value, "{name}");
        }
    }
    let boundary = "b0undary";
    let head =
        format!("--{boundary}\r\ncontent-disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n");
    let form = [head.as_bytes(), &bytes, format!("\r\n--{boundary}--\r\n").as_bytes()].concat();
    let request = scene.stage.request(Method::POST, "/v1/png-info").header("x-api-key", &scene.ada.key);
    let kind = format!("multipart/form-data; boundary={boundary}");
    let told: Value =
        request.header("content-type", kind).body(form).send().await.unwrap().json().await.unwrap();
    assert_eq!(told["request"]["seed"], 5);
    for (image, status) in [("aGk=", 400), ("", 400), ("https://example.com/a.png", 400)] {
        let body = json!({"image": image});
        let (got, _) = scene.call(Method::POST, "/v1/png-info", &scene.ada.key, Some(body)).await;
        assert_eq!(got, status, "{image}");
    }
    let bare = BASE64_STANDARD.encode(b"\x89PNG\r\n\x1a\n");
    let (status, told) =
        scene.call(Method::POST, "/v1/png-info", &scene.ada.key, Some(json!({"image": bare}))).await;
    assert_eq!((status, &told["info"], &told["items"]), (200, &json!(""), &json!({})));
}
