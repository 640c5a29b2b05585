// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a file of weights is, by its tensors.

use std::path::Path;

use alice_checkpoint::Family;

use super::walk::Place;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole model, or nothing that is known: opening it tells.
    Model,
    /// A LoRA for models of this family.
    Lora(Option<Family>),
    /// A textual-inversion embedding.
    Embedding,
    /// Part of a model, which `vae` may name.
    Part,
}

/// What the file at `path` is. Where it lies decides in which order it is asked.
pub(super) fn of(_path: &Path, _place: Place) -> Result<Kind, alice_checkpoint::Error> {
    Ok(Kind::Model)
}
