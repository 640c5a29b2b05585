// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How the multistep solvers join their estimates, by the model's settings.

use super::json::Keys;
use crate::Result;

/// Runs shorter than this end with lower orders, if the settings want that at all.
///
/// Source: diffusers `scheduling_dpmsolver_multistep.py` and `scheduling_deis_multistep.py`, `step`.
const SHORT_RUN: usize = 15;

/// The settings of diffusers' multistep solvers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Solver {
    /// The most estimates that are joined, 1 to 3.
    pub(crate) order: usize,
    /// Whether UniPC uses the first of its two forms of B(h).
    pub(crate) is_bh1: bool,
    lower_order_final: bool,
    euler_at_final: bool,
}

impl Solver {
    pub(super) fn read(keys: &Keys) -> Result<Self> {
        // The classes take each other's types for their own usual one.
        let types = ["bh1", "bh2", "heun", "logrho", "midpoint"];
        Ok(Self {
            order: keys.number("solver_order", 1..=3)?.unwrap_or(2) as usize,
            is_bh1: keys.one_of("solver_type", &types)?.as_deref() == Some("bh1"),
            lower_order_final: keys.get("lower_order_final")?.unwrap_or(true),
            euler_at_final: keys.get("euler_at_final")?.unwrap_or(false),
        })
    }

    /// The most estimates that UniPC joins in the step of this index: as many as steps are left.
    pub(crate) fn order_at(&self, index: usize, steps: usize) -> usize {
        if self.lower_order_final { self.order.min(steps - index) } else { self.order }
    }

    /// The same for DEIS, which lowers the order of short runs only.
    pub(crate) fn short_run_order_at(&self, index: usize, steps: usize) -> usize {
        if steps < SHORT_RUN { self.order_at(index, steps) } else { self.order }
    }

    /// Whether the last step of DPM-Solver is one of first order.
    pub(crate) fn is_euler_at_final(&self, steps: usize) -> bool {
        self.euler_at_final || (self.lower_order_final && steps < SHORT_RUN)
    }
}
