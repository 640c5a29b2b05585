// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What clients see of their jobs: where they stand, how they end, and what is left of them.

use std::collections::BTreeSet;

use alice::auth::Role;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Server, source};
use crate::stage::Stage;

mod answers;
mod restart;
mod streams;

const IMAGES: &str = "/v1/images/generations";
const CHAT: &str = "/v1/chat/completions";
/// One job at a time, whose answer begins at once and so names it.
const EARLY: &str = "early_answer_seconds: 0";
const ONE: &str = "max_concurrent: 1";

/// A directory with the configuration of a server whose paint takes `step_ms` for each step.
fn directory(server: &str, generation: &str, step_ms: u32, more: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "server: {{ port: 0, {server} }}\n\
         generation: {{ backend: paint, {generation}, \
         backend_options: {{ paint: {{ step_ms: {step_ms} }} }} }}\n{more}\n"
    );
    std::fs::write(directory.path().join("config.yaml"), config).unwrap();
    directory
}

/// Such a server.
fn slow(server: &str, generation: &str, step_ms: u32, more: &str) -> Server {
    Server::start(directory(server, generation, step_ms, more), &[])
}

fn body(steps: u32) -> Value {
    json!({"prompt": "a red apple", "seed": 7, "steps": steps, "guidance_scale": 1.0})
}

fn detached(steps: u32) -> Value {
    let mut body = body(steps);
    body["detach"] = json!(true);
    body
}

fn request(server: &Server, path: &str, body: &Value) -> RequestBuilder {
    server.client.post(format!("{}{path}", server.base)).json(body)
}

/// The id of the job that an answer is about.
fn id(answer: &Response) -> String {
    answer.headers()["x-alice-job"].to_str().unwrap().to_owned()
}

async fn job(server: &Server, id: &str) -> Value {
    server.get_json(&format!("/v1/jobs/{id}")).await
}

async fn jobs(server: &Server) -> Vec<Value> {
    server.get_json("/v1/jobs").await["data"].as_array().unwrap().clone()
}

/// Asks for the job until it is over.
async fn ended(server: &Server, id: &str) -> Value {
    loop {
        let job = job(server, id).await;
        if !["queued", "running"].contains(&job["status"].as_str().unwrap()) {
            return job;
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until there is a job with this status, and gives its id.
async fn some(server: &Server, status: &str) -> String {
    loop {
        if let Some(job) = jobs(server).await.iter().find(|job| job["status"] == status) {
            return job["id"].as_str().unwrap().to_owned();
        }
        tokio::task::yield_now().await;
    }
}

async fn delete(server: &Server, id: &str) -> Value {
    let answer = server.client.delete(format!("{}/v1/jobs/{id}", server.base)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

/// The events of an answer.
struct Events {
    answer: Response,
    text: String,
}

impl Events {
    fn of(answer: Response) -> Self {
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert_eq!(answer.headers()["x-accel-buffering"], "no");
        Self { answer, text: String::new() }
    }

    async fn follow(server: &Server, id: &str, query: &str) -> Self {
        Self::of(server.get(&format!("/v1/jobs/{id}/events{query}")).await)
    }

    /// The next event: its name and its data. None at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if event.starts_with(": ") {
                    assert_eq!(event, ": keep-alive");
                    continue;
                }
                let (name, data) = event.split_once('\n').unwrap();
                let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
                return Some((name.strip_prefix("event: ").unwrap().to_owned(), data));
            }
            match self.answer.chunk().await.unwrap() {
                Some(bytes) => self.text += std::str::from_utf8(&bytes).unwrap(),
                None => {
                    assert_eq!(self.text, "", "half an event at the end");
                    return None;
                }
            }
        }
    }

    async fn rest(mut self) -> Vec<(String, Value)> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }
}

