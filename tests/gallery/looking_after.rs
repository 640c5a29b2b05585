// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Publishing, tags, favourites, the trash, and many at once.

use alice::pictures;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Scene, id_in, paint};
use crate::stage::BEGINNING;

const HOUR: i64 = 3600;

#[tokio::test]
async fn what_is_public_opens_for_everybody_until_its_time_is_over_and_stays_its_owners() {
    let scene = Scene::new("").await;
    let id = scene.paint(json!({})).await;
    let (image, small) = (format!("/images/{id}.png"), format!("/thumbnails/{id}.webp"));
    let privacy = format!("/v1/gallery/{id}/privacy");
    let body = json!({"isPublic": true, "expires_in_hours": 2});
    let (status, answer) = scene.call(Method::PATCH, &privacy, &scene.ada.key, Some(body)).await;
    let until = BEGINNING + 2 * HOUR;
    assert_eq!(answer, json!({"success": true, "is_public": true, "expires_at": until as f64}), "{status}");
    for path in [&image, &small] {
        assert_eq!(scene.open(path).await, 200, "{path}");
    }
    scene.stage.clock.turn(until - 1);
    assert_eq!(scene.open(&image).await, 200);
    scene.stage.clock.turn(until);
    for path in [&image, &small] {
        assert_eq!(scene.open(path).await, 404, "{path}");
    }
    assert_eq!(scene.found(&scene.bob.key, "").await, [""; 0]);
    let (_, stats) = scene.call(Method::GET, "/v1/gallery/stats", &scene.admin, None).await;
    assert_eq!(
        (&stats["total"], &stats["public"], &stats["private"], &stats["expired"]),
        (&json!(1), &json!(0), &json!(1), &json!(1))
    );
    let (_, cleaned) = scene.call(Method::POST, "/v1/gallery/cleanup", &scene.admin, None).await;
    assert_eq!(cleaned, json!({"success": true, "cleaned": 0}), "it is private, and stays");
    assert_eq!(scene.found(&scene.ada.key, "").await, std::slice::from_ref(&id), "its owner keeps it");
    // Whoever says nothing of an end gets the configured one; withdrawing ends it at once.
    let (_, answer) =
        scene.call(Method::PATCH, &privacy, &scene.admin, Some(json!({"is_public": true}))).await;
    assert_eq!(answer["expires_at"], (until + 168 * HOUR) as f64);
    let (_, answer) =
        scene.call(Method::PATCH, &privacy, &scene.ada.key, Some(json!({"is_public": false}))).await;
    assert_eq!(answer, json!({"success": true, "is_public": false, "expires_at": null}));
    assert_eq!(scene.open(&image).await, 404);
    for (body, status) in [
        (json!({}), 422),
        (json!({"is_public": true, "expires_in_hours": 0}), 422),
        (json!({"is_public": true, "expiresInHours": 169}), 422),
        (json!({"is_public": "yes"}), 422),
    ] {
        assert_eq!(scene.call(Method::PATCH, &privacy, &scene.ada.key, Some(body)).await.0, status);
    }
}

#[tokio::test]
async fn an_operator_may_want_pictures_to_go_with_their_publicity() {
    let scene = Scene::new("expired_public: delete").await;
    let id = scene.paint(json!({"privacy": "public", "expiration_hours": 1})).await;
    scene.stage.clock.turn(BEGINNING + HOUR);
    assert_eq!(pictures::tidy(&scene.stage.app).await.unwrap(), 1);
    assert_eq!(scene.found(&scene.ada.key, "").await, [""; 0]);
    assert_eq!(scene.found(&scene.ada.key, "trashed=true").await, [id], "and can be taken back");
}

