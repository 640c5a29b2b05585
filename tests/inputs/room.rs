// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Many pictures at once: what they may take of the line, of memory, of the disk and of the processes that read them.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use alice::error::Error;
use alice::inputs::{ResizeMode, Store, Want};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::{Rgb, RgbImage};
use serde_json::{Value, json};

use super::{LIMITS, hostile, names, plain};
use crate::edits::{Form, send};
use crate::harness::{Server, read_until};

const EDITS: &str = "/v1/images/edits";
const GENERATIONS: &str = "/v1/images/generations";
const CHAT: &str = "/v1/chat/completions";
const WANT: Want = Want::Rgb { width: 8, height: 8, mode: ResizeMode::Crop, part: None };

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

#[tokio::test]
async fn a_place_in_line_is_kept_while_pictures_are_read() {
    let server = slow("waiting: 1").await;
    let running = submit(&server, 150).await.unwrap();
    let large = noise(4096, 4000);
    let inputs = server.directory.path().join("inputs");
    let (first, second) = tokio::join!(submit_with(&server, &large), async {
        while names(&inputs).is_empty() {
            short_while().await;
        }
        // The picture is being read now, or its job is in line already: there is no place left.
        submit(&server, 1).await
    });
    let waiting = first.unwrap();
    assert!(is_busy(second));
    assert!(is_busy(submit_with(&server, &large).await));
    cancel(&server, &waiting).await;
    // Whoever is refused gives the place back.
    let (status, body) = submit_with(&server, b"no picture").await.unwrap_err();
    assert_eq!((status, &body["error"]["param"]), (400, &json!("image")), "{body}");
    submit(&server, 1).await.unwrap();
    cancel(&server, &running).await;
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
    let mut senders = vec![half_sent(&server), half_sent(&server)];
    let mut answer = ask(&server, EDITS).await;
    while answer.status() == 400 {
        // A sender whose last bytes came while a question was counted was refused itself, and is gone.
        senders.push(half_sent(&server));
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

#[tokio::test]
async fn a_job_whose_picture_cannot_be_read_any_more_says_so() {
    let server = slow("waiting: 8").await;
    let running = submit(&server, 150).await.unwrap();
    let waiting = submit_with(&server, &noise(64, 64)).await.unwrap();
    let inputs = server.directory.path().join("inputs");
    let [name] = &names(&inputs)[..] else { panic!() };
    let file = fs::read(inputs.join(name)).unwrap();
    fs::write(inputs.join(name), &file[..file.len() / 2]).unwrap();
    cancel(&server, &running).await;
    let job = loop {
        let job = server.get_json(&format!("/v1/jobs/{waiting}")).await;
        if !matches!(job["status"].as_str(), Some("queued" | "running")) {
            break job;
        }
        short_while().await;
    };
    assert_eq!(
        (&job["status"], &job["error"]["code"]),
        (&json!("failed"), &json!("input_unusable")),
        "{job}"
    );
    let told = job["error"]["message"].as_str().unwrap();
    assert!(told.contains("is cut short"), "{told}");
}

/// A store whose processes wait at a gate before they read what a request brought, and are ended by the system when they
/// are to make something of it as long as there is a ban.
struct Gated {
    store: Store,
    directory: tempfile::TempDir,
}

impl Gated {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let here = |name: &str| directory.path().join(name);
        let script = format!(
            "#!/bin/sh\ncase \"$2\" in\n*'\"Take\"'*) while [ -e {gate} ]; do sleep 0.01; done;;\n\
             *) if [ -e {ban} ]; then kill -KILL $$; fi;;\nesac\nexec {program} \"$@\"\n",
            gate = here("gate").display(),
            ban = here("ban").display(),
            program = env!("CARGO_BIN_EXE_alice"),
        );
        let program = here("reader");
        write_program(&program, &script);
        let store = Store::new(&here("inputs"), LIMITS, program, 2).unwrap();
        Self { store, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Puts a program at `path` that no process of ours has open for writing, as
/// [`install`](crate::harness::install) does.
fn write_program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let draft = path.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(Command::new("cp").arg("-p").arg(&draft).arg(path).status().unwrap().success());
}

#[tokio::test]
async fn a_running_job_does_not_stand_behind_pictures_that_arrive() {
    let gated = Gated::new();
    let input = gated.store.take(plain(16, 16).into()).await.unwrap();
    fs::write(gated.path("gate"), "").unwrap();
    let arriving = [(); 3].map(|()| {
        let store = gated.store.clone();
        tokio::spawn(async move { store.take(plain(16, 16).into()).await })
    });
    let is_partial = |name: &String| name.ends_with(".part");
    while names(&gated.path("inputs")).iter().filter(|name| is_partial(name)).count() < 2 {
        short_while().await;
    }
    let pixels = gated.store.pixels(&input, &WANT).await.unwrap();
    assert_eq!(pixels.len(), 8 * 8 * 3);
    assert!(arriving.iter().all(|picture| !picture.is_finished()));
    fs::remove_file(gated.path("gate")).unwrap();
    for picture in arriving {
        picture.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_picture_that_takes_too_much_when_it_is_needed_is_a_clear_failure() {
    let gated = Gated::new();
    let input = gated.store.take(plain(16, 16).into()).await.unwrap();
    fs::write(gated.path("ban"), "").unwrap();
    let error = gated.store.pixels(&input, &WANT).await.unwrap_err();
    assert!(matches!(error, Error::InputUnusable { .. }), "{error:?}");
    assert!(error.to_string().contains("takes more memory or time"), "{error}");
}

/// The largest mask there may be, at its full size and with the widest blur: what `only_masked` asks for.
#[tokio::test]
async fn the_largest_mask_has_the_widest_blur_within_the_limits() {
    let inputs = super::Inputs::new();
    for (width, height) in [(4096, 4096), (8192, 2048)] {
        let mask = RgbImage::from_fn(width, height, |x, _| Rgb([if x < width / 2 { 255 } else { 0 }; 3]));
        let input = inputs.take(hostile::encoded(&mask.into())).await.unwrap();
        for blur in [9.9, 64.0] {
            let (mode, polarity) = (ResizeMode::Stretch, alice::inputs::MaskPolarity::White);
            let mask = inputs.pixels(&input, Want::Mask { width, height, mode, polarity, blur }).await;
            let row = &mask[mask.len() / 2..][..width as usize];
            assert_eq!((row[0], row[width as usize - 1]), (255, 0));
            assert!(row[width as usize / 2].abs_diff(127) < 12, "{}", row[width as usize / 2]);
        }
    }
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
