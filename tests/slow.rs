// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Clients that keep the server waiting, and clients that come in crowds: they are given up, and everyone
//! else is served meanwhile.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use crate::harness::{Server, read_until, rest};

/// A head without its end.
const HEAD: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n";
/// How the answer to it ends.
const ALIVE: &str = "\"alive\"}";

async fn server(limits: &str) -> Server {
    Server::with(&format!("generation: {{ backend: paint }}\nlimits: {{ {limits} }}")).await
}

/// A connection that has been served once and waits for its next request.
fn idle(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    write!(stream, "{HEAD}\r\n").unwrap();
    assert!(read_until(&mut stream, ALIVE).starts_with("HTTP/1.1 200 "));
    stream
}

/// Whether anything has come, the end of the connection included.
fn is_answered(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    peeked.is_ok()
}

#[tokio::test]
async fn a_client_that_sends_nothing_or_half_a_head_is_given_up() {
    let server = server("header_seconds: 1").await;
    let mut silent = server.connect();
    let mut halfway = server.connect();
    write!(halfway, "{HEAD}").unwrap();
    assert_eq!(rest(&mut silent), "");
    assert_eq!(rest(&mut halfway), "");
}

#[tokio::test]
async fn one_byte_of_a_head_now_and_then_is_not_enough() {
    let server = server("header_seconds: 1").await;
    let mut slow = server.connect();
    write!(slow, "{HEAD}X-Slow: ").unwrap();
    let given_up = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        slow.write_all(b"a").is_err()
    });
    assert!(given_up);
}

#[tokio::test]
async fn a_connection_that_idles_between_requests_is_ended() {
    let server = server("header_seconds: 1").await;
    assert_eq!(rest(&mut idle(&server)), "");
}

#[tokio::test]
async fn a_client_that_never_takes_its_answers_gives_its_place_to_others() {
    let server = server("connections: 1, header_seconds: 3600, answer_idle_seconds: 1").await;
    // More than the system buffers of one connection, on either side.
    let asked = 8000;
    let mut greedy = server.connect();
    let request = "GET /static/alice.css HTTP/1.1\r\nHost: localhost\r\n\r\n";
    greedy.write_all(request.repeat(asked).as_bytes()).unwrap();
    assert_eq!(server.get("/livez").await.status(), 200);
    let answered = rest(&mut greedy).matches("HTTP/1.1 200 ").count();
    assert!((1..asked).contains(&answered), "{answered} of {asked}");
}

#[tokio::test]
async fn a_connection_over_the_limit_waits_for_a_place() {
    let server = server("connections: 2, header_seconds: 3600").await;
    let (first, _second) = (idle(&server), idle(&server));
    let mut third = server.connect();
    write!(third, "{HEAD}\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(!is_answered(&third), "two others have the places");
    drop(first);
    assert!(read_until(&mut third, ALIVE).starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn the_others_are_served_while_slow_clients_hold_all_but_one_place() {
    let server = server("connections: 8, header_seconds: 3600, answer_idle_seconds: 3600").await;
    let mut slow: Vec<_> = (0..7).map(|_| server.connect()).collect();
    for halfway in &mut slow[..3] {
        write!(halfway, "{HEAD}").unwrap();
    }
    for _ in 0..20 {
        assert_eq!(server.get("/livez").await.status(), 200);
    }
    write!(slow[0], "\r\n").unwrap();
    assert!(read_until(&mut slow[0], ALIVE).starts_with("HTTP/1.1 200 "), "it was slow, not refused");
}

#[tokio::test]
async fn a_crowd_that_takes_every_file_descriptor_is_survived_and_logged_once() {
    let directory = tempfile::tempdir().unwrap();
    let config = "server: { port: 0 }\ngeneration: { backend: paint }\nlimits: { header_seconds: 3600 }\n";
    std::fs::write(directory.path().join("config.yaml"), config).unwrap();
    let limited = ["-c", "ulimit -n 64 && exec \"$0\"", env!("CARGO_BIN_EXE_alice")];
    let mut server = Server::start_program(Path::new("/bin/sh"), directory, &limited);
    let crowd: Vec<_> = (0..64).map(|_| server.connect()).collect();
    server.wait_for_log("cannot be accepted");
    std::thread::sleep(Duration::from_millis(500));
    drop(crowd);
    assert_eq!(server.get("/livez").await.status(), 200);
    server.order_to_end();
    let log = server.wait_for_log("Ended");
    assert!(!log.contains("cannot be accepted"), "{log}");
    assert!(server.wait().success());
}

#[tokio::test]
async fn at_the_end_waiting_clients_are_let_go_before_running_requests_are_finished() {
    let mut server = Server::with(
        "generation: { backend: paint, backend_options: { paint: { step_ms: 200 } } }\n\
         limits: { header_seconds: 3600 }",
    )
    .await;
    let (mut idle, mut silent, mut halfway) = (idle(&server), server.connect(), server.connect());
    write!(halfway, "{HEAD}").unwrap();
    let body = "{\"prompt\": \"x\", \"steps\": 20}";
    let mut running = server.connect();
    let head = "POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
    write!(running, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    while server.get_json("/health").await["modelsLoaded"] == 0 {
        tokio::task::yield_now().await;
    }
    server.order_to_end();
    assert_eq!(rest(&mut idle), "");
    assert_eq!(rest(&mut silent), "");
    assert!(!is_answered(&running), "the idle ones did not wait for it");
    assert!(rest(&mut running).starts_with("HTTP/1.1 200 "));
    assert_eq!(rest(&mut halfway), "");
    assert!(server.wait().success());
}

/// The head of a request for pictures with a body of this many bytes.
fn post(length: usize) -> String {
    format!("POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let server = server("body_idle_seconds: 1").await;
    let mut stalled = server.connect();
    write!(stalled, "{}{{\"prompt\"", post(100)).unwrap();
    let answer = rest(&mut stalled);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("body_timeout"), "{answer}");
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_has_its_time_and_no_more() {
    let server = server("body_seconds: 1").await;
    let mut slow = server.connect();
    write!(slow, "{}", post(1_000_000)).unwrap();
    let mut reader = slow.try_clone().unwrap();
    let answer = std::thread::spawn(move || rest(&mut reader));
    let given_up = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        slow.write_all(b"a").is_err()
    });
    assert!(given_up);
    let answer = answer.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_refused_before_it_comes() {
    let server = server("picture_body_bytes: 2048").await;
    let mut stream = server.connect();
    write!(stream, "{}", post(2049)).unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let mut chunked = server.connect();
    let head =
        "POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    write!(chunked, "{head}1000\r\n{}\r\n", " ".repeat(0x1000)).unwrap();
    let answer = rest(&mut chunked);
    assert!(answer.starts_with("HTTP/1.1 413 "), "without announcement too: {answer}");
}
