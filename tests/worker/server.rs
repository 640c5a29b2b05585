// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The real server and its worker.

use std::fs;

use super::*;
use crate::contract::compiled_against;
use crate::harness::{Server, alice, ended};

const IMAGES: &str = "/v1/images/generations";

async fn generate(server: &Server) -> u16 {
    let body = json!({"prompt": "a red apple", "steps": 2});
    server.post(IMAGES, &body).await.status().as_u16()
}

async fn with_fault(call: &str, effect: &str) -> Server {
    let fault = format!("{{ call: {call}, at: 1, do: {effect} }}");
    let paint = format!("backend_options: {{ paint: {{ faults: [{fault}] }} }}");
    Server::with(&format!("generation: {{ backend: paint, {paint} }}\nengine: {{ hang_seconds: 1 }}")).await
}

/// The processes whose parent is `parent`, with their states (`Z` for one that nobody has waited for).
pub(crate) fn children(parent: u32) -> Vec<(u32, char)> {
    let numbers =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let child = |number: u32| {
        let status = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        let mut rest = status.rsplit(')').next()?.split_whitespace();
        let (state, of) = (rest.next()?.chars().next()?, rest.next()?);
        (of == parent.to_string()).then_some((number, state))
    };
    numbers.filter_map(child).collect()
}

#[tokio::test]
async fn a_server_survives_every_end_of_its_worker_and_keeps_nothing_of_it() {
    for effect in ["abort", "segfault", "kill", "exit", "hang"] {
        let server = with_fault("denoise", effect).await;
        let files = || fs::read_dir(format!("/proc/{}/fd", server.process_id())).unwrap().count();
        let mut counts = Vec::new();
        for _ in 0..3 {
            assert_eq!(generate(&server).await, 500, "{effect}");
            server.wait_for_log("started anew");
            assert_eq!(server.get("/livez").await.status(), 200);
            // No dead one stays, and of the living there is one.
            while let [_, _, ..] | [(_, 'Z')] = children(server.process_id())[..] {
                std::thread::yield_now();
            }
            counts.push(files());
        }
        // A worker takes three; a client's connection may come and go.
        assert!(counts[2] < counts[0] + 3, "{effect}: open files {counts:?}");
    }
}

#[tokio::test]
async fn a_worker_that_is_killed_under_a_request_costs_one_step_and_is_counted() {
    let server =
        Server::with("generation: { backend: paint, backend_options: { paint: { step_ms: 20 } } }").await;
    let body = json!({"prompt": "a red apple", "seed": 7, "steps": 40, "response_format": "b64_json"});
    let whole = server.post_json(IMAGES, &body).await;
    assert_eq!(server.get_json("/metrics").await["workerRestarts"], 0);
    let post = server.client.post(format!("{}{IMAGES}", server.base)).json(&body).send();
    let post = tokio::spawn(post);
    while server.get_json("/metrics").await["totalSteps"].as_u64().unwrap() < 45 {
        tokio::task::yield_now().await;
    }
    signal("-KILL", children(server.process_id())[0].0);
    let answer: Value = post.await.unwrap().unwrap().json().await.unwrap();
    assert!(
        answer["data"][0]["b64_json"] == whole["data"][0]["b64_json"],
        "the same bytes: {}",
        answer["error"]
    );
    let metrics = server.get_json("/metrics").await;
    assert_eq!((&metrics["workerRestarts"], &metrics["totalGenerations"]), (&json!(1), &json!(2)));
    assert_eq!(metrics["totalSteps"], 80, "no step is counted twice");
}

#[tokio::test]
async fn a_worker_that_is_killed_while_nothing_runs_is_waited_for_and_costs_no_request() {
    let server = Server::paint().await;
    for _ in 0..2 {
        assert_eq!(generate(&server).await, 200);
        signal("-KILL", children(server.process_id())[0].0);
        let told = server.wait_for_log("while it had nothing to do");
        assert!(told.contains("was killed (signal 9)"), "{told}");
        assert!(children(server.process_id()).is_empty(), "no dead one stays");
    }
    for _ in 0..3 {
        assert_eq!(generate(&server).await, 200);
        signal("-KILL", children(server.process_id())[0].0);
        assert_eq!(generate(&server).await, 200, "also before anybody has noticed");
    }
}

