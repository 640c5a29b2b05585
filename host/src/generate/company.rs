// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The networks that a job needs beside its model: those that steer it, and those that make pictures larger.

use std::sync::Arc;

use alice_plugin::LoadRequest;

use super::work::Enlargers;
use crate::engine::{LoadedModel, Versioned};
use crate::error::{Error, Result};
use crate::inputs::{Enlarger, Inputs};
use crate::models::Registry;

/// All of them.
pub(super) struct Company {
    controls: Vec<Network>,
    between: Option<Network>,
    finally: Option<Network>,
}

/// One of them.
struct Network {
    id: String,
    /// How the engine is asked for it.
    request: Versioned<LoadRequest>,
}

impl Company {
    /// The networks that `inputs` name.
    ///
    /// # Errors
    /// [`Error::ModelGone`] for one that was deleted meanwhile.
    pub(super) fn of(models: &Registry, inputs: &Inputs) -> Result<Self> {
        let gone = |id: &str| Error::ModelGone { id: id.to_owned() };
        let network = |id: &str, request| Network { id: id.to_owned(), request };
        let control = |id: &str| {
            let found = models.exactly_control(id).ok_or_else(|| gone(id))?;
            Ok(network(id, found.load_request()))
        };
        let upscaler = |id: &str| {
            let found = models.exactly_upscaler(id).ok_or_else(|| gone(id))?;
            Ok::<_, Error>(network(id, found.load_request()))
        };
        let between = match inputs.hires.as_ref().map(|hires| &hires.enlarger) {
            Some(Enlarger::Model(id)) => Some(upscaler(id)?),
            _ => None,
        };
        let controls = inputs.controls.iter().map(|asked| control(&asked.model));
        let finally = inputs.upscaler.as_deref().map(upscaler);
        Ok(Self { controls: controls.collect::<Result<_>>()?, between, finally: finally.transpose()? })
    }

    /// How the engine is asked for them, in the order in which [`seated`](Self::seated) wants them back.
    pub(super) fn wanted(&self) -> Vec<Versioned<LoadRequest>> {
        self.all().map(|network| network.request.clone()).collect()
    }

    /// The id of the one at this place in that order, from 0.
    pub(super) fn id(&self, place: usize) -> Option<&str> {
        self.all().nth(place).map(|network| network.id.as_str())
    }

    fn all(&self) -> impl Iterator<Item = &Network> {
        let enlargers = [&self.between, &self.finally];
        self.controls.iter().chain(enlargers.into_iter().flatten())
    }

    /// The same on the device: those that steer, and those that enlarge.
    pub(super) fn seated(&self, loaded: &[Arc<LoadedModel>]) -> (Vec<Arc<LoadedModel>>, Enlargers) {
        let (controls, enlargers) = loaded.split_at(self.controls.len().min(loaded.len()));
        let mut enlargers = enlargers.iter().cloned();
        let between = self.between.as_ref().and_then(|_| enlargers.next());
        let finally = self.finally.as_ref().and_then(|_| enlargers.next());
        (controls.to_vec(), Enlargers { between, finally })
    }
}
