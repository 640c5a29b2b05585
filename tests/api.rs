// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What clients of the HTTP API see, in OpenAI's dialect and in that of the Python ALICE.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Server, source};

const IMAGES: &str = "/v1/images/generations";
const CHAT: &str = "/v1/chat/completions";

/// The PNG file in the `index`th picture of an answer.
fn png(answer: &Value, index: usize) -> Vec<u8> {
    BASE64_STANDARD.decode(answer["data"][index]["b64_json"].as_str().unwrap()).unwrap()
}

/// Width, height and the `parameters` text of a PNG file.
fn inspect(file: &[u8]) -> (u32, u32, String) {
    let reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
    let info = reader.info();
    (info.width, info.height, info.uncompressed_latin1_text[0].text.clone())
}

fn chat(content: &str, extra: Value) -> Value {
    let mut body = json!({"model": "sd/alice-emoji", "messages": [{"role": "user", "content": content}]});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn openai_gets_a_png_that_tells_how_it_was_made() {
    let server = Server::paint().await;
    let body = json!({"model": "gpt-image-1", "prompt": "a red apple", "size": "256x192", "seed": 7, "quality": "high"});
    let answer = server.post_json(IMAGES, &body).await;
    let (width, height, text) = inspect(&png(&answer, 0));
    assert_eq!((width, height), (256, 192));
    assert!(text.starts_with("a red apple\nSteps: 20, Sampler: Euler, "), "{text}");
    assert!(
        text.contains("CFG scale: 2.5, Seed: 7, Size: 128x128, Enlarged to: 256x192, Model: alice-emoji"),
        "{text}"
    );
    assert_eq!(answer["size"], "256x192");
    assert_eq!(answer["output_format"], "png");
    assert_eq!(answer["data"][0]["seed"], 7);
    assert_eq!(answer["x_alice"]["enlarged"], true);
    assert_eq!(answer["x_alice"]["rendered_width"], 128);
    assert!(answer["created"].as_u64().unwrap() > 1_700_000_000);
}

#[tokio::test]
async fn what_a_request_leaves_open_comes_from_the_model() {
    let server = Server::paint().await;
    let answer = server.post_json(IMAGES, &json!({"prompt": "a red apple"})).await;
    let used = &answer["x_alice"];
    assert_eq!((used["steps"].as_u64(), used["guidance_scale"].as_f64()), (Some(20), Some(2.5)));
    assert_eq!((used["scheduler"].as_str(), used["width"].as_u64()), (Some("euler"), Some(128)));
    assert_eq!(used["enlarged"], false);
}

#[tokio::test]
async fn the_configuration_comes_before_the_model() {
    let server = Server::with(
        "generation: { backend: paint, default_steps: 3, default_scheduler: ddim, default_width: 64 }",
    )
    .await;
    let answer = server.post_json(IMAGES, &json!({"prompt": "a red apple"})).await;
    let used = &answer["x_alice"];
    assert_eq!((used["steps"].as_u64(), used["scheduler"].as_str()), (Some(3), Some("ddim")));
    assert_eq!((used["width"].as_u64(), used["height"].as_u64()), (Some(64), Some(128)));
}

#[tokio::test]
async fn a_seed_repeats_the_picture_and_each_picture_has_its_own() {
    let server = Server::paint().await;
    let three = server.post_json(IMAGES, &json!({"prompt": "a red apple", "seed": 7, "n": 3})).await;
    let seeds: Vec<_> =
        three["data"].as_array().unwrap().iter().map(|picture| picture["seed"].as_u64()).collect();
    assert_eq!(seeds, [Some(7), Some(8), Some(9)]);
    let second = server.post_json(IMAGES, &json!({"prompt": "a red apple", "seed": 8})).await;
    assert_eq!(png(&three, 1), png(&second, 0));
    assert_ne!(png(&three, 0), png(&three, 1));
}

#[tokio::test]
async fn without_a_seed_the_server_chooses_one_and_says_which() {
    let server = Server::paint().await;
    let body = json!({"prompt": "a red apple", "steps": 2});
    let (one, two) = (server.post_json(IMAGES, &body).await, server.post_json(IMAGES, &body).await);
    let seed = one["data"][0]["seed"].as_u64().unwrap();
    assert_ne!(Some(seed), two["data"][0]["seed"].as_u64());
    let again = server.post_json(IMAGES, &json!({"prompt": "a red apple", "steps": 2, "seed": seed})).await;
    assert_eq!(png(&again, 0), png(&one, 0));
}

#[tokio::test]
async fn a_url_leads_to_the_same_picture_without_credentials() {
    let server = Server::paint().await;
    let body = json!({"prompt": "a red apple", "seed": 7, "response_format": "url"});
    let by_url = server.post_json(IMAGES, &body).await;
    let url = by_url["data"][0]["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("{}/images/", server.base)) && url.ends_with(".png"), "{url}");
    assert_eq!(by_url["data"][0].get("b64_json"), None);
    let fetched = server.client.get(url).send().await.unwrap();
    assert_eq!(fetched.headers()["content-type"], "image/png");
    let inline = server.post_json(IMAGES, &json!({"prompt": "a red apple", "seed": 7})).await;
    assert_eq!(fetched.bytes().await.unwrap(), png(&inline, 0));
}

#[tokio::test]
async fn every_scheduler_makes_its_own_picture() {
    let server = Server::paint().await;
    let names = [
        "euler",
        "euler_a",
        "ddim",
        "dpm++_2m",
        "dpm++_2m_karras",
        "dpm++_sde_karras",
        "pndm",
        "lms",
        "unipc",
        "lcm",
        "DPM++ SDE",
        "DPM++ SDE Karras",
        "Euler a SGM Uniform",
        "HeunDiscreteScheduler",
    ];
    let mut pictures = std::collections::BTreeSet::new();
    for name in names {
        let body = json!({"prompt": "a red apple", "seed": 7, "steps": 5, "scheduler": name});
        pictures.insert(png(&server.post_json(IMAGES, &body).await, 0));
    }
    assert_eq!(pictures.len(), names.len());
}

#[tokio::test]
async fn the_negative_prompt_counts_exactly_when_guidance_is_on() {
    let server = Server::paint().await;
    let picture = async |guidance: f64, negative: &str| {
        let body =
            json!({"prompt": "apple", "seed": 7, "guidance_scale": guidance, "negative_prompt": negative});
        let answer = server.post_json(IMAGES, &body).await;
        let file = png(&answer, 0);
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        pixels
    };
    assert_ne!(picture(3.0, "").await, picture(3.0, "green").await);
    assert_eq!(picture(1.0, "").await, picture(1.0, "green").await);
    assert_eq!(picture(0.0, "").await, picture(1.0, "green").await);
}

#[tokio::test]
async fn layers_and_guidance_can_be_steered_in_both_dialects() {
    let server = Server::paint().await;
    let asked = json!({"clip_skip": 1, "guidance_rescale": 0.7, "guidance_interval": [0.2, 0.8]});
    let mut body = json!({"prompt": "apple", "seed": 7, "guidance_scale": 4.0, "steps": 10});
    let plain = server.post_json(IMAGES, &body).await;
    for (name, value) in [("clip_skip", json!(0)), ("guidance_interval", json!([0.0, 1.0]))] {
        assert_eq!(plain["x_alice"][name], value, "said even where nobody asked");
    }
    for (name, value) in asked.as_object().unwrap() {
        body[name] = value.clone();
        let steered = server.post_json(IMAGES, &body).await;
        assert_eq!(steered["x_alice"][name], *value);
        body.as_object_mut().unwrap().remove(name);
        assert_ne!(png(&steered, 0), png(&plain, 0), "{name}");
    }
    body.as_object_mut().unwrap().extend(asked.as_object().unwrap().clone());
    let (.., text) = inspect(&png(&server.post_json(IMAGES, &body).await, 0));
    assert!(text.contains("Clip skip: 2, CFG Rescale: 0.7, CFG interval: 0.2-0.8, "), "{text}");
    for place in ["sam_config", "metadata"] {
        let answer = server.post_json(CHAT, &chat("apple", json!({ place: asked }))).await;
        let used = &answer["choices"][0]["message"]["metadata"];
        for (name, value) in asked.as_object().unwrap() {
            assert_eq!(used[name], *value, "{place} {name}");
        }
    }
}

#[tokio::test]
async fn a_model_that_paints_over_a_picture_says_so_and_sdxl_hears_what_it_wants() {
    let directory = source("tests/fixtures");
    let config = format!(
        "generation: {{ backend: paint }}\nmodels: {{ directory: {}, default_model: sdxl }}",
        directory.display()
    );
    let server = Server::with(&config).await;
    for name in ["sd1-inpaint", "sd1-pix2pix"] {
        let (status, param, message) = refusal(&server, &json!({"prompt": "x", "model": name})).await;
        assert_eq!((status, param.as_str()), (400, "model"), "{message}");
        assert!(message.contains("input picture"), "{message}");
    }
    for name in ["sd2-v", "sdxl", "sdxl-refiner"] {
        let answer = server.post_json(IMAGES, &json!({"prompt": "x", "model": name, "steps": 2})).await;
        let used = &answer["x_alice"];
        assert_eq!((used["model"].as_str(), used["width"].as_u64()), (Some(name), Some(64)));
    }
    let unfit = json!({"prompt": "x", "model": "sdxl", "scheduler": "flow_match_euler"});
    assert_eq!(refusal(&server, &unfit).await.1, "scheduler");
}

#[tokio::test]
async fn models_health_and_their_spellings_are_those_that_clients_read() {
    let server = Server::paint().await;
    for path in ["/v1/models", "/models"] {
        let list = server.get_json(path).await;
        assert_eq!(list["object"], "list");
        let model = &list["data"][0];
        assert_eq!((model["id"].as_str(), model["object"].as_str()), (Some("sd/alice-emoji"), Some("model")));
        assert_eq!((model["owned_by"].as_str(), model["ownedBy"].as_str()), (Some("alice"), Some("alice")));
        assert!(model["created"].is_u64());
    }
    for path in ["/health", "/api/health"] {
        let health = server.get_json(path).await;
        assert_eq!(health["status"], "ok");
        assert!(!health["version"].as_str().unwrap().is_empty());
        for (camel, snake) in [("gpuAvailable", "gpu_available"), ("modelsLoaded", "models_loaded")] {
            assert!(!health[camel].is_null() && health[camel] == health[snake], "{camel}");
        }
        assert_eq!(health["modelsLoaded"], 0, "nothing is loaded before it is needed");
    }
    server.post_json(IMAGES, &json!({"prompt": "x", "steps": 1})).await;
    assert_eq!(server.get_json("/health").await["modelsLoaded"], 1);
    assert_eq!(server.get_json("/livez").await, json!({"status": "alive"}));
    assert_eq!(server.get_json("/readyz").await, json!({"status": "ready"}));
}

#[tokio::test]
async fn sam_gets_what_it_needs_from_what_it_sends() {
    let server = Server::paint().await;
    let metadata = json!({
        "steps": 5, "guidance_scale": "3.5", "scheduler": "dpm++_2m_karras", "width": 500, "height": 256,
        "negative_prompt": "blurry", "seed": 11, "conversation": {"any": "thing"}
    });
    let body = chat("a red apple", json!({ "metadata": metadata }));
    let request = server.client.post(format!("{}{CHAT}", server.base)).header("X-Api-Key", "").json(&body);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (answer["object"].as_str(), answer["model"].as_str()),
        (Some("chat.completion"), Some("sd/alice-emoji"))
    );
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-") && answer["created"].is_u64());
    let choice = &answer["choices"][0];
    assert_eq!(
        (choice["finishReason"].as_str(), choice["finish_reason"].as_str()),
        (Some("stop"), Some("stop"))
    );
    assert_eq!((choice["index"].as_u64(), choice["message"]["role"].as_str()), (Some(0), Some("assistant")));
    for name in [
        "promptTokens",
        "completionTokens",
        "totalTokens",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
    ] {
        assert_eq!(answer["usage"][name], 0, "{name}");
    }
    let used = &choice["message"]["metadata"];
    assert_eq!((used["steps"].as_u64(), used["guidance_scale"].as_f64()), (Some(5), Some(3.5)));
    assert_eq!((used["width"].as_u64(), used["height"].as_u64()), (Some(504), Some(256)), "rounded up to 8");
    assert_eq!((used["seed"].as_u64(), used["scheduler"].as_str()), (Some(11), Some("dpm++_2m_karras")));
    assert_eq!((used["negative_prompt"].as_str(), used["mode"].as_str()), (Some("blurry"), Some("txt2img")));
    let url = choice["message"]["image_urls"][0].as_str().unwrap();
    let picture = server.client.get(url).send().await.unwrap();
    assert_eq!(picture.status(), StatusCode::OK);
    assert_eq!(inspect(&picture.bytes().await.unwrap()).0, 504);
}

#[tokio::test]
async fn the_chat_form_takes_every_place_for_its_parameters() {
    let server = Server::paint().await;
    let steps = async |extra| {
        let answer = server.post_json("/chat/completions", &chat("a red apple", extra)).await;
        answer["choices"][0]["message"]["metadata"]["steps"].as_u64()
    };
    assert_eq!(steps(json!({"sam_config": {"steps": 3}})).await, Some(3));
    assert_eq!(steps(json!({"samConfig": {"steps": 4}})).await, Some(4));
    assert_eq!(steps(json!({"metadata": {"steps": "5"}})).await, Some(5));
    assert_eq!(steps(json!({"sam_config": {"steps": 3}, "metadata": {"steps": 5}})).await, Some(3));
    assert_eq!(steps(json!({"metadata": {"steps": "many", "guidance_scale": "NaN"}})).await, Some(20));
    assert_eq!(steps(json!({"metadata": "somebody else's"})).await, Some(20));
}

#[tokio::test]
async fn the_chat_form_reads_the_last_user_message_in_text_or_parts() {
    let server = Server::paint().await;
    let prompt = async |messages: Value| {
        let body = json!({"model": "any/alice-emoji", "messages": messages, "sam_config": {"steps": 1, "num_images": 2}});
        let answer = server.post_json(CHAT, &body).await;
        assert_eq!(answer["choices"][0]["message"]["image_urls"].as_array().unwrap().len(), 2);
        answer["choices"][0]["message"]["metadata"]["prompt"].as_str().unwrap().to_owned()
    };
    let talk = json!([
        {"role": "system", "content": "you paint"}, {"role": "user", "content": "a cat"},
        {"role": "assistant", "content": "done"}, {"role": "user", "content": "a dog"}
    ]);
    assert_eq!(prompt(talk).await, "a dog");
    assert_eq!(
        prompt(json!([{"role": "user", "content": [{"type": "text", "text": "a cow"}]}])).await,
        "a cow"
    );
}

/// What the OpenAI dialect answers to something that it cannot do.
async fn refusal(server: &Server, body: &Value) -> (u16, String, String) {
    let answer = server.post(IMAGES, body).await;
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    let error = &body["error"];
    assert_eq!(error["message"], body["detail"]);
    assert_eq!(error["type"], "invalid_request_error");
    (status, error["param"].as_str().unwrap_or("").to_owned(), error["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn bad_parameters_are_named_in_openais_words_and_the_server_goes_on() {
    let server = Server::paint().await;
    let long = "x".repeat(40_000);
    let cases = [
        (json!({"prompt": ""}), 400, "prompt"),
        (json!({"prompt": "  \n "}), 400, "prompt"),
        (json!({"prompt": long}), 400, "prompt"),
        (json!({"prompt": "x", "model": "sd/nothing"}), 404, "model"),
        (json!({"prompt": "x", "scheduler": "quantum"}), 400, "scheduler"),
        (json!({"prompt": "x", "scheduler": "flow_match_euler"}), 400, "scheduler"),
        (json!({"prompt": "x", "scheduler": "ddim_karras"}), 400, "scheduler"),
        (json!({"prompt": "x", "scheduler": "lcm", "steps": 60}), 400, "steps"),
        (json!({"prompt": "x", "clip_skip": -1}), 400, "clip_skip"),
        (json!({"prompt": "x", "clip_skip": 12}), 400, "clip_skip"),
        (json!({"prompt": "x", "guidance_rescale": 1.1}), 400, "guidance_rescale"),
        (json!({"prompt": "x", "guidance_interval": [0.8, 0.2]}), 400, "guidance_interval"),
        (json!({"prompt": "x", "guidance_interval": [0.2, 2]}), 400, "guidance_interval"),
        (json!({"prompt": "x", "guidance_interval": [0.2]}), 400, "guidance_interval"),
        (json!({"prompt": "x", "size": "0x0"}), 400, "size"),
        (json!({"prompt": "x", "size": "100000x100000"}), 400, "size"),
        (json!({"prompt": "x", "size": "512"}), 400, "size"),
        (json!({"prompt": "x", "size": "-512x512"}), 400, "size"),
        (json!({"prompt": "x", "height": 99_999_999_999_i64}), 400, "height"),
        (json!({"prompt": "x", "steps": 0}), 400, "steps"),
        (json!({"prompt": "x", "steps": 151}), 400, "steps"),
        (json!({"prompt": "x", "guidance_scale": -1}), 400, "guidance_scale"),
        (json!({"prompt": "x", "guidance_scale": 1e30}), 400, "guidance_scale"),
        (json!({"prompt": "x", "seed": -2}), 400, "seed"),
        (json!({"prompt": "x", "n": 0}), 400, "n"),
        (json!({"prompt": "x", "n": 11}), 400, "n"),
        (json!({"prompt": "x <lora:detail:0.5>"}), 400, "prompt"),
        (json!({"prompt": "x <lora:detail:0.5"}), 400, "prompt"),
        (json!({"prompt": "x (y:1000)"}), 400, "prompt"),
        (json!({"prompt": "x", "negative_prompt": "<lora:y>"}), 400, "negative_prompt"),
        (json!({"prompt": "x", "negative_prompt": "(y:-1000)"}), 400, "negative_prompt"),
        (json!({"prompt": "x", "output_format": "gif"}), 400, "output_format"),
        (json!({"prompt": "x", "background": "transparent"}), 400, "background"),
        (json!({"prompt": "x", "stream": true, "partial_images": 4}), 400, "partial_images"),
        (json!({"prompt": 7}), 400, "prompt"),
        (json!({"prompt": "x", "steps": "many"}), 400, "steps"),
        (json!({"prompt": "x", "response_format": "fax"}), 400, "response_format"),
        (json!({}), 400, "prompt"),
        (json!([]), 400, ""),
    ];
    for (body, status, param) in cases {
        let (got, named, message) = refusal(&server, &body).await;
        assert_eq!((got, named.as_str()), (status, param), "{message}");
    }
    let (_, _, message) = refusal(&server, &json!({"prompt": "x", "scheduler": "quantum"})).await;
    assert!(message.contains("euler") && message.contains("dpm++_sde_karras"), "{message}");
    let (_, _, message) = refusal(&server, &json!({"prompt": "x", "model": "sd/nothing"})).await;
    assert!(message.contains("sd/alice-emoji"), "{message}");
    server.post_json(IMAGES, &json!({"prompt": "x", "steps": 1})).await;
}

#[tokio::test]
async fn bad_bodies_are_refused_in_the_callers_dialect() {
    let server =
        Server::with("generation: { backend: paint }\nlimits: { picture_body_bytes: 1048576 }").await;
    let post = async |path: &str, body: String| {
        let request =
            server.client.post(format!("{}{path}", server.base)).header("content-type", "application/json");
        let answer = request.body(body).send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        (status, body["error"]["code"].as_str().unwrap().to_owned())
    };
    let huge = format!("{{\"prompt\": \"{}\"}}", "x".repeat(1 << 20));
    let nan = "{\"prompt\": \"x\", \"guidance_scale\": NaN}";
    for bad in ["not json", "{\"prompt\": ", "", nan, "{\"prompt\": \"x\"} trailing", "\u{0}"] {
        assert_eq!(post(IMAGES, bad.into()).await, (400, "invalid_json".into()), "{bad}");
        assert_eq!(post(CHAT, bad.into()).await, (422, "422".into()), "{bad}");
    }
    assert_eq!(post(IMAGES, huge.clone()).await, (413, "request_too_large".into()));
    assert_eq!(post(CHAT, huge).await, (413, "413".into()));
    let too_many = chat("x", json!({"sam_config": {"steps": 999}})).to_string();
    assert_eq!(post(CHAT, too_many).await, (422, "422".into()));
    let unknown = chat("x", json!({"sam_config": {"scheduler": "quantum"}})).to_string();
    assert_eq!(post(CHAT, unknown).await, (400, "400".into()));
    let nothing = json!({"model": "sd/test-model", "messages": []}).to_string();
    assert_eq!(post(CHAT, nothing).await, (400, "400".into()), "checked before the model");
    let no_model =
        json!({"model": "sd/test-model", "messages": [{"role": "user", "content": "x"}]}).to_string();
    assert_eq!(post(CHAT, no_model).await, (404, "404".into()));
    let picture = json!([{"type": "image_url", "image_url": {"url": "data:,"}}]);
    let with_picture =
        json!({"model": "alice-emoji", "messages": [{"role": "user", "content": picture}]}).to_string();
    assert_eq!(post(CHAT, with_picture).await, (400, "400".into()));
    for place in ["sam_config", "metadata"] {
        for field in ["lora_paths", "input_images", "input_image_urls"] {
            let body = chat("x", json!({ place: { field: ["something"] } })).to_string();
            assert_eq!(post(CHAT, body).await, (400, "400".into()), "{place} {field}");
        }
    }
    assert_eq!(post(IMAGES, "[\"a list\"]".into()).await, (400, "invalid_json".into()));
}

#[tokio::test]
async fn a_field_of_another_type_is_named() {
    let server = Server::paint().await;
    for (body, param) in [
        (json!({"prompt": "x", "steps": "many"}), "steps"),
        (json!({"prompt": "x", "stream": 1}), "stream"),
        (json!({"prompt": ["x"]}), "prompt"),
    ] {
        let request = server.client.post(format!("{}{IMAGES}", server.base)).json(&body);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 400, "{body}");
        let error = answer.json::<Value>().await.unwrap()["error"].take();
        assert_eq!((&error["param"], &error["code"]), (&json!(param), &json!("invalid_json")), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_route_is_said_so() {
    let server = Server::paint().await;
    for path in [
        "/nothing",
        "/v1/nothing",
        "/images/../config.yaml",
        "/images/nothing.png",
        "/static/nothing",
        "/images/%ff.png",
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.json::<Value>().await.unwrap()["detail"], "Not Found");
    }
    assert_eq!(server.get(IMAGES).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    let options = server.client.request(reqwest::Method::OPTIONS, format!("{}{IMAGES}", server.base));
    assert!(options.send().await.unwrap().status().is_success());
    assert!(
        server.client.head(format!("{}/v1/models", server.base)).send().await.unwrap().status().is_success()
    );
}

#[tokio::test]
async fn foreign_names_and_foreign_pages_are_refused() {
    let server = Server::with("generation: { backend: paint }").await;
    let status = async |header: &str, value: &str| {
        let request = server.client.post(format!("{}{IMAGES}", server.base)).header(header, value);
        request.json(&json!({"prompt": "x", "steps": 1})).send().await.unwrap().status().as_u16()
    };
    assert_eq!(status("host", "evil.example").await, 421);
    assert_eq!(status("origin", "http://evil.example").await, 403);
    assert_eq!(status("sec-fetch-site", "cross-site").await, 403);
    assert_eq!(status("host", "localhost").await, 200);
    assert_eq!(status("authorization", "").await, 200, "some clients send an empty one");
}
