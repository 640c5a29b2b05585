// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Streams of events: a job's progress, and OpenAI's pictures in the making.

use super::*;

/// The names of events, each once where it comes several times in a row.
fn order(events: &[(String, Value)]) -> Vec<&str> {
    let mut names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    names
}

fn is_png(event: &Value) -> bool {
    let file = BASE64_STANDARD.decode(event["b64_json"].as_str().unwrap()).unwrap();
    image::load_from_memory(&file).is_ok() && event["output_format"] == "png"
}

#[tokio::test]
async fn a_job_tells_its_way_from_the_line_to_its_pictures() {
    let server = slow(EARLY, ONE, 40, "");
    let mut held = Vec::new();
    for steps in [75, 20, 20] {
        held.push(request(&server, IMAGES, &body(steps)).send().await.unwrap());
    }
    let last = id(&held[2]);
    let waiting = job(&server, &last).await;
    assert_eq!((waiting["status"].as_str(), waiting["position"].as_u64()), (Some("queued"), Some(1)));
    let events = Events::follow(&server, &last, "").await.rest().await;
    let positions = |events: &[(String, Value)]| {
        let queued = events.iter().filter(|(name, _)| name == "queued");
        let mut positions: Vec<_> = queued.map(|(_, data)| data["position"].as_u64().unwrap()).collect();
        positions.dedup();
        positions
    };
    assert_eq!(positions(&events), [1, 0]);
    let names = order(&events);
    assert_eq!(names[..3], ["queued", "running", "preview"], "{names:?}");
    assert_eq!(names.last(), Some(&"done"));
    let between = names[1..names.len() - 1].iter().all(|name| ["running", "preview"].contains(name));
    assert!(between, "{names:?}");

    let running: Vec<_> = events.iter().filter(|(name, _)| name == "running").collect();
    let steps: Vec<_> = running.iter().map(|(_, data)| data["step"].as_u64().unwrap()).collect();
    assert!(steps.is_sorted() && steps.len() > 3 && *steps.last().unwrap() <= 20, "{steps:?}");
    assert!(running.iter().all(|(_, data)| data["steps"] == 20 && data["eta_s"].as_f64().unwrap() >= 0.0));
    let previews: Vec<_> = events.iter().filter(|(name, _)| name == "preview").collect();
    assert!(previews.iter().all(|(_, data)| is_png(data) && data["image"] == 0 && data["step"].is_u64()));
    let (_, done) = events.last().unwrap();
    assert_eq!(*done, job(&server, &last).await);
    assert_eq!(done["images"].as_array().unwrap().len(), 1);

    let again = Events::follow(&server, &last, "").await.rest().await;
    assert_eq!(again, [("done".to_owned(), done.clone())], "whoever comes late is told the end");
}

#[tokio::test]
async fn a_waiting_job_is_told_a_time_as_soon_as_something_was_measured() {
    let server = slow(EARLY, ONE, 100, "");
    let running = request(&server, IMAGES, &body(150)).send().await.unwrap();
    let waiting = request(&server, IMAGES, &body(50)).send().await.unwrap();
    let mut events = Events::follow(&server, &id(&waiting), "").await;
    // Before the first step has ended nothing can be told; then it is told without anybody having moved.
    let (seconds, left) = loop {
        let (name, data) = events.next().await.unwrap();
        assert_eq!((name.as_str(), &data["position"]), ("queued", &json!(0)));
        if let Some(seconds) = data["eta_s"].as_f64() {
            break (seconds, 200 - job(&server, &id(&running)).await["step"].as_u64().unwrap());
        }
        assert_eq!(data["eta_s"], Value::Null);
    };
    assert!(seconds >= 0.09 * left as f64 && seconds < 200.0, "{seconds} s for {left} steps");
    // Whoever looks now is told at once.
    let mut others = Events::follow(&server, &id(&waiting), "").await;
    assert!(others.next().await.unwrap().1["eta_s"].is_f64());
    assert!(job(&server, &id(&waiting)).await["eta_s"].is_f64());
}

#[tokio::test]
async fn previews_are_made_only_for_those_who_want_them() {
    let server = slow(EARLY, ONE, 20, "");
    let answer = request(&server, IMAGES, &body(30)).send().await.unwrap();
    let events = Events::follow(&server, &id(&answer), "?previews=false").await.rest().await;
    assert_eq!(order(&events), ["running", "done"]);
    let bad = server.get(&format!("/v1/jobs/{}/events?previews=perhaps", id(&answer))).await;
    assert_eq!(bad.status(), 400);
}

