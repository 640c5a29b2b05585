// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the operator, or rather a test, may ask of this backend.

use alice_plugin::{Control, Error, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::thread::sleep;
use std::time::Duration;

use crate::faults::Fault;

/// The longest sleep between two signs of life.
const BREATH_MS: u64 = 5;

/// The options, all of them optional: `{"step_ms": 20, "row_ms": 5, "faults": [...]}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Milliseconds that an evaluation takes before its first row.
    pub step_ms: u64,
    /// Milliseconds that each row adds; with `step_ms` this makes a device's cost curve.
    pub row_ms: u64,
    /// Milliseconds that loading a model takes.
    pub load_ms: u64,
    /// Most rows of one evaluation; more of them run out of memory. Unset: no limit.
    pub max_rows: Option<usize>,
    /// What goes wrong, and when.
    pub faults: Vec<Fault>,
    /// Offered to every backend by the daemon. Painting has no use for it.
    #[serde(rename = "threads")]
    _threads: Option<IgnoredAny>,
}

impl Options {
    /// The options in `value`.
    ///
    /// # Errors
    /// `Invalid`, naming the key that is unknown or has a wrong value.
    pub fn parse(value: &Value) -> Result<Self> {
        Self::deserialize(value).map_err(|error| Error::invalid(format!("options of `paint`: {error}")))
    }
}

/// Lets `milliseconds` pass in breaths that the caller can interrupt.
///
/// # Errors
/// `Cancelled`.
pub(crate) fn pass(milliseconds: u64, control: &dyn Control) -> Result<()> {
    control.progress(0, milliseconds)?;
    let mut passed = 0;
    while passed < milliseconds {
        let breath = BREATH_MS.min(milliseconds - passed);
        sleep(Duration::from_millis(breath));
        passed += breath;
        control.progress(passed, milliseconds)?;
    }
    Ok(())
}
