// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! LoRAs and textual inversions in requests: what is meant, what is told, and what is refused.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Response, StatusCode};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::harness::{Server, source};

const IMAGES: &str = "/v1/images/generations";
const CHAT: &str = "/v1/chat/completions";
/// A backend that does not come to an end.
const SLOW: &str = "backend: paint, backend_options: { paint: { step_ms: 60000 } }";

/// A directory with the model `tiny`, LoRAs for it (`kohya`, `other spelling`, and `half`, of which a part suits no
/// model) and for SDXL (`large`), the embedding `wobbly` and one for no model at all (`narrow`).
pub(crate) fn directory(backend: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let models = directory.path().join("models");
    for name in ["loras", "embeddings"] {
        fs::create_dir_all(models.join(name)).unwrap();
    }
    std::os::unix::fs::symlink(source("tests/fixtures/sd1-eps"), models.join("tiny")).unwrap();
    let fixture = |from: &str, to: &str| {
        let name = format!("{to}.safetensors");
        fs::copy(source("tests/fixtures").join(format!("{from}.safetensors")), models.join(name)).unwrap();
    };
    fixture("loras/sd1-eps-kohya", "loras/kohya");
    fixture("loras/sd1-eps-peft", "loras/other spelling");
    fixture("loras/sdxl-kohya", "loras/large");
    fixture("embeddings/sd1-eps/wobbly", "embeddings/wobbly");
    narrow_embedding(&models.join("embeddings/narrow.safetensors"));
    half_a_lora(&models.join("loras"));
    let config = format!(
        "server: {{ port: 0 }}\nmodels: {{ directory: models, default_model: tiny }}\n\
         limits: {{ prompt_chunks: 3, loras: 4, waiting: 1 }}\n\
         generation: {{ max_concurrent: 1, default_steps: 2, {backend} }}\n"
    );
    fs::write(directory.path().join("config.yaml"), config).unwrap();
    directory
}

/// Writes `half`: `kohya`, with eight modules called so that no model answers to them.
fn half_a_lora(loras: &Path) {
    let file = fs::read(loras.join("kohya.safetensors")).unwrap();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: Map<String, Value> = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let renamed = |name: &String| name.replace("attn1", "no_such_module");
    let header: Map<_, _> = header.iter().map(|(name, entry)| (renamed(name), entry.clone())).collect();
    let header = Value::from(header).to_string();
    let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &file[8 + length..]].concat();
    fs::write(loras.join("half.safetensors"), file).unwrap();
}

/// An embedding of one vector that no text encoder reads.
fn narrow_embedding(path: &Path) {
    let header = br#"{"emb_params":{"dtype":"F32","shape":[1,7],"data_offsets":[0,28]}}"#;
    fs::write(path, [&(header.len() as u64).to_le_bytes(), &header[..], &[0; 28]].concat()).unwrap();
}

fn server() -> Server {
    Server::start(directory("backend: paint"), &[])
}

fn body(prompt: &str) -> Value {
    json!({"prompt": prompt, "seed": 7})
}

/// The picture and what is told of it.
async fn made(server: &Server, body: &Value) -> (Vec<u8>, Value) {
    let answer = server.post_json(IMAGES, body).await;
    let png = BASE64_STANDARD.decode(answer["data"][0]["b64_json"].as_str().unwrap()).unwrap();
    (png, answer["x_alice"].clone())
}

/// The values of its pixels, without the text beside them.
fn pixels(png: &[u8]) -> Vec<u8> {
    image::load_from_memory(png).unwrap().into_rgb8().into_raw()
}

/// The `parameters` text in a PNG file.
fn infotext(png: &[u8]) -> String {
    let text = String::from_utf8_lossy(png);
    let begin = text.find("parameters\0").unwrap() + "parameters\0".len();
    text[begin..].trim_start_matches('\0').split("\nSteps: ").next().unwrap().to_owned()
}

