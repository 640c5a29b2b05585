// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A daemon for measuring: this program as a process of its own, on a free loopback port.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use reqwest::Client;
use serde_json::{Value, json};

use crate::config::{Config, Level, Server};
use crate::draft::Request;

/// Lines of its log that are shown when a daemon does not start.
const SHOWN: usize = 5;

/// A running daemon. It ends with this value.
pub(super) struct Daemon {
    child: Child,
    base: String,
    client: Client,
}

impl Daemon {
    /// Starts one with `config`, but with its data in `directory` and for this machine alone.
    ///
    /// # Errors
    /// What it logged, when it does not become ready.
    pub(super) fn start(mut config: Config, directory: &Path) -> anyhow::Result<Self> {
        config.server = Server { port: 0, ..Server::default() };
        config.storage.database = directory.join("alice.db");
        config.storage.images_directory = directory.join("images");
        config.storage.thumbnails_directory = directory.join("thumbnails");
        config.storage.gallery_file = directory.join("gallery.json");
        config.storage.inputs_directory = directory.join("inputs");
        config.storage.auth_directory = directory.join("auth");
        config.logging.level = Level::Info;
        config.logging.file = None;
        let path = directory.join("config.yaml");
        // JSON is YAML.
        fs::write(&path, serde_json::to_string(&config)?)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--config").arg(&path).arg("serve").env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("the daemon cannot be started")?;
        let stderr = child.stderr.take().context("the daemon has no log")?;
        // From here on the child ends with this value, also when it does not become ready.
        let client = Client::builder().no_proxy().build()?;
        let mut daemon = Self { child, base: String::new(), client };
        daemon.base = ready(stderr)?;
        Ok(daemon)
    }

    /// Asks for a picture. Gives the time until the whole answer was there.
    ///
    /// # Errors
    /// What the daemon answers, if that is no picture.
    pub(super) async fn request(&self, request: &Request) -> anyhow::Result<Duration> {
        let parameters = &request.parameters;
        let body = json!({
            "model": request.model.id,
            "prompt": parameters.prompt,
            "steps": parameters.steps,
            "guidance_scale": parameters.guidance_scale,
            "scheduler": parameters.scheduler,
            "width": parameters.width,
            "height": parameters.height,
            "seed": parameters.seed,
        });
        let began = Instant::now();
        let answer =
            self.client.post(format!("{}/v1/images/generations", self.base)).json(&body).send().await?;
        let (status, bytes) = (answer.status(), answer.bytes().await?);
        let took = began.elapsed();
        let answer: Value = serde_json::from_slice(&bytes)?;
        let message = &answer["error"]["message"];
        anyhow::ensure!(status.is_success(), "the daemon answers {status}: {message}");
        anyhow::ensure!(answer["data"][0]["b64_json"].is_string(), "the daemon answers without a picture");
        Ok(took)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself, and its data goes anyway.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The address out of the log of a daemon that becomes ready. The rest of the log is taken and dropped.
fn ready(stderr: ChildStderr) -> anyhow::Result<String> {
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let mut seen = Vec::new();
    for line in lines.by_ref() {
        if let Some((_, base)) = line.split_once("Ready at ") {
            let base = base.trim().to_owned();
            // A full pipe would stop the daemon.
            let _reader: JoinHandle<()> = std::thread::spawn(move || lines.for_each(drop));
            return Ok(base);
        }
        seen.push(line);
    }
    let shown = seen.len().saturating_sub(SHOWN);
    anyhow::bail!("the daemon does not start:\n{}", seen[shown..].join("\n"))
}
