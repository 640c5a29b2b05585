// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The command line: which of the program's few jobs is meant, and the exit code.
// These commands answer on the terminal; only the daemon itself logs.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tracing::warn;
use tracing_subscriber::EnvFilter;

use crate::config::{Level, Logging, file};
use crate::server;

mod admin;
mod backends;
mod bench;
mod conformance;
mod healthcheck;
mod picture;
mod worker;

/// Makes pictures from text on this machine: pages and OpenAI's API.
#[derive(Debug, Parser)]
#[command(name = "alice", version)]
struct Arguments {
    /// The configuration file. Without it: config.yaml in the working directory, else the defaults.
    #[arg(long, global = true, env = "ALICE_CONFIG", value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve pages and API (also without a subcommand).
    Serve,
    /// List the compute backends found here, their devices, or why each was passed over.
    Backends,
    /// Measure a backend, and what the daemon adds to it.
    Bench(bench::Arguments),
    /// Ask a running server whether it lives; exit code 0 if it does.
    Healthcheck(healthcheck::Arguments),
    /// Check a backend against the contract, and its networks against reference tensors.
    Conformance(conformance::Arguments),
    /// Get back in: make an administrator on the server itself.
    Admin(admin::Arguments),
    /// What the server starts for its backend.
    #[command(hide = true)]
    Worker,
    /// What the server starts to read a picture.
    #[command(hide = true)]
    Picture(picture::Arguments),
}

/// Runs the program. This is the only place that turns failures into an exit code.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    match dispatch(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("alice: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if matches!(arguments.command, Some(Command::Worker)) {
        // All that it needs to know the server tells it; the configuration is none of its business.
        return worker::run();
    }
    if let Some(Command::Picture(arguments)) = &arguments.command {
        return picture::run(arguments);
    }
    let file::Loaded { config, warnings } = file::load(arguments.config.as_deref())?;
    let command = arguments.command.unwrap_or(Command::Serve);
    if matches!(command, Command::Serve) {
        start_log(&config.logging)?;
        warnings.iter().for_each(|warning| warn!("{warning}"));
    } else {
        warnings.iter().for_each(|warning| eprintln!("alice: {warning}"));
    }
    match command {
        Command::Serve => {
            tokio::runtime::Runtime::new()?.block_on(server::run(config))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Backends => Ok(backends::run(&config)),
        Command::Bench(arguments) => bench::run(config, &arguments),
        Command::Healthcheck(arguments) => {
            tokio::runtime::Runtime::new()?.block_on(healthcheck::run(&config, arguments))
        }
        Command::Conformance(arguments) => conformance::run(arguments),
        Command::Admin(arguments) => admin::run(&config, arguments),
        Command::Worker => worker::run(),
        Command::Picture(arguments) => picture::run(&arguments),
    }
}

/// Sends the log where the configuration says; `RUST_LOG` refines it for a developer.
fn start_log(logging: &Logging) -> anyhow::Result<()> {
    let level = match logging.level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warning => "warn",
        Level::Error => "error",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(terminal);
    match &logging.file {
        None => log.with_writer(std::io::stderr).init(),
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
            let file = file.with_context(|| format!("cannot open the log file {}", path.display()))?;
            log.with_ansi(false).with_writer(Mutex::new(file)).init();
        }
    }
    Ok(())
}
