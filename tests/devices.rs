// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A server with two devices: each has a worker and an engine of its own.

use reqwest::Response;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::Server;
use crate::residence;
use crate::worker::server::children;
use crate::worker::signal;

const IMAGES: &str = "/v1/images/generations";
/// Two GPUs of 150 MiB, each with room for one of the models of 100 MiB.
const TWO: &str = "devices: 2, kind: cuda, memory_mib: 150, step_ms: 20";

/// A server with the models `one` and `two`.
fn server() -> Server {
    residence::server(TWO, "auto_unload_timeout: 0", "engine: { max_rows: 1 }")
}

fn body(model: &str, steps: u32) -> Value {
    json!({"prompt": "a red apple", "seed": 7, "steps": steps, "guidance_scale": 1.0, "model": model,
           "response_format": "b64_json"})
}

fn post(server: &Server, model: &str, steps: u32) -> JoinHandle<reqwest::Result<Response>> {
    let request = server.client.post(format!("{}{IMAGES}", server.base)).json(&body(model, steps));
    tokio::spawn(request.send())
}

async fn picture(answer: JoinHandle<reqwest::Result<Response>>) -> String {
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    answer["data"][0]["b64_json"].as_str().unwrap().to_owned()
}

/// One number of each device.
fn each(metrics: &Value, key: &str) -> Vec<u64> {
    metrics["devices"].as_array().unwrap().iter().map(|device| device[key].as_u64().unwrap()).collect()
}

/// Waits until so many jobs are worked on on each device; gives what is said of them then.
async fn at_work(server: &Server, jobs: [u64; 2]) -> Value {
    let before = server.get_json("/metrics").await["totalGenerations"].clone();
    loop {
        let metrics = server.get_json("/metrics").await;
        if each(&metrics, "activeGenerations") == jobs {
            return metrics;
        }
        assert_eq!(metrics["totalGenerations"], before, "it ended elsewhere: {}", metrics["devices"]);
        tokio::task::yield_now().await;
    }
}

fn workers(server: &Server) -> Vec<u32> {
    let mut workers: Vec<_> = children(server.process_id()).into_iter().map(|(number, _)| number).collect();
    workers.sort_unstable();
    workers
}

#[tokio::test]
async fn two_models_are_at_work_on_two_devices_and_both_are_named() {
    let server = server();
    assert_eq!(workers(&server).len(), 2, "a process for each device");
    let first = post(&server, "one", 100);
    at_work(&server, [1, 0]).await;
    let second = post(&server, "two", 100);
    at_work(&server, [1, 1]).await;
    // A second picture with a model goes where the model is when nothing is free.
    let third = post(&server, "two", 100);
    let metrics = at_work(&server, [1, 2]).await;
    assert_eq!(each(&metrics, "index"), [0, 1]);
    assert_eq!(each(&metrics, "memoryBytes"), [150 << 20; 2]);
    assert_eq!(metrics["gpuMemoryTotal"], "0.3 GB", "of both");
    let page = server.get("/metrics/prometheus").await.text().await.unwrap();
    for line in [
        "alice_device_memory_bytes{device=\"0\",kind=\"cuda\"} 157286400",
        "alice_device_memory_bytes{device=\"1\",kind=\"cuda\"} 157286400",
        "alice_device_jobs_running{device=\"0\",kind=\"cuda\"} 1",
        "alice_device_jobs_running{device=\"1\",kind=\"cuda\"} 2",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}: {page}");
    }
    for answer in [first, second, third] {
        picture(answer).await;
    }
    let metrics = server.get_json("/metrics").await;
    assert_eq!(
        (each(&metrics, "modelsLoaded"), each(&metrics, "modelBytes")),
        (vec![1; 2], vec![100 << 20; 2])
    );
    assert_eq!(
        (&metrics["stageSeconds"]["load"]["count"], &metrics["modelEvictions"]),
        (&json!(2), &json!(0))
    );
}

#[tokio::test]
async fn a_device_with_nothing_to_do_helps_one_that_is_busy_with_the_same_model() {
    let server = server();
    server.post_json(IMAGES, &body("one", 1)).await;
    let first = post(&server, "one", 100);
    at_work(&server, [1, 0]).await;
    let second = post(&server, "one", 100);
    at_work(&server, [1, 1]).await;
    assert!(picture(first).await == picture(second).await, "the same picture on both");
    assert_eq!(each(&server.get_json("/metrics").await, "modelsLoaded"), [1, 1]);
}

#[tokio::test]
async fn models_that_are_brought_into_memory_are_spread() {
    let server = residence::server(TWO, "pinned: [one, two]", "");
    for name in ["one", "two"] {
        residence::wait_until(&server, name, "loaded").await;
    }
    assert_eq!(each(&server.get_json("/metrics").await, "modelsLoaded"), [1, 1]);
}

#[tokio::test]
async fn the_death_of_one_worker_does_not_disturb_the_other() {
    let server = server();
    let mut alone = Vec::new();
    for model in ["one", "two"] {
        alone.push(picture(post(&server, model, 60)).await);
    }
    let before = workers(&server);
    let first = post(&server, "one", 60);
    at_work(&server, [1, 0]).await;
    let second = post(&server, "two", 60);
    let metrics = at_work(&server, [1, 1]).await;
    let steps = metrics["totalSteps"].as_u64().unwrap();
    while server.get_json("/metrics").await["totalSteps"].as_u64().unwrap() < steps + 10 {
        tokio::task::yield_now().await;
    }
    signal("-KILL", before[0]);
    assert!(picture(first).await == alone[0] && picture(second).await == alone[1], "the same bytes");
    let metrics = server.get_json("/metrics").await;
    assert_eq!((&metrics["workerRestarts"], &metrics["failedGenerations"]), (&json!(1), &json!(0)));
    assert_eq!(metrics["stageSeconds"]["load"]["count"], 3, "only the model of the dead one is loaded again");
    let after = workers(&server);
    assert_eq!(after.len(), 2);
    assert!(after.contains(&before[1]) && !after.contains(&before[0]), "{before:?} {after:?}");
}
