// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Requests that bring pictures, in every dialect, as clients send them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use reqwest::Response;
use serde_json::{Value, json};

use crate::harness::{Server, source};

mod effects;
mod refusals;
mod upscale;

const EDITS: &str = "/v1/images/edits";
const VARIATIONS: &str = "/v1/images/variations";
const GENERATIONS: &str = "/v1/images/generations";
const CHAT: &str = "/v1/chat/completions";

/// What separates the parts of the forms here.
const CUT: &str = "----cut-here";

/// A picture that no two sides of are alike.
pub(crate) fn picture(width: u32, height: u32) -> Vec<u8> {
    let pixel = |x: u32, y: u32| Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, 90]);
    file(RgbImage::from_fn(width, height, pixel).into())
}

/// A mask whose left half is painted anew, in black and white.
pub(crate) fn mask_in_white(width: u32, height: u32) -> Vec<u8> {
    let pixel = |x: u32, _| if x < width / 2 { Rgb([255; 3]) } else { Rgb([0; 3]) };
    file(RgbImage::from_fn(width, height, pixel).into())
}

/// The same as OpenAI has it: transparent where it is painted anew.
pub(crate) fn mask_in_alpha(width: u32, height: u32) -> Vec<u8> {
    let pixel = |x: u32, _| Rgba([9, 9, 9, if x < width / 2 { 0 } else { 255 }]);
    file(RgbaImage::from_fn(width, height, pixel).into())
}

fn file(picture: DynamicImage) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

fn base64(file: &[u8]) -> String {
    BASE64_STANDARD.encode(file)
}

fn data_url(file: &[u8]) -> String {
    format!("data:image/png;base64,{}", base64(file))
}

/// A form in the making.
#[derive(Clone, Default)]
pub(crate) struct Form(Vec<u8>);

impl Form {
    pub(crate) fn text(mut self, name: &str, text: &str) -> Self {
        let head = format!("--{CUT}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        self.0.extend([head.as_bytes(), text.as_bytes(), b"\r\n"].concat());
        self
    }

    pub(crate) fn file(mut self, name: &str, file: &[u8]) -> Self {
        let head = format!(
            "--{CUT}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"x.png\"\r\nContent-Type: image/png\r\n\r\n"
        );
        self.0.extend([head.as_bytes(), file, b"\r\n"].concat());
        self
    }

    /// A field for a file in which none was chosen.
    pub(crate) fn no_file(mut self, name: &str) -> Self {
        let head = format!("--{CUT}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"\"\r\n");
        self.0.extend([head.as_bytes(), b"Content-Type: application/octet-stream\r\n\r\n\r\n"].concat());
        self
    }

    fn body(mut self) -> Vec<u8> {
        self.0.extend(format!("--{CUT}--\r\n").as_bytes());
        self.0
    }
}

pub(crate) async fn send(server: &Server, path: &str, form: Form) -> Response {
    let request = server.client.post(format!("{}{path}", server.base));
    let kind = format!("multipart/form-data; boundary={CUT}");
    request.header("content-type", kind).body(form.body()).send().await.unwrap()
}

async fn send_json(server: &Server, path: &str, form: Form) -> Value {
    let answer = send(server, path, form).await;
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).unwrap()
}

fn chat(config: Value) -> Value {
    let messages = json!([{"role": "user", "content": "a red apple"}]);
    json!({"model": "sd/alice-emoji", "messages": messages, "sam_config": config})
}

/// A server over the small models of the tests, which paint in any size, and the built-in one.
async fn server() -> Server {
    let directory = source("tests/fixtures");
    let models = format!("models: {{ directory: {}, default_model: sd2-v }}", directory.display());
    Server::with(&format!("generation: {{ backend: paint, default_steps: 4 }}\n{models}")).await
}

