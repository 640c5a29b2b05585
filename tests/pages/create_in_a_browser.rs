// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Asking for pictures and looking at them in a real browser, with JavaScript and, where something can be done without,
//! also so.

use serde_json::json;

use crate::browser::{Browser, keys};
use crate::harness::Server;
use crate::loras;

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn the_first_picture_is_one_press_away_with_and_without_scripts() {
    for script in [true, false] {
        let server = Server::paint().await;
        let browser = Browser::start(script).await;
        browser.open(&server.base).await;
        browser.click(".starters button").await;
        browser.wait("figure a.large img").await;
        browser.close().await;
    }
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn tokens_are_counted_and_weights_change_while_one_types() {
    let server = Server::paint().await;
    let browser = Browser::start(true).await;
    browser.open(&server.base).await;
    browser.write("#prompt", "a red fox").await;
    browser.until("document.querySelector('#tokens').textContent === '3 of 22 tokens'").await;
    let weigh = |key: &str| {
        format!(
            "document.querySelector('#prompt').dispatchEvent(new KeyboardEvent('keydown', \
             {{ key: '{key}', ctrlKey: true, bubbles: true, cancelable: true }}))"
        )
    };
    browser.run("document.querySelector('#prompt').setSelectionRange(2, 5)").await;
    browser.run(&weigh("ArrowUp")).await;
    assert_eq!(browser.value("#prompt").await, "a (red:1.1) fox");
    browser.run(&weigh("ArrowUp")).await;
    assert_eq!(browser.value("#prompt").await, "a (red:1.2) fox");
    for _ in 0..2 {
        browser.run(&weigh("ArrowDown")).await;
    }
    assert_eq!(browser.value("#prompt").await, "a red fox", "without a weight again");
    // The word at the caret, where nothing is selected.
    browser.run("document.querySelector('#prompt').setSelectionRange(8, 8)").await;
    browser.run(&weigh("ArrowDown")).await;
    assert_eq!(browser.value("#prompt").await, "a red (fox:0.9)");
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn what_is_offered_follows_the_chosen_model() {
    let server = Server::start(loras::directory("backend: paint"), &[]);
    let browser = Browser::start(true).await;
    browser.open(&server.base).await;
    let groups = "return [...document.querySelectorAll('#size optgroup')].map((group) => group.label)";
    let first = browser.run(groups).await;
    assert_eq!(first.as_array().unwrap().len(), 1, "{first}");
    let choose = "const [other] = [...document.querySelectorAll('[name=model]')].filter((model) => !model.checked);\
                  other.click(); return other.dataset.name";
    let name = browser.run(choose).await;
    let second = browser.run(groups).await;
    assert_ne!(first, second);
    assert_eq!(browser.run("return document.querySelector('.pick .chosen').textContent").await, name);
    browser.close().await;

    // Without scripts all sizes are there, and the model's own is what is sent.
    let browser = Browser::start(false).await;
    browser.open(&server.base).await;
    assert_eq!(browser.find_all("#size optgroup").await, 2);
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn seeds_and_sizes_are_turned_by_buttons() {
    let server = Server::paint().await;
    let browser = Browser::start(true).await;
    browser.open(&format!("{}/?prompt=a+fox&seed=7&size=512x512&width=320&height=192", server.base)).await;
    browser.click("#swap").await;
    assert_eq!([browser.value("#width").await, browser.value("#height").await], ["192", "320"]);
    browser.click("[data-seed='']").await;
    assert_eq!(browser.value("#seed").await, "");
    browser.click("button.go").await;
    browser.wait("figure a.large img").await;
    let seed = browser.run("return document.querySelector('figcaption span a').textContent").await;
    browser.run("document.querySelector('#seed').closest('details').open = true").await;
    browser.click("[data-seed]:not([data-seed=''])").await;
    assert_eq!(browser.value("#seed").await, seed.as_str().unwrap());
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn every_picture_of_a_request_is_seen_large_by_keys() {
    let server = Server::paint().await;
    let browser = Browser::start(true).await;
    browser.open(&format!("{}/?prompt=a+fox&count=3&seed=7", server.base)).await;
    browser.click("button.go").await;
    browser.wait("figure:nth-of-type(3) a.large img").await;
    let sources = "return [...document.querySelectorAll('a.large img')].map((image) => image.src)";
    let sources = browser.run(sources).await;
    browser.click("figure:nth-of-type(2) a.large").await;
    browser.wait("dialog.stage[open]").await;
    let shown = "return document.querySelector('dialog.stage img').src";
    assert_eq!(browser.run(shown).await, sources[1]);
    browser.press(keys::RIGHT).await;
    assert_eq!(browser.run(shown).await, sources[2]);
    browser.press(keys::RIGHT).await;
    assert_eq!(browser.run(shown).await, sources[0], "round again");
    browser.press(keys::LEFT).await;
    assert_eq!(browser.run(shown).await, sources[2]);
    browser.press(keys::ESCAPE).await;
    browser.until("document.querySelector('dialog.stage') === null").await;
    let focused = browser.run("return document.activeElement.querySelector('img')?.src ?? null").await;
    assert_eq!(focused, sources[2], "the focus is at the picture that was seen last");
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn settings_are_restored_from_a_picture_with_and_without_scripts() {
    let server = Server::paint().await;
    let body = json!({"prompt": "a red apple", "seed": 7, "steps": 3, "response_format": "url"});
    let made = server.post_json("/v1/images/generations", &body).await;
    let file = server.client.get(made["data"][0]["url"].as_str().unwrap()).send().await.unwrap();
    let path = server.directory.path().join("made.png");
    std::fs::write(&path, file.bytes().await.unwrap()).unwrap();
    for script in [true, false] {
        let browser = Browser::start(script).await;
        browser.open(&server.base).await;
        browser.click(".begin summary").await;
        browser.write("#image", path.to_str().unwrap()).await;
        browser.click("[formaction='/restore']").await;
        browser.wait(".note[role=status]").await;
        assert_eq!(browser.value("#prompt").await, "a red apple");
        assert_eq!([browser.value("#seed").await, browser.value("#steps").await], ["7", "3"]);
        browser.close().await;
    }
}
