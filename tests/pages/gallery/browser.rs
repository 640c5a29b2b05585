// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The gallery in a real browser, with and without JavaScript.

use serde_json::Value;

use super::finding::five;
use super::*;
use crate::browser::{Browser, keys};

/// Ids of the tiles, in their order.
const TILES: &str = "return [...document.querySelectorAll('.tile')].map(({ id }) => id.slice(1))";

pub(super) async fn tiles(browser: &Browser) -> Vec<String> {
    let tiles = browser.run(TILES).await;
    tiles.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// A browser in which Grace is logged in, and her two pictures, the newest first.
pub(super) async fn opened(script: bool) -> (Stage, Browser, [String; 2]) {
    let (stage, grace, _) = stage().await;
    let apple = painted(&stage, &grace, "a red apple").await;
    let fox = painted(&stage, &grace, "a fox").await;
    let cookie = Visitor::known(&stage, "Grace").await.cookie.unwrap();
    let browser = Browser::start(script).await;
    browser.look(1280, 800, "light").await;
    browser.log_in(&stage.base, &cookie).await;
    browser.open(&format!("{}/gallery", stage.base)).await;
    (stage, browser, [fox, apple])
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn everything_is_done_by_keyboard() {
    let (stage, browser, [fox, apple]) = opened(true).await;
    browser.run("document.querySelector('.tile a').focus()").await;
    browser.press(keys::RIGHT).await;
    browser.until(&format!("document.activeElement.closest('#p{apple}')")).await;
    browser.press(" ").await;
    browser.until("document.querySelector('.bulk output').checkVisibility()").await;
    assert_eq!(browser.property(".bulk output", "textContent").await, "1 selected");
    browser.press("f").await;
    browser.until(&format!("document.querySelector('#p{apple} .star').ariaPressed === 'true'")).await;
    browser.press(keys::ESCAPE).await;
    browser.until("!document.querySelector('.pick:checked')").await;
    browser.press("?").await;
    browser.until("document.querySelector('dialog.keys').open").await;
    browser.press(keys::ESCAPE).await;
    browser.until("!document.querySelector('dialog.keys').open").await;

    // To the trash and back.
    browser.run("document.querySelector('.tile a').focus()").await;
    browser.press(keys::DELETE).await;
    browser.until("document.querySelector('#news form')").await;
    assert_eq!(tiles(&browser).await, std::slice::from_ref(&apple));
    assert_eq!(browser.property("#news p", "textContent").await, "Moved 1 picture to the trash.");
    assert_eq!(
        browser.property(".sum", "textContent").await.as_str().unwrap().split(" ·").next(),
        Some("1 picture")
    );
    browser.click("#news button").await;
    browser.until("document.querySelectorAll('.tile').length === 2").await;
    browser.until("!location.search").await;

    // One picture, the next, and back to where it was.
    browser.run("document.querySelector('.tile a').focus()").await;
    browser.press(keys::ENTER).await;
    browser.arrives(&format!("/gallery/{fox}"), "Enter opens").await;
    browser.press(keys::RIGHT).await;
    browser.arrives(&format!("/gallery/{apple}"), "right turns over").await;
    assert_eq!(browser.property(".view .star", "ariaPressed").await, "true", "the favourite was kept");
    browser.press(keys::LEFT).await;
    browser.arrives(&format!("/gallery/{fox}"), "left turns back").await;
    browser.press(keys::ESCAPE).await;
    browser.arrives("/gallery", "Escape leads back").await;
    assert_eq!(browser.run("return location.hash").await, format!("#p{fox}"));
    browser.close().await;
    drop(stage);
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn a_star_is_turned_without_loading_the_page_and_a_range_is_selected_with_shift() {
    let (stage, browser, [fox, apple]) = opened(true).await;
    browser.run("window.same = true").await;
    browser.run(&format!("document.querySelector('#p{fox} .star').click()")).await;
    browser.until(&format!("document.querySelector('#p{fox} [name=unstar]')")).await;
    let mut grace = Visitor::known(&stage, "Grace").await;
    while shown(&grace.get("/gallery?favourites=on").await.text) != [fox.clone()] {
        tokio::task::yield_now().await;
    }
    browser.run(&format!("document.querySelector('#p{fox} .pick').click()")).await;
    let shift = "dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true, shiftKey: true }))";
    browser.run(&format!("document.querySelector('#p{apple} .pick').{shift}")).await;
    browser.until("document.querySelectorAll('.pick:checked').length === 2").await;
    browser.click("[data-select=none]").await;
    browser.until("!document.querySelector('.pick:checked')").await;
    assert_eq!(browser.run("return window.same").await, true, "all of that on one page");

    // On its own page too.
    browser.open(&format!("{}/gallery/{fox}", stage.base)).await;
    browser.click(".view .star").await;
    browser.until("document.querySelector('.view .star').ariaPressed === 'false'").await;
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn more_pages_come_as_one_nears_the_end_and_the_way_back_leads_to_the_picture() {
    let (server, ids) = five().await;
    let browser = Browser::start(true).await;
    browser.look(390, 844, "dark").await;
    browser.open(&format!("{}/gallery", server.base)).await;
    browser.until("document.querySelectorAll('.tile').length === 5").await;
    assert_eq!(tiles(&browser).await, ids, "each once and in their order");
    assert_eq!(browser.run("return document.querySelector('.pager [rel=next]')").await, Value::Null);
    browser.click(&format!("#p{} a", ids[4])).await;
    browser.arrives(&format!("/gallery/{}", ids[4]), "the last picture").await;
    browser.post("/back", json!({})).await;
    browser.arrives("/gallery", "the way back").await;
    assert_eq!(browser.run("return location.search + location.hash").await, format!("?page=3#p{}", ids[4]));
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn pictures_are_selected_changed_and_brought_back_without_javascript() {
    let (stage, browser, [fox, apple]) = opened(false).await;
    let view = format!("/gallery/{fox}");
    // The bar is there once a picture is selected.
    assert_eq!(browser.run("return document.querySelector('.bulk').checkVisibility()").await, false);
    for id in [&fox, &apple] {
        browser.click(&format!("#p{id} .pick")).await;
    }
    browser.click(".bulk [value=favourite]").await;
    browser.wait("#news p").await;
    assert_eq!(browser.run("return document.querySelectorAll('[name=unstar]').length").await, 2);
    browser.click(&format!("#p{apple} .pick")).await;
    browser.click(".bulk [value=trash]").await;
    browser.wait("#news form").await;
    assert_eq!(tiles(&browser).await, std::slice::from_ref(&fox));
    browser.click("#news button").await;
    browser.wait(&format!("#p{apple}")).await;

    // Looking for one, opening it, tagging, sharing, and throwing it away.
    browser.write("#q", "fox").await;
    browser.click(".sift > button").await;
    browser.wait(".chips").await;
    assert_eq!(tiles(&browser).await, std::slice::from_ref(&fox));
    browser.click(".tile a").await;
    browser.arrives(&view, "a picture").await;
    browser.write("#tags", "winter, snow").await;
    browser.click("[value=tag]").await;
    browser.wait(".chips [value=winter]").await;
    browser.click(".chips [value=snow]").await;
    browser.wait(".chips li:only-child [value=winter]").await;
    assert_eq!(browser.run("return document.querySelectorAll('.chips li').length").await, 1);
    browser.click("[value=publish]").await;
    browser.wait("[value=withdraw]").await;
    browser.click("[value=withdraw]").await;
    browser.wait("[value=publish]").await;
    browser.click(".beside [value=trash]").await;
    browser.wait("#news form").await;
    browser.open(&format!("{}/gallery/trash", stage.base)).await;
    browser.click(".sure summary").await;
    browser.click(".sure button").await;
    browser.wait(".nothing").await;
    browser.open(&format!("{}/gallery", stage.base)).await;
    assert_eq!(tiles(&browser).await, [apple]);
    browser.close().await;
}
