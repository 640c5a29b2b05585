// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the operator, or rather a test, may ask of this backend.

use alice_plugin::{Control, Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::num::NonZeroU32;
use std::thread::sleep;
use std::time::Duration;

use crate::faults::Fault;

/// Milliseconds between two signs of life, unless `breath_ms` says otherwise.
const BREATH_MS: f64 = 5.0;
/// The shortest time that can be asked for.
const SHORTEST_BREATH_MS: f64 = 0.1;

/// The options, all of them optional: `{"step_ms": 20, "row_ms": 5, "faults": [...]}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Milliseconds that an evaluation takes before its first row.
    pub step_ms: f64,
    /// Milliseconds that each row adds; with `step_ms` this makes a device's cost curve.
    pub row_ms: f64,
    /// Milliseconds that loading a model takes, with signs of how far it has come.
    pub load_ms: f64,
    /// Milliseconds between two signs of life while time passes. Unset: 5.
    pub breath_ms: Option<f64>,
    /// The kind of device that it pretends to have. Unset: `cpu`.
    pub kind: Option<String>,
    /// How many such devices. Unset: one.
    pub devices: Option<u32>,
    /// Memory of each device in MiB; models that do not fit together run out of it. Unset: no limit.
    pub memory_mib: Option<u64>,
    /// What each model is said to take, in MiB. Unset: next to nothing.
    pub model_mib: Option<u64>,
    /// Most rows of one evaluation; more of them run out of memory. Unset: no limit.
    pub max_rows: Option<usize>,
    /// Most pixels that `decode`, `encode_image`, `encode_hint` and `upscale` can work on at once, of a whole picture or
    /// of a tile; more of them run out of memory. Unset: no limit.
    pub max_pixels: Option<u64>,
    /// How many times larger upscalers make a picture. Unset: 2.
    pub factor: Option<NonZeroU32>,
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

    /// Passes for a picture of these sides that is worked on whole, or in tiles of the side `tile`.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn hold(&self, height: u32, width: u32, tile: Option<u32>) -> Result<()> {
        let side = |side: u32| u64::from(tile.map_or(side, |tile| tile.min(side)));
        let pixels = side(height) * side(width);
        match self.max_pixels.is_some_and(|most| pixels > most) {
            true => {
                let message = format!("{pixels} pixels do not fit into the memory that was asked for");
                Err(Error::new(ErrorKind::OutOfMemory, message))
            }
            false => Ok(()),
        }
    }

    /// Lets `milliseconds` pass in breaths that the caller can interrupt.
    ///
    /// # Errors
    /// `Cancelled`.
    pub(crate) fn pass(&self, milliseconds: f64, control: &dyn Control) -> Result<()> {
        let total = milliseconds.max(0.0) as u64;
        control.progress(0, total)?;
        let longest = self.breath_ms.unwrap_or(BREATH_MS).max(SHORTEST_BREATH_MS);
        let mut left = milliseconds;
        while left > 0.0 {
            let breath = longest.min(left);
            sleep(Duration::from_secs_f64(breath / 1000.0));
            left -= breath;
            control.progress(total.saturating_sub(left.max(0.0) as u64), total)?;
        }
        Ok(())
    }
}
