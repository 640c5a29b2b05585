// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What may stay, for how long, and what is never lost.

use alice::pictures;
use reqwest::Method;
use serde_json::json;

use super::{Scene, paint};
use crate::stage::BEGINNING;

const DAY: i64 = 24 * 3600;

#[tokio::test]
async fn whoever_has_used_up_a_quota_makes_no_more_pictures_until_some_are_gone() {
    let scene = Scene::new("quota_gb: 0.0000001").await;
    let (key, id) = (&scene.ada.key, scene.paint(json!({})).await);
    let ask = async || {
        let body = json!({"prompt": "a fox", "steps": 1});
        scene.call(Method::POST, "/v1/images/generations", key, Some(body)).await
    };
    let (status, answer) = ask().await;
    assert_eq!((status, &answer["error"]["code"]), (429, &json!("insufficient_quota")));
    let chat = json!({"model": "alice-emoji", "messages": [{"role": "user", "content": "a fox"}]});
    assert_eq!(scene.call(Method::POST, "/v1/chat/completions", key, Some(chat)).await.0, 429);
    paint(&scene.stage, &scene.bob.key, json!({})).await;
    // An administrator may allow one more than the others.
    let account = scene.ada.account;
    scene.stage.write(move |transaction| pictures::set_quota(transaction, account, Some(1 << 30))).await;
    assert_eq!(ask().await.0, 200);
    scene.stage.write(move |transaction| pictures::set_quota(transaction, account, None)).await;
    assert_eq!(ask().await.0, 429);
    for id in scene.found(key, "").await.into_iter().chain([id]) {
        scene.call(Method::DELETE, &format!("/v1/gallery/{id}"), key, None).await;
    }
    assert_eq!(ask().await.0, 429, "the trash takes room too");
    for id in scene.found(key, "trashed=true").await {
        scene.call(Method::DELETE, &format!("/v1/gallery/{id}?permanent=true"), key, None).await;
    }
    assert_eq!(ask().await.0, 200);
}

#[tokio::test]
async fn what_is_too_old_goes_to_the_trash_and_after_its_days_there_for_good() {
    let scene = Scene::new("retention_days: 7, trash_days: 3").await;
    let key = &scene.ada.key;
    let (old, liked, public) =
        (scene.paint(json!({})).await, scene.paint(json!({})).await, scene.paint(json!({})).await);
    let path = format!("/v1/gallery/{liked}/favourite");
    scene.call(Method::PATCH, &path, key, Some(json!({"favourite": true}))).await;
    let shown = public.clone();
    scene
        .stage
        .write(move |transaction| {
            transaction.execute("UPDATE pictures SET public = 1 WHERE id = ?1", [shown])?;
            Ok(())
        })
        .await;
    let at = async |days: i64| {
        scene.stage.clock.turn(BEGINNING + days * DAY + 1);
        pictures::tidy(&scene.stage.app).await.unwrap();
        (scene.found(key, "sort=oldest").await, scene.found(key, "trashed=true").await)
    };
    assert_eq!(at(6).await.0.len(), 3);
    assert_eq!(at(7).await, (vec![liked.clone(), public.clone()], vec![old.clone()]));
    assert_eq!(at(9).await.1, std::slice::from_ref(&old));
    let file = scene.stage.directory().join(format!("images/{old}.png"));
    assert!(file.exists());
    assert_eq!(at(10).await, (vec![liked, public], vec![]));
    assert!(!file.exists());
}

#[tokio::test]
async fn what_is_too_much_goes_oldest_first_and_never_from_the_trash_on_the_same_day() {
    let scene = Scene::new("max_storage_gb: 0.0000025").await;
    let key = &scene.ada.key;
    let mut painted = Vec::new();
    for _ in 0..4 {
        painted.push(scene.paint(json!({})).await);
    }
    scene
        .stage
        .write(|transaction| {
            transaction.execute("UPDATE pictures SET bytes = 1000", [])?;
            Ok(())
        })
        .await;
    let tidy = async || pictures::tidy(&scene.stage.app).await.unwrap();
    assert_eq!(tidy().await, 2);
    assert_eq!(scene.found(key, "sort=oldest").await, painted[2..]);
    assert_eq!(scene.found(key, "trashed=true").await.len(), 2);
    assert_eq!(tidy().await, 0, "who has just lost a picture may take it back");
    scene.stage.clock.turn(BEGINNING + DAY);
    assert_eq!(tidy().await, 2);
    assert_eq!(scene.found(&scene.admin, "").await.len(), 2);
    assert_eq!(scene.found(key, "trashed=true").await, [""; 0]);
}

