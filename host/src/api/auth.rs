// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/v1/auth/...`: accounts, keys and sessions in the words of the Python ALICE, whose clients read some answers
//! in camel case and others in snake case.

use serde::{Serialize, Serializer};

use crate::clock::Timestamp;
use crate::secret::Secret;

pub mod audit;
pub mod invites;
pub mod keys;
pub mod me;
pub mod pending;
pub mod registration;
pub mod sessions;
pub mod setup;
pub mod stats;

/// A list as clients expect it.
#[derive(Debug, Serialize)]
pub struct List<T> {
    object: &'static str,
    data: Vec<T>,
}

impl<T> List<T> {
    /// The list of `items`.
    pub fn of(items: impl IntoIterator<Item = T>) -> Self {
        Self { object: "list", data: items.into_iter().collect() }
    }
}

/// A time as the clients of the Python ALICE know it: seconds since 1970 as a floating-point number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seconds(Timestamp);

impl From<Timestamp> for Seconds {
    fn from(time: Timestamp) -> Self {
        Self(time)
    }
}

impl Serialize for Seconds {
    #[allow(clippy::cast_precision_loss, reason = "exact for the next hundred million years")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64)
    }
}

/// A secret in the one answer that hands it over. Everywhere else it is still not shown.
#[derive(Clone, Debug)]
pub struct Shown(Secret);

impl From<Secret> for Shown {
    fn from(secret: Secret) -> Self {
        Self(secret)
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}
