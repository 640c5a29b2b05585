// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Inputs of a daemon that is killed: none without its job, none after it, and a job whose input is gone says so.

use std::collections::BTreeSet;
use std::fs;

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use super::{names, plain};
use crate::harness::Server;

const CONFIG: &str = "
server: { port: 0 }
generation: { backend: paint, backend_options: { paint: { step_ms: 40 } }, max_concurrent: 1 }
";

/// Jobs that take a while, which nobody waits for.
async fn submit(server: &Server, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for seed in 0..count {
        let body = json!({"prompt": "a hat", "size": "64x64", "steps": 20, "seed": seed, "stream": true, "detach": true});
        let answer = server.post("/v1/images/generations", &body).await;
        ids.push(answer.headers()["x-alice-job"].to_str().unwrap().to_owned());
    }
    ids
}

/// Lets the job `id` have the input `name`, as if its request had brought it.
fn give(database: &Connection, id: &str, name: &str) {
    let sql = "SELECT number, request FROM jobs WHERE id = ?1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
    let (number, request) = database.query_row(sql, [id], read).unwrap();
    let mut request: Value = serde_json::from_str(&request).unwrap();
    request["parameters"]["inputs"] = json!({
        "start": {
            "input": {"name": name, "width": 64, "height": 64, "has_alpha": false},
            "strength": 0.5, "resize_mode": "crop", "mask": null, "image_guidance_scale": 1.5,
        },
        "controls": [], "hires": null, "upscaler": null,
    });
    let sql = "UPDATE jobs SET request = ?2 WHERE number = ?1";
    database.execute(sql, params![number, request.to_string()]).unwrap();
    database.execute("INSERT INTO inputs (name, job) VALUES (?1, ?2)", params![name, number]).unwrap();
}

fn rows(server: &Server) -> i64 {
    let database = Connection::open(server.directory.path().join("data/alice.db")).unwrap();
    database.query_row("SELECT count(*) FROM inputs", [], |row| row.get(0)).unwrap()
}

async fn ended(server: &Server, id: &str) -> Value {
    loop {
        let job = server.get_json(&format!("/v1/jobs/{id}")).await;
        if !matches!(job["status"].as_str(), Some("queued" | "running")) {
            return job;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn after_a_kill_inputs_are_there_as_long_as_their_jobs_and_no_longer() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.yaml"), CONFIG).unwrap();
    let server = Server::start(directory, &[]);
    let ids = submit(&server, 4).await;
    let directory = server.kill();
    let inputs = directory.path().join("inputs");
    let name = |digit: &str| format!("{}.png", digit.repeat(32));
    let kept: Vec<_> = ["a", "b", "c", "d"].map(name).into_iter().collect();
    {
        let database = Connection::open(directory.path().join("data/alice.db")).unwrap();
        ids.iter().zip(&kept).for_each(|(id, name)| give(&database, id, name));
    }
    // The third one's file is gone. Beside the others lie those of requests that never became jobs.
    for name in [&kept[0], &kept[1], &kept[3], &name("e"), &format!(".{}.part", name("f"))] {
        fs::write(inputs.join(name), plain(64, 64)).unwrap();
    }
    fs::write(inputs.join("holiday.png"), "somebody else's").unwrap();

    let server = Server::start(directory, &[]);
    let gone = ended(&server, &ids[2]).await;
    assert_eq!(
        (gone["status"].as_str(), gone["error"]["code"].as_str()),
        (Some("failed"), Some("input_gone"))
    );
    let found: BTreeSet<_> = names(&server.directory.path().join("inputs")).into_iter().collect();
    let foreign = "holiday.png".to_owned();
    let expected = [&kept[0], &kept[1], &kept[3], &foreign].into_iter().cloned().collect();
    assert!(found.is_subset(&expected), "{found:?}");
    assert!(found.contains(&kept[3]), "a job that waits has its input");
    // One is cancelled while it waits, and the daemon dies once more.
    let cancel = format!("{}/v1/jobs/{}", server.base, ids[3]);
    server.client.delete(cancel).send().await.unwrap();
    assert_eq!(ended(&server, &ids[3]).await["status"], "cancelled");
    let server = Server::start(server.kill(), &[]);
    for id in &ids[..2] {
        let job = ended(&server, id).await;
        assert!(matches!(job["status"].as_str(), Some("done" | "failed")), "{job}");
    }
    while names(&server.directory.path().join("inputs")) != ["holiday.png"] {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(rows(&server), 0);
}
