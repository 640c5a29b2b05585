// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Several devices: one engine each, and which of them gets a picture.

use alice_plugin::LoadRequest;

use super::{Engine, ModelState, Versioned};

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

    /// The engine for one more picture with a model: one that has it and whose pictures are done; else one that has
    /// nothing to do and nothing in its memory; else of those that have it that where the fewest use it; else the
    /// least busy one. Of equals that which has the most of the `others`, with which the picture is made too.
    pub fn pick(&self, wanted: &Versioned<LoadRequest>, others: &[Versioned<LoadRequest>]) -> &Engine {
        self.least(|engine| {
            let missing = others.iter().filter(|other| engine.users(other).is_none()).count();
            match engine.users(wanted) {
                Some(0) => (0, 0, missing, 0),
                // Nothing has to go for the model there, and the device would lie idle beside a busy one.
                None if engine.is_empty() => (1, 0, missing, 0),
                Some(users) => (2, users, missing, 0),
                None => (3, engine.seats_taken(), missing, engine.bytes()),
            }
        })
    }

    /// The engine on which a model is to be: one that has it; else the least busy one, and of these that with the
    /// least in its memory.
    pub fn home(&self, wanted: &Versioned<LoadRequest>) -> &Engine {
        self.least(|engine| match engine.users(wanted) {
            Some(users) => (0, users, 0, 0),
            None => (1, engine.seats_taken(), 0, engine.bytes()),
        })
    }

    /// The first of those of the least burden.
    fn least(&self, burden: impl Fn(&Engine) -> (u8, usize, usize, u64)) -> &Engine {
        self.0.iter().min_by_key(|engine| burden(engine)).expect("there is at least one engine")
    }
}

impl Engine {
    /// How many use the model here; `None` when it is not on the device.
    fn users(&self, Versioned { what, version }: &Versioned<LoadRequest>) -> Option<usize> {
        let wanted = LoadRequest { device: self.device, ..what.clone() };
        let models = self.models();
        let found = models.iter().find(|model| {
            (&model.request, model.version) == (&wanted, *version) && model.state == ModelState::Loaded
        });
        found.map(|model| model.users)
    }

    /// No picture is made here, and no model is here or on its way.
    fn is_empty(&self) -> bool {
        self.seats_taken() == 0 && self.models().is_empty()
    }

    /// Bytes that the models here take.
    fn bytes(&self) -> u64 {
        self.models().iter().map(|model| model.memory_bytes).sum()
    }
}
