// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Which backends this machine has, and which one serves: search, question, choice.
//!
//! Each library is asked in a process of its own, all at the same time. The daemon itself opens none, unless
//! `engine.isolation` says so.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use alice_plugin::load::{self, Plugin, PluginBackend};
use alice_plugin::{Backend, Description, Error, Result};
use serde_json::{Value, json};

use crate::config::{Config, Generation, Isolation};
use crate::engine::{Instance, Start};
use crate::worker::{self, Patience, Worker};

/// A library that looks like a backend, and what became of it.
pub struct Found {
    /// The library.
    pub path: PathBuf,
    /// The running backend, or why it was passed over.
    pub outcome: Result<Answer>,
}

/// A backend that runs and has described itself.
pub struct Answer {
    /// What it says of itself.
    pub description: Description,
    /// Major and minor version of the contract that it speaks.
    pub contract: (u16, u16),
    backend: Box<dyn Instance>,
    library: Library,
}

/// The backend that serves.
pub struct Chosen {
    /// The library.
    pub path: PathBuf,
    /// What it says of itself.
    pub description: Description,
    /// How long its process may show no sign of life; `engine.hang_seconds` to begin with.
    pub patience: Patience,
    /// Gives the backend that has answered already, and from then on new ones.
    pub start: Start,
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

/// Every backend library found, started and asked.
pub fn find(config: &Config) -> Vec<Found> {
    ask(paths(&config.generation), config)
}

/// The backend that serves: the one that is named, or the best of those that can run here. Only those that
/// come into question are started.
///
/// # Errors
/// Says what was found and why nothing of it will do.
pub fn choose(config: &Config) -> Result<Chosen> {
    let asked = &config.generation.backend;
    let (wanted, others): (Vec<_>, _) =
        paths(&config.generation).into_iter().partition(|path| asked == "auto" || is_named(path, asked));
    let others = others.iter().filter_map(|path| load::backend_name(path));
    let others = others.map(|name| format!("`{name}` was not asked for"));
    pick(ask(wanted, config), asked, others.collect())
}

/// The best of `found`, as [`choose`] does. `refused` says what else there is.
///
/// # Errors
/// As [`choose`].
pub fn pick(found: Vec<Found>, asked: &str, mut refused: Vec<String>) -> Result<Chosen> {
    let mut best: Option<Answer> = None;
    for Found { path, outcome } in found {
        match outcome.and_then(|answer| suitable(&path, answer, asked)) {
            Ok(answer) => {
                if best.as_ref().is_none_or(|best| best.description.score < answer.description.score) {
                    best = Some(answer);
                }
            }
            Err(error) => refused.push(format!("{}: {error}", path.display())),
        }
    }
    best.map(Chosen::from).ok_or_else(|| {
        let found = if refused.is_empty() { "none was found".to_owned() } else { refused.join("; ") };
        Error::unsupported(format!("no backend for `generation.backend: {asked}`: {found}"))
    })
}

/// The libraries found, and the one that is named by its path.
fn paths(config: &Generation) -> Vec<PathBuf> {
    let mut paths = load::find(&directories(config));
    let named = PathBuf::from(&config.backend);
    if config.backend.contains('/') && !paths.contains(&named) {
        paths.push(named);
    }
    paths
}

/// Whether the operator's word means this library: its backend's name, or its path.
fn is_named(path: &Path, asked: &str) -> bool {
    if asked.contains('/') {
        path == Path::new(asked)
    } else {
        load::backend_name(path).as_deref() == Some(asked)
    }
}

fn suitable(path: &Path, answer: Answer, asked: &str) -> Result<Answer> {
    let Description { stand_in, score, reason, .. } = &answer.description;
    if asked != "auto" && !is_named(path, asked) {
        return Err(Error::unsupported("it was not asked for"));
    }
    if asked == "auto" && *stand_in {
        return Err(Error::unsupported("it runs no model, so that it serves only when it is named"));
    }
    if *score == 0 {
        let reason = reason.as_deref().unwrap_or("it gives no reason");
        return Err(Error::unsupported(format!("it cannot run here: {reason}")));
    }
    Ok(answer)
}

/// Starts and asks all of them at the same time.
fn ask(paths: Vec<PathBuf>, config: &Config) -> Vec<Found> {
    let ask = |path: PathBuf| Found { outcome: Library::new(&path, config).ask(), path };
    thread::scope(|scope| {
        let asked: Vec<_> = paths.into_iter().map(|path| scope.spawn(|| ask(path))).collect();
        asked.into_iter().map(|one| one.join().expect("asking a backend does not panic")).collect()
    })
}

impl Instance for Worker {
    fn obituary(&mut self) -> Option<Error> {
        Self::obituary(self)
    }
}

impl Instance for PluginBackend {}

/// A library and all that it takes to start it.
struct Library {
    path: PathBuf,
    options: Value,
    isolation: Isolation,
    patience: Patience,
}

impl Library {
    fn new(path: &Path, config: &Config) -> Self {
        Self {
            path: path.to_owned(),
            options: options(path, &config.generation),
            isolation: config.engine.isolation,
            patience: Patience::new(Duration::from_secs(config.engine.hang_seconds.into())),
        }
    }

    fn ask(self) -> Result<Answer> {
        match self.isolation {
            Isolation::Process => {
                let worker = self.worker()?;
                let (description, contract) = (worker.description().clone(), worker.contract());
                Ok(Answer { description, contract, backend: Box::new(worker), library: self })
            }
            Isolation::None => {
                let plugin = Plugin::open(&self.path)?;
                let (contract, mut backend) = (plugin.abi(), plugin.start(&self.options)?);
                let description = backend.describe()?;
                Ok(Answer { description, contract, backend: Box::new(backend), library: self })
            }
        }
    }

    fn start(&self) -> Result<Box<dyn Instance>> {
        match self.isolation {
            Isolation::Process => Ok(Box::new(self.worker()?)),
            Isolation::None => Ok(Box::new(Plugin::open(&self.path)?.start(&self.options)?)),
        }
    }

    fn worker(&self) -> Result<Worker> {
        let program = worker::program()
            .map_err(|error| Error::internal(format!("the running program is not known: {error}")))?;
        Worker::start(&program, &self.path, &self.options, self.patience.clone())
    }
}

impl From<Answer> for Chosen {
    fn from(Answer { description, backend, library, .. }: Answer) -> Self {
        let (path, patience) = (library.path.clone(), library.patience.clone());
        let running = Mutex::new(Some(backend));
        let start = move || {
            // Nothing panics between these brackets.
            let running = running.lock().unwrap_or_else(PoisonError::into_inner).take();
            running.map_or_else(|| library.start(), Ok)
        };
        Self { path, description, patience, start: Box::new(start) }
    }
}

/// The options for the library at `path`: those every backend may get, and its own from the configuration.
pub fn options(path: &Path, config: &Generation) -> Value {
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
