// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The queue: who sees which jobs, where they stand, and who may cancel them.

use alice::auth::Role;
use reqwest::StatusCode;
use serde_json::json;

use super::visitor::{Visitor, person, with_ada};
use crate::browser::Browser;
use crate::harness::Server;

/// One job at a time, which takes longer than any test.
const ENDLESS: &str = "generation: { backend: paint, max_concurrent: 1, \
                       backend_options: { paint: { step_ms: 60000 } } }";

async fn page(server: &Server, path: &str) -> String {
    let answer = server.get(path).await;
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    answer.text().await.unwrap()
}

#[tokio::test]
async fn jobs_stand_in_the_order_in_which_they_begin_and_all_can_be_cancelled_at_once() {
    let server = Server::with(ENDLESS).await;
    let empty = page(&server, "/queue").await;
    assert!(empty.contains("Nothing is waiting") && !empty.contains("Cancel all"));
    for prompt in ["first fox", "second fox", "third fox"] {
        server.submit(&[("prompt", prompt), ("steps", "9")]).await;
    }
    let running = loop {
        let page = page(&server, "/queue").await;
        if page.contains("Getting ready") {
            break page;
        }
        tokio::task::yield_now().await;
    };
    let order: Vec<_> =
        ["Being made", "first fox", "In line", "second fox", "You are next", "third fox", "1 is before you"]
            .map(|text| running.find(text).unwrap_or_else(|| panic!("no `{text}` in {running}")))
            .into();
    assert!(order.is_sorted(), "{order:?}");
    assert!(running.contains("<noscript><meta http-equiv=\"refresh\""), "renewed without JavaScript too");
    assert!(running.contains("1 running, 2 waiting"));

    let cancelled = server.client.post(format!("{}/queue/cancel", server.base)).send().await.unwrap();
    assert_eq!(cancelled.url().path(), "/queue");
    let page = cancelled.text().await.unwrap();
    assert!(page.contains("Nothing is waiting") && page.matches("Cancelled").count() == 3, "{page}");
}

#[tokio::test]
async fn a_finished_job_shows_its_picture_and_how_long_it_took() {
    let server = Server::paint().await;
    super::jobs::end(&server, server.submit(&[("prompt", "a fox"), ("steps", "1"), ("count", "2")]).await)
        .await;
    let page = page(&server, "/queue").await;
    assert!(
        page.contains("Ended lately") && page.contains("Done in ") && page.contains("2 pictures"),
        "{page}"
    );
    assert!(page.contains("<img class=\"thumb\" src=\"/"));
}

