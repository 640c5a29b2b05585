// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Real clients, unmodified, against the real program with the real model.

use std::process::Command;

use serde_json::json;

use crate::browser::Browser;
use crate::harness::{Server, ended, source};

#[tokio::test]
async fn the_built_in_model_paints_a_red_apple() {
    let server = Server::with("").await;
    let body = json!({"prompt": "a red apple", "seed": 7, "response_format": "url"});
    let answer = server.post_json("/v1/images/generations", &body).await;
    let file = server.client.get(answer["data"][0]["url"].as_str().unwrap()).send().await.unwrap();
    let picture = image::load_from_memory(&file.bytes().await.unwrap()).unwrap().to_rgb8();
    assert_eq!(picture.dimensions(), (128, 128));
    let mean = |channel: usize, from: u32, to: u32| {
        let pixels = (from..to).flat_map(|y| (from..to).map(move |x| (x, y)));
        let sum: u32 = pixels.clone().map(|(x, y)| u32::from(picture.get_pixel(x, y).0[channel])).sum();
        sum / pixels.count() as u32
    };
    let (red, green, blue) = (mean(0, 44, 84), mean(1, 44, 84), mean(2, 44, 84));
    assert!(red > 150 && green < 100 && blue < 100, "the middle is red, not {red}, {green}, {blue}");
    let corner = picture.get_pixel(2, 2).0;
    assert!(corner.iter().all(|value| *value > 225), "the ground is white, not {corner:?}");
}

#[tokio::test]
#[ignore = "needs a Python with the openai package, named by ALICE_TEST_PYTHON: .ci/run installs it"]
async fn the_openai_package_gets_its_pictures() {
    let python = std::env::var_os("ALICE_TEST_PYTHON").expect("ALICE_TEST_PYTHON names a Python");
    let script = source("tests/clients/openai_generate.py");
    let open = Server::with("").await;
    let ran = ended(Command::new(&python).arg(&script).arg(&open.base));
    assert!(ran.status.success(), "{}{}", ran.stdout, ran.stderr);

    let (closed, token) = closed().await;
    let claim = json!({"setup_token": token});
    let key = closed.post_json("/v1/auth/bootstrap", &claim).await["key"].as_str().unwrap().to_owned();
    let ran = ended(Command::new(&python).arg(&script).arg(&closed.base).arg(key));
    assert!(ran.status.success(), "{}{}", ran.stdout, ran.stderr);
}

#[tokio::test]
#[ignore = "needs a Python with the openai package, named by ALICE_TEST_PYTHON: .ci/run installs it"]
async fn the_openai_package_streams_and_its_retries_join_their_job() {
    let python = std::env::var_os("ALICE_TEST_PYTHON").expect("ALICE_TEST_PYTHON names a Python");
    let directory = tempfile::tempdir().unwrap();
    let config = "server: { port: 0, early_answer_seconds: 2 }\n\
                  generation: { backend: paint, backend_options: { paint: { step_ms: 100 } } }\n";
    std::fs::write(directory.path().join("config.yaml"), config).unwrap();
    let server = Server::start(directory, &[]);
    let script = source("tests/clients/openai_slow.py");
    let ran = ended(Command::new(&python).arg(&script).arg(&server.base));
    assert!(ran.status.success(), "{}{}", ran.stdout, ran.stderr);
}

/// A server that demands accounts, and its setup token.
async fn closed() -> (Server, String) {
    let directory = tempfile::tempdir().unwrap();
    let config = "server: { port: 0, require_auth: true }\n";
    std::fs::write(directory.path().join("config.yaml"), config).unwrap();
    let server = Server::start(directory, &[]);
    let printed = server.wait_for_log("alice_setup_");
    let token = printed.lines().last().unwrap().trim().to_owned();
    (server, token)
}

