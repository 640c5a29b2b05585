// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `alice backends`: what was found, and what it can do here.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use alice_plugin::{Description, Device};

use crate::backends::{self, Found};
use crate::config::Config;

/// Prints each library found. Exit code 1 when none can run.
pub(super) fn run(config: &Config) -> ExitCode {
    let found = backends::find(config);
    if found.is_empty() {
        println!("No backend found. Searched:");
        for directory in backends::directories(&config.generation) {
            println!("  {}", directory.display());
        }
        return ExitCode::FAILURE;
    }
    for backend in &found {
        print(backend);
    }
    let asked = &config.generation.backend;
    match backends::pick(found, asked, Vec::new()) {
        Ok(chosen) => {
            println!("Chosen for `generation.backend: {asked}`: {}", chosen.description.name);
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("Cannot serve: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(Found { path, outcome }: &Found) {
    match outcome {
        Err(error) => println!("{}\n  passed over: {error}\n", path.display()),
        Ok(answer) => {
            let Description { name, version, dtypes, families, score, reason, stand_in, devices, .. } =
                &answer.description;
            let (major, minor) = answer.contract;
            println!("{name} {version} (contract {major}.{minor})\n  {}", path.display());
            if *score == 0 {
                println!("  cannot run here: {}", reason.as_deref().unwrap_or("it gives no reason"));
            }
            for device in devices {
                println!("  device {}", describe(device));
            }
            println!("  models {}; formats {}; score {score}", families.join(", "), dtypes.join(", "));
            if *stand_in {
                println!("  a stand-in that runs no model: used only when it is named");
            }
            println!();
        }
    }
}

fn describe(device: &Device) -> String {
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let memory = match (device.memory_free, device.memory_total) {
        (Some(free), Some(total)) => format!(", {:.1} of {:.1} GiB free", gib(free), gib(total)),
        (None, Some(total)) => format!(", {:.1} GiB", gib(total)),
        _ => String::new(),
    };
    format!("{}: {} ({}{memory})", device.index, device.name, device.kind)
}
