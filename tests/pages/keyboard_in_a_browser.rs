// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The pages by keyboard alone, on the screen of a small console: the focus comes to everything, in the order of the
//! page, and is seen wherever it is.

use alice::auth::Role;
use serde_json::{Value, json};

use super::gallery::painted;
use super::visitor::{Visitor, person, with_ada_who_paints};
use crate::browser::{Browser, keys};
use crate::stage::Stage;

/// Numbers everything on the page that the focus must come to, and says how much that is.
const NUMBER: &str = "const all = document.querySelectorAll('a[href], button, input:not([type=hidden]), select, \
    textarea, summary, [tabindex=\"0\"]'); \
    const reached = [...all].filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.disabled); \
    reached.forEach((one, place) => (one.dataset.stop = place)); return reached.length";

/// Where the focus is: the number, and what is wrong with how it is seen.
const FOCUS: &str = "const at = document.activeElement; const box = at.getBoundingClientRect(); \
    const ring = (of) => { const { outlineStyle, outlineWidth } = getComputedStyle(of); \
        return outlineStyle !== 'none' && parseFloat(outlineWidth) > 0; }; \
    const hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2); \
    const free = hit && (at.contains(hit) || hit.contains(at) || hit.closest('label')?.control === at); \
    const fault = !(ring(at) || ring(at.parentElement)) ? 'no ring' : free ? null : 'covered'; \
    return [at.dataset.stop === undefined ? null : Number(at.dataset.stop), fault, at.outerHTML.slice(0, 120)]";

/// A browser in which Grace is logged in, who has a picture.
async fn grace() -> (Stage, Browser, String) {
    let stage = with_ada_who_paints("registration_mode: open").await;
    let grace = person(&stage, "Grace", Role::User).await;
    let fox = painted(&stage, &grace, "a fox").await;
    let cookie = Visitor::known(&stage, "Grace").await.cookie.unwrap();
    let browser = Browser::start(true).await;
    browser.look(1280, 800, "light").await;
    browser.log_in(&stage.base, &cookie).await;
    (stage, browser, fox)
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn the_focus_comes_to_everything_in_its_order_and_is_seen() {
    let (stage, browser, fox) = grace().await;
    let view = format!("/gallery/{fox}");
    let mut faults = Vec::new();
    for path in ["/?prompt=a+fox&steps=3", "/gallery", &view, "/queue", "/library", "/status", "/account"] {
        browser.open(&format!("{}{path}", stage.base)).await;
        let count = browser.run(NUMBER).await.as_u64().unwrap();
        browser.run("document.querySelector('.skip').focus()").await;
        let mut order = vec![0];
        // Some more, for what scrolls and takes the focus for that.
        for _ in 0..count + 5 {
            browser.press(keys::TAB).await;
            let at = browser.run(FOCUS).await;
            let Some(stop) = at[0].as_u64() else { continue };
            order.push(stop);
            if at[1] != Value::Null {
                faults.push(format!("{path}: {at}"));
            }
            if stop + 1 == count {
                break;
            }
        }
        if order != (0..count).collect::<Vec<_>>() {
            faults.push(format!("{path}: {count} stops, but {order:?}"));
        }
    }
    browser.close().await;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn the_menu_is_walked_by_keys_and_may_be_skipped() {
    let (stage, browser, _) = grace().await;
    let start = format!("{}/account", stage.base);
    browser.open(&start).await;
    browser.press(keys::TAB).await;
    let seen =
        "return [document.activeElement.className, document.activeElement.getBoundingClientRect().top >= 0]";
    assert_eq!(browser.run(seen).await, json!(["skip", true]), "the first stop leads past the menu");
    browser.press(keys::ENTER).await;
    browser.until("document.activeElement.id === 'main'").await;
    browser.press(keys::TAB).await;
    assert_eq!(browser.run("return Boolean(document.activeElement.closest('#main'))").await, true);

    let doors = "return [...document.querySelectorAll('.doors a')].map((door) => door.getAttribute('href'))";
    let doors = browser.run(doors).await;
    assert!(doors.as_array().unwrap().len() > 3, "{doors}");
    for door in doors.as_array().unwrap() {
        browser.open(&start).await;
        let here =
            "return document.activeElement.closest('.doors') && document.activeElement.getAttribute('href')";
        let mut presses = 0;
        while browser.run(here).await != *door {
            presses += 1;
            assert!(presses < 30, "no key leads to {door}");
            browser.press(keys::TAB).await;
        }
        browser.press(keys::ENTER).await;
        browser.arrives(door.as_str().unwrap(), "a door").await;
    }
    browser.close().await;
}
