// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The contract between the ALICE daemon and a compute backend.
//!
//! A backend executes neural networks, nothing more: sampling, noise, guidance, prompts, queueing and
//! cancellation are the daemon's. [`Backend`] is the contract in Rust; [`abi`] is the same contract as one
//! C table, so that a plugin is a dynamic library built by any compiler. The feature `export` turns a
//! [`Backend`] into such a library, `load` turns such a library back into a [`Backend`].

pub mod abi;
pub mod checks;
pub mod contract;
#[cfg(feature = "export")]
pub mod export;
#[cfg(feature = "load")]
pub mod load;
pub mod processor;
pub mod slots;
pub mod tiles;

pub use contract::*;
