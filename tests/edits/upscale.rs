// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Pictures that come only to be made larger.

use super::*;

const UPSCALE: &str = "/v1/images/upscale";

/// The `parameters` text of a PNG file.
fn text_of(file: &[u8]) -> String {
    let reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
    reader.info().uncompressed_latin1_text[0].text.clone()
}

fn sizes(file: &[u8]) -> (u32, u32) {
    let picture = image::load_from_memory(file).unwrap();
    (picture.width(), picture.height())
}

#[tokio::test]
async fn a_picture_comes_back_larger_however_it_was_sent() {
    let server = server().await;
    let image = picture(30, 20);
    let url = data_url(&image);
    for body in [
        json!({"image": url}),
        json!({"image": base64(&image), "scale": null}),
        json!({"image": {"image_url": url}, "upscaler": ""}),
        json!({"images": [{"image_url": {"url": url}}]}),
        json!({"input_images": [url], "user": "somebody"}),
    ] {
        let answer = server.post_json(UPSCALE, &body).await;
        let used = &answer["x_alice"];
        assert_eq!((&used["mode"], &used["upscaler"]), (&json!("upscale"), &json!("upscaler/bsrgan-x4")));
        assert_eq!((&used["scale"], &used["width"], &used["height"]), (&json!(4.0), &json!(120), &json!(80)));
        assert_eq!((&used["input_width"], &used["input_height"]), (&json!(30), &json!(20)));
        assert_eq!((&answer["size"], answer["data"][0].get("seed")), (&json!("120x80"), None));
        let file = BASE64_STANDARD.decode(answer["data"][0]["b64_json"].as_str().unwrap()).unwrap();
        assert_eq!(sizes(&file), (120, 80));
        let version = env!("CARGO_PKG_VERSION");
        let text = format!(
            "Size: 30x20, Postprocess upscale by: 4, Postprocess upscaler: upscaler/bsrgan-x4, Version: ALICE {version}"
        );
        assert_eq!(text_of(&file), text);
    }
    for (fields, upscaler, size) in [
        (vec![("upscaler", "real-x2")], "upscaler/real-x2", "60x40"),
        (vec![("upscaler", "real-x2"), ("scale", "1.5")], "upscaler/real-x2", "45x30"),
        (vec![("upscaler", "real-x2"), ("scale", "8")], "upscaler/real-x2", "240x160"),
        (vec![("upscaler", "real-x1")], "upscaler/real-x1", "30x20"),
        (vec![("upscaler", "Lanczos")], "lanczos", "60x40"),
        (vec![("upscaler", "lanczos"), ("scale", "3")], "lanczos", "90x60"),
    ] {
        let form = fields.into_iter().fold(Form::default(), |form, (name, value)| form.text(name, value));
        let answer = send_json(&server, "/images/upscale", form.file("image", &image)).await;
        assert_eq!((&answer["x_alice"]["upscaler"], &answer["size"]), (&json!(upscaler), &json!(size)));
    }
    let form = Form::default().text("image", &url).text("response_format", "url");
    let answer = send_json(&server, UPSCALE, form).await;
    let address = answer["data"][0]["url"].as_str().unwrap();
    let file = server.client.get(address).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(sizes(&file), (120, 80));
}

#[tokio::test]
async fn what_is_transparent_shows_white() {
    let server = server().await;
    let image = mask_in_alpha(32, 32);
    let answer = server.post_json(UPSCALE, &json!({"image": base64(&image), "upscaler": "lanczos"})).await;
    let file = BASE64_STANDARD.decode(answer["data"][0]["b64_json"].as_str().unwrap()).unwrap();
    let picture = image::load_from_memory(&file).unwrap();
    assert_eq!(picture.color(), image::ColorType::Rgb8);
    let picture = picture.into_rgb8();
    assert_eq!((picture.get_pixel(4, 30).0, picture.get_pixel(60, 30).0), ([255; 3], [9; 3]));
}

