// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Lists, their items, and small pictures.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Scene, paint};
use crate::stage::{BEGINNING, Stage};

#[tokio::test]
async fn a_list_holds_what_clients_of_the_python_alice_read() {
    let scene = Scene::new("").await;
    let id = scene.paint(json!({"negative_prompt": "blurry", "steps": 2, "guidance_scale": 2.5})).await;
    let (status, list) = scene.call(Method::GET, "/v1/gallery", &scene.ada.key, None).await;
    assert_eq!(status, 200);
    let about = ["object", "total", "limit", "offset"].map(|name| list[name].clone());
    assert_eq!(about, [json!("list"), json!(1), json!(100), json!(0)]);
    let item = &list["data"][0];
    let expected = json!({
        "id": id, "filename": format!("{id}.png"), "isPublic": false, "createdAt": BEGINNING as f64,
        "expiresAt": null, "isOwner": true, "prompt": "a fox", "negativePrompt": "blurry", "steps": 2,
        "guidanceScale": 2.5, "width": 128, "height": 128, "seed": 7, "loras": [], "loraScales": [],
        "tags": [], "favourite": false, "trashedAt": null, "shared": false, "owner": null, "mode": "txt2img",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&item[name], value, "{name}");
    }
    for (name, kind) in [("model", "alice-emoji"), ("scheduler", ""), ("family", "sd"), ("job", "")] {
        assert!(item[name].as_str().unwrap().contains(kind), "{name}: {}", item[name]);
    }
    assert!(item["generationTime"].is_f64() && item["bytes"].as_u64().unwrap() > 100);
    let alone = scene.call(Method::GET, &format!("/v1/gallery/{id}"), &scene.ada.key, None).await;
    assert_eq!(alone.1["prompt"], "a fox");
    // Both addresses work for whoever was given them.
    for (name, kind, begin) in [("url", "image/png", "\u{fffd}PNG"), ("thumbnailUrl", "image/webp", "RIFF")] {
        let answer = scene.stage.client.get(item[name].as_str().unwrap()).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &kind.parse().unwrap())
        );
        assert!(String::from_utf8_lossy(&answer.bytes().await.unwrap()).starts_with(begin), "{name}");
    }
}

#[tokio::test]
async fn filters_sorts_and_pages_are_the_servers() {
    let scene = Scene::new("").await;
    let key = &scene.ada.key;
    let mut painted = Vec::new();
    for (prompt, privacy) in
        [("a red fox", "private"), ("a blue dog", "public"), ("ein Äpfelchen", "private")]
    {
        painted.push(scene.paint(json!({"prompt": prompt, "privacy": privacy})).await);
    }
    let others = paint(&scene.stage, &scene.bob.key, json!({"privacy": "public"})).await;
    let of = |places: &[usize]| places.iter().map(|place| painted[*place].clone()).collect::<Vec<_>>();
    let all = [vec![others.clone()], of(&[2, 1, 0])].concat();
    assert_eq!(scene.found(key, "").await, all);
    assert_eq!(scene.found(key, "limit=0&offset=-3").await, all);
    assert_eq!(scene.found(key, "limit=2&offset=1").await, of(&[2, 1]));
    assert_eq!(scene.found(key, "include_public=false").await, of(&[2, 1, 0]));
    assert_eq!(scene.found(key, "include_private=false").await, [vec![others], of(&[1])].concat());
    assert_eq!(scene.found(key, "include_public=false&include_private=false").await, of(&[1]));
    assert_eq!(scene.found(key, "search=%C3%84PFEL").await, of(&[2]));
    assert_eq!(scene.found(key, "search=fox+red&sort=oldest&include_public=false").await, of(&[0]));
    assert_eq!(scene.found(key, "model=alice-emoji&include_public=false&sort=oldest").await, of(&[0, 1, 2]));
    assert_eq!(scene.found(key, "model=another").await, [""; 0]);
    assert_eq!(scene.found(&scene.bob.key, "").await.len(), 2);
    assert_eq!(scene.found(&scene.admin, "").await.len(), 4, "an administrator sees everything");
    for query in ["limit=many", "sort=best"] {
        let path = format!("/v1/gallery?{query}");
        assert_eq!(scene.call(Method::GET, &path, key, None).await.0, 422, "{query}");
    }
    // Without credentials, also where an account is needed for everything else.
    let answer = scene.stage.request(Method::GET, "/v1/gallery").send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["total"], 2);
}

#[tokio::test]
async fn where_no_account_is_needed_what_is_made_without_one_is_everybodys() {
    let stage = Stage::storing("require_auth: false", "").await;
    stage.set_up().await;
    let ada = stage.person("ada", alice::auth::Role::User).await;
    let private = paint(&stage, &ada.key, json!({})).await;
    let answer = stage
        .request(Method::POST, "/v1/images/generations")
        .json(&json!({"prompt": "a fox", "steps": 1, "response_format": "url"}));
    let answer: Value = answer.send().await.unwrap().json().await.unwrap();
    let url = answer["data"][0]["url"].as_str().unwrap();
    assert!(!url.contains('?'), "its address has no end");
    let list = stage.request(Method::GET, "/v1/gallery").send().await.unwrap().json::<Value>().await.unwrap();
    assert_eq!((&list["total"], &list["data"][0]["url"]), (&json!(1), &json!(url)));
    let item = &list["data"][0];
    assert_eq!(
        (&item["isPublic"], &item["isOwner"], &item["shared"]),
        (&json!(true), &json!(false), &json!(true))
    );
    let id = item["id"].as_str().unwrap();
    let change =
        stage.request(Method::PATCH, &format!("/v1/gallery/{id}/tags")).json(&json!({"tags": ["x"]}));
    assert_eq!(change.send().await.unwrap().status(), 200);
    let change = stage.request(Method::DELETE, &format!("/v1/gallery/{private}")).send().await.unwrap();
    assert_eq!(change.status(), 404);
}

#[tokio::test]
async fn a_small_picture_is_for_whoever_may_see_the_large_one_and_comes_back_by_itself() {
    let scene = Scene::new("").await;
    let id = scene.paint(json!({})).await;
    let path = format!("/thumbnails/{id}.webp");
    let get = async |key: &str| {
        scene.stage.request(Method::GET, &path).header("x-api-key", key).send().await.unwrap()
    };
    for round in 0..2 {
        for (key, wanted) in [(&scene.ada.key, 200), (&scene.bob.key, 404), (&scene.admin, 200)] {
            let answer = get(key).await;
            assert_eq!(answer.status(), wanted, "round {round}");
            if wanted == 200 {
                assert_eq!(answer.headers()["cache-control"], "private, max-age=31536000, immutable");
                let bytes = answer.bytes().await.unwrap();
                assert_eq!(&bytes[8..12], b"WEBP");
            }
        }
        assert_eq!(scene.open(&path).await, 404);
        std::fs::remove_file(scene.stage.directory().join(&path[1..])).unwrap();
    }
    for path in ["/thumbnails/x.webp", &format!("/thumbnails/{id}.png"), &format!("/thumbnails/{id}")] {
        assert_eq!(scene.open(path).await, 404);
    }
}
