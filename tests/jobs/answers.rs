// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The answers to requests for pictures: given up, asked for again, slow, refused, and cut off by the daemon's end.

use super::*;

#[tokio::test]
async fn a_client_that_hangs_up_cancels_its_job_unless_it_is_to_go_on() {
    let sdk = ("x-stainless-lang", "python");
    for early in [100, 0] {
        let server = slow(&format!("early_answer_seconds: {early}"), ONE, 20, "");
        for (body, header, end) in [
            (body(150), ("accept", "*/*"), "cancelled"),
            (detached(50), ("accept", "*/*"), "done"),
            (body(50), sdk, "done"),
            (detached(50), sdk, "done"),
        ] {
            let asked = tokio::spawn(request(&server, IMAGES, &body).header(header.0, header.1).send());
            let id = some(&server, "running").await;
            match early {
                0 => drop(asked.await.unwrap().unwrap()),
                _ => asked.abort(),
            }
            let ended = ended(&server, &id).await;
            assert_eq!(ended["status"], end, "{body} {header:?} {early}");
            assert_eq!(ended["images"].as_array().unwrap().len(), usize::from(end == "done"));
        }
    }
}

#[tokio::test]
async fn the_job_of_a_client_that_does_not_come_back_ends_after_all() {
    let server = slow(EARLY, ONE, 50, "limits: { retry_wait_seconds: 1 }");
    let answer = request(&server, IMAGES, &body(150)).header("x-stainless-lang", "js").send().await.unwrap();
    let id = id(&answer);
    drop(answer);
    assert_eq!(ended(&server, &id).await["status"], "cancelled");
}

#[tokio::test]
async fn a_retry_joins_the_job_that_its_first_try_has_led_to() {
    let server = slow("early_answer_seconds: 100", ONE, 50, "");
    let ask = |path: &str, body: &Value, tries: &str| {
        request(&server, path, body).header("x-stainless-retry-count", tries).send()
    };
    // No seed: another job would make another picture.
    let open = json!({"prompt": "a red apple", "steps": 40, "guidance_scale": 1.0});
    let first = tokio::spawn(ask(IMAGES, &open, "0"));
    let running = some(&server, "running").await;
    first.abort();
    let second = ask(IMAGES, &open, "1").await.unwrap();
    assert_eq!((second.status().as_u16(), id(&second)), (200, running.clone()));
    let second: Value = second.json().await.unwrap();
    let third = ask(IMAGES, &open, "2").await.unwrap();
    assert_eq!(id(&third), running, "also after its end");
    assert_eq!(third.json::<Value>().await.unwrap()["data"], second["data"]);
    assert_eq!(jobs(&server).await.len(), 1);
    let pictures = std::fs::read_dir(server.directory.path().join("images")).unwrap().count();
    assert_eq!(pictures, 1);

    let short = json!({"prompt": "a red apple", "steps": 1});
    let other = json!({"prompt": "a red apple", "steps": 2});
    let mut ids = BTreeSet::from([running]);
    for (path, body, tries) in [
        (IMAGES, &short, "0"),
        (IMAGES, &short, "0"),
        (IMAGES, &other, "1"),
        ("/images/generations", &short, "1"),
    ] {
        let answer = ask(path, body, tries).await.unwrap();
        assert!(ids.insert(id(&answer)), "{path} {body} {tries} is another request");
    }
    let plain = request(&server, IMAGES, &short).send().await.unwrap();
    assert!(ids.insert(id(&plain)));
}

#[tokio::test]
async fn a_slow_answer_begins_early_and_is_whole_in_the_end() {
    let server = slow("early_answer_seconds: 1", ONE, 100, "");
    let chat = json!({"model": "sd/alice-emoji", "messages": [{"role": "user", "content": "x"}],
                      "sam_config": {"steps": 40, "guidance_scale": 1.0}});
    for (path, body) in [(IMAGES, body(40)), (CHAT, chat)] {
        let answer = request(&server, path, &body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(job(&server, &id(&answer)).await["status"], "running", "its head came before its end");
        let text = answer.text().await.unwrap();
        assert!(text.starts_with('\n'), "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert!(answer["data"][0]["b64_json"].is_string() || answer["choices"][0]["message"].is_object());
    }
    let quick = request(&server, IMAGES, &body(1)).send().await.unwrap();
    assert!(quick.headers().contains_key("content-length") && quick.text().await.unwrap().starts_with('{'));
}

#[tokio::test]
async fn a_slow_answer_that_fails_says_so_in_its_body() {
    let fault =
        "backend_options: { paint: { step_ms: 100, faults: [{ call: denoise, at: 15, do: internal }] } }";
    for (path, code) in [(IMAGES, "backend_error"), (CHAT, "500")] {
        let directory = tempfile::tempdir().unwrap();
        let config = format!(
            "server: {{ port: 0, early_answer_seconds: 1 }}\ngeneration: {{ backend: paint, {fault} }}\n"
        );
        std::fs::write(directory.path().join("config.yaml"), config).unwrap();
        let server = Server::start(directory, &[]);
        let body = json!({"prompt": "x", "steps": 40, "model": "alice-emoji", "sam_config": {"steps": 40},
                          "messages": [{"role": "user", "content": "x"}]});
        let answer = request(&server, path, &body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let id = id(&answer);
        let text = answer.text().await.unwrap();
        assert!(text.starts_with('\n'), "{text}");
        let told: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (told["error"]["code"].as_str(), &told["error"]["message"]),
            (Some(code), &told["detail"])
        );
        let job = job(&server, &id).await;
        assert_eq!(
            (job["status"].as_str(), job["error"]["code"].as_str()),
            (Some("failed"), Some("backend_error"))
        );
        assert_eq!(job["error"]["message"], told["detail"]);
    }
}

#[tokio::test]
async fn who_has_too_many_jobs_is_told_so_before_everybody_is() {
    let key = "sd-the-key-of-the-operator";
    let limits = "limits: { waiting: 3, waiting_per_caller: 1 }";
    let server = slow(&format!("{EARLY}, api_key: {key}"), ONE, 100, limits);
    let ask = async |key: &str| request(&server, IMAGES, &body(150)).bearer_auth(key).send().await.unwrap();
    let refusal = async |key: &str| {
        let answer = ask(key).await;
        let after: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!(after >= 1 && !answer.headers().contains_key("x-should-retry"));
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap()["error"]["code"].as_str().unwrap().to_owned())
    };
    let mut held = vec![ask(key).await, ask(key).await];
    assert_eq!(refusal(key).await, (429, "too_many_jobs".into()));
    held.extend([ask("anyone").await, ask("anyone").await]);
    assert_eq!(refusal("anyone").await, (503, "server_busy".into()));
    assert_eq!(refusal(key).await, (429, "too_many_jobs".into()));
    assert!(held.iter().all(|answer| answer.status() == 200));
}

#[tokio::test]
async fn the_daemon_ends_with_its_jobs_and_not_with_those_who_look_on() {
    let mut server = slow(EARLY, ONE, 50, "");
    let answer = request(&server, IMAGES, &body(60)).send().await.unwrap();
    let mut events = Events::follow(&server, &id(&answer), "").await;
    assert_eq!(events.next().await.unwrap().0, "running");
    server.order_to_end();
    assert_eq!(events.rest().await.last().unwrap().0, "done");
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(answer["data"][0]["seed"], 7);
    let log = server.wait_for_log("Ended");
    assert!(!log.contains("did not finish in time"), "{log}");
    assert!(server.wait().success());
}
