// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A place for a layer that can be built anew while its network stays: where adapters act.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ops::Ops;

/// A convolution in its place.
pub(crate) type Conv<O> = Slot<<O as Ops>::Conv>;
/// A linear layer in its place.
pub(crate) type Linear<O> = Slot<<O as Ops>::Linear>;
/// A gated linear unit in its place.
pub(crate) type Gated<O> = Slot<<O as Ops>::Gated>;

/// A layer that its network and the model's list of layers share. The lock is never waited for, because one call
/// runs at a time; it is what lets both sides have the layer.
pub(crate) struct Slot<L>(Arc<Mutex<L>>);

impl<L> Slot<L> {
    pub(crate) fn new(layer: L) -> Self {
        Self(Arc::new(Mutex::new(layer)))
    }

    /// The layer that is there now.
    pub(crate) fn get(&self) -> MutexGuard<'_, L> {
        // A panic in an operation leaves the layer as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts another layer in this one's place.
    pub(crate) fn set(&self, layer: L) {
        *self.get() = layer;
    }
}

impl<L> Clone for Slot<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
