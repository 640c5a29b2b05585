// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Hostile pictures as clients send them: each is a clear refusal, and the server does not grow by them.

use reqwest::Response;
use serde_json::{Value, json};

use super::{hostile, names, plain};
use crate::harness::Server;

const EDITS: &str = "/v1/images/edits";
const BOUNDARY: &str = "7d8a1c5e2f";

/// A picture in the form in which OpenAI's clients send it.
async fn edit(server: &Server, picture: &[u8]) -> Response {
    let mut body = Vec::new();
    for (name, value) in [("prompt", "a hat"), ("steps", "4"), ("size", "64x64"), ("response_format", "url")]
    {
        let head =
            format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(head.as_bytes());
    }
    let head =
        "content-disposition: form-data; name=\"image\"; filename=\"a.png\"\r\ncontent-type: image/png";
    body.extend_from_slice(format!("--{BOUNDARY}\r\n{head}\r\n\r\n").as_bytes());
    body.extend_from_slice(picture);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    let request = server.client.post(format!("{}{EDITS}", server.base));
    let request = request.header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"));
    request.body(body).send().await.unwrap()
}

/// The most memory that the server has ever had, in KiB.
fn most_resident_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process_id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[expect(clippy::print_stderr, reason = "the figure is what one wants to know")]
#[tokio::test]
async fn hostile_pictures_are_refused_in_words_and_do_not_grow_the_server() {
    let server = Server::paint().await;
    let ordinary = edit(&server, &plain(512, 512)).await;
    assert_eq!(ordinary.status(), 200, "{}", ordinary.text().await.unwrap());
    let before = most_resident_kib(&server);
    for (what, bytes, words) in hostile::refused() {
        let answer = edit(&server, &bytes).await;
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert_eq!((status.as_u16(), &body["error"]["param"]), (400, &json!("image")), "{what}: {body}");
        // A part of a form without a byte is none.
        let said = body["error"]["message"].as_str().unwrap();
        assert!(bytes.is_empty() || said.contains(words), "{what}: {body}");
    }
    for (what, bytes) in hostile::harmless() {
        let answer = edit(&server, &bytes).await;
        assert_eq!(answer.status(), 200, "{what}: {}", answer.text().await.unwrap());
    }
    let grown = most_resident_kib(&server) - before;
    eprintln!("the server grew by {grown} KiB");
    assert!(grown < 32 << 10, "{grown} KiB");
    while !names(&server.directory.path().join("inputs")).is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
