// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Which version of its files something is made of. Files may be replaced under their names: what was made of the old
//! ones must not be taken for what is asked for now.

use std::collections::BTreeMap;
use std::sync::Arc;

use alice_plugin::Adapter;

/// Something that is named by its files, and which version of them is meant. Another version is another thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Versioned<T> {
    /// What the backend is told.
    pub what: T,
    /// A number that changes whenever the files do.
    pub version: u64,
}

impl<T> From<T> for Versioned<T> {
    /// For those whose files never change.
    fn from(what: T) -> Self {
        Self { what, version: 0 }
    }
}

/// LoRAs in the form in which equal sets are equal: sorted by file, each file once with the sum of its scales, none
/// that does nothing.
pub fn canonical<A: Into<Versioned<Adapter>>>(
    adapters: impl IntoIterator<Item = A>,
) -> Arc<[Versioned<Adapter>]> {
    let mut sums = BTreeMap::new();
    for Versioned { what: Adapter { path, scale }, version } in adapters.into_iter().map(Into::into) {
        *sums.entry((path, version)).or_insert(0.0) += scale;
    }
    let effective = sums.into_iter().filter(|(_, scale)| *scale != 0.0);
    effective.map(|((path, version), scale)| Versioned { what: Adapter { path, scale }, version }).collect()
}
