// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the daemon tells of its work, as clients of the Python ALICE and Prometheus read it.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::harness::Server;

const IMAGES: &str = "/v1/images/generations";

/// A page in the text format 0.0.4.
#[derive(Debug, Default)]
struct Page {
    /// `counter`, `gauge` or `histogram`, by family.
    kinds: BTreeMap<String, String>,
    /// By name and labels, as they are written.
    samples: BTreeMap<String, f64>,
}

impl Page {
    /// Stricter than Prometheus: each family has its help and its type once, before its samples, which stand
    /// together; nothing comes twice; names and numbers are what the format allows.
    fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line ends too");
        let (mut page, mut helped, mut current) = (Self::default(), BTreeSet::new(), String::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').unwrap();
                assert!(words.ends_with('.') && helped.insert(name.to_owned()), "{line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(helped.contains(name), "{line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(page.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
                current = name.to_owned();
            } else {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                assert_eq!(page.family(name(sample)), current, "{line}");
                let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
                assert!(value.is_finite() && value >= 0.0, "{line}");
                assert!(page.samples.insert(sample.to_owned(), value).is_none(), "twice: {line}");
            }
        }
        page
    }

    /// The family that a sample belongs to by its name.
    fn family(&self, name: &str) -> String {
        assert!(name.starts_with("alice_"), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        let histogram = ["_bucket", "_sum", "_count"].into_iter().find_map(|end| name.strip_suffix(end));
        let histogram =
            histogram.filter(|name| self.kinds.get(*name).is_some_and(|kind| kind == "histogram"));
        let family = histogram.unwrap_or(name);
        let kind = self.kinds.get(family).unwrap_or_else(|| panic!("`{name}` has no type"));
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        family.to_owned()
    }

    fn value(&self, sample: &str) -> f64 {
        *self.samples.get(sample).unwrap_or_else(|| panic!("no `{sample}` in {:?}", self.samples))
    }
}

/// The name in front of a sample's labels, after a look at these.
fn name(sample: &str) -> &str {
    let Some((name, labels)) = sample.split_once('{') else { return sample };
    for label in labels.strip_suffix('}').unwrap().split(',') {
        let (label, value) = label.split_once('=').unwrap();
        assert!(label.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{sample}");
        assert!(value.len() >= 2 && value.starts_with('"') && value.ends_with('"'), "{sample}");
    }
    name
}

async fn page(server: &Server) -> Page {
    let answer = server.get("/metrics/prometheus").await;
    assert_eq!(answer.headers()[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    Page::parse(&answer.text().await.unwrap())
}

#[tokio::test]
async fn a_fresh_daemon_has_upstreams_keys_in_upstreams_types() {
    let server = Server::paint().await;
    let metrics = server.get_json("/metrics").await;
    let upstream = json!({
        "queueDepth": 0, "activeGenerations": 0, "gpuUtilization": 0.0, "gpuMemoryUsed": "0.0 GB",
        "gpuMemoryTotal": "0.0 GB", "modelsLoaded": 0, "totalGenerations": 0, "avgGenerationTime": 0.0,
    });
    for (key, value) in upstream.as_object().unwrap() {
        assert_eq!(&metrics[key], value, "{key}");
    }
    for key in ["gpuUtilization", "avgGenerationTime"] {
        assert!(metrics[key].is_f64(), "{key} is a number with a fraction");
    }
}

#[tokio::test]
async fn finished_pictures_are_counted_in_both_forms() {
    let server = Server::paint().await;
    for count in [1, 3] {
        server.post_json(IMAGES, &json!({"prompt": "x", "steps": 5, "n": count})).await;
    }
    let metrics = server.get_json("/metrics").await;
    assert_eq!((&metrics["totalGenerations"], &metrics["totalPictures"]), (&json!(2), &json!(4)));
    assert_eq!((&metrics["totalSteps"], &metrics["modelsLoaded"]), (&json!(20), &json!(1)));
    assert!(metrics["avgGenerationTime"].as_f64().unwrap() > 0.0);
    assert_eq!(metrics["waitSeconds"]["count"], 2);
    assert_eq!(metrics["stageSeconds"]["keep"]["count"], 4);
    #[cfg(target_os = "linux")]
    assert!(metrics["memoryBytes"]["host"].as_u64().unwrap() > 1 << 20);

    let page = page(&server).await;
    assert_eq!(page.value("alice_job_seconds_count{outcome=\"done\"}"), 2.0);
    assert_eq!(page.value("alice_job_seconds_count{outcome=\"failed\"}"), 0.0);
    assert_eq!(page.value("alice_pictures_total"), 4.0);
    assert_eq!(page.value("alice_steps_total"), 20.0);
    assert_eq!(page.value("alice_stage_seconds_count{stage=\"keep\"}"), 4.0);
    assert_eq!(page.value("alice_models_loaded"), 1.0);
    let sum = page.value("alice_job_seconds_sum{outcome=\"done\"}");
    assert_eq!(sum / 2.0, metrics["avgGenerationTime"].as_f64().unwrap(), "one count, two forms");
}

#[tokio::test]
async fn every_histogram_rises_to_its_count() {
    let server = Server::paint().await;
    server.post_json(IMAGES, &json!({"prompt": "x", "steps": 2})).await;
    let page = page(&server).await;
    let infinite = "le=\"+Inf\"}";
    let totals: Vec<_> = page.samples.keys().filter(|sample| sample.ends_with(infinite)).collect();
    assert!(totals.len() > 10, "{totals:?}");
    for total in totals {
        let stem = total.strip_suffix(infinite).unwrap();
        let bound = |sample: &str| {
            sample.strip_prefix(stem)?.strip_prefix("le=\"")?.strip_suffix("\"}")?.parse().ok()
        };
        let mut buckets: Vec<(f64, f64)> =
            page.samples.iter().filter_map(|(sample, value)| Some((bound(sample)?, *value))).collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert!(buckets.len() > 10 && buckets.is_sorted_by(|one, other| one.1 <= other.1), "{buckets:?}");
        let labels = stem.trim_end_matches(['{', ',']);
        let count = labels.replacen("_bucket", "_count", 1) + if labels.contains('{') { "}" } else { "" };
        assert_eq!(buckets.last().unwrap().1, page.value(&count), "{count}");
    }
}

#[tokio::test]
async fn jobs_that_wait_run_fail_or_are_refused_are_told_apart() {
    let server = Server::with(
        "limits: { waiting: 1 }\n\
         generation: { backend: paint, max_concurrent: 1, backend_options: { paint: { step_ms: 50, \
         faults: [{ call: decode, at: 2, do: internal }] } } }",
    )
    .await;
    let body = json!({"prompt": "x", "steps": 20, "guidance_scale": 1.0});
    let post = || tokio::spawn(server.client.post(format!("{}{IMAGES}", server.base)).json(&body).send());
    let (first, second) = (post(), post());
    while server.get_json("/metrics").await["queueDepth"] != 2 {
        tokio::task::yield_now().await;
    }
    let metrics = server.get_json("/metrics").await;
    assert_eq!((&metrics["activeGenerations"], &metrics["waitingGenerations"]), (&json!(1), &json!(1)));
    assert_eq!(server.post(IMAGES, &body).await.status(), 503);
    let statuses = [first.await.unwrap().unwrap().status(), second.await.unwrap().unwrap().status()];
    assert_eq!(statuses.iter().filter(|status| status.is_success()).count(), 1, "{statuses:?}");
    let page = page(&server).await;
    let jobs =
        ["done", "failed"].map(|how| page.value(&format!("alice_job_seconds_count{{outcome=\"{how}\"}}")));
    assert_eq!((jobs, page.value("alice_jobs_refused_total")), ([1.0, 1.0], 1.0));
    assert_eq!((page.value("alice_jobs_running"), page.value("alice_jobs_waiting")), (0.0, 0.0));
}

#[tokio::test]
async fn a_picture_has_the_same_bytes_among_seven_others_that_share_its_passes() {
    let server = Server::with("generation: { backend: cpu }\nengine: { max_rows: 8 }").await;
    // Passes of four rows and more; a guided picture alone has two.
    let shared = async || {
        let metrics = server.get_json("/metrics").await;
        let rows = &metrics["rowsPerBatch"];
        let many = rows["upTo"].as_object().unwrap().iter();
        let many = many.filter(|(bound, _)| bound.parse::<u64>().unwrap() >= 4);
        let many: u64 = many.map(|(_, count)| count.as_u64().unwrap()).sum();
        (many + rows["more"].as_u64().unwrap(), metrics)
    };
    let body = |number: u64| {
        json!({"prompt": format!("apple {number}"), "seed": number, "steps": 4, "guidance_scale": 4.0,
               "response_format": "b64_json"})
    };
    let alone = server.post_json(IMAGES, &body(0)).await;
    let (many, metrics) = shared().await;
    assert_eq!((many, metrics["rowsPerBatch"]["mean"].as_f64()), (0, Some(2.0)), "{metrics}");
    let bodies: Vec<_> = (0..8).map(body).collect();
    let answers = join_all(bodies.iter().map(|body| server.post_json(IMAGES, body))).await;
    let picture = |answer: &Value| answer["data"][0]["b64_json"].as_str().unwrap().to_owned();
    assert!(picture(&answers[0]) == picture(&alone), "the same bytes");
    assert!(answers[1..].iter().all(|answer| picture(answer) != picture(&alone)), "those are others");
    let (many, metrics) = shared().await;
    assert!(many >= 1, "{metrics}");
    assert!(metrics["stepsPerSecond"].as_f64().unwrap() > 0.0, "{metrics}");
    assert_eq!(metrics["totalSteps"], 9 * 4);
}

#[tokio::test]
async fn scrapers_get_text_and_everyone_else_gets_json() {
    let server = Server::paint().await;
    let scraper = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    for (accept, text) in
        [(scraper, true), ("text/plain", true), ("*/*", false), ("application/json, text/plain, */*", false)]
    {
        let request = server.client.get(format!("{}/metrics", server.base)).header(ACCEPT, accept);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["vary"], "accept");
        let body = answer.text().await.unwrap();
        match text {
            true => assert!(Page::parse(&body).kinds.len() > 10, "{accept}: {body}"),
            false => assert!(serde_json::from_str::<Value>(&body).unwrap().is_object(), "{accept}: {body}"),
        }
    }
}

#[tokio::test]
async fn nobody_and_nothing_is_named() {
    let server = Server::paint().await;
    let body = json!({"prompt": "xyzzy", "negative_prompt": "plugh", "steps": 2, "user": "frobozz"});
    server.post_json(IMAGES, &body).await;
    for path in ["/metrics", "/metrics/prometheus"] {
        let text = server.get(path).await.text().await.unwrap().to_lowercase();
        for word in ["xyzzy", "plugh", "frobozz", "emoji", "127.0.0.1"] {
            assert!(!text.contains(word), "{path} has `{word}`: {text}");
        }
    }
}