#[tokio::test]
async fn what_cannot_be_made_larger_is_refused_by_the_name_that_was_sent() {
    let server = server().await;
    let (image, wide) = (base64(&picture(30, 20)), base64(&picture(2100, 8)));
    for (body, param, said) in [
        (json!({}), "image", "must be given"),
        (json!({"input_images": []}), "input_images", "must be given"),
        (json!({"image": image, "input_images": [image]}), "image", "2 pictures"),
        (json!({"images": [image, image]}), "images", "2 pictures"),
        (json!({"image": "nothing like it"}), "image", ""),
        (json!({"input_images": ["bm90aGluZw=="]}), "input_images", ""),
        (json!({"image": "http://example.com/a.png"}), "image", "fetches none"),
        (json!({"image": image, "upscaler": "nothing"}), "upscaler", "`nothing`"),
        (json!({"image": image, "upscaler": "x4"}), "upscaler", "x4"),
        (json!({"image": image, "scale": 0.5}), "scale", "1 to 8"),
        (json!({"image": image, "scale": 8.1}), "scale", "1 to 8"),
        (json!({"image": image, "scale": "large"}), "scale", ""),
        // The network makes it as large as that before it is made smaller.
        (json!({"image": wide, "scale": 1.5}), "image", "8400 x 32"),
        (json!({"image": wide, "upscaler": "real-x2", "scale": 4}), "scale", "8400 x 32"),
        (json!({"image": image, "output_format": "webp"}), "output_format", "png"),
        (json!({"image": image, "stream": true, "response_format": "url"}), "response_format", "b64_json"),
    ] {
        let answer = server.post(UPSCALE, &body).await;
        let status = answer.status();
        let error: Value = answer.json().await.unwrap();
        assert_eq!((status.as_u16(), &error["error"]["param"]), (400, &json!(param)), "{error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(said), "{said}: {error}");
    }
    let form = Form::default().file("image", &picture(30, 20)).file("mask", &mask_in_white(30, 20));
    let answer = send(&server, UPSCALE, form).await;
    assert_eq!(answer.status(), 400);
    let error: Value = answer.json().await.unwrap();
    assert_eq!(error["error"]["param"], "mask", "{error}");
    let left = std::fs::read_dir(server.directory.path().join("inputs")).unwrap().count();
    assert_eq!(left, 0, "pictures of requests that were refused");
    assert_eq!(server.get_json("/v1/jobs").await["data"], json!([]));
}

#[tokio::test]
async fn without_an_upscaler_the_filter_is_used_by_those_who_ask_for_it() {
    let server = Server::paint().await;
    let image = base64(&picture(30, 20));
    let answer = server.post(UPSCALE, &json!({"image": image})).await;
    assert_eq!(answer.status(), 400);
    let error: Value = answer.json().await.unwrap();
    assert_eq!(error["error"]["param"], "upscaler");
    assert!(error["error"]["message"].as_str().unwrap().contains("`lanczos`"), "{error}");
    let answer = server.post_json(UPSCALE, &json!({"image": image, "upscaler": "lanczos"})).await;
    assert_eq!(answer["size"], "60x40");
}

#[tokio::test]
async fn it_streams_and_is_repeated_as_an_edit_is() {
    let server = server().await;
    let image = picture(30, 20);
    let form = Form::default().text("stream", "true").text("partial_images", "2").file("image", &image);
    let answer = send(&server, UPSCALE, form).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let text = answer.text().await.unwrap();
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(events.len(), 1, "{text}");
    let event = &events[0];
    assert_eq!((&event["type"], &event["size"]), (&json!("image_edit.completed"), &json!("120x80")));
    let mut jobs = Vec::new();
    for tries in ["0", "1"] {
        let request = server.client.post(format!("{}{UPSCALE}", server.base));
        let request = request.header("x-stainless-retry-count", tries);
        let answer = request.json(&json!({"image": base64(&image)})).send().await.unwrap();
        jobs.push(answer.headers()["x-alice-job"].clone());
    }
    assert_eq!(jobs[0], jobs[1]);
}

#[tokio::test]
async fn it_is_a_job_among_jobs() {
    let server = server().await;
    let body = json!({"image": base64(&picture(30, 20)), "upscaler": "real-x2", "detach": true});
    let answer = server.post(UPSCALE, &body).await;
    let id = answer.headers()["x-alice-job"].to_str().unwrap().to_owned();
    let _whole: Value = answer.json().await.unwrap();
    let job = server.get_json(&format!("/v1/jobs/{id}")).await;
    assert_eq!((&job["status"], &job["task"]), (&json!("done"), &json!("upscale")), "{job}");
    assert_eq!((&job["model"], &job["prompt"]), (&json!("upscaler/real-x2"), &json!("")));
    assert_eq!((&job["num_images"], &job["step"], &job["steps"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!(job["images"][0].get("seed"), None);
    assert_eq!(server.get_json("/v1/jobs").await["data"][0]["id"], json!(id));
    let metrics = server.get_json("/metrics").await;
    assert_eq!(metrics["stageSeconds"]["upscale"]["count"], 1, "{metrics}");
}

/// The job `id` as soon as it is as wanted.
async fn until(server: &Server, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let job = server.get_json(&format!("/v1/jobs/{id}")).await;
        if wanted(&job) {
            return job;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn its_steps_are_tiles_and_it_ends_between_two_of_them() {
    let models =
        format!("models: {{ directory: {}, default_model: sd2-v }}", source("tests/fixtures").display());
    let slow = "backend_options: { paint: { step_ms: 100 } }";
    let server = Server::with(&format!("generation: {{ backend: paint, {slow} }}\n{models}")).await;
    let body = json!({"image": base64(&picture(1800, 1800)), "upscaler": "real-x2", "stream": true});
    let answer = server.post(UPSCALE, &body).await;
    let id = answer.headers()["x-alice-job"].to_str().unwrap().to_owned();
    let job = until(&server, &id, |job| job["step"].as_u64().unwrap() >= 2).await;
    assert_eq!((&job["status"], &job["steps"]), (&json!("running"), &json!(16)), "{job}");
    server.client.delete(format!("{}/v1/jobs/{id}", server.base)).send().await.unwrap();
    let job = until(&server, &id, |job| job["status"] == "cancelled").await;
    assert!(job["step"].as_u64().unwrap() < 16, "{job}");
    assert!(answer.text().await.unwrap().contains("event: error"));
}