#[tokio::test]
async fn every_dialect_takes_the_picture_and_says_what_it_did_with_it() {
    let server = Server::paint().await;
    let (image, mask) = (picture(96, 64), mask_in_white(96, 64));
    let form = Form::default().text("prompt", "a red apple").text("strength", "0.5").text("n", "2");
    let edit = send_json(&server, EDITS, form.file("image[]", &image).file("mask", &mask)).await;
    assert_eq!(edit["data"].as_array().unwrap().len(), 2);
    let used = &edit["x_alice"];
    assert_eq!((&used["mode"], &used["input_image_count"]), (&json!("img2img"), &json!(1)), "a mask is none");
    assert_eq!((&used["strength"], &used["mask_polarity"]), (&json!(0.5), &json!("white")));
    assert_eq!((&used["mask_blur"], &used["only_masked"]), (&json!(4.0), &json!(false)));
    assert_eq!(used["resize_mode"], "crop");
    assert_eq!(used.get("inputs"), None, "how its files are called here is nobody's business");

    let images = json!([{"image_url": data_url(&image)}]);
    let mask = json!({"image_url": data_url(&mask_in_alpha(96, 64))});
    let body = json!({"prompt": "a red apple", "images": images, "mask": mask});
    let used = &server.post_json("/images/edits", &body).await["x_alice"];
    assert_eq!((&used["mode"], &used["strength"]), (&json!("img2img"), &json!(0.75)));
    assert_eq!(used["mask_polarity"], "transparent");

    let used = send_json(&server, VARIATIONS, Form::default().file("image", &image)).await;
    assert_eq!((&used["x_alice"]["mode"], &used["x_alice"]["prompt"]), (&json!("img2img"), &json!("")));

    let body = json!({"prompt": "a red apple", "input_images": [base64(&image)], "strength": 0.9});
    let used = server.post_json(GENERATIONS, &body).await;
    assert_eq!((&used["x_alice"]["mode"], &used["x_alice"]["strength"]), (&json!("img2img"), &json!(0.9)));

    for picture in [base64(&image), data_url(&image)] {
        let config = json!({"input_images": [picture], "strength": 0.4, "steps": 5});
        let answer = server.post_json(CHAT, &chat(config.clone())).await;
        let by_metadata = json!({
            "model": "sd/alice-emoji", "messages": [{"role": "user", "content": "a red apple"}],
            "metadata": {"input_images": [picture], "strength": "0.4", "steps": "5"},
        });
        for answer in [answer, server.post_json(CHAT, &by_metadata).await] {
            let used = &answer["choices"][0]["message"]["metadata"];
            assert_eq!((&used["mode"], &used["input_image_count"]), (&json!("img2img"), &json!(1)));
            assert_eq!((&used["strength"], &used["steps"]), (&json!(0.4), &json!(5)));
        }
    }
    let parts = json!([{"type": "text", "text": "a fox"}, {"type": "image_url", "image_url": {"url": data_url(&image)}}]);
    let body = json!({"model": "alice-emoji", "messages": [{"role": "user", "content": parts}]});
    let used = server.post_json(CHAT, &body).await;
    assert_eq!(used["choices"][0]["message"]["metadata"]["mode"], "img2img");
}

#[tokio::test]
async fn without_a_picture_everything_is_as_it_was() {
    let server = Server::paint().await;
    let body = json!({"prompt": "a red apple", "strength": 0.5, "resize_mode": "fit", "input_images": []});
    let used = &server.post_json(GENERATIONS, &body).await["x_alice"];
    assert_eq!((&used["mode"], &used["input_image_count"]), (&json!("txt2img"), &Value::Null));
    assert_eq!(used.get("strength"), None);
    // What SAM really sends.
    let body = json!({
        "model": "sd/alice-emoji", "messages": [{"role": "user", "content": "a red apple"}],
        "metadata": {"steps": 3, "guidance_scale": 7.5, "scheduler": "ddim", "width": 128, "height": 128},
    });
    let answer = server.post_json(CHAT, &body).await;
    let used = &answer["choices"][0]["message"]["metadata"];
    assert_eq!((&used["mode"], &used["input_image_count"]), (&json!("txt2img"), &Value::Null));
}

#[tokio::test]
async fn a_size_left_open_is_the_pictures_shape_at_what_the_model_paints_best() {
    let server = server().await;
    // The model's own size is 64 x 64, and no side is smaller.
    for ((width, height), fields, wanted) in [
        ((300, 300), json!({}), (64, 64)),
        ((300, 200), json!({"size": "auto"}), (96, 64)),
        ((200, 300), json!({}), (64, 96)),
        ((400, 200), json!({"size": "160x96"}), (160, 96)),
        ((400, 200), json!({"width": 256}), (256, 128)),
        ((400, 200), json!({"height": 256}), (512, 256)),
        ((4000, 200), json!({}), (1280, 64)),
    ] {
        let mut body = json!({"prompt": "x", "input_images": [base64(&picture(width, height))], "steps": 2});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let answer = server.post_json(GENERATIONS, &body).await;
        let used = &answer["x_alice"];
        let got = (used["width"].as_u64().unwrap(), used["height"].as_u64().unwrap());
        assert_eq!(got, wanted, "{width} x {height} with {fields}");
        assert_eq!(answer["size"], format!("{}x{}", wanted.0, wanted.1));
    }
    let image = picture(400, 200);
    let mask = mask_in_white(400, 200);
    let body = json!({
        "prompt": "x", "images": [data_url(&image)], "mask": data_url(&mask), "only_masked": true, "steps": 2,
    });
    let used = &server.post_json(EDITS, &body).await["x_alice"];
    assert_eq!((&used["width"], &used["height"]), (&json!(400), &json!(200)), "what is painted is put back");
    assert_eq!((&used["rendered_width"], &used["only_masked_padding"]), (&json!(128), &json!(32)));
    assert_eq!(used["enlarged"], false);
}

