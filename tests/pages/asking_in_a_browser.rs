// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Every field of the form that asks for pictures, and waiting for them, in a real browser with JavaScript and without.

use alice::auth::Role;

use super::visitor::{Visitor, person, with_ada_who_paints};
use crate::browser::{Browser, keys};
use crate::harness::Server;
use crate::loras;

/// One job at a time, which takes longer than any test.
const ENDLESS: &str = "generation: { backend: paint, max_concurrent: 1, \
                       backend_options: { paint: { step_ms: 60000 } } }";

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn every_setting_is_what_the_picture_is_made_with() {
    let server = Server::start(loras::directory("backend: paint"), &[]);
    for script in [true, false] {
        let browser = Browser::start(script).await;
        browser.open(&server.base).await;
        browser.write("#prompt", "a fox").await;
        browser.click("#count [value='2']").await;
        browser.click(".loras summary").await;
        browser.write(".loras [name$='kohya']", "0.5").await;
        browser.click(".more:has(#steps) > summary").await;
        browser.write("#negative_prompt", "a hat").await;
        browser.write("#width", "192").await;
        browser.write("#height", "128").await;
        browser.click("#scheduler [value=ddim]").await;
        browser.write("#steps", "3").await;
        browser.write("#guidance_scale", "4.5").await;
        browser.click("#larger option:nth-child(2)").await;
        browser.write("#seed", "11").await;
        browser.click("button.go").await;
        browser.wait("figure:nth-of-type(2) a.large img").await;
        let told = browser.text(".parameters").await;
        for part in ["kohya:0.5", "a hat", "ddim", "Steps3", "4.5", "Second run"] {
            assert!(told.contains(part), "{part}, script: {script}: {told}");
        }
        let size = browser.property("figure a.large img", "naturalWidth").await.as_u64().unwrap();
        assert!(size > 192, "painted a second time, larger: {size}");
        // The seed of the second picture fills in the form.
        browser.click("figure:nth-of-type(2) figcaption span a").await;
        browser.until("document.querySelector('#seed').value === '12'").await;
        assert!(browser.value("#prompt").await.starts_with("a fox"), "script: {script}");
        browser.close().await;
    }
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn who_may_see_a_picture_is_chosen_beforehand() {
    let stage = with_ada_who_paints("registration_mode: open").await;
    person(&stage, "Grace", Role::User).await;
    let grace = Visitor::known(&stage, "Grace").await;
    for script in [true, false] {
        let browser = Browser::start(script).await;
        browser.log_in(&stage.base, grace.cookie.as_ref().unwrap()).await;
        browser.open(&format!("{}/?prompt=a+fox&steps=1", stage.base)).await;
        browser.click("#share option:nth-child(2)").await;
        browser.click("button.go").await;
        browser.wait("figure a.large img").await;
        browser.click("figcaption a[href$='#share']").await;
        browser.wait("[value=withdraw]").await;
        browser.close().await;
    }
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn a_picture_to_begin_with_changes_as_much_as_is_wished() {
    let server = Server::paint().await;
    let picture = server.directory.path().join("chosen.png");
    std::fs::write(&picture, crate::edits::picture(128, 128)).unwrap();
    for script in [true, false] {
        let browser = Browser::start(script).await;
        browser.open(&format!("{}/?prompt=a+fox", server.base)).await;
        browser.click(".begin summary").await;
        browser.write("#image", picture.to_str().unwrap()).await;
        browser.write("#strength", keys::LEFT).await;
        browser.click("button.go").await;
        browser.wait("figure a.large img").await;
        let told = browser.text(".parameters").await;
        assert!(told.contains("strength 0.7") && !told.contains("strength 0.75"), "script: {script}: {told}");
        browser.close().await;
    }
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn pictures_lead_on_from_the_page_where_they_were_made() {
    let server = Server::paint().await;
    for script in [true, false] {
        let browser = Browser::start(script).await;
        browser.open(&format!("{}/?prompt=a+fox&seed=7&steps=1&size=256x256", server.base)).await;
        browser.click("button.go").await;
        browser.wait("figure a.large img").await;
        let page = browser.run("return location.href").await;
        let page = page.as_str().unwrap();
        let elsewhere = format!("location.href !== '{page}' && document.querySelector('figure a.large img')");
        browser.click("figcaption form[action$='/vary'] button").await;
        browser.until(&elsewhere).await;
        assert_ne!(browser.text("figcaption span a").await, "7");
        browser.open(page).await;
        browser.click("figcaption form[action$='/upscale'] button").await;
        browser.until(&elsewhere).await;
        assert_eq!(browser.property("figure a.large img", "naturalWidth").await, 512, "script: {script}");
        browser.open(page).await;
        browser.click("figcaption a[href*='source=']").await;
        browser.wait(".begin[open]").await;
        browser.close().await;
    }
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn the_place_in_line_is_told_as_it_changes() {
    for script in [true, false] {
        let server = Server::with(ENDLESS).await;
        server.submit(&[("prompt", "the first")]).await;
        let second = server.submit(&[("prompt", "the second")]).await.url().path().to_owned();
        let browser = Browser::start(script).await;
        browser.open(&format!("{}/?prompt=the+third", server.base)).await;
        browser.click("button.go").await;
        let says = |text: &str| format!("document.querySelector('#doing')?.textContent === '{text}'");
        browser.until(&says("1 is before you")).await;
        server.client.post(format!("{}{second}/cancel", server.base)).send().await.unwrap();
        browser.until(&says("You are next")).await;
        browser.click_at_once(".now button").await;
        browser.wait(".end").await;
        assert_eq!(browser.text(".end h1").await, "Cancelled", "script: {script}");
        browser.close().await;
    }
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn finished_pictures_are_seen_while_others_are_made_and_stay_when_those_are_cancelled() {
    for script in [true, false] {
        // One picture at a time, with its negative prompt.
        let slow = "engine: { max_rows: 2 }\n\
                    generation: { backend: paint, backend_options: { paint: { step_ms: 100 } } }";
        let server = Server::with(slow).await;
        let browser = Browser::start(script).await;
        browser.open(&format!("{}/?prompt=a+fox&steps=4&count=16", server.base)).await;
        browser.click("button.go").await;
        browser.wait(".live").await;
        // The first ones are there while the others are still being made.
        browser.wait(".live figure a.large img").await;
        browser.click_at_once(".now button").await;
        browser.wait(".end").await;
        let finished = browser.find_all("figure a.large img").await;
        assert!((1..16).contains(&finished), "{finished} are finished, script: {script}");
        let told = browser.text(".end").await;
        assert!(told.contains(&format!("{finished} of 16 pictures were finished before that")), "{told}");
        browser.close().await;
    }
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn without_scripts_a_picture_is_seen_growing_and_may_be_cancelled() {
    let slow = "generation: { backend: paint, backend_options: { paint: { step_ms: 100 } } }";
    let server = Server::with(slow).await;
    let browser = Browser::start(false).await;
    browser.open(&format!("{}/?prompt=a+fox&steps=150", server.base)).await;
    browser.click("button.go").await;
    browser.wait(".live .preview[src*='/preview?']").await;
    browser.until("document.querySelector('.preview')?.naturalWidth > 0").await;
    browser.until("document.querySelector('#bar')?.value >= 1").await;
    browser.click_at_once(".now button").await;
    browser.wait(".end").await;
    assert_eq!(browser.text(".end h1").await, "Cancelled");
    assert_eq!(browser.value("#prompt").await, "a fox", "to be asked for again");
    browser.close().await;
}