#[tokio::test]
async fn every_answer_that_a_job_stands_behind_names_it() {
    let fault = "faults: [{ call: denoise, at: 5, do: internal }]";
    let server = Server::with(&format!(
        "generation: {{ backend: paint, backend_options: {{ paint: {{ {fault} }} }} }}"
    ))
    .await;
    let chat = json!({"model": "sd/alice-emoji", "messages": [{"role": "user", "content": "x"}],
                      "sam_config": {"steps": 2}});
    let mut ids = BTreeSet::new();
    for (path, body, status) in [(IMAGES, body(2), 200), (CHAT, chat.clone(), 200), (IMAGES, body(9), 500)] {
        let answer = server.post(path, &body).await;
        assert_eq!(answer.status(), status, "{path}");
        let found = job(&server, &id(&answer)).await;
        assert_eq!(found["status"], if status == 200 { "done" } else { "failed" });
        ids.insert(id(&answer));
    }
    assert_eq!(ids.len(), 3);
    let refused = server.post(IMAGES, &json!({"prompt": ""})).await;
    assert_eq!(refused.status(), 400);
    assert!(!refused.headers().contains_key("x-alice-job"), "no job was made of it");
}

#[tokio::test]
async fn a_job_says_all_that_there_is_to_say_about_it() {
    let server = Server::paint().await;
    let answer = server.post(IMAGES, &json!({"prompt": "a red apple", "seed": 7, "steps": 3, "n": 2})).await;
    let found = job(&server, &id(&answer)).await;
    let urls: Vec<_> =
        found["images"].as_array().unwrap().iter().map(|image| image["url"].as_str().unwrap()).collect();
    let expected = json!({
        "id": id(&answer), "object": "job", "status": "done", "created_at": found["created_at"], "task": "paint",
        "model": "sd/alice-emoji", "prompt": "a red apple", "num_images": 2, "position": null, "eta_s": null,
        "step": 6, "steps": 6, "images": [{"url": urls[0], "seed": 7}, {"url": urls[1], "seed": 8}],
        "error": null, "warnings": [], "unmatched": {}, "took_s": found["took_s"],
    });
    assert_eq!(found, expected);
    assert!(found["created_at"].as_i64().unwrap() > 1_700_000_000 && found["took_s"].is_f64());
    let answer: Value = answer.json().await.unwrap();
    for (url, inline) in urls.iter().zip(answer["data"].as_array().unwrap()) {
        let file = server.client.get(*url).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(BASE64_STANDARD.encode(file), inline["b64_json"].as_str().unwrap());
    }
    for path in ["/v1/jobs/nothing", "/v1/jobs/nothing/events", "/v1/jobs/%ff"] {
        assert_eq!(server.get(path).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn lists_go_back_in_time_page_by_page() {
    let server = Server::paint().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.insert(0, id(&server.post(IMAGES, &body(1)).await));
    }
    let ids = async |query: &str| {
        let list = server.get_json(&format!("/v1/jobs{query}")).await;
        assert_eq!(list["object"], "list");
        let ids: Vec<_> = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|job| job["id"].as_str().unwrap().to_owned())
            .collect();
        (ids, list["has_more"].as_bool().unwrap())
    };
    assert_eq!(ids("").await, (made.clone(), false));
    assert_eq!(ids("?limit=2").await, (made[..2].to_vec(), true));
    assert_eq!(ids(&format!("?limit=3&before={}", made[1])).await, (made[2..].to_vec(), false));
    assert_eq!(ids(&format!("?before={}", made[4])).await, (Vec::new(), false));
    for query in ["limit=0", "limit=101", "limit=many", "before=nothing", "before=", "all=perhaps"] {
        assert_eq!(server.get(&format!("/v1/jobs?{query}")).await.status(), 400, "{query}");
    }
    assert_eq!(server.get("/v1/jobs?all=true").await.status(), 403);
}

#[tokio::test]
async fn a_job_is_its_owners_and_the_administrators() {
    let stage = Stage::with("require_auth: true", "").await;
    stage.set_up().await;
    let owner = stage.person("owner", Role::User).await;
    let other = stage.person("other", Role::User).await;
    let admin = stage.person("chief", Role::Admin).await;
    let answer =
        stage.request(Method::POST, IMAGES).bearer_auth(&owner.key).json(&body(1)).send().await.unwrap();
    let id = id(&answer);
    let path = format!("/v1/jobs/{id}");
    for (person, status) in [(&owner, 200), (&other, 404), (&admin, 200)] {
        for (method, path) in [
            (Method::GET, path.clone()),
            (Method::GET, format!("{path}/events")),
            (Method::DELETE, path.clone()),
        ] {
            let answer = stage.request(method.clone(), &path).bearer_auth(&person.key).send().await.unwrap();
            assert_eq!(answer.status(), status, "{method} {path}");
        }
    }
    let list = async |key: &str, query: &str| {
        let (status, list) = stage.call(Method::GET, &format!("/v1/jobs{query}"), key, None).await;
        (status, list["data"].as_array().map(Vec::len))
    };
    assert_eq!(list(&owner.key, "").await, (200, Some(1)));
    assert_eq!(list(&other.key, "").await, (200, Some(0)));
    assert_eq!(list(&other.key, "?all=true").await, (403, None));
    assert_eq!(list(&other.key, &format!("?before={id}")).await, (400, None));
    assert_eq!(list(&admin.key, "").await, (200, Some(0)));
    assert_eq!(list(&admin.key, "?all=true").await, (200, Some(1)));
    let url = stage.call(Method::GET, &path, &owner.key, None).await.1["images"][0]["url"].clone();
    let picture = stage.client.get(url.as_str().unwrap()).send().await.unwrap();
    assert_eq!(picture.status(), 200, "its address opens without credentials");
}

#[tokio::test]
async fn a_job_without_an_account_is_everyones_who_knows_its_id() {
    let stage = Stage::open("require_auth: false").await;
    let person = stage.person("somebody", Role::User).await;
    let answer = stage.request(Method::POST, IMAGES).json(&body(1)).send().await.unwrap();
    let path = format!("/v1/jobs/{}", id(&answer));
    assert_eq!(stage.call(Method::GET, &path, &person.key, None).await.0, 200);
    assert_eq!(stage.request(Method::GET, &path).send().await.unwrap().status(), 200);
    let (_, list) = stage.call(Method::GET, "/v1/jobs", &person.key, None).await;
    assert_eq!(list["data"], json!([]), "but nobody else's lists show it");
}

#[tokio::test]
async fn jobs_are_cancelled_by_their_ids_waiting_or_running() {
    let server = slow(EARLY, ONE, 100, "");
    let running = request(&server, IMAGES, &body(150)).send().await.unwrap();
    let waiting = request(&server, IMAGES, &body(150)).send().await.unwrap();
    let (first, second) = (id(&running), id(&waiting));
    for (id, answer) in [(&second, waiting), (&first, running)] {
        let gone = delete(&server, id).await;
        assert_eq!((gone["status"].as_str(), gone["id"].as_str()), (Some("cancelled"), Some(id.as_str())));
        assert_eq!((gone["position"].clone(), gone["error"].clone()), (Value::Null, Value::Null));
        let told: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(told["error"]["code"], "cancelled");
    }
    let done = server.post_json(IMAGES, &body(1)).await;
    assert_eq!(done["data"][0]["seed"], 7, "the line goes on");
    let done = jobs(&server).await[0]["id"].as_str().unwrap().to_owned();
    let over = job(&server, &done).await;
    assert_eq!(over["status"], "done");
    assert_eq!(delete(&server, &done).await, over, "what is over stays as it is");
}

/// A model of the fixtures beside the built-in one.
fn fixtures() -> String {
    format!("models: {{ directory: {} }}", source("tests/fixtures").display())
}
