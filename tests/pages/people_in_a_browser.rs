// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! An account from its beginning to its last login, and the theme of the pages, in a real browser with JavaScript and
//! without.

use super::visitor::{PASSWORD, with_ada};
use crate::browser::Browser;
use crate::harness::Server;

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn an_account_is_made_used_and_left() {
    let stage = with_ada("registration_mode: open").await;
    for (script, name) in [(true, "Grace"), (false, "Zoe")] {
        let browser = Browser::start(script).await;
        browser.open(&format!("{}/register", stage.base)).await;
        browser.write("#name", name).await;
        browser.write("#password", PASSWORD).await;
        browser.click("form[action='/register'] button").await;
        browser.wait(".once").await;
        assert_eq!(browser.text(".menu .who").await, name, "logged in at once");

        browser.click(".menu .who").await;
        browser.arrives("/account", "the account").await;
        browser.write("#key-name", "printer").await;
        browser.click("form[action^='/account/keys#'] button").await;
        browser.wait("#keys .once").await;
        assert!(browser.text("#keys .once").await.starts_with("alice_"));
        browser.click("#keys .sure summary").await;
        browser.click("#keys .sure[open] .danger").await;
        browser.wait("#keys .tag.off").await;

        browser.write("#current", PASSWORD).await;
        browser.write("#new", "another horse battery").await;
        browser.click("#password button").await;
        browser.wait("#password .note").await;
        browser.click(".menu form button").await;
        browser.arrives("/login", "logged out").await;
        browser.write("#name", name).await;
        browser.write("#password", PASSWORD).await;
        browser.click("form[action='/login'] button").await;
        browser.wait(".problem").await;
        browser.write("#password", "another horse battery").await;
        browser.click("form[action='/login'] button").await;
        browser.wait(".menu .who").await;
        assert_eq!(browser.text(".menu .who").await, name);
        browser.close().await;
    }
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn a_theme_is_chosen_for_every_page_and_unchosen() {
    let server = Server::paint().await;
    for script in [true, false] {
        let browser = Browser::start(script).await;
        browser.look(1280, 800, "light").await;
        browser.open(&format!("{}/guide", server.base)).await;
        let ground = "getComputedStyle(document.body).backgroundColor";
        let light = browser.run(&format!("return {ground}")).await;
        let is_light = format!("document.readyState === 'complete' && {ground} === {light}");
        let is_dark = format!("document.readyState === 'complete' && {ground} !== {light}");
        browser.click(".theme [value=dark]").await;
        browser.until(&is_dark).await;
        assert_eq!(browser.run("return location.pathname").await, "/guide", "back where it was chosen");
        browser.open(&server.base).await;
        browser.until(&is_dark).await;
        browser.click(".theme [value=system]").await;
        browser.until(&is_light).await;
        browser.look(1280, 800, "dark").await;
        browser.until(&is_dark).await;
        browser.click(".theme [value=light]").await;
        browser.until(&is_light).await;
        browser.close().await;
    }
}