#[tokio::test]
async fn a_lora_changes_the_picture_and_is_told_however_it_is_asked_for() {
    let server = server();
    let (plain, told) = made(&server, &body("a red apple")).await;
    assert_eq!((&told["loras"], &told["warnings"]), (&json!([]), &json!([])));
    let (tagged, told) = made(&server, &body("<lora:kohya:0.5>, a red , <LORA:kohya:-0.25> , apple")).await;
    assert_eq!(told["loras"], json!([{"id": "lora/kohya", "scale": 0.25}]), "its scales are added");
    assert_eq!((&told["prompt"], &told["warnings"]), (&json!("a red, apple"), &json!([])));
    let mut structured = body("a red apple");
    structured["loras"] = json!([{"name": "kohya", "scale": 0.5}]);
    let (half, told) = made(&server, &structured).await;
    assert_eq!((&told["prompt"], &told["loras"][0]["scale"]), (&json!("a red apple"), &json!(0.5)));
    let (same, _) = made(&server, &body("a red apple <lora:kohya:0.5>")).await;
    assert_eq!(pixels(&same), pixels(&half));
    let (again, _) = made(&server, &body("a red apple")).await;
    assert_eq!(pixels(&again), pixels(&plain), "the model is as it was");
    let all = [&plain, &tagged, &half].map(|png| pixels(png));
    assert!(all[0] != all[1] && all[0] != all[2] && all[1] != all[2]);
    // What the picture says of itself makes it again.
    let pasted = infotext(&half);
    assert_eq!(pasted, "a red apple <lora:kohya:0.5>");
    assert_eq!(pixels(&made(&server, &body(&pasted)).await.0), pixels(&half));
    let metrics = server.get_json("/metrics").await;
    assert!(metrics["stageSeconds"]["adapt"]["count"].as_u64().unwrap() >= 3, "{metrics}");
}

