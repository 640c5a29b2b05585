// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A real browser, headless, for the tests that look at pages as people do.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// Keys that are no letters, as the WebDriver protocol writes them.
pub(crate) mod keys {
    pub(crate) const TAB: &str = "\u{e004}";
    pub(crate) const ENTER: &str = "\u{e007}";
    pub(crate) const ESCAPE: &str = "\u{e00c}";
    pub(crate) const LEFT: &str = "\u{e012}";
    pub(crate) const RIGHT: &str = "\u{e014}";
    pub(crate) const DELETE: &str = "\u{e017}";
}

/// How often something is looked for, and how long after it was not there. Only a test that fails comes to the end.
const TRIES: u32 = 1200;
const PAUSE: Duration = Duration::from_millis(50);

/// A browser under the WebDriver protocol. It ends with this value.
pub(crate) struct Browser {
    driver: std::process::Child,
    /// The process of the browser itself, which outlives its driver.
    process: Option<u64>,
    session: String,
    client: reqwest::Client,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A test has failed where the browser was not closed.
        if let Some(process) = self.process {
            drop(Command::new("kill").arg(process.to_string()).status());
        }
        // It may have ended with its session.
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}

impl Browser {
    /// Headless Chromium; `script` says whether pages may run any.
    pub(crate) async fn start(script: bool) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Chromium inherits these: whoever waits for the end of this program's output must not wait for it.
        let mut driver = Command::new("chromedriver");
        driver.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = driver.spawn().unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let base = format!("http://127.0.0.1:{port}");
        while client.get(format!("{base}/status")).send().await.is_err() {
            tokio::task::yield_now().await;
        }
        let arguments = [
            "--headless",
            "--window-size=1280,800",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
        ];
        let allowed = if script { 1 } else { 2 };
        let preferences = json!({"profile.managed_default_content_settings.javascript": allowed});
        let options = json!({"args": arguments, "prefs": preferences});
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}});
        let answer: Value =
            client.post(format!("{base}/session")).json(&wanted).send().await.unwrap().json().await.unwrap();
        let id = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}"));
        let process = answer["value"]["capabilities"]["goog:processID"].as_u64();
        Self { driver, process, session: format!("{base}/session/{id}"), client }
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.client.post(format!("{}{path}", self.session)).json(&body).send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{path}: {body}");
        body["value"].clone()
    }

    pub(crate) async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// The path of the first element that `selector` finds.
    pub(crate) async fn find(&self, selector: &str) -> String {
        let found = self.post("/element", json!({"using": "css selector", "value": selector})).await;
        let id = found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        format!("/element/{id}")
    }

    /// Waits until `selector` finds something, also on a page that is yet to come.
    pub(crate) async fn wait(&self, selector: &str) {
        let wanted = json!({"using": "css selector", "value": selector});
        let url = format!("{}/element", self.session);
        for _ in 0..TRIES {
            if self.client.post(&url).json(&wanted).send().await.unwrap().status().is_success() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("never: {selector}\n{}", self.seen().await);
    }

    /// Waits until an expression is true, also on a page that is yet to come.
    pub(crate) async fn until(&self, expression: &str) {
        let script = json!({"script": format!("return Boolean({expression})"), "args": []});
        let url = format!("{}/execute/sync", self.session);
        for _ in 0..TRIES {
            let answer = self.client.post(&url).json(&script).send().await.unwrap();
            if answer.json::<Value>().await.unwrap()["value"] == true {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("never: {expression}\n{}", self.seen().await);
    }

    /// Where the browser is and what it shows, for whoever reads why a test failed.
    async fn seen(&self) -> String {
        self.run("return `${location}: ${document.querySelector('main')?.outerHTML}`").await.to_string()
    }

    /// How many elements `selector` finds.
    pub(crate) async fn find_all(&self, selector: &str) -> usize {
        let found = self.post("/elements", json!({"using": "css selector", "value": selector})).await;
        found.as_array().unwrap().len()
    }

    /// Waits until a click has led to the page at `path`, or says after a while `what` should have been.
    pub(crate) async fn arrives(&self, path: &str, what: &str) {
        let script = json!({"script": "return location.pathname", "args": []});
        let url = format!("{}/execute/sync", self.session);
        for _ in 0..TRIES {
            let answer = self.client.post(&url).json(&script).send().await.unwrap();
            if answer.json::<Value>().await.unwrap()["value"] == path {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{what}: the browser is not at {path}\n{}", self.seen().await);
    }

    pub(crate) async fn write(&self, selector: &str, text: &str) {
        let element = self.find(selector).await;
        self.post(&format!("{element}/value"), json!({ "text": text })).await;
    }

    pub(crate) async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.post(&format!("{element}/click"), json!({})).await;
    }

    /// The same on a page that renews itself, which may have replaced the element before the driver gets to press it.
    pub(crate) async fn click_at_once(&self, selector: &str) {
        self.run(&format!("document.querySelector({}).click()", json!(selector))).await;
    }

    /// What a script gives back.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []})).await
    }

    /// As on a screen of this size, with this colour scheme: `light` or `dark`.
    pub(crate) async fn look(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        for (command, parameters) in
            [("Emulation.setDeviceMetricsOverride", size), ("Emulation.setEmulatedMedia", features)]
        {
            self.post("/goog/cdp/execute", json!({"cmd": command, "params": parameters})).await;
        }
    }

    /// Presses keys where the focus is: text, or names of keys such as those of [`keys`].
    pub(crate) async fn press(&self, keys: &str) {
        let strokes: Vec<_> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()})))
            .collect();
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]});
        self.post("/actions", actions).await;
    }

    /// Logs in by this cookie, `name=value`, at the server at `base`.
    pub(crate) async fn log_in(&self, base: &str, cookie: &str) {
        self.open(&format!("{base}/livez")).await;
        let (name, value) = cookie.split_once('=').unwrap();
        self.post("/cookie", json!({"cookie": {"name": name, "value": value}})).await;
    }

    /// Closes the browser: killing its driver would leave it behind.
    pub(crate) async fn close(mut self) {
        self.process = None;
        self.client.delete(&self.session).send().await.unwrap();
    }

    /// A property of the first element that `selector` finds.
    pub(crate) async fn property(&self, selector: &str, name: &str) -> Value {
        let element = self.find(selector).await;
        let url = format!("{}{element}/property/{name}", self.session);
        self.client.get(url).send().await.unwrap().json::<Value>().await.unwrap()["value"].clone()
    }

    /// What the field that `selector` finds holds.
    pub(crate) async fn value(&self, selector: &str) -> String {
        self.property(selector, "value").await.as_str().unwrap().to_owned()
    }

    /// The text of the first element that `selector` finds.
    pub(crate) async fn text(&self, selector: &str) -> String {
        self.property(selector, "textContent").await.as_str().unwrap().to_owned()
    }
}
