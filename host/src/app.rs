// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What every handler can reach: the configuration, the models, the engine, the line and the pictures.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use alice_plugin::{Backend, Description};
use anyhow::Context;
use tracing::info;

use crate::auth::passwords::Passwords;
use crate::auth::rate::Rates;
use crate::auth::sessions::Terms;
use crate::auth::usage::Usage;
use crate::auth::{import, keys, setup};
use crate::backends;
use crate::clock::Clock;
use crate::config::Config;
use crate::database::Database;
use crate::engine::Engine;
use crate::gallery::Gallery;
use crate::housekeeping;
use crate::metrics::Metrics;
use crate::models::Registry;
use crate::pictures;
use crate::queue::Queue;

/// The parts of the daemon. Cloning shares them.
#[derive(Clone, Debug)]
pub struct App(Arc<Parts>);

/// The parts themselves.
#[derive(Debug)]
pub struct Parts {
    /// What the operator set.
    pub config: Config,
    /// The models on disk.
    pub models: Registry,
    /// The way to the device.
    pub engine: Engine,
    /// The backend behind the engine.
    pub backend: Description,
    /// Whose turn it is.
    pub queue: Queue,
    /// What is counted of the work.
    pub metrics: Arc<Metrics>,
    /// Finished pictures.
    pub gallery: Gallery,
    /// Accounts, keys, sessions, and whose picture is whose.
    pub database: Database,
    /// What time it is.
    pub clock: Clock,
    /// When keys and sessions were last used.
    pub usage: Usage,
    /// Hashes passwords.
    pub passwords: Passwords,
    /// How often one caller may ask.
    pub rates: Rates,
    /// Whether the first administrator has been made.
    set_up: AtomicBool,
    /// When the daemon started.
    pub started: Instant,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Finds the models, chooses and starts a backend, opens the pictures.
    ///
    /// # Errors
    /// Says what is missing and what to do.
    pub fn new(config: Config, clock: Clock) -> anyhow::Result<Self> {
        let database = Database::open(&config.storage.database)?;
        let set_up = prepare(&database, &config, &clock)?;
        let models = Registry::discover(&config.models)?;
        let chosen = backends::choose(&config.generation)?;
        let (plugin, options) = (chosen.plugin, chosen.options);
        info!(
            path = %plugin.path().display(), version = %chosen.description.version,
            "Serving with the backend `{}`", chosen.description.name,
        );
        let start = move || Ok(Box::new(plugin.start(&options)?) as Box<dyn Backend>);
        let engine = Engine::start(Box::new(start), config.engine.max_rows.rows())
            .context("the backend does not start")?;
        Ok(Self(Arc::new(Parts {
            models,
            engine,
            backend: chosen.description,
            queue: Queue::new(config.limits.waiting),
            metrics: Arc::default(),
            gallery: Gallery::open(&config.storage.images_directory)?,
            database,
            clock,
            usage: Usage::default(),
            passwords: Passwords::default(),
            rates: Rates::new(&config.limits),
            set_up: AtomicBool::new(set_up),
            started: Instant::now(),
            config,
        })))
    }

    /// Whether the first administrator has been made, which never ceases to be true.
    pub fn is_set_up(&self) -> bool {
        self.set_up.load(Ordering::Relaxed)
    }

    /// Notes that the first administrator has been made.
    pub(crate) fn note_set_up(&self) {
        self.set_up.store(true, Ordering::Relaxed);
    }

    /// Whether anything but setting it up is served: someone did so, or no account is needed.
    pub fn is_open(&self) -> bool {
        self.is_set_up() || self.config.server.allows_anonymous()
    }

    /// What decides whether a login has ended.
    pub fn session_terms(&self) -> Terms<'_> {
        Terms { clock: &self.clock, usage: &self.usage, timeout: self.config.server.session_timeout_seconds }
    }
}

/// Makes the database ready to serve, and brings its keys to what the files say. Gives whether the server is
/// set up.
fn prepare(database: &Database, config: &Config, clock: &Clock) -> anyhow::Result<bool> {
    housekeeping::remember(database, clock)?;
    database.write_now(pictures::ensure_key)?;
    let now = clock.now();
    import::run(database, &config.storage.auth_directory, now)?;
    let key = config.server.api_key.clone();
    let prepared = database.write_now(move |transaction| {
        keys::configure(transaction, key.as_ref(), now)?;
        setup::is_done(transaction)
    });
    prepared.context("cannot take over `server.api_key`")
}