#[tokio::test]
async fn the_chat_form_has_loras_in_the_words_of_the_python_alice() {
    let server = server();
    let chat = |place: &str, config: Value| {
        let messages = json!([{"role": "user", "content": "a fox <lora:other spelling>"}]);
        json!({"model": "tiny", "messages": messages, place: config})
    };
    let config = json!({"lora_paths": ["lora/kohya", "half"], "lora_scales": [0.5], "seed": 7});
    let answer = server.post_json(CHAT, &chat("sam_config", config)).await;
    let told = &answer["choices"][0]["message"]["metadata"];
    let expected = json!([
        {"id": "lora/kohya", "scale": 0.5},
        {"id": "lora/half", "scale": 1.0},
        {"id": "lora/other spelling", "scale": 1.0},
    ]);
    assert_eq!(told["loras"], expected);
    assert_eq!(told["prompt"], "a fox");
    let warning = told["warnings"][0].as_str().unwrap();
    assert!(warning.contains("lora/half") && warning.contains("no_such_module"), "{warning}");
    let lenient = json!({"lora_paths": ["kohya"], "lora_scales": ["0.25"], "seed": "7"});
    let answer = server.post_json(CHAT, &chat("metadata", lenient)).await;
    let told = &answer["choices"][0]["message"]["metadata"];
    assert_eq!(told["loras"][0], json!({"id": "lora/kohya", "scale": 0.25}));
    for (config, status) in [
        (json!({"lora_paths": ["kohya"], "lora_scales": [1, 1]}), 422),
        (json!({"lora_paths": ["nothing"]}), 400),
        (json!({"lora_paths": "kohya"}), 422),
        (json!({"lora_scales": [1, 2]}), 422),
    ] {
        assert_eq!(server.post(CHAT, &chat("sam_config", config.clone())).await.status(), status, "{config}");
    }
    // What else stands in `metadata` may be anybody's, but a picture without its LoRA is nobody's wish.
    for readable in [
        json!({"lora_paths": "kohya", "lora_scales": "0.5"}),
        json!({"lora_paths": "[\"kohya\"]", "lora_scales": "[0.5]"}),
        json!({"loras": [{"id": "kohya", "weight": "0.5"}]}),
        json!({"loras": "[{\"name\": \"kohya\", \"scale\": 0.5}]"}),
    ] {
        let answer = server.post_json(CHAT, &chat("metadata", readable.clone())).await;
        let told = &answer["choices"][0]["message"]["metadata"];
        assert_eq!(told["loras"][0], json!({"id": "lora/kohya", "scale": 0.5}), "{readable}");
    }
    for unreadable in [
        json!({"lora_paths": ["kohya", 1]}),
        json!({"lora_paths": ["kohya"], "lora_scales": ["abc"]}),
        json!({"loras": ["kohya"]}),
        json!({"loras": [{"name": "kohya", "scale": "much"}]}),
    ] {
        let answer = server.post(CHAT, &chat("metadata", unreadable.clone())).await;
        assert_eq!(answer.status(), 400, "{unreadable}");
    }
    assert_eq!(server.post(CHAT, &chat("metadata", json!({"lora_paths": null}))).await.status(), 200);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_before_there_is_a_job() {
    let server = server();
    for (prompt, code, words) in [
        ("x <lora:nothing>", "lora_not_found", "nothing"),
        ("x <lora:large>", "lora_unusable", "another kind of model (sdxl)"),
        ("x <lora:kohya:11>", "invalid_value", "-10 to 10"),
        ("x <lora:kohya:9><lora:kohya:9>", "invalid_value", "-10 to 10"),
        ("x <lora:kohya:1:0.5>", "invalid_value", "more than one weight"),
        ("x <lora:kohya:-9><lora:kohya:-9><lora:kohya:6>", "invalid_value", "-10 to 10"),
        ("x <lora:kohya", "invalid_value", "not closed"),
        ("x <hypernet:kohya:1>", "invalid_value", "hypernetwork"),
        ("<lora:half><lora:half><lora:half><lora:half><lora:half>", "invalid_value", "more than 4 LoRAs"),
        ("x (y:1000)", "invalid_value", "-100 to 100"),
        ("<lo<lora:kohya>ra:kohya> x", "invalid_value", "around another"),
        ("x\0y", "invalid_value", "NUL"),
    ] {
        let answer = server.post(IMAGES, &body(prompt)).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{prompt}");
        let error = answer.json::<Value>().await.unwrap()["error"].clone();
        assert_eq!(error["code"], code, "{prompt}: {error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{prompt}: {error}");
    }
    let unknown = server.post(IMAGES, &body("x <lora:nothing>")).await.json::<Value>().await.unwrap();
    assert_eq!(unknown["error"]["param"], "prompt", "where it stands");
    let back = body("x <lora:kohya:9><lora:kohya:9><lora:kohya:-9>");
    assert_eq!(made(&server, &back).await.1["loras"][0]["scale"], 9.0, "only the sum counts");
    let mut negative = body("x");
    negative["negative_prompt"] = json!("y <lora:kohya>");
    let error = server.post(IMAGES, &negative).await.json::<Value>().await.unwrap()["error"].clone();
    assert_eq!(error["param"], "negative_prompt", "{error}");
    let misfit = json!({"prompt": "x", "loras": ["kohya"]});
    let error = server.post(IMAGES, &misfit).await.json::<Value>().await.unwrap()["error"].clone();
    assert_eq!(error["param"], "loras[0]", "{error}");
    assert!(error["message"].as_str().unwrap().contains("an object with `name` and `scale`"), "{error}");
    assert_eq!(server.get_json("/v1/jobs").await["data"].as_array().unwrap().len(), 1);
}

/// Asks for a picture that nobody waits for, until the job is the `count`th.
async fn leave(
    server: &Server,
    prompt: &str,
    count: usize,
) -> (String, JoinHandle<reqwest::Result<Response>>) {
    let mut detached = body(prompt);
    detached["detach"] = json!(true);
    let asked = server.client.post(format!("{}{IMAGES}", server.base)).json(&detached).send();
    let asked = tokio::spawn(asked);
    loop {
        let jobs = server.get_json("/v1/jobs").await;
        if jobs["data"].as_array().unwrap().len() == count {
            return (jobs["data"][0]["id"].as_str().unwrap().to_owned(), asked);
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_full_line_says_so_before_it_looks_into_files() {
    let server = Server::start(directory(SLOW), &[]);
    let (_, first) = leave(&server, "a fox", 1).await;
    let (_, second) = leave(&server, "a fox", 2).await;
    for prompt in ["x <lora:large>", "x <lora:kohya>"] {
        let answer = server.post(IMAGES, &body(prompt)).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{prompt}");
    }
    first.abort();
    second.abort();
}

#[tokio::test]
async fn long_and_weighted_prompts_are_read_to_their_end() {
    let server = server();
    let words = "a red apple, ".repeat(20);
    let (long, _) = made(&server, &body(&words)).await;
    let (longer, _) = made(&server, &body(&format!("{words} on a table"))).await;
    let (weighted, _) = made(&server, &body(&words.replacen("red", "(red:1.2)", 1))).await;
    let all = [long, longer, weighted].map(|png| pixels(&png));
    assert!(all[0] != all[1] && all[0] != all[2]);
    let answer = server.post(IMAGES, &body(&words.repeat(10))).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let error = answer.json::<Value>().await.unwrap()["error"].clone();
    assert_eq!(error["param"], "prompt");
    assert!(error["message"].as_str().unwrap().contains("3 chunks of"), "{error}");
}

#[tokio::test]
async fn embeddings_are_words_and_those_of_other_models_are_ordinary_ones() {
    let server = server();
    let (with, told) = made(&server, &body("a Wobbly apple")).await;
    assert_eq!((&told["embeddings"], &told["warnings"]), (&json!(["wobbly"]), &json!([])));
    let against = |negative: &str| {
        let mut body = body("an apple");
        body["negative_prompt"] = json!(negative);
        body
    };
    let (negative, told) = made(&server, &against("Wobbly")).await;
    assert_eq!((&told["embeddings"], &told["warnings"]), (&json!(["wobbly"]), &json!([])));
    let (_, told) = made(&server, &body("a wobblyish, narrow apple")).await;
    assert_eq!(told["embeddings"], json!([]));
    let warning = told["warnings"][0].as_str().unwrap();
    assert!(warning.contains("`narrow` is read as ordinary words"), "{warning}");
    let broken = server.directory.path().join("models/embeddings/easynegative.pt");
    fs::write(broken, b"\x80\x02}q\0.").unwrap();
    fs::remove_file(server.directory.path().join("models/embeddings/wobbly.safetensors")).unwrap();
    server.post_json("/v1/models/refresh", &json!({})).await;
    let (_, told) = made(&server, &against("easynegative")).await;
    let warning = told["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("`easynegative` is read as ordinary words") && warning.contains("pickle"),
        "{warning}"
    );
    let (without, told) = made(&server, &body("a Wobbly apple")).await;
    assert_eq!(told["embeddings"], json!([]));
    assert_ne!(pixels(&with), pixels(&without));
    let (without, told) = made(&server, &against("Wobbly")).await;
    assert_eq!(told["embeddings"], json!([]));
    assert_ne!(pixels(&negative), pixels(&without), "it acts in a negative prompt too");
}

#[tokio::test]
async fn all_parts_that_do_not_suit_the_model_are_told() {
    let server = server();
    let answer = server.post(IMAGES, &body("a fox <lora:half> <lora:kohya>")).await;
    let id = answer.headers()["x-alice-job"].to_str().unwrap().to_owned();
    let told = answer.json::<Value>().await.unwrap()["x_alice"].clone();
    let warning = told["warnings"][0].as_str().unwrap();
    assert!(warning.contains("8 of 30") && warning.ends_with(", ..."), "{warning}");
    assert_eq!(warning.matches("no_such_module").count(), 3, "{warning}");
    let unmatched = &told["unmatched"];
    let names: Vec<_> =
        unmatched["lora/half"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(names.len(), 8, "{unmatched}");
    assert!(names.iter().all(|name| name.contains("no_such_module")), "{unmatched}");
    assert_eq!(unmatched.as_object().unwrap().len(), 1, "of `kohya` everything suits: {unmatched}");
    let job = server.get_json(&format!("/v1/jobs/{id}")).await;
    assert_eq!((&job["unmatched"], &job["warnings"]), (unmatched, &told["warnings"]));
    assert_eq!(server.get_json("/v1/jobs").await["data"][0].get("unmatched"), None, "lists stay short");
    let mut streamed = body("a fox <lora:half>");
    streamed["stream"] = json!(true);
    let events = server.post(IMAGES, &streamed).await.text().await.unwrap();
    let completed = events.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let completed: Value = serde_json::from_str(completed).unwrap();
    assert_eq!(completed["type"], "image_generation.completed");
    let expected = json!({"warnings": told["warnings"], "unmatched": told["unmatched"]});
    assert_eq!(completed["x_alice"], expected);
}

/// The file of one LoRA gets in the place of another one's under its name.
async fn replace(server: &Server, from: &str, to: &str) {
    let loras = server.directory.path().join("models/loras");
    fs::copy(loras.join(format!("{from}.safetensors")), loras.join(format!("{to}.safetensors"))).unwrap();
    server.post_json("/v1/models/refresh", &json!({})).await;
}

#[tokio::test]
async fn a_lora_whose_file_was_replaced_is_the_new_one_after_a_refresh() {
    let server = server();
    let asked = body("a red apple <lora:kohya:0.5>");
    let (old, _) = made(&server, &asked).await;
    replace(&server, "other spelling", "kohya").await;
    let (new, told) = made(&server, &asked).await;
    assert_eq!(told["loras"], json!([{"id": "lora/kohya", "scale": 0.5}]));
    assert_ne!(pixels(&new), pixels(&old), "the old file acts on");
    let adapted = server.get_json("/metrics").await["stageSeconds"]["adapt"]["count"].clone();
    replace(&server, "other spelling", "half").await;
    assert_eq!(pixels(&made(&server, &asked).await.0), pixels(&new));
    let again = server.get_json("/metrics").await["stageSeconds"]["adapt"]["count"].clone();
    assert_eq!(again, adapted, "what was not replaced stays as it is");
}

#[tokio::test]
async fn real_networks_take_the_new_file_of_a_lora() {
    let server = Server::start(directory("backend: cpu"), &[]);
    let (one, other) = (body("a red apple <lora:kohya>"), body("a red apple <lora:other spelling>"));
    let (old, _) = made(&server, &one).await;
    let (expected, _) = made(&server, &other).await;
    made(&server, &one).await;
    replace(&server, "other spelling", "kohya").await;
    let (new, _) = made(&server, &one).await;
    assert_ne!(pixels(&new), pixels(&old));
    assert_eq!(pixels(&new), pixels(&expected), "to the last bit");
}

#[tokio::test]
async fn warnings_stay_with_the_job_and_are_on_its_page() {
    let server = server();
    let answer = server.post(IMAGES, &body("a fox <lora:half>")).await;
    let id = answer.headers()["x-alice-job"].to_str().unwrap().to_owned();
    answer.bytes().await.unwrap();
    let job = server.get_json(&format!("/v1/jobs/{id}")).await;
    assert!(job["warnings"][0].as_str().unwrap().contains("lora/half"), "{job}");
    let page = server.get(&format!("/jobs/{id}")).await.text().await.unwrap();
    assert!(page.contains("do not suit the model"), "{page}");
    assert!(page.contains("a fox &#60;lora:half:1&#62;"), "the form asks for the same again");
}

#[tokio::test]
async fn a_job_whose_lora_is_gone_after_a_restart_fails_and_says_so() {
    let server = Server::start(directory(SLOW), &[]);
    let (id, waits) = leave(&server, "a fox <lora:kohya>", 1).await;
    let directory = server.kill();
    waits.abort();
    fs::remove_file(directory.path().join("models/loras/kohya.safetensors")).unwrap();
    let server = Server::start(directory, &[]);
    let job = server.get_json(&format!("/v1/jobs/{id}")).await;
    assert_eq!((&job["status"], &job["error"]["code"]), (&json!("failed"), &json!("lora_not_found")));
    assert!(job["error"]["message"].as_str().unwrap().contains("lora/kohya"), "{job}");
}

#[tokio::test]
async fn real_networks_hear_loras_embeddings_and_long_prompts_and_forget_them() {
    let server = Server::start(directory("backend: cpu"), &[]);
    let long = "a red apple, ".repeat(12);
    let mut seen = Vec::new();
    for prompt in [
        "a red apple",
        "a red apple <lora:kohya>",
        "a red apple <lora:kohya:-1>",
        "a red apple <lora:kohya><lora:other spelling:0.5>",
        "a (red:1.5) apple",
        "a red wobbly apple",
        &long,
    ] {
        let (png, told) = made(&server, &body(prompt)).await;
        assert_eq!(told["warnings"], json!([]), "{prompt}");
        let pixels = pixels(&png);
        assert!(!seen.contains(&pixels), "{prompt} looks like another one");
        seen.push(pixels);
    }
    let (again, _) = made(&server, &body("a red apple")).await;
    assert_eq!(pixels(&again), seen[0], "to the last bit");
}
