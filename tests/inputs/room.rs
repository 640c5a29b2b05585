// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Many pictures at once: what they may take of memory and of the disk.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::{Rgb, RgbImage};
use serde_json::{Value, json};

use super::{hostile, names, plain};
use crate::edits::{Form, send};
use crate::harness::{Server, read_until};

const EDITS: &str = "/v1/images/edits";
const GENERATIONS: &str = "/v1/images/generations";
const CHAT: &str = "/v1/chat/completions";

/// A picture that no compression makes smaller.
fn noise(width: u32, height: u32) -> Vec<u8> {
    let mut state = 1_u32;
    let mut roll = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    hostile::encoded(&RgbImage::from_fn(width, height, |_, _| Rgb([roll(), roll(), roll()])).into())
}

async fn short_while() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// A server that runs one job at a time, which with many steps outlasts everything here.
async fn slow(limits: &str) -> Server {
    let options = "backend_options: { paint: { step_ms: 1000 } }";
    let generation = format!("generation: {{ backend: paint, max_concurrent: 1, {options} }}");
    Server::with(&format!("{generation}\nlimits: {{ {limits} }}")).await
}

/// Has a job that nobody waits for; gives its id, or what is answered instead.
async fn submit(server: &Server, steps: u32) -> Result<String, (u16, Value)> {
    let body = json!({"prompt": "a hat", "size": "64x64", "steps": steps, "stream": true, "detach": true});
    let answer = server.post(GENERATIONS, &body).await;
    id(answer).await
}

/// The same with a picture.
async fn submit_with(server: &Server, picture: &[u8]) -> Result<String, (u16, Value)> {
    let form = Form::default().text("prompt", "a hat").text("size", "64x64").text("steps", "4");
    let form = form.text("stream", "true").text("detach", "true").file("image", picture);
    id(send(server, EDITS, form).await).await
}

async fn id(answer: reqwest::Response) -> Result<String, (u16, Value)> {
    match answer.status().as_u16() {
        200 => Ok(answer.headers()["x-alice-job"].to_str().unwrap().to_owned()),
        other => Err((other, answer.json().await.unwrap())),
    }
}

async fn cancel(server: &Server, id: &str) {
    let answer = server.client.delete(format!("{}/v1/jobs/{id}", server.base)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

fn is_busy(answer: Result<String, (u16, Value)>) -> bool {
    answer.is_err_and(|(status, body)| status == 503 && body["error"]["code"] == "server_busy")
}

/// The head of a request whose body is `length` bytes, or comes in pieces.
fn head(path: &str, length: Option<usize>) -> String {
    let length =
        length.map_or("Transfer-Encoding: chunked".into(), |length| format!("Content-Length: {length}"));
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{length}\r\n\r\n")
}

/// A client that sends most of a body and then nothing.
fn half_sent(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    write!(stream, "{}", head(EDITS, Some(200_000))).unwrap();
    stream.write_all(&[b' '; 199_000]).unwrap();
    stream
}

/// A body of 100,000 bytes that is no request.
async fn ask(server: &Server, path: &str) -> reqwest::Response {
    let request = server.client.post(format!("{}{path}", server.base));
    request.body(vec![b' '; 100_000]).send().await.unwrap()
}

#[tokio::test]
async fn bodies_of_all_requests_have_a_limit_together_and_small_ones_pass() {
    let server = Server::with(
        "generation: { backend: paint }\nlimits: { picture_body_bytes: 200000, input_picture_bytes: 200000, \
         input_bytes_in_hand: 300000 }",
    )
    .await;
    assert_eq!(ask(&server, EDITS).await.status(), 400);
    let senders = [half_sent(&server), half_sent(&server)];
    let mut answer = ask(&server, EDITS).await;
    while answer.status() == 400 {
        short_while().await;
        answer = ask(&server, EDITS).await;
    }
    assert_eq!(answer.status(), 503);
    assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["code"], "server_busy", "{body}");
    // In the other dialect, and where nobody says how much will come.
    let body: Value = ask(&server, CHAT).await.json().await.unwrap();
    assert_eq!(body["error"]["code"], "503", "{body}");
    let mut pieces = server.connect();
    write!(pieces, "{}186a0\r\n", head(EDITS, None)).unwrap();
    pieces.write_all(&[b' '; 100_000]).unwrap();
    write!(pieces, "\r\n0\r\n\r\n").unwrap();
    assert!(read_until(&mut pieces, "\r\n").starts_with("HTTP/1.1 503 "));
    server.post_json(GENERATIONS, &json!({"prompt": "a hat", "steps": 1})).await;
    drop(senders);
    while ask(&server, EDITS).await.status() == 503 {
        short_while().await;
    }
}

#[tokio::test]
async fn kept_pictures_of_all_jobs_have_a_limit_together() {
    let server = slow("input_picture_pixels: 16384, input_bytes_on_disk: 147456").await;
    let running = submit(&server, 150).await.unwrap();
    let waiting = submit_with(&server, &noise(128, 128)).await.unwrap();
    assert!(is_busy(submit_with(&server, &plain(8, 8)).await));
    assert_eq!(names(&server.directory.path().join("inputs")).len(), 1, "nothing of it stays");
    submit(&server, 1).await.unwrap();
    cancel(&server, &waiting).await;
    while is_busy(submit_with(&server, &plain(8, 8)).await) {
        short_while().await;
    }
    cancel(&server, &running).await;
}

/// A picture as JSON has it, which is a third longer than its file.
#[tokio::test]
async fn pictures_in_json_are_given_back_too() {
    let server = Server::with(
        "generation: { backend: paint }\nlimits: { picture_body_bytes: 300000, input_picture_bytes: 200000, \
         input_bytes_in_hand: 300000 }",
    )
    .await;
    let picture = BASE64_STANDARD.encode(noise(200, 200));
    let body = json!({"prompt": "a hat", "steps": 2, "size": "64x64", "input_images": [picture]});
    for _ in 0..4 {
        server.post_json(EDITS, &body).await;
    }
}