#[tokio::test]
async fn models_that_want_a_picture_get_one_and_say_what_they_do_with_it() {
    let server = server().await;
    let image = base64(&picture(128, 128));
    let body = |model: &str, mask: Option<String>| json!({"prompt": "x", "model": model, "input_images": [image], "mask": mask, "steps": 2});
    let used = &server.post_json(GENERATIONS, &body("sd1-pix2pix", None)).await["x_alice"];
    assert_eq!((used.get("strength"), &used["image_guidance_scale"]), (None, &json!(1.5)));
    let mask = base64(&mask_in_white(128, 128));
    let used = &server.post_json(GENERATIONS, &body("sd1-inpaint", Some(mask.clone()))).await["x_alice"];
    assert_eq!((&used["mask_polarity"], used.get("image_guidance_scale")), (&json!("white"), None));
    server.post_json(GENERATIONS, &body("sd1-inpaint", None)).await;
    let answer = server.post(GENERATIONS, &body("sd1-pix2pix", Some(mask.clone()))).await;
    assert_eq!(answer.status(), 400);
    let mut inverted = body("sd1-inpaint", Some(mask));
    inverted["mask_invert"] = json!(true);
    let used = &server.post_json(GENERATIONS, &inverted).await["x_alice"];
    assert_eq!(used["mask_polarity"], "black");
}

#[tokio::test]
async fn a_large_file_is_taken_as_the_configuration_says() {
    let server = Server::paint().await;
    let mut seed = 1_u32;
    // Noise, which no PNG makes smaller.
    let noise = RgbImage::from_fn(1500, 1500, |_, _| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Rgb([(seed >> 24) as u8, (seed >> 16) as u8, (seed >> 8) as u8])
    });
    let large = file(noise.into());
    assert!(large.len() > 4 << 20);
    send_json(&server, VARIATIONS, Form::default().text("steps", "2").file("image", &large)).await;
    let body = json!({"prompt": "x", "steps": 2, "input_images": [base64(&large)]});
    server.post_json(GENERATIONS, &body).await;
}

#[tokio::test]
async fn edits_stream_as_generations_do() {
    let server = Server::paint().await;
    let form =
        Form::default().text("prompt", "a red apple").text("stream", "true").text("partial_images", "2");
    let form = form.file("image", &picture(64, 64)).file("mask", &mask_in_alpha(64, 64));
    let answer = send(&server, EDITS, form).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    assert!(answer.headers().contains_key("x-alice-job"));
    let text = answer.text().await.unwrap();
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["image_edit.partial_image", "image_edit.partial_image", "image_edit.completed"]);
    assert_eq!(text.matches("event: image_edit.completed").count(), 1);
    assert_eq!(events[2]["x_alice"]["mask_polarity"], "transparent");
    assert_eq!(events[2]["usage"]["total_tokens"], 0);
}

#[tokio::test]
async fn an_sdk_that_tries_again_with_another_boundary_gets_the_same_job() {
    let server = Server::paint().await;
    let form = Form::default().text("prompt", "a red apple").file("image", &picture(64, 64)).body();
    let mut jobs = Vec::new();
    for (tries, cut) in [("0", CUT), ("1", "another")] {
        let body = replaced(&form, CUT.as_bytes(), cut.as_bytes());
        let request = server.client.post(format!("{}{EDITS}", server.base));
        let request = request
            .header("content-type", format!("multipart/form-data; boundary={cut}"))
            .header("x-stainless-retry-count", tries);
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        jobs.push(answer.headers()["x-alice-job"].clone());
    }
    assert_eq!(jobs[0], jobs[1]);
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let (mut rest, mut whole) = (bytes, Vec::new());
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        whole.extend_from_slice(&rest[..at]);
        whole.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    whole.extend_from_slice(rest);
    whole
}

#[tokio::test]
async fn an_edit_goes_on_without_its_client_when_it_is_to() {
    let server = Server::paint().await;
    let form = Form::default().text("prompt", "a red apple").text("detach", "true");
    let answer = send(&server, EDITS, form.file("image", &picture(64, 64))).await;
    let job = answer.headers()["x-alice-job"].to_str().unwrap().to_owned();
    drop(answer);
    let path = format!("/v1/jobs/{job}");
    loop {
        let job = server.get_json(&path).await;
        match job["status"].as_str().unwrap() {
            "done" => break,
            "queued" | "running" => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            other => panic!("{other}"),
        }
    }
    // What came with it goes with the job, a moment after its row says so.
    let left = || std::fs::read_dir(server.directory.path().join("inputs")).unwrap().count();
    for _ in 0..100 {
        if left() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{} pictures were left", left());
}
