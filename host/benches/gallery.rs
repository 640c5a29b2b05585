// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How long lists of many pictures take, over HTTP: the first page, a later one, searches, and the page of the gallery.
//! `cargo bench -p alice --bench gallery -- [PICTURES]...` (10000 and 100000 if none is said).
// The numbers are this program's answer.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use alice::auth::Role;
use alice::gallery::Kept;
use alice::pictures::{self, Details, New};
use reqwest::Method;
use stage::Stage;

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/harness.rs"]
mod harness;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/stage.rs"]
mod stage;

/// How often each list is asked for.
const ROUNDS: usize = 30;
/// Pictures that are written down at once.
const AT_ONCE: u32 = 5000;
/// A word of some prompts, and one of none.
const THINGS: [&str; 8] = ["fox", "apple", "lighthouse", "harbour", "mountain", "robot", "teapot", "garden"];

/// What is asked for.
const PATHS: [(&str, &str); 7] = [
    ("first 60", "/v1/gallery?limit=60"),
    ("first 100", "/v1/gallery"),
    ("60 from the middle", "/v1/gallery?limit=60&offset=5000"),
    ("60 largest", "/v1/gallery?limit=60&sort=largest"),
    ("a word of an eighth", "/v1/gallery?limit=60&search=lighthouse"),
    ("a word of none", "/v1/gallery?limit=60&search=submarine"),
    ("the page", "/gallery"),
];

/// The picture `number` of `account`.
fn picture(account: i64, number: u32) -> New {
    let thing = THINGS[number as usize % THINGS.len()];
    let prompt = format!(
        "a {thing} in the evening light, number {number}, highly detailed, soft shadows, film grain, wide angle, \
         muted colours, a quiet mood, drawn by hand with a fine pen on old paper"
    );
    let details = Details {
        width: 1024,
        height: 1024,
        bytes: 1_500_000 + u64::from(number * 7919 % 100_000),
        negative_prompt: "blurry, lowres, text, watermark".into(),
        model: Some("sd/a-model".into()),
        model_name: Some("a-model".into()),
        family: Some("sdxl".into()),
        steps: Some(25),
        guidance: Some(7.0),
        scheduler: Some("euler".into()),
        seed: Some(number.into()),
        text: format!("{prompt}\nSteps: 25, Sampler: Euler, CFG scale: 7, Seed: {number}, Size: 1024x1024"),
        prompt,
        ..Details::default()
    };
    New {
        kept: Kept::random().unwrap(),
        account: Some(account),
        created_at: stage::BEGINNING - i64::from(number) * 60,
        job: None,
        public: number.is_multiple_of(50).then_some(None),
        took_ms: Some(4000),
        details,
    }
}

/// The median and the least of the times until the answer was there.
async fn measure(stage: &Stage, key: &str, path: &str) -> Option<[f64; 2]> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let request = stage.request(Method::GET, path).header("x-api-key", key);
        let began = Instant::now();
        let answer = request.send().await.unwrap();
        if answer.status() != 200 {
            return None;
        }
        answer.bytes().await.unwrap();
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Some([times[ROUNDS / 2], times[0]].map(|time: Duration| time.as_secs_f64() * 1e3))
}

#[tokio::main]
async fn main() {
    let sizes: Vec<u32> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![10_000, 100_000] } else { sizes };
    for size in sizes {
        let stage = Stage::storing("require_auth: true", "gallery_page_size: 60").await;
        stage.set_up().await;
        let owner = stage.person("owner", Role::User).await;
        let other = stage.person("other", Role::User).await;
        let admin = stage.person("chief", Role::Admin).await;
        for first in (0..size).step_by(AT_ONCE as usize) {
            // One of a thousand is somebody else's.
            let account = move |number: u32| if number % 1000 == 999 { other.account } else { owner.account };
            stage
                .write(move |transaction| {
                    (first..size.min(first + AT_ONCE))
                        .try_for_each(|number| pictures::add(transaction, &picture(account(number), number)))
                })
                .await;
        }
        println!("{size} pictures: median and least of {ROUNDS} in ms");
        for (who, key) in [("owner", &owner.key), ("administrator", &admin.key)] {
            for (name, path) in PATHS {
                match measure(&stage, key, path).await {
                    Some([median, least]) => println!("{who:>14} {name:>20}: {median:8.2} {least:8.2}"),
                    None => println!("{who:>14} {name:>20}: not there"),
                }
            }
        }
    }
}
