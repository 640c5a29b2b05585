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

/// How the engine is asked for them.
#[derive(Default)]
pub(super) struct Company {
    controls: Vec<Versioned<LoadRequest>>,
    between: Option<Versioned<LoadRequest>>,
    finally: Option<Versioned<LoadRequest>>,
}

impl Company {
    /// The networks that `inputs` name.
    ///
    /// # Errors
    /// [`Error::ModelGone`] for one that was deleted meanwhile.
    pub(super) fn of(models: &Registry, inputs: &Inputs) -> Result<Self> {
        let gone = |id: &str| Error::ModelGone { id: id.to_owned() };
        let control = |id: &str| models.exactly_control(id).ok_or_else(|| gone(id));
        let upscaler = |id: &str| models.exactly_upscaler(id).ok_or_else(|| gone(id));
        let between = match inputs.hires.as_ref().map(|hires| &hires.enlarger) {
            Some(Enlarger::Model(id)) => Some(upscaler(id)?.load_request()),
            _ => None,
        };
        let controls = inputs.controls.iter().map(|asked| Ok(control(&asked.model)?.load_request()));
        let finally = inputs.upscaler.as_deref().map(|id| Ok::<_, Error>(upscaler(id)?.load_request()));
        Ok(Self { controls: controls.collect::<Result<_>>()?, between, finally: finally.transpose()? })
    }

    /// All of them, in the order in which [`seated`](Self::seated) wants them back.
    pub(super) fn wanted(&self) -> Vec<Versioned<LoadRequest>> {
        let enlargers = [&self.between, &self.finally];
        self.controls.iter().chain(enlargers.into_iter().flatten()).cloned().collect()
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