#[tokio::test]
async fn every_dialect_says_who_is_to_see_what_comes_of_it() {
    let scene = Scene::new("").await;
    let key = &scene.ada.key;
    let chat = |place: &str, privacy: Value| {
        json!({"model": "alice-emoji", "messages": [{"role": "user", "content": "a fox"}],
               place: {"steps": 1, "privacy": privacy, "expiration_hours": 24}})
    };
    for place in ["sam_config", "metadata"] {
        let (_, answer) =
            scene.call(Method::POST, "/v1/chat/completions", key, Some(chat(place, json!("public")))).await;
        let id = id_in(answer["choices"][0]["message"]["image_urls"][0].as_str().unwrap());
        assert_eq!(scene.open(&format!("/images/{id}.png")).await, 200, "{place}");
        let (_, item) = scene.call(Method::GET, &format!("/v1/gallery/{id}"), key, None).await;
        assert_eq!(item["expiresAt"], (BEGINNING + 24 * HOUR) as f64);
    }
    let (status, answer) =
        scene.call(Method::POST, "/v1/chat/completions", key, Some(chat("sam_config", json!("all")))).await;
    assert_eq!(status, 400, "{answer}");
    for fields in [json!({"privacy": "friends"}), json!({"privacy": "public", "expiration_hours": 0})] {
        let mut body = json!({"prompt": "a fox", "steps": 1});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let (status, answer) = scene.call(Method::POST, "/v1/images/generations", key, Some(body)).await;
        let param = if fields["privacy"] == "friends" { "privacy" } else { "expiration_hours" };
        assert_eq!((status, &answer["error"]["param"]), (400, &json!(param)));
    }
    let (_, list) = scene.call(Method::GET, "/v1/gallery", &scene.bob.key, None).await;
    assert_eq!(list["total"], 2);
}

