// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a model's handle stands for: a model that makes pictures, or a network that stands beside such a model.

use alice_checkpoint::control::ControlKind;
use alice_plugin::{Control, Error, LoadRequest, ModelInfo, Result};

use super::{guide::Guide, model::Model, upscaler::Upscaler};
use crate::ops::Ops;

/// The families of the networks beside a model.
pub(super) const BESIDE: [&str; 3] = ["controlnet", "t2i_adapter", UPSCALER];
const UPSCALER: &str = "upscaler";

/// A loaded network, or several that belong together.
pub(super) enum Loaded<O: Ops> {
    Model(Box<Model<O>>),
    Guide(Box<Guide<O>>),
    Upscaler(Box<Upscaler<O>>),
}

impl<O: Ops> Loaded<O> {
    /// Loads what `request` names, on the operations that `open` makes for `dtype`.
    pub(super) fn load(
        request: &LoadRequest,
        dtype: String,
        open: impl Fn(u32, &str) -> Result<O>,
        control: &dyn Control,
    ) -> Result<Self> {
        let beside = BESIDE.contains(&request.family.as_str());
        if beside && request.vae.is_some() {
            return Err(Error::invalid(format!("a network of family {} has no autoencoder", request.family)));
        }
        if let Ok(kind) = request.family.parse::<ControlKind>() {
            return Guide::load(request, kind, dtype, open, control).map(Box::new).map(Self::Guide);
        }
        match request.family.as_str() {
            UPSCALER => Upscaler::load(request, dtype, open, control).map(Box::new).map(Self::Upscaler),
            _ => Model::load(request, dtype, open, control).map(Box::new).map(Self::Model),
        }
    }

    /// A model that makes pictures.
    ///
    /// # Errors
    /// `Invalid` for everything else.
    pub(super) fn model(&self) -> Result<&Model<O>> {
        match self {
            Self::Model(model) => Ok(model),
            _ => Err(self.is_not("a model that makes pictures")),
        }
    }

    /// The same to change it.
    pub(super) fn model_mut(&mut self) -> Result<&mut Model<O>> {
        match self {
            Self::Model(model) => Ok(model),
            _ => Err(self.is_not("a model that makes pictures")),
        }
    }

    /// A ControlNet or T2I-Adapter.
    ///
    /// # Errors
    /// As [`model`](Self::model).
    pub(super) fn guide(&self) -> Result<&Guide<O>> {
        match self {
            Self::Guide(guide) => Ok(guide),
            _ => Err(self.is_not("a ControlNet or T2I-Adapter")),
        }
    }

    /// An upscaler.
    ///
    /// # Errors
    /// As [`model`](Self::model).
    pub(super) fn upscaler(&self) -> Result<&Upscaler<O>> {
        match self {
            Self::Upscaler(upscaler) => Ok(upscaler),
            _ => Err(self.is_not("an upscaler")),
        }
    }

    pub(super) fn info(&self) -> &ModelInfo {
        match self {
            Self::Model(model) => &model.info,
            Self::Guide(guide) => &guide.info,
            Self::Upscaler(upscaler) => &upscaler.info,
        }
    }

    fn is_not(&self, wanted: &str) -> Error {
        let found = match self {
            Self::Model(_) => "a model that makes pictures",
            Self::Guide(_) => "a ControlNet or T2I-Adapter",
            Self::Upscaler(_) => "an upscaler",
        };
        Error::invalid(format!("the handle is that of {found}, not of {wanted}"))
    }
}
