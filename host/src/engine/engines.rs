// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Several devices: one engine each, and which of them gets a picture.

use alice_plugin::LoadRequest;

use super::{Engine, ModelState};

/// The engines of all devices that serve.
#[derive(Clone, Debug)]
pub struct Engines(Vec<Engine>);

impl Engines {
    /// These engines, at least one.
    pub fn new(first: Engine, others: impl IntoIterator<Item = Engine>) -> Self {
        Self(std::iter::once(first).chain(others).collect())
    }

    /// All of them, in the order of their devices.
    pub fn all(&self) -> &[Engine] {
        &self.0
    }

    /// How many models are on the devices.
    pub fn models_loaded(&self) -> usize {
        let models = self.0.iter().flat_map(Engine::models);
        models.filter(|model| model.state == ModelState::Loaded).count()
    }

    /// The engine for one more picture with a model: of those that have it, that where the fewest use it; else the
    /// least busy one.
    pub fn pick(&self, request: &LoadRequest) -> &Engine {
        let burden = |engine: &&Engine| match engine.users(request) {
            Some(users) => (false, users),
            None => (true, engine.seats_taken()),
        };
        self.0.iter().min_by_key(burden).expect("there is at least one engine")
    }
}

impl Engine {
    /// How many use the model here; `None` when it is not on the device.
    fn users(&self, request: &LoadRequest) -> Option<usize> {
        let wanted = LoadRequest { device: self.device, ..request.clone() };
        let models = self.models();
        let found = models.iter().find(|model| model.request == wanted && model.state == ModelState::Loaded);
        found.map(|model| model.users)
    }
}