#[tokio::test]
async fn everyone_sees_their_own_jobs_and_administrators_everybodys() {
    let stage = with_ada("").await;
    for name in ["Bob", "Eve"] {
        person(&stage, name, Role::User).await;
    }
    let mut ada = Visitor::known(&stage, "Ada").await;
    let mut bob = Visitor::known(&stage, "Bob").await;
    let mut eve = Visitor::known(&stage, "Eve").await;
    let address = bob.post("/", &[("prompt", "<b>Bob's fox")]).await.to.unwrap();
    let id = address.trim_start_matches("/jobs/").split('?').next().unwrap().to_owned();
    bob.post("/", &[("prompt", "another fox")]).await;

    let own = bob.get("/queue").await.text;
    assert!(
        own.contains("&#60;b&#62;Bob&#39;s fox") && own.contains("Cancel all") && !own.contains("Everyone's")
    );
    assert!(!eve.get("/queue").await.text.contains("fox"));
    assert_eq!(eve.get("/queue?of=everyone").await.status, 403);
    assert!(!ada.get("/queue").await.text.contains("fox"), "not her own");
    let all = ada.get("/queue?of=everyone").await.text;
    assert!(all.contains("Bob&#39;s fox") && all.contains("by <span class=\"name\">Bob</span>"), "{all}");

    assert_eq!(eve.post(&format!("/queue/{id}/cancel"), &[]).await.status, 404);
    assert_eq!(eve.post("/queue/cancel", &[]).await.to.as_deref(), Some("/queue"));
    assert!(!bob.get("/queue").await.text.contains("Cancelled"));
    let after = ada.post(&format!("/queue/{id}/cancel?of=everyone"), &[]).await;
    assert_eq!(after.to.as_deref(), Some("/queue?of=everyone"));
    let all = ada.get("/queue?of=everyone").await.text;
    assert!(all.contains("Cancelled") && all.contains("another fox"), "{all}");
    let mut nobody = Visitor::new(&stage);
    assert_eq!(nobody.get("/queue").await.to.as_deref(), Some("/login?return=/queue"));
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn a_browser_renews_the_queue_by_itself_until_somebody_pauses_it() {
    let server = Server::with(ENDLESS).await;
    let browser = Browser::start(true).await;
    browser.look(1280, 800, "light").await;
    browser.open(&format!("{}/queue", server.base)).await;
    // Sooner than people need it.
    browser.run("document.querySelector('[data-renew]').dataset.renew = '0.05'").await;
    let asked = json!({"prompt": "a fox", "stream": true, "detach": true});
    let first = server.post("/v1/images/generations", &asked).await;
    browser.wait("#jobs progress").await;
    browser.click("[data-pause]").await;
    assert_eq!(browser.property("[data-pause]", "textContent").await, "Go on updating");
    browser.click("#jobs form button").await;
    browser.wait("#jobs .calm").await;
    drop(first);
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn a_browser_without_scripts_cancels_from_the_queue() {
    let server = Server::with(ENDLESS).await;
    let browser = Browser::start(false).await;
    browser.look(1280, 800, "light").await;
    for _ in 0..2 {
        server.submit(&[("prompt", "a fox")]).await;
    }
    browser.open(&format!("{}/queue", server.base)).await;
    browser.click(".all summary").await;
    browser.click(".all .danger").await;
    browser.wait("#jobs .calm").await;
    assert!(browser.property("[data-pause]", "hidden").await == true, "nothing to pause without a script");
    browser.close().await;
}

/// One slow job that is seen to move on: its step, and a preview of its picture.
async fn moves_on(script: bool) {
    let slow = "generation: { backend: paint, backend_options: { paint: { step_ms: 100 } } }";
    let server = Server::with(slow).await;
    server.submit(&[("prompt", "a fox"), ("steps", "150"), ("count", "4")]).await;
    let browser = Browser::start(script).await;
    browser.look(1280, 800, "light").await;
    browser.open(&format!("{}/queue", server.base)).await;
    browser.wait("#jobs progress").await;
    let first = browser.property("#jobs progress", "value").await;
    browser.wait(&format!("#jobs progress:not([value='{}'])", first.as_f64().unwrap())).await;
    browser.wait("#jobs img.thumb[src*='/preview?']").await;
    assert!(browser.property("#jobs progress", "value").await.as_f64() > first.as_f64());
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn a_browser_sees_a_slow_job_move_on() {
    moves_on(true).await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn a_browser_without_scripts_sees_a_slow_job_move_on() {
    moves_on(false).await;
}

/// One job is cancelled by its own button, and then all others.
async fn cancels(script: bool) {
    let server = Server::with(ENDLESS).await;
    for prompt in ["first fox", "second fox", "third fox"] {
        server.submit(&[("prompt", prompt)]).await;
    }
    let browser = Browser::start(script).await;
    browser.open(&format!("{}/queue", server.base)).await;
    browser.wait("#jobs ol li:nth-child(2)").await;
    browser.click_at_once("#jobs ol li:nth-child(2) button").await;
    browser.until("document.querySelector('#news').textContent === '1 running, 1 waiting'").await;
    let left = "return [...document.querySelectorAll('#jobs ol a.name')].map((name) => name.textContent)";
    assert_eq!(browser.run(left).await, json!(["second fox"]));
    browser.click_at_once(".all summary").await;
    browser.click_at_once(".all .danger").await;
    browser.wait("#jobs .calm").await;
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn a_browser_cancels_one_job_and_then_all() {
    cancels(true).await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn a_browser_without_scripts_cancels_one_job_and_then_all() {
    cancels(false).await;
}
