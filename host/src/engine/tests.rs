// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The engine against a backend that notes what it is asked, holds still until it is told to go on, and fails by rule.

mod batches;
mod deaths;
pub(super) mod explored;
mod fake;
mod hints;
mod memory;
mod schedules;
mod sets;
mod several;
