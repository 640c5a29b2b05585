// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The program as its operator meets it: configuration, subcommands, start and end.

use std::fs;

use serde_json::json;

use crate::harness::{Server, alice, ended, plugin, run};

#[test]
fn an_invalid_configuration_refuses_to_start_and_names_file_line_and_key() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    for (text, named) in [
        (
            "server:\n  port: 8080\ngeneration:\n  default_steps: 9999\n",
            "config.yaml:4: `generation.default_steps`",
        ),
        ("server:\n  port: 99999\n", "config.yaml:2: `server.port`"),
        ("server:\n  host: everywhere\n", "config.yaml:2: `server.host`"),
        ("server:\n  api_key: short\n", "config.yaml:2: `server.api_key`"),
        ("server:\n  registration_mode: maybe\n", "config.yaml:2: `server.registration_mode`"),
        ("server:\n  session_timeout_seconds: 5\n", "config.yaml:2: `server.session_timeout_seconds`"),
        ("generation:\n  default_scheduler: quantum\n", "config.yaml:2: `generation.default_scheduler`"),
        ("server: [1\n", "config.yaml: "),
        ("- a list\n", "config.yaml: "),
    ] {
        fs::write(&file, text).unwrap();
        let ran = run(directory.path(), &[]);
        assert!(!ran.status.success(), "{text}");
        assert!(ran.stderr.contains(named), "{text}: {}", ran.stderr);
    }
}

#[test]
fn a_configuration_that_is_named_must_be_there() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [["--config", "missing.yaml"].as_slice(), &["serve", "--config", "missing.yaml"]] {
        let ran = run(directory.path(), arguments);
        assert!(!ran.status.success() && ran.stderr.contains("missing.yaml"), "{}", ran.stderr);
    }
    let ran = ended(alice(directory.path()).env("ALICE_CONFIG", "elsewhere.yaml"));
    assert!(!ran.status.success() && ran.stderr.contains("elsewhere.yaml"), "{}", ran.stderr);
}

#[test]
fn a_default_model_that_is_not_there_refuses_to_start_and_lists_the_models() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.yaml"), "models: { default_model: nothing }\n").unwrap();
    let ran = run(directory.path(), &[]);
    assert!(!ran.status.success() && ran.stderr.contains("sd/alice-emoji"), "{}", ran.stderr);
}

#[test]
fn a_port_in_use_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let port = taken.local_addr().unwrap().port();
    fs::write(directory.path().join("config.yaml"), format!("server: {{ port: {port} }}\n")).unwrap();
    let ran = run(directory.path(), &[]);
    assert!(!ran.status.success() && ran.stderr.contains("server.port"), "{}", ran.stderr);
}

#[tokio::test]
async fn unknown_keys_warn_and_start() {
    let directory = tempfile::tempdir().unwrap();
    let config = "server: { port: 0, prot: 1 }\ngeneration: { backend: paint, sdcpp_threads: 8 }\n";
    fs::write(directory.path().join("alice.yaml"), config).unwrap();
    let server = Server::start(directory, &["serve", "--config", "alice.yaml"]);
    let log = server.early_log.join("\n");
    assert!(log.contains("alice.yaml:1: `server.prot`") && log.contains("`server.port`"), "{log}");
    assert!(log.contains("`generation.sdcpp_threads` has no effect"), "{log}");
    assert_eq!(server.get("/livez").await.status(), 200);
}

#[test]
fn backends_are_listed_with_their_devices_or_why_they_were_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let bad = directory.path().join("libalice_backend_bad.so");
    fs::write(&bad, "this is no library").unwrap();
    fs::copy(plugin("paint"), directory.path().join("libalice_backend_paint.so")).unwrap();
    fs::copy(plugin("cpu"), directory.path().join("libalice_backend_cpu.so")).unwrap();
    let ran = ended(alice(directory.path()).arg("backends").env("ALICE_BACKEND_PATH", directory.path()));
    assert!(ran.status.success(), "{}", ran.stderr);
    let entry = |name: &str| {
        ran.stdout.split("\n\n").find(|entry| entry.contains(name)).unwrap_or_default().to_owned()
    };
    assert!(entry("libalice_backend_bad.so").contains("passed over"), "{}", ran.stdout);
    assert!(entry("cpu ").contains("device 0: "), "{}", ran.stdout);
    assert!(entry("paint ").contains("stand-in"), "{}", ran.stdout);
    assert!(ran.stdout.contains("Chosen for `generation.backend: auto`: cpu"), "{}", ran.stdout);
}

#[test]
fn the_instructions_that_the_environment_names_reach_the_backends_process() {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(plugin("cpu"), directory.path().join("libalice_backend_cpu.so")).unwrap();
    let asked = |isa: &str| {
        let mut command = alice(directory.path());
        command.arg("backends").env("ALICE_BACKEND_PATH", directory.path()).env("ALICE_CPU_ISA", isa);
        ended(&mut command).stdout
    };
    let refused = asked("quantum");
    assert!(refused.contains("ALICE_CPU_ISA is `quantum`; here there is portable"), "{refused}");
    // It multiplies no bf16.
    let described = asked("portable");
    assert!(described.contains("formats f32; "), "{described}");
}

#[test]
fn without_a_usable_backend_the_start_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.yaml"), "generation: { backend: quantum }\n").unwrap();
    let ran = run(directory.path(), &[]);
    assert!(!ran.status.success() && ran.stderr.contains("generation.backend: quantum"), "{}", ran.stderr);
    let ran = run(directory.path(), &["backends"]);
    assert!(!ran.status.success() && ran.stdout.contains("Cannot serve"), "{}", ran.stdout);
}

#[tokio::test]
async fn healthcheck_tells_a_living_server_from_none() {
    let mut server = Server::paint().await;
    let directory = tempfile::tempdir().unwrap();
    let url = format!("{}/livez", server.base);
    let check = |url: &str| run(directory.path(), &["healthcheck", "--url", url]).status.success();
    assert!(check(&url));
    assert!(!check(&format!("{}/nothing", server.base)));
    server.order_to_end();
    server.wait();
    assert!(!check(&url));
}

#[tokio::test]
async fn an_idle_server_ends_when_told() {
    let mut server = Server::paint().await;
    // The client keeps its connection open: an idle connection must not hold the server up.
    assert_eq!(server.get("/livez").await.status(), 200);
    server.order_to_end();
    assert!(server.wait().success());
}

#[tokio::test]
async fn a_running_request_is_finished_before_the_end() {
    let mut server =
        Server::with("generation: { backend: paint, backend_options: { paint: { step_ms: 100 } } }").await;
    let request = server.client.post(format!("{}/v1/images/generations", server.base));
    let request = tokio::spawn(request.json(&json!({"prompt": "x", "steps": 10})).send());
    while server.get_json("/health").await["modelsLoaded"] == 0 {
        tokio::task::yield_now().await;
    }
    server.order_to_end();
    assert_eq!(request.await.unwrap().unwrap().status(), 200);
    assert!(server.wait().success());
}