#[tokio::test]
async fn only_those_who_may_change_a_picture_and_others_are_told_as_much_as_they_may_know() {
    let scene = Scene::new("").await;
    let (private, public) = (scene.paint(json!({})).await, scene.paint(json!({"privacy": "public"})).await);
    let acts = |id: &str| {
        [
            (Method::PATCH, format!("/v1/gallery/{id}/privacy"), Some(json!({"is_public": true}))),
            (Method::PATCH, format!("/v1/gallery/{id}/tags"), Some(json!({"tags": ["a"]}))),
            (Method::PATCH, format!("/v1/gallery/{id}/favourite"), Some(json!({"favourite": true}))),
            (Method::POST, format!("/v1/gallery/{id}/restore"), None),
            (Method::DELETE, format!("/v1/gallery/{id}"), None),
            (Method::DELETE, format!("/v1/gallery/{id}?permanent=true"), None),
        ]
    };
    for (id, refused) in [(&private, 404), (&public, 403), (&"0".repeat(32), 404), (&"x".to_owned(), 404)] {
        for (method, path, body) in acts(id) {
            let (status, _) = scene.call(method.clone(), &path, &scene.bob.key, body.clone()).await;
            assert_eq!(status, refused, "{method} {path}");
            let nobody = scene.stage.request(method, &path).json(&body).send().await.unwrap();
            assert_eq!(nobody.status(), 401, "{path}");
        }
    }
    // Tags and favourites are the owner's alone.
    for (place, status) in [200, 403, 403, 200, 200, 200].into_iter().enumerate() {
        let (method, path, body) = acts(&private)[place].clone();
        assert_eq!(scene.call(method, &path, &scene.admin, body).await.0, status, "{path}");
    }
    for (method, path, body) in acts(&public) {
        assert_eq!(scene.call(method, &path, &scene.ada.key, body).await.0, 200, "{path}");
    }
    assert_eq!(std::fs::read_dir(scene.stage.directory().join("images")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_deleted_picture_comes_back_out_of_the_trash_and_goes_from_there_for_good() {
    let scene = Scene::new("").await;
    let (key, id) = (&scene.ada.key, scene.paint(json!({"privacy": "public"})).await);
    let path = format!("/v1/gallery/{id}");
    let (_, item) = scene.call(Method::GET, &path, key, None).await;
    let path_of =
        |name: &str| item[name].as_str().unwrap().strip_prefix(&scene.stage.base).unwrap().to_owned();
    let signed = path_of("url");
    // From here on nobody is making it any more.
    assert_eq!(scene.open(&path_of("thumbnailUrl")).await, 200);
    assert_eq!(scene.call(Method::DELETE, &path, key, None).await, (200, json!({"success": true})));
    assert_eq!(scene.found(key, "").await, [""; 0]);
    assert_eq!(scene.found(key, "trashed=true").await, std::slice::from_ref(&id));
    for path in [format!("/images/{id}.png"), signed.clone()] {
        assert_eq!(scene.open(&path).await, 404, "what is in the trash is for nobody else");
    }
    assert_eq!(scene.call(Method::POST, &format!("{path}/restore"), key, None).await.0, 200);
    assert_eq!((scene.found(key, "").await, scene.open(&signed).await), (vec![id.clone()], 200));
    let files = ["images", "thumbnails"].map(|name| scene.stage.directory().join(name));
    assert_eq!(scene.call(Method::DELETE, &format!("{path}?permanent=true"), key, None).await.0, 200);
    for files in files {
        assert_eq!(std::fs::read_dir(files).unwrap().count(), 0);
    }
    assert_eq!(scene.call(Method::GET, &path, key, None).await.0, 404);
}

#[tokio::test]
async fn tags_are_kept_as_they_should_be_and_counted() {
    let scene = Scene::new("").await;
    let (one, other) = (scene.paint(json!({})).await, scene.paint(json!({"privacy": "public"})).await);
    let set = async |id: &str, tags: Value| {
        scene
            .call(
                Method::PATCH,
                &format!("/v1/gallery/{id}/tags"),
                &scene.ada.key,
                Some(json!({"tags": tags})),
            )
            .await
    };
    assert_eq!(
        set(&one, json!([" Fox", "RED", "fox"])).await.1,
        json!({"success": true, "tags": ["fox", "red"]})
    );
    set(&other, json!(["red"])).await;
    let tags = async |key: &str| scene.call(Method::GET, "/v1/gallery/tags", key, None).await.1;
    let all = json!({"tags": [{"name": "red", "count": 2}, {"name": "fox", "count": 1}], "total": 2});
    assert_eq!(tags(&scene.ada.key).await, all);
    assert_eq!(tags(&scene.bob.key).await, json!({"tags": [{"name": "red", "count": 1}], "total": 1}));
    assert_eq!(scene.found(&scene.ada.key, "tags=RED,fox").await, std::slice::from_ref(&one));
    for tags in [json!(["x".repeat(51)]), json!((0..21).map(|n| n.to_string()).collect::<Vec<_>>())] {
        assert_eq!(set(&one, tags).await.0, 400);
    }
    assert_eq!(set(&one, json!([])).await.1["tags"], json!([]));
}

#[tokio::test]
async fn many_are_changed_at_once_and_only_those_that_may_be() {
    let scene = Scene::new("").await;
    let mut mine = Vec::new();
    for _ in 0..3 {
        mine.push(scene.paint(json!({})).await);
    }
    let others = paint(&scene.stage, &scene.bob.key, json!({})).await;
    let all = json!([mine[0], mine[1], mine[2], others, "0".repeat(32)]);
    let bulk = async |fields: Value| {
        let mut body = json!({"ids": all});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        scene.call(Method::POST, "/v1/gallery/bulk", &scene.ada.key, Some(body)).await
    };
    for action in ["publish", "favourite", "unfavourite", "withdraw", "trash", "restore"] {
        let answer = bulk(json!({"action": action, "expires_in_hours": 5})).await;
        assert_eq!(answer, (200, json!({"success": true, "changed": mine})), "{action}");
    }
    bulk(json!({"action": "tag", "tags": ["A", "b"]})).await;
    bulk(json!({"action": "untag", "tags": ["B"]})).await;
    assert_eq!(scene.found(&scene.ada.key, "tags=a").await.len(), 3);
    assert_eq!(scene.found(&scene.ada.key, "tags=b").await.len(), 0);
    assert_eq!(bulk(json!({"action": "delete"})).await.1["changed"], json!(mine));
    assert_eq!(bulk(json!({"action": "delete"})).await.0, 404);
    assert_eq!(bulk(json!({"action": "burn"})).await.0, 422);
    assert_eq!(scene.found(&scene.admin, "").await, [others]);
}
