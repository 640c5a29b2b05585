// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The integration tests: one program, because each further one costs its own linking.
// What goes wrong in a test must fail it.
#![allow(clippy::unwrap_used)]

mod access;
mod accounts;
mod api;
mod architecture;
mod bench;
mod browser;
mod chaos;
mod clients;
mod contract;
mod devices;
mod edits;
mod engine;
mod enlarge;
mod faults;
mod forty;
mod gallery;
mod harness;
mod hostile;
mod inputs;
mod jobs;
mod loras;
mod metrics;
mod models;
mod pages;
mod painted;
mod parity;
mod program;
mod residence;
mod secrets;
mod slow;
mod stage;
mod strangers;
mod tensors;
mod wire;
mod worker;
