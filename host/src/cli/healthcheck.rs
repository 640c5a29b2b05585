// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `alice healthcheck`: for containers and service managers.
#![allow(clippy::print_stdout)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use crate::config::Config;

/// What `alice healthcheck` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The address to ask. Without it: /livez where the configuration says the server listens.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Seconds to wait for the answer.
    #[arg(long, default_value_t = 5)]
    timeout: u64,
}

/// Asks once. Exit code 0 for a 2xx answer, else 1.
pub(super) async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let url = arguments.url.unwrap_or_else(|| format!("http://{}/livez", reachable(config)));
    // The server is this machine's: a proxy of the environment has no business here.
    let client =
        reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(arguments.timeout)).build()?;
    match client.get(&url).send().await {
        Ok(answer) if answer.status().is_success() => {
            println!("alive: {url}");
            Ok(ExitCode::SUCCESS)
        }
        Ok(answer) => {
            println!("unhealthy: {url} answers {}", answer.status());
            Ok(ExitCode::FAILURE)
        }
        Err(error) => {
            println!("unreachable: {url}: {:#}", anyhow::Error::from(error));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The address at which a server that listens as configured can be reached from this machine.
fn reachable(config: &Config) -> SocketAddr {
    let host = match config.server.host {
        IpAddr::V4(host) if host.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(host) if host.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        host => host,
    };
    SocketAddr::new(host, config.server.port)
}
