// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What every handler can reach: the configuration, the models, the engine, the line and the pictures.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alice_diffusion::Sampler;
use alice_plugin::Description;
use anyhow::Context;
use tracing::{info, warn};

use crate::auth::passwords::Passwords;
use crate::auth::rate::Rates;
use crate::auth::sessions::Terms;
use crate::auth::usage::Usage;
use crate::auth::{import, keys, setup};
use crate::backends;
use crate::clock::Clock;
use crate::config::Config;
use crate::database::Database;
use crate::draft::default_sampler;
use crate::engine::{Engine, Engines, Settings, Start};
use crate::gallery::{Gallery, Thumbnails};
use crate::generate::room::Rooms;
use crate::housekeeping;
use crate::inputs;
use crate::jobs::{Caller, Jobs};
use crate::metrics::Metrics;
use crate::models::{Registry, removal};
use crate::pictures;
use crate::tally::Tally;
use crate::worker::{self, Patience};

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
    /// The ways to the devices.
    pub engines: Engines,
    /// The backend behind the engine.
    pub backend: Description,
    /// Whose turn it is.
    pub jobs: Jobs,
    /// How many event streams of jobs each caller has open.
    pub(crate) event_streams: Tally<Caller>,
    /// What the daemon counts of itself.
    pub metrics: Arc<Metrics>,
    /// The room for large pictures.
    pub rooms: Rooms,
    /// Finished pictures.
    pub gallery: Gallery,
    /// Small copies of them.
    pub thumbnails: Thumbnails,
    /// The pictures that came with requests.
    pub inputs: inputs::Store,
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
        let program = worker::program().context("the system does not say which program is running")?;
        Self::with_program(config, clock, program)
    }

    /// The same where another program than the running one is `alice`, which reads pictures in a process of its own.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_program(config: Config, clock: Clock, program: PathBuf) -> anyhow::Result<Self> {
        let database = Database::open(&config.storage.database)?;
        let set_up = prepare(&database, &config, &clock)?;
        let gallery = Gallery::open(&config.storage.images_directory)?;
        pictures::import(&database, &config.storage.gallery_file, &gallery, clock.now())?;
        removal::finish(&config.models.directory);
        let models = Registry::discover(&config.models)?;
        warn_of_other_schedulers(&models, &config);
        let chosen = backends::choose(&config)?;
        info!(
            path = %chosen.path.display(), version = %chosen.description.version,
            "Serving with the backend `{}`", chosen.description.name,
        );
        let metrics = Arc::new(Metrics::default());
        let engines = start_engines(chosen.start, &chosen.patience, &chosen.description, &config, &metrics)
            .context("the backend does not start")?;
        Ok(Self(Arc::new(Parts {
            models,
            engines,
            backend: chosen.description,
            jobs: Jobs::new(&config),
            event_streams: Tally::default(),
            metrics,
            rooms: Rooms::default(),
            gallery,
            thumbnails: Thumbnails::open(&config.storage.thumbnails_directory)?,
            inputs: inputs::Store::open(&config, program)?,
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

/// Says which models are sampled otherwise than the configuration wants.
fn warn_of_other_schedulers(models: &Registry, config: &Config) {
    let Some(configured) = &config.generation.default_scheduler else { return };
    for model in models.all() {
        let sampler = default_sampler(&model, Some(configured));
        if configured.parse().is_ok_and(|named: Sampler| named != sampler) {
            warn!(
                "`generation.default_scheduler: {configured}` cannot sample `{}`; it gets `{sampler}`",
                model.id
            );
        }
    }
}

/// One engine for each of the backend's devices.
fn start_engines(
    start: Start,
    patience: &Patience,
    description: &Description,
    config: &Config,
    metrics: &Arc<Metrics>,
) -> alice_plugin::Result<Engines> {
    let unload_after = match config.models.auto_unload_timeout {
        0 => None,
        seconds => Some(Duration::from_secs(seconds.into())),
    };
    let start = Arc::new(Mutex::new(start));
    let engine = |device| {
        let start = Arc::clone(&start);
        // Each device has a backend of its own; they are started one after the other.
        let start: Start = Box::new(move || start.lock().unwrap_or_else(PoisonError::into_inner)());
        let settings = Settings {
            device,
            max_rows: config.engine.max_rows,
            memory_bytes: config.engine.memory_mib.map(|mib| mib << 20),
            unload_after,
            silence_ms: patience.silence_ms(),
        };
        Engine::start(start, settings, Arc::clone(metrics))
    };
    let mut devices = description.devices.iter().map(|device| device.index);
    let first = engine(devices.next().unwrap_or(0))?;
    let others = devices.map(engine).collect::<alice_plugin::Result<Vec<_>>>()?;
    Ok(Engines::new(first, others))
}

/// Makes the database ready to serve, and brings its keys to what the files say. Gives whether the server is
/// set up.
fn prepare(database: &Database, config: &Config, clock: &Clock) -> anyhow::Result<bool> {
    housekeeping::remember(database, clock)?;
    database.write_now(pictures::ensure_key)?;
    let now = clock.now();
    database.write_now(move |transaction| pictures::count_days(transaction, now))?;
    import::run(database, &config.storage.auth_directory, now)?;
    let key = config.server.api_key.clone();
    let prepared = database.write_now(move |transaction| {
        keys::configure(transaction, key.as_ref(), now)?;
        setup::is_done(transaction)
    });
    prepared.context("cannot take over `server.api_key`")
}