#[tokio::test]
async fn whoever_looks_on_neither_keeps_a_job_nor_ends_it() {
    let server = slow(EARLY, ONE, 40, "");
    let answer = request(&server, IMAGES, &body(150)).send().await.unwrap();
    let mut events = Events::follow(&server, &id(&answer), "").await;
    assert_eq!(events.next().await.unwrap().0, "running");
    drop(answer);
    assert_eq!(order(&events.rest().await).last(), Some(&"cancelled"));

    let answer = request(&server, IMAGES, &body(20)).send().await.unwrap();
    let mut events = Events::follow(&server, &id(&answer), "").await;
    events.next().await.unwrap();
    drop(events);
    assert_eq!(ended(&server, &id(&answer)).await["status"], "done");
}

#[tokio::test]
async fn a_waiting_job_that_is_cancelled_tells_so() {
    let server = slow(EARLY, ONE, 100, "");
    let _running = request(&server, IMAGES, &body(150)).send().await.unwrap();
    let waiting = request(&server, IMAGES, &body(150)).send().await.unwrap();
    let mut events = Events::follow(&server, &id(&waiting), "").await;
    let (name, data) = events.next().await.unwrap();
    assert_eq!((name.as_str(), &data["position"]), ("queued", &json!(0)));
    let gone = delete(&server, &id(&waiting)).await;
    assert_eq!(events.rest().await.last().unwrap(), &("cancelled".to_owned(), gone));
}

#[tokio::test]
async fn an_account_looks_on_at_a_few_jobs_and_this_machine_at_any_number() {
    let key = "sd-the-key-of-the-operator";
    let server =
        slow(&format!("{EARLY}, api_key: {key}"), ONE, 100, "limits: { event_streams_per_caller: 2 }");
    let answer = request(&server, IMAGES, &body(150)).bearer_auth(key).send().await.unwrap();
    let id = id(&answer);
    let follow = async |key: &str| {
        let url = format!("{}/v1/jobs/{id}/events", server.base);
        server.client.get(url).bearer_auth(key).send().await.unwrap()
    };
    let mut open = vec![follow(key).await, follow(key).await];
    let refused = follow(key).await;
    assert_eq!(
        (refused.status().as_u16(), refused.headers()["x-should-retry"].to_str().unwrap()),
        (429, "false")
    );
    assert_eq!(refused.json::<Value>().await.unwrap()["error"]["code"], "too_many_streams");
    open.pop();
    while follow(key).await.status() != 200 {
        tokio::task::yield_now().await;
    }
    let of_nobody = request(&server, IMAGES, &body(150)).send().await.unwrap();
    let path = format!("/v1/jobs/{}/events", super::id(&of_nobody));
    let mut many = Vec::new();
    for _ in 0..5 {
        many.push(server.get(&path).await);
    }
    assert!(many.iter().all(|answer| answer.status() == 200));
}

