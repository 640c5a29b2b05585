// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a picture leads to and what is done with many of them, in a real browser: each with JavaScript and without.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::browser::{opened, tiles};
use super::*;
use crate::browser::Browser;

/// Waits for the page of a job with its finished picture.
async fn painted_page(browser: &Browser) {
    browser.until("location.pathname.startsWith('/jobs/')").await;
    browser.wait("figure a.large img").await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn a_picture_is_varied_enlarged_edited_and_asked_for_again() {
    for script in [true, false] {
        let (stage, browser, [fox, _]) = opened(script).await;
        let view = format!("{}/gallery/{fox}", stage.base);
        browser.open(&view).await;
        browser.click("form[action$='/vary'] button").await;
        painted_page(&browser).await;
        assert_ne!(browser.text("figcaption span a").await, "7", "another seed");
        assert!(browser.text(".parameters").await.contains("a fox"));

        browser.open(&view).await;
        browser.click("form[action$='/upscale'] button").await;
        painted_page(&browser).await;
        assert_eq!(browser.property("figure a.large img", "naturalWidth").await, 512, "script: {script}");

        browser.open(&view).await;
        browser.click("a[title^='Begin a new picture']").await;
        browser.wait(".begin[open]").await;
        assert_eq!(browser.value("#prompt").await, "a fox");
        browser.click("button.go").await;
        painted_page(&browser).await;
        assert!(browser.text(".parameters").await.contains("Begun with a picture"), "script: {script}");

        browser.open(&view).await;
        browser.click("a[title^='Fill in the form']").await;
        browser.wait("#prompt").await;
        let filled =
            [browser.value("#prompt").await, browser.value("#seed").await, browser.value("#steps").await];
        assert_eq!(filled, ["a fox", "7", "1"]);
        browser.close().await;
    }
}

/// The file that the browser puts into an empty directory.
async fn downloaded(directory: &Path) -> PathBuf {
    for _ in 0..600 {
        let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        // What is not whole yet has another name.
        if let Some(whole) = files.into_iter().find(|file| file.extension().is_some_and(|kind| kind == "zip"))
        {
            return whole;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("nothing was downloaded, but {:?}", std::fs::read_dir(directory).unwrap().collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn pictures_are_downloaded_as_one_file() {
    for script in [true, false] {
        let (_stage, browser, [_, apple]) = opened(script).await;
        let pick = format!("#p{apple} .pick");
        for (click, pictures) in [(".aside a[download]", 2), (".bulk [value=export]", 1)] {
            let directory = tempfile::tempdir().unwrap();
            let allowed = json!({"behavior": "allow", "downloadPath": directory.path()});
            let command = json!({"cmd": "Browser.setDownloadBehavior", "params": allowed});
            browser.post("/goog/cdp/execute", command).await;
            if pictures == 1 {
                browser.click(&pick).await;
            }
            browser.click(click).await;
            let file = std::fs::File::open(downloaded(directory.path()).await).unwrap();
            let archive = zip::ZipArchive::new(file).unwrap();
            let names: Vec<_> =
                archive.file_names().map(Result::unwrap).filter(|name| name.ends_with(".png")).collect();
            assert_eq!(names.len(), pictures, "{click}, script: {script}: {names:?}");
        }
        browser.close().await;
    }
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn many_pictures_are_tagged_and_shared_at_once() {
    for script in [true, false] {
        let (stage, browser, ids) = opened(script).await;
        let pick = async || {
            for id in &ids {
                browser.click(&format!("#p{id} .pick")).await;
            }
        };
        pick().await;
        browser.click(".bulk details:has(#bulk-tags) summary").await;
        browser.write("#bulk-tags", "Summer, fruit").await;
        browser.click(".bulk .fold [value=tag]").await;
        browser.wait("#news p").await;
        assert_eq!(browser.text("#news p").await, "2 pictures got the tags.");
        browser.open(&format!("{}/gallery", stage.base)).await;
        pick().await;
        browser.click(".bulk details:has(#bulk-tags) summary").await;
        browser.write("#bulk-tags", "fruit").await;
        browser.click(".bulk .fold [value=untag]").await;
        browser.until("!document.querySelector('#tag [value=fruit]')").await;
        assert_eq!(browser.find_all("#tag [value=summer]").await, 1);

        browser.open(&format!("{}/gallery", stage.base)).await;
        pick().await;
        browser.click(".bulk details:has(#bulk-hours) summary").await;
        browser.click("#bulk-hours [value='48']").await;
        browser.click(".bulk [value=publish]").await;
        browser.until("document.querySelectorAll('.tile .badge').length === 2").await;
        pick().await;
        browser.click(".bulk details:has(#bulk-hours) summary").await;
        browser.click(".bulk [value=withdraw]").await;
        browser.until("document.querySelectorAll('.tile .badge').length === 0").await;
        browser.close().await;
    }
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn pictures_are_searched_filtered_and_ordered() {
    for script in [true, false] {
        let (_stage, browser, [fox, apple]) = opened(script).await;
        browser.click(&format!("#p{apple} .star")).await;
        browser.wait(&format!("#p{apple} [name=unstar]")).await;
        let filters = ".sift summary";
        browser.click(filters).await;
        browser.click("#sort [value=oldest]").await;
        browser.click(".sift > button").await;
        browser.until(&format!("document.querySelector('.tile').id === 'p{apple}'")).await;
        assert_eq!(tiles(&browser).await, [apple.clone(), fox.clone()]);

        browser.click(filters).await;
        browser.click("[name=favourites]").await;
        browser.click(".sift > button").await;
        browser.until("document.querySelectorAll('.tile').length === 1").await;
        assert_eq!(tiles(&browser).await, std::slice::from_ref(&apple), "script: {script}");
        browser.write("#q", "fox").await;
        browser.click(".sift > button").await;
        browser.wait(".nothing").await;
        browser.click(".chips a[href*='q=fox']").await;
        browser.wait(&format!("#p{fox}")).await;
        assert_eq!(tiles(&browser).await, [fox], "only without the favourites");
        browser.close().await;
    }
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn the_trash_gives_one_back_and_takes_another_for_good() {
    for script in [true, false] {
        let (stage, browser, [fox, apple]) = opened(script).await;
        for id in [&fox, &apple] {
            browser.click(&format!("#p{id} .pick")).await;
        }
        browser.click(".bulk [value=trash]").await;
        browser.wait("#news form").await;
        browser.click(".tabs a[href='/gallery/trash']").await;
        browser.arrives("/gallery/trash", "the way to the trash").await;
        browser.click(&format!("#p{apple} .pick")).await;
        browser.click(".bulk [value=restore]").await;
        browser.until("document.querySelectorAll('.tile').length === 1").await;
        browser.click(&format!("#p{fox} .pick")).await;
        browser.click(".bulk summary").await;
        browser.click(".bulk [value=delete]").await;
        browser.wait(".nothing").await;
        browser.open(&format!("{}/gallery", stage.base)).await;
        assert_eq!(tiles(&browser).await, [apple], "script: {script}");
        browser.close().await;
    }
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn what_is_copied_is_said_or_selected_where_there_is_no_clipboard() {
    let (stage, browser, [fox, _]) = opened(true).await;
    let allow = async |state: &str| {
        let name = json!({"name": "clipboard-write"});
        browser.post("/permissions", json!({"descriptor": name, "state": state})).await;
    };
    let button = "[data-copy='#prompt-text']";
    let says = |text: &str| format!("document.querySelector(\"{button}\").textContent === '{text}'");
    browser.open(&format!("{}/gallery/{fox}", stage.base)).await;
    allow("granted").await;
    // Pressed twice before it says again what it does: what it said in between must not stay there.
    browser.run("window.later = []; window.setTimeout = (act) => later.push(act)").await;
    for _ in 0..2 {
        browser.click(button).await;
        browser.until(&says("Copied")).await;
    }
    browser.until("later.length === 2").await;
    browser.run("for (const act of later) act()").await;
    assert_eq!(browser.text(button).await, "Copy");
    allow("denied").await;
    browser.click(button).await;
    browser.until(&says("Press Ctrl+C")).await;
    assert_eq!(browser.run("return getSelection().toString()").await, "a fox");
    browser.click("[data-copy='#link']").await;
    browser.until("document.querySelector('#link').selectionEnd > 0").await;
    let whole =
        "const link = document.querySelector('#link'); return link.selectionEnd === link.value.length";
    assert_eq!(browser.run(whole).await, true);
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn an_administrator_limits_the_room_of_an_account() {
    for script in [true, false] {
        let (stage, grace, _) = stage().await;
        let ada = Visitor::known(&stage, "Ada").await;
        let browser = Browser::start(script).await;
        browser.log_in(&stage.base, ada.cookie.as_ref().unwrap()).await;
        browser.open(&format!("{}/admin/storage", stage.base)).await;
        let field = format!("#quota-{}", grace.account);
        browser.write(&field, "0.5").await;
        browser.click(&format!("form:has({field}) button")).await;
        browser.wait(".note[role=status]").await;
        assert_eq!(browser.value(&field).await, "0.5");
        browser.close().await;
    }
}
