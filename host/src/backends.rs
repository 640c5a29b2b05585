// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Which backends this machine has, and which one serves: search, question, choice.

use std::path::{Path, PathBuf};

use alice_plugin::load::{self, Plugin};
use alice_plugin::{Backend, Description, Error, Result};
use serde_json::{Value, json};

use crate::config::Generation;

/// A library that looks like a backend, and what became of it.
#[derive(Debug)]
pub struct Found {
    /// The library.
    pub path: PathBuf,
    /// The opened plugin and what it says of itself, or why it was passed over.
    pub outcome: Result<Answer>,
}

/// A plugin that answered.
#[derive(Debug)]
pub struct Answer {
    /// The opened library.
    pub plugin: Plugin,
    /// What it says of itself.
    pub description: Description,
    /// The options it was started with.
    pub options: Value,
}

/// The directories in which backends are looked for, most particular first: `ALICE_BACKEND_PATH`, the
/// configuration, the program's own directory, `../lib/alice/backends` beside it.
pub fn directories(config: &Generation) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> =
        std::env::var_os("ALICE_BACKEND_PATH").iter().flat_map(std::env::split_paths).collect();
    directories.extend(config.backend_directories.iter().cloned());
    if let Some(beside) = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned)) {
        directories.push(beside.join("../lib/alice/backends"));
        directories.push(beside);
    }
    directories
}

/// Every backend library found, opened and asked.
pub fn find(config: &Generation) -> Vec<Found> {
    let paths = load::find(&directories(config));
    paths.into_iter().map(|path| Found { outcome: ask(&path, config), path }).collect()
}

/// The backend that serves: the one that is named, or the best of those that can run here.
///
/// # Errors
/// Says what was found and why nothing of it will do.
pub fn choose(config: &Generation) -> Result<Answer> {
    if config.backend.contains('/') {
        let answer = ask(Path::new(&config.backend), config)?;
        return runnable(answer);
    }
    let mut refused = Vec::new();
    let mut best: Option<Answer> = None;
    for Found { path, outcome } in find(config) {
        match outcome.and_then(runnable) {
            Ok(answer) if !wanted(&answer.description, &config.backend) => {
                refused.push(format!("`{}` was not asked for", answer.description.name));
            }
            Ok(answer) => {
                if best.as_ref().is_none_or(|best| best.description.score < answer.description.score) {
                    best = Some(answer);
                }
            }
            Err(error) => refused.push(format!("{}: {error}", path.display())),
        }
    }
    best.ok_or_else(|| {
        let found = if refused.is_empty() { "none was found".to_owned() } else { refused.join("; ") };
        Error::unsupported(format!("no backend for `generation.backend: {}`: {found}", config.backend))
    })
}

/// A test double never serves unless it is named.
fn wanted(description: &Description, asked: &str) -> bool {
    if asked == "auto" { !description.stand_in } else { description.name == asked }
}

fn runnable(answer: Answer) -> Result<Answer> {
    if answer.description.score > 0 {
        return Ok(answer);
    }
    let reason = answer.description.reason.as_deref().unwrap_or("it gives no reason");
    Err(Error::unsupported(format!("`{}` cannot run here: {reason}", answer.description.name)))
}

fn ask(path: &Path, config: &Generation) -> Result<Answer> {
    let plugin = Plugin::open(path)?;
    let options = options(path, config);
    let description = plugin.start(&options)?.describe()?;
    Ok(Answer { plugin, description, options })
}

/// The options for the library at `path`: those every backend may get, and its own from the configuration.
fn options(path: &Path, config: &Generation) -> Value {
    let mut options = json!({});
    if let Some(threads) = config.threads {
        options["threads"] = json!(threads);
    }
    let own =
        load::backend_name(path).and_then(|name| config.backend_options.get(&name)?.as_object().cloned());
    for (key, value) in own.into_iter().flatten() {
        options[key] = value;
    }
    options
}