/// The names of an event's fields.
fn fields(event: &Value) -> BTreeSet<&str> {
    event.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn pictures_in_the_making_are_openais_events() {
    let server = slow("early_answer_seconds: 100", ONE, 1, "");
    for (n, partials) in [(1, 2), (2, 2), (1, 0), (1, 3)] {
        let asked = json!({"prompt": "a red apple", "seed": 7, "steps": 8, "n": n, "size": "256x192",
                           "stream": true, "partial_images": partials});
        let answer = server.post(IMAGES, &asked).await;
        let made = id(&answer);
        let events = Events::of(answer).rest().await;
        assert_eq!(ended(&server, &made).await["status"], "done");
        let common = [
            "type",
            "b64_json",
            "created_at",
            "size",
            "quality",
            "background",
            "output_format",
            "image_index",
            "seed",
        ];
        for (name, data) in &events {
            assert_eq!(data["type"], *name);
            let own = if name.ends_with("partial_image") { "partial_image_index" } else { "usage" };
            assert_eq!(fields(data), common.iter().copied().chain([own]).collect());
            assert_eq!(
                (data["size"].as_str(), data["background"].as_str()),
                (Some("256x192"), Some("opaque"))
            );
            assert_eq!(data["seed"].as_u64(), Some(7 + data["image_index"].as_u64().unwrap()));
            assert!(data["created_at"].is_u64() && data["quality"] == "auto" && is_png(data));
        }
        let of = |place: u64| events.iter().filter(move |(_, data)| data["image_index"] == place);
        for place in 0..n {
            let names: Vec<_> = of(place).map(|(name, _)| name.as_str()).collect();
            let mut expected = vec!["image_generation.partial_image"; partials as usize];
            expected.push("image_generation.completed");
            assert_eq!(names, expected);
            let indices: Vec<_> =
                of(place).filter_map(|(_, data)| data["partial_image_index"].as_u64()).collect();
            assert_eq!(indices, (0..partials).collect::<Vec<_>>());
        }
        assert_eq!(events.len() as u64, n * (partials + 1));
        let usage = json!({"total_tokens": 0, "input_tokens": 0, "output_tokens": 0,
                           "input_tokens_details": {"text_tokens": 0, "image_tokens": 0}});
        assert_eq!(events.last().unwrap().1["usage"], usage);
        let mut plain = asked.clone();
        plain["stream"] = json!(false);
        let plain = server.post_json(IMAGES, &plain).await;
        for place in 0..n as usize {
            let completed = of(place as u64).next_back().unwrap();
            assert_eq!(
                completed.1["b64_json"], plain["data"][place]["b64_json"],
                "the same picture in the end"
            );
        }
    }
}

#[tokio::test]
async fn what_a_stream_cannot_bring_is_refused_before_it_begins() {
    let server = Server::paint().await;
    for (asked, param) in [
        (json!({"stream": true, "partial_images": 4}), "partial_images"),
        (json!({"stream": true, "partial_images": -1}), "partial_images"),
        (json!({"partial_images": 4}), "partial_images"),
        (json!({"stream": true, "response_format": "url"}), "response_format"),
        (json!({"stream": true, "steps": 0}), "steps"),
    ] {
        let mut body = body(1);
        body.as_object_mut().unwrap().extend(asked.as_object().unwrap().clone());
        let answer = server.post(IMAGES, &body).await;
        assert_eq!(answer.status(), 400, "{asked}");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"]["param"], param);
    }
    for value in [json!("two"), json!(1.5), json!([])] {
        let body = json!({"prompt": "x", "stream": true, "partial_images": value});
        assert_eq!(server.post(IMAGES, &body).await.status(), 400, "{value}");
    }
    let mut plain = body(1);
    plain["partial_images"] = json!(3);
    assert!(
        server.post_json(IMAGES, &plain).await["data"][0]["b64_json"].is_string(),
        "no stream, no events"
    );
    assert_eq!(jobs(&server).await.len(), 1, "of what is refused no job is made");
}

#[tokio::test]
async fn a_stream_that_fails_ends_with_an_error_that_the_sdk_raises() {
    let fault = "faults: [{ call: denoise, at: 6, do: internal }]";
    let server = Server::with(&format!(
        "generation: {{ backend: paint, backend_options: {{ paint: {{ {fault} }} }} }}"
    ))
    .await;
    let asked = json!({"prompt": "x", "steps": 8, "stream": true, "partial_images": 3});
    let answer = server.post(IMAGES, &asked).await;
    let made = id(&answer);
    let events = Events::of(answer).rest().await;
    let (name, error) = events.last().unwrap();
    assert_eq!((name.as_str(), error["error"]["code"].as_str()), ("error", Some("backend_error")));
    assert_eq!(error["error"]["message"], error["detail"]);
    assert_eq!(job(&server, &made).await["status"], "failed");
}

#[tokio::test]
async fn a_client_that_hangs_up_a_stream_cancels_its_job_unless_it_is_to_go_on() {
    let server = slow("early_answer_seconds: 100", ONE, 20, "");
    for (steps, detach, end) in [(150, false, "cancelled"), (50, true, "done")] {
        let mut body = body(steps);
        body.as_object_mut()
            .unwrap()
            .extend([("stream".into(), json!(true)), ("detach".into(), json!(detach))]);
        // A stream that has begun is not asked for again by an SDK either.
        let answer =
            request(&server, IMAGES, &body).header("x-stainless-retry-count", "0").send().await.unwrap();
        let id = id(&answer);
        some(&server, "running").await;
        drop(answer);
        assert_eq!(ended(&server, &id).await["status"], end);
    }
}

#[tokio::test]
async fn of_several_pictures_each_is_told_when_it_is_finished() {
    let server = slow(EARLY, ONE, 20, "");
    let mut asked = body(10);
    asked.as_object_mut().unwrap().extend([
        ("stream".into(), json!(true)),
        ("partial_images".into(), json!(1)),
        ("n".into(), json!(3)),
    ]);
    let answer = server.post(IMAGES, &asked).await;
    let id = id(&answer);
    let mut events = Events::of(answer);
    let mut seen = Vec::new();
    while let Some((name, data)) = events.next().await {
        let place = data["image_index"].as_u64().unwrap();
        let completed = name == "image_generation.completed";
        assert!(is_png(&data) && data["seed"] == 7 + place);
        if completed && seen.iter().filter(|(completed, _)| *completed).count() == 0 {
            assert_eq!(job(&server, &id).await["status"], "running", "the others are not there yet");
        }
        seen.push((completed, place));
    }
    for place in 0..3 {
        let of_it: Vec<_> =
            seen.iter().filter(|(_, of)| *of == place).map(|(completed, _)| *completed).collect();
        assert_eq!(of_it, [false, true], "{seen:?}");
    }
}