#[tokio::test]
#[ignore = "needs a Python with the openai package, named by ALICE_TEST_PYTHON: .ci/run installs it"]
async fn the_openai_package_edits_and_varies_pictures() {
    let python = std::env::var_os("ALICE_TEST_PYTHON").expect("ALICE_TEST_PYTHON names a Python");
    let server = Server::paint().await;
    let script = source("tests/clients/openai_edit.py");
    let ran = ended(Command::new(&python).arg(&script).arg(&server.base));
    assert!(ran.status.success(), "{}", ran.stderr);
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn in_a_browser_a_picture_is_chosen_painted_over_and_begun_with_again() {
    let server = Server::paint().await;
    let picture = server.directory.path().join("chosen.png");
    std::fs::write(&picture, crate::edits::picture(96, 64)).unwrap();
    let browser = Browser::start(true).await;
    browser.open(&format!("{}/?prompt=a+fox", server.base)).await;
    browser.click(".begin summary").await;
    browser.write("#image", picture.to_str().unwrap()).await;
    browser.wait(".paint:not([hidden])").await;
    assert_eq!(browser.property("#size", "value").await, "picture");
    // A stroke over the left half, as a pen makes it.
    browser
        .run(
            "const over = document.querySelector('.over'); over.setPointerCapture = () => {};\
             const {left, top, width, height} = over.getBoundingClientRect();\
             const at = (x, y) => ({clientX: left + width * x, clientY: top + height * y, pointerId: 1});\
             const tell = (kind, at) => over.dispatchEvent(new PointerEvent(kind, at));\
             tell('pointerdown', at(.1, .5)); tell('pointermove', at(.4, .5)); tell('lostpointercapture', at(.4, .5))",
        )
        .await;
    let mask = "return new Promise((done) => setTimeout(async () => {\
                const [file] = document.querySelector('#mask').files;\
                const bitmap = await createImageBitmap(file);\
                const brush = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');\
                brush.drawImage(bitmap, 0, 0);\
                const at = (x, y) => brush.getImageData(x, y, 1, 1).data.join();\
                done([bitmap.width, bitmap.height, at(24, 32), at(72, 32)]) }, 300))";
    let seen = browser.run(mask).await;
    assert_eq!(seen, json!([96, 64, "255,255,255,255", "0,0,0,255"]), "white where it was painted");
    browser.click("button.go").await;
    browser.wait("figure a img").await;
    let told = browser.run("return document.querySelector('.parameters').textContent").await;
    assert!(told.as_str().unwrap().contains("strength 0.75, masked"), "{told}");
    browser.click("figcaption .acts a").await;
    browser.wait(".paint:not([hidden])").await;
    assert_eq!(browser.run("return document.querySelector('#prompt').value").await, "a fox");
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn a_browser_paints_with_and_without_javascript() {
    let server = Server::with("").await;
    for script in [true, false] {
        let browser = Browser::start(script).await;
        browser.open(&server.base).await;
        browser.write("#prompt", "a red apple").await;
        browser.click("button.go").await;
        browser.wait("figure a img").await;
        assert_eq!(browser.property("figure img", "naturalWidth").await, 512, "with script: {script}");
        assert_eq!(browser.property("#prompt", "value").await, "a red apple");
        browser.close().await;
    }
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn in_a_browser_a_picture_is_seen_growing_where_it_will_be_and_may_be_cancelled() {
    let slow = "generation: { backend: paint, backend_options: { paint: { step_ms: 100 } } }";
    let server = Server::with(slow).await;
    let browser = Browser::start(true).await;
    // The streamed previews, not the one that the page itself may bring.
    let grown = ".live .preview[src^='data:image/png']";
    let place = "const {x, y, width, height} = document.querySelector('.easel, figure img')\
                 .getBoundingClientRect(); return [x, y, width, height]";

    browser.open(&format!("{}/?prompt=a+fox&steps=30&size=512x512", server.base)).await;
    browser.click("button.go").await;
    // The page of the job, and no longer that of the form.
    browser.wait(".live").await;
    let before = browser.run(place).await;
    browser.wait(grown).await;
    assert_eq!(browser.run(place).await, before, "the preview takes the picture's place");
    browser.wait("figure a img").await;
    assert_eq!(browser.run(place).await, before, "and the picture that of the preview");
    assert_eq!(browser.run("return document.title").await, "a fox · ALICE");

    browser.open(&format!("{}/?prompt=a+fox&steps=150", server.base)).await;
    browser.click("button.go").await;
    browser.wait(grown).await;
    assert!(browser.run("return document.title").await.as_str().unwrap().starts_with("Step "));
    assert!(browser.property("progress", "value").await.as_f64().unwrap() >= 1.0);
    // What is typed meanwhile, and the page itself, stay.
    browser.run("window.same = true").await;
    browser.write("#prompt", " in a hat").await;
    browser.click(".now button").await;
    browser.wait(".end").await;
    assert_eq!(browser.run("return document.querySelector('#news').textContent").await, "Cancelled");
    assert_eq!(browser.property("#prompt", "value").await, "a fox in a hat");
    assert_eq!(browser.run("return window.same").await, true);
    browser.close().await;
}

/// A web site of somebody else on this machine: one page, with a form that posts to `target`.
async fn foreign_site(target: String) -> String {
    let page =
        format!("<!doctype html><form method=post action=\"{target}\"><button id=go>go</button></form>");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(async || axum::response::Html(page));
    tokio::spawn(async { axum::serve(listener, app).await });
    base
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn in_a_browser_a_login_serves_its_own_pages_and_no_others() {
    let (server, token) = closed().await;
    let browser = Browser::start(true).await;
    browser.open(&server.base).await;
    assert_eq!(browser.run("return location.pathname").await, "/setup", "nothing else is served yet");
    browser.write("#token", &token).await;
    browser.write("#name", "Ada").await;
    browser.write("#password", "correct horse").await;
    browser.click("button.go").await;
    browser.arrives("/admin", "set up").await;
    assert_eq!(browser.run("return document.cookie").await, "", "scripts cannot see the login");

    // Another port is another site's page, but the same site to the browser's cookies.
    let foreign = foreign_site(format!("{}/logout", server.base)).await;
    browser.open(&foreign).await;
    browser.click("#go").await;
    browser.arrives("/logout", "the request was made").await;
    browser.open(&format!("{}/account", server.base)).await;
    assert_eq!(browser.run("return location.pathname").await, "/account", "and refused");

    browser.click("nav form button").await;
    browser.arrives("/login", "logged out").await;
    browser.run("history.back()").await;
    browser.open(&format!("{}/admin", server.base)).await;
    assert_eq!(browser.run("return location.pathname").await, "/login", "logged out");
    browser.write("#name", "ada").await;
    browser.write("#password", "correct horse").await;
    browser.click("button.go").await;
    browser.arrives("/admin", "where the way led").await;
    browser.close().await;
}
