// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What every handler can reach: the configuration, the models, the engine, the line and the pictures.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use alice_plugin::{Backend, Description};
use anyhow::Context;
use tracing::info;

use crate::backends;
use crate::config::Config;
use crate::engine::Engine;
use crate::gallery::Gallery;
use crate::models::Registry;
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
    /// Finished pictures.
    pub gallery: Gallery,
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
    pub fn new(config: Config) -> anyhow::Result<Self> {
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
            gallery: Gallery::open(&config.storage.images_directory)?,
            started: Instant::now(),
            config,
        })))
    }
}
