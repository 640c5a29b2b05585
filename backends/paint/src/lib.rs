// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A stand-in for a compute backend: it paints from prompt and seed in milliseconds and runs no network.
//!
//! It is what every test uses that is not about real pictures, because it is quick, always gives the same
//! bytes, and sleeps, fails, panics or dies on request ([`Options`]). It is also the smallest whole example
//! of the plugin contract: everything goes through [`alice_plugin::export_backend!`].
#![forbid(unsafe_code)]

mod backend;
mod faults;
mod model;
mod options;
mod picture;
mod schedule;

pub use backend::Paint;
pub use faults::{Call, Effect, Fault};
pub use options::Options;

alice_plugin::export_backend!(Paint::new);
