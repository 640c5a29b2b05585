// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Every page of the table as a browser shows it, on a phone and on a desk, light and dark: axe finds nothing, nothing
//! stands out to the side, and nothing moves while it is loaded.

use std::collections::BTreeMap;

use alice::router::{Dialect, routes};
use reqwest::Method;
use serde_json::Value;

use super::visitor::{Visitor, person, with_ada_who_paints};
use crate::browser::Browser;
use crate::stage::Stage;

/// Routes that answer with something else than a page of their own.
const FILES: &[&str] =
    &["/gallery/export", "/jobs/{id}/preview", "/theme.css", "/web", "/web/", "/web/{file}"];

/// What a page is looked at on: width, height, colour scheme.
const SCREENS: &[(u32, u32, &str)] =
    &[(360, 780, "light"), (390, 844, "dark"), (1280, 800, "light"), (1920, 1080, "dark")];

/// Counts what moves, from the beginning of a page on.
const SHIFTS: &str = "return new Promise((done) => { let sum = 0; \
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => (sum += entry.value)))\
    .observe({ type: 'layout-shift', buffered: true }); setTimeout(() => done(sum), 100); })";

/// What stands out to the side: the first of it, if anything does.
const WIDE: &str = "const page = document.documentElement; if (page.scrollWidth <= innerWidth) return null; \
    return [...document.querySelectorAll('*')].filter((element) => element.getBoundingClientRect().right > innerWidth + 1)\
    .map((element) => element.outerHTML.slice(0, 120))[0] ?? 'something'";

/// What axe finds.
const AXE: &str = "return axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', \
    'best-practice'] }).then(({ violations }) => violations.map(({ id, help, nodes }) => \
    `${id}: ${help}: ${nodes.map(({ html }) => html.slice(0, 160)).join(' | ')}`))";

/// The address that stands for each route, by the names in it.
fn address(path: &str, samples: &BTreeMap<&str, String>) -> String {
    let sample = |prefix: &str| samples[prefix].clone();
    match path.split_once('{') {
        None => path.to_owned(),
        Some((before, rest)) => {
            let after = rest.split_once('}').unwrap().1;
            format!("{before}{}{after}", sample(before))
        }
    }
}

/// What is wrong with the page at `path` on a screen.
async fn faults(browser: &Browser, base: &str, path: &str, axe: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for &(width, height, scheme) in SCREENS {
        browser.look(width, height, scheme).await;
        browser.open(&format!("{base}{path}")).await;
        let mut fault = |what: String| faults.push(format!("{path} at {width} px, {scheme}: {what}"));
        let moved = browser.run(SHIFTS).await.as_f64().unwrap();
        if moved > 0.001 {
            fault(format!("moves by {moved}"));
        }
        if let Value::String(wide) = browser.run(WIDE).await {
            fault(format!("stands out: {wide}"));
        }
        browser.run(axe).await;
        for found in browser.run(AXE).await.as_array().unwrap() {
            fault(found.as_str().unwrap().to_owned());
        }
    }
    faults
}

/// Pages of a server that is in use, by the routes they stand for.
async fn samples(stage: &Stage, ada: &mut Visitor<'_>) -> BTreeMap<&'static str, String> {
    let asked = [("prompt", "a red fox in the snow"), ("count", "2"), ("steps", "2"), ("size", "256x256")];
    let job = ada.post("/", &asked).await.to.unwrap();
    let id = job.trim_start_matches("/jobs/").split('?').next().unwrap().to_owned();
    // Both: the first one is there while the other is still being made.
    while ada.get(&format!("/jobs/{id}")).await.text.matches("<img src=\"/images/").count() < 2 {
        tokio::task::yield_now().await;
    }
    // One of the two pictures lies in the trash.
    let pictures = ada.get("/gallery").await.text;
    let mut pictures = pictures
        .split("<li class=\"tile")
        .skip(1)
        .map(|tile| super::between(tile, "id=\"p", "\"").to_owned());
    let (picture, trashed) = (pictures.next().unwrap(), pictures.next().unwrap());
    ada.post_and_go("/gallery", &[("id", &trashed), ("action", "trash")]).await;
    let account = person(stage, "Grace", alice::auth::Role::User).await.account;
    BTreeMap::from([
        ("/jobs/", id),
        ("/gallery/", picture),
        ("/library/", "sd%2Falice-emoji".to_owned()),
        ("/admin/accounts/", account.to_string()),
    ])
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver, and axe-core, named by ALICE_TEST_AXE: .ci/run installs them"]
async fn every_page_is_fit_for_everyone_on_every_screen() {
    let axe = std::env::var_os("ALICE_TEST_AXE").expect("ALICE_TEST_AXE names axe.min.js");
    let axe = std::fs::read_to_string(axe).unwrap();
    let stage = with_ada_who_paints("registration_mode: open").await;
    let mut ada = Visitor::known(&stage, "Ada").await;
    let samples = samples(&stage, &mut ada).await;
    let browser = Browser::start(true).await;
    let pages = routes()
        .into_iter()
        .filter(|route| route.rule.dialect == Dialect::Page && route.method == Method::GET)
        .filter(|route| !FILES.contains(&route.path));
    let mut found = Vec::new();
    // What people see who have no login yet, before what only Ada sees.
    for path in ["/login", "/register", "/setup"] {
        found.extend(faults(&browser, &stage.base, path, &axe).await);
    }
    browser.log_in(&stage.base, ada.cookie.as_ref().unwrap()).await;
    for page in pages {
        found.extend(faults(&browser, &stage.base, &address(page.path, &samples), &axe).await);
    }
    found.extend(faults(&browser, &stage.base, "/jobs/nothing", &axe).await);
    browser.close().await;
    assert!(found.is_empty(), "{}", found.join("\n"));
}