#[tokio::test]
async fn a_worker_does_not_outlive_a_server_that_is_killed() {
    // Neither at rest nor while a library hangs.
    for call in [None, Some("load")] {
        let mut server = match call {
            None => Server::paint().await,
            Some(call) => {
                let fault = format!("{{ call: {call}, do: hang }}");
                let paint = format!("backend_options: {{ paint: {{ faults: [{fault}] }} }}");
                Server::with(&format!("generation: {{ backend: paint, request_timeout: 1, {paint} }}")).await
            }
        };
        if call.is_some() {
            assert_eq!(generate(&server).await, 504);
        }
        let worker = children(server.process_id())[0].0;
        signal("-KILL", server.process_id());
        server.wait();
        while exists(worker) && !fakes::is_zombie(worker) {
            std::thread::yield_now();
        }
    }
}

#[tokio::test]
async fn a_server_opens_no_library_itself_and_its_worker_is_confined() {
    let server = Server::paint().await;
    assert_eq!(generate(&server).await, 200);
    let maps = fs::read_to_string(format!("/proc/{}/maps", server.process_id())).unwrap();
    assert!(maps.contains("alice") && !maps.contains("libalice_backend"));
    let worker = children(server.process_id())[0].0;
    let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    for line in ["Name:\talice-worker", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let limits = fs::read_to_string(format!("/proc/{worker}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().rev().nth(1), Some("0"), "{core}");
    let mine: i32 = fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    let its: i32 =
        fs::read_to_string(format!("/proc/{worker}/oom_score_adj")).unwrap().trim().parse().unwrap();
    assert_eq!(its, (mine + 500).min(1000));
    let log = server.early_log.join("\n");
    assert!(log.contains("Opened the backend `paint`") && log.contains("libalice_backend_paint"), "{log}");
}

#[tokio::test]
async fn a_worker_has_no_open_files_but_its_own() {
    // A file that the server itself was given by mistake, and does not know of.
    let directory = tempfile::tempdir().unwrap();
    let config = "server: { port: 0 }\ngeneration: { backend: paint }\n";
    fs::write(directory.path().join("config.yaml"), config).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "exec 9</dev/zero; exec \"$0\""]).arg(env!("CARGO_BIN_EXE_alice"));
    command.current_dir(directory.path()).env("ALICE_BACKEND_PATH", crate::harness::plugins());
    let server = Server::start_command(command, directory);
    let worker = children(server.process_id())[0].0;
    match fs::read_dir(format!("/proc/{worker}/fd")) {
        Ok(files) => {
            for file in files {
                let name = fs::read_link(file.unwrap().path()).unwrap().display().to_string();
                // Standard input; socket and memory; the log.
                let own = ["/dev/null", "socket:", "/memfd:alice-worker", "pipe:"];
                assert!(own.iter().any(|own| name.starts_with(own)), "{name}");
            }
        }
        // Whoever is not root does not even see them: the process hides itself.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
    }
}

#[tokio::test]
async fn without_isolation_the_library_is_inside_the_server() {
    let server = Server::with("generation: { backend: paint }\nengine: { isolation: none }").await;
    assert_eq!(generate(&server).await, 200);
    assert!(children(server.process_id()).is_empty());
}

#[test]
fn a_library_that_crashes_or_hangs_when_it_is_asked_is_passed_over_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    compiled_against(&source("backends/plugin/include"), directory.path(), "crash", "crash.c", "-DNDEBUG");
    fs::copy(plugin("paint"), directory.path().join("libalice_backend_paint.so")).unwrap();
    let hang = "{ faults: [{ call: describe, do: hang }] }";
    let config = format!(
        "generation: {{ backend: cpu, backend_options: {{ paint: {hang} }} }}\nengine: {{ hang_seconds: 1 }}\n"
    );
    fs::write(directory.path().join("config.yaml"), config).unwrap();
    let ran = ended(alice(directory.path()).arg("backends").env("ALICE_BACKEND_PATH", directory.path()));
    let reason = |name: &str| {
        let entry = ran.stdout.split("\n\n").find(|entry| entry.contains(name)).unwrap_or_default();
        entry.lines().find(|line| line.contains("passed over")).unwrap_or_default().to_owned()
    };
    assert!(reason("libalice_backend_crash").contains("was aborted by its library"), "{}", ran.stdout);
    assert!(reason("libalice_backend_paint").contains("gave no sign of life"), "{}", ran.stdout);
}

#[test]
fn nobody_starts_a_worker_by_hand() {
    let directory = tempfile::tempdir().unwrap();
    let ran = ended(alice(directory.path()).arg("worker").stdin(std::process::Stdio::null()));
    assert!(!ran.status.success() && ran.stderr.contains("started by the server"), "{}", ran.stderr);
    let ran = ended(alice(directory.path()).arg("--help"));
    assert!(!ran.stdout.contains("worker"), "{}", ran.stdout);
}
