// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The ALICE daemon: pages, OpenAI's API, and the engine that feeds a compute backend.
//!
//! A request goes from [`router`] through one dialect of [`api`] or a page of [`pages`] to [`generate`],
//! the one use case, and from there through [`engine`] to a backend.
#![forbid(unsafe_code)]

pub mod adapters;
pub mod api;
pub mod app;
pub mod archive;
pub mod auth;
pub mod backends;
pub mod cli;
pub mod clock;
pub mod config;
pub mod conformance;
pub mod database;
pub mod denoiser;
pub mod draft;
pub mod engine;
pub mod error;
pub mod gallery;
pub mod generate;
pub mod guard;
pub mod housekeeping;
pub mod infotext;
pub mod inputs;
pub mod jobs;
pub mod metrics;
pub mod models;
pub mod pages;
pub mod picture;
pub mod pictures;
pub mod prompts;
pub mod residence;
pub mod router;
pub mod secret;
pub mod server;
pub mod sketch;
mod tally;
pub mod task;
pub mod worker;
