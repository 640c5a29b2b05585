// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Whether the time of a refused login tells if the name exists: medians of names that do and names that do
//! not, over HTTP, in turns. `cargo bench -p alice --bench login -- <rounds>`.
// The numbers are this program's answer.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use alice::auth::{Role, accounts};
use alice::secret::Secret;
use reqwest::Method;

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/harness.rs"]
mod harness;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/stage.rs"]
mod stage;

const UNLIMITED: &str = "limits: { logins_per_minute: 1000000, logins_per_minute_per_address: 1000000 }";

/// Seconds until a login with a wrong password was refused.
async fn refused(stage: &stage::Stage, name: &str) -> Duration {
    let form = [("name", name), ("password", "not the password")];
    let request = stage.request(Method::POST, "/login").form(&form);
    let began = Instant::now();
    let answer = request.send().await.unwrap();
    let took = began.elapsed();
    assert_eq!(answer.status(), 401);
    took
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

#[tokio::main]
async fn main() {
    let rounds = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(200);
    let stage = stage::Stage::with("require_auth: true", UNLIMITED).await;
    stage.set_up().await;
    let known = stage.person("somebody", Role::User).await;
    let hash = stage.app.passwords.hash(Secret::from("the right password")).await.unwrap();
    stage.write(move |transaction| accounts::set_password(transaction, known.account, &hash)).await;
    stage.person("without password", Role::User).await;
    let names = ["somebody", "nobody at all", "without password"];
    let mut times = names.map(|_| Vec::new());
    for round in 0..rounds {
        // Each name comes first, second and last equally often.
        for place in 0..names.len() {
            let which = (round + place) % names.len();
            times[which].push(refused(&stage, names[which]).await);
        }
    }
    let medians = times.map(median);
    for (name, median) in names.iter().zip(medians) {
        println!("{name:>18}: median {median:.3} ms, {:.4} of a known name's", median / medians[0]);
    }
}