#[tokio::test]
async fn nothing_is_deleted_while_the_disk_of_the_pictures_is_not_there() {
    let scene = Scene::new("retention_days: 1, trash_days: 1").await;
    let id = scene.paint(json!({})).await;
    let (images, away) = (scene.stage.directory().join("images"), scene.stage.directory().join("away"));
    std::fs::rename(&images, &away).unwrap();
    scene.stage.clock.turn(BEGINNING + 9 * DAY);
    assert_eq!(pictures::tidy(&scene.stage.app).await.unwrap(), 0);
    std::fs::rename(&away, &images).unwrap();
    assert_eq!(scene.found(&scene.ada.key, "").await, [id]);
    assert_eq!(pictures::tidy(&scene.stage.app).await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_deleted_while_the_daemon_dies_is_swept_up_later() {
    let scene = Scene::new("").await;
    let id = scene.paint(json!({})).await;
    let file = scene.stage.directory().join(format!("images/{id}.png"));
    scene
        .stage
        .write(move |transaction| {
            transaction.execute("INSERT INTO removed_pictures (id) VALUES (?1)", [&id])?;
            transaction.execute("DELETE FROM pictures WHERE id = ?1", [&id])?;
            Ok(())
        })
        .await;
    assert!(file.exists());
    pictures::tidy(&scene.stage.app).await.unwrap();
    assert!(!file.exists());
}

#[tokio::test]
async fn pictures_of_an_earlier_version_are_described_from_their_jobs_or_their_files() {
    let scene = Scene::new("").await;
    let key = &scene.ada.key;
    let fields = json!({"prompt": "a red fox", "negative_prompt": "rain", "steps": 2, "seed": 99, "n": 2});
    scene.paint(fields).await;
    let whole = scene.call(Method::GET, "/v1/gallery", key, None).await.1;
    for with_job in [true, false] {
        scene
            .stage
            .write(move |transaction| {
                if !with_job {
                    transaction.execute("DELETE FROM jobs", [])?;
                }
                let sql = "UPDATE pictures SET described = 0, prompt = '', negative_prompt = '', width = 0, \
                           height = 0, bytes = 0, model = NULL, model_name = NULL, family = NULL, steps = NULL, \
                           guidance = NULL, scheduler = NULL, seed = NULL, mode = NULL, text = '', folded = ''";
                transaction.execute(sql, [])?;
                Ok(())
            })
            .await;
        pictures::describe_older(&scene.stage.app).await;
        let mut again = scene.call(Method::GET, "/v1/gallery", key, None).await.1;
        if !with_job {
            for (item, before) in
                again["data"].as_array_mut().unwrap().iter_mut().zip(whole["data"].as_array().unwrap())
            {
                item["job"] = before["job"].clone();
            }
        }
        assert_eq!(again, whole, "with its job: {with_job}");
        assert_eq!(scene.found(key, "search=red").await.len(), 2);
    }
}

#[tokio::test]
async fn a_picture_whose_file_is_gone_keeps_its_row_and_the_rest_goes_on() {
    let scene = Scene::new("").await;
    let id = scene.paint(json!({})).await;
    std::fs::remove_file(scene.stage.directory().join(format!("images/{id}.png"))).unwrap();
    scene
        .stage
        .write(|transaction| {
            transaction.execute("UPDATE pictures SET described = 0", [])?;
            Ok(())
        })
        .await;
    pictures::describe_older(&scene.stage.app).await;
    pictures::tidy(&scene.stage.app).await.unwrap();
    assert_eq!(scene.found(&scene.ada.key, "").await, std::slice::from_ref(&id));
    let (status, _) = scene.call(Method::GET, &format!("/images/{id}.png"), &scene.ada.key, None).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn what_is_older_than_the_gallery_has_all_its_days() {
    let scene = Scene::new("retention_days: 7").await;
    let id = scene.paint(json!({})).await;
    let old = id.clone();
    scene
        .stage
        .write(move |transaction| {
            transaction.execute("UPDATE pictures SET created_at = 1000 WHERE id = ?1", [old])?;
            Ok(())
        })
        .await;
    for (days, left) in [(0, 1), (6, 1), (7, 0)] {
        scene.stage.clock.turn(BEGINNING + days * DAY);
        pictures::tidy(&scene.stage.app).await.unwrap();
        assert_eq!(scene.found(&scene.ada.key, "").await.len(), left, "after {days} days");
    }
    assert_eq!(scene.found(&scene.ada.key, "trashed=true").await, std::slice::from_ref(&id));
}
