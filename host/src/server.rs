// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The daemon's life: listen, serve, drain, end.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::app::App;
use crate::auth::setup;
use crate::clock::Clock;
use crate::config::Config;
use crate::{housekeeping, jobs, pictures, residence, router};

mod addresses;
mod connections;

/// How long jobs may take to finish after the order to end. Those that do not begin again when the daemon does.
const DRAIN: Duration = Duration::from_secs(60);
/// How often it is looked whether requests are still running.
const GLANCE: Duration = Duration::from_millis(50);
/// How long idle connections, and the last answers, may take after that.
const DRAIN_IDLE: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps the daemon from starting, in a sentence that says what to do.
pub async fn run(config: Config) -> anyhow::Result<()> {
    raise_file_limit();
    let address = SocketAddr::new(config.server.host, config.server.port);
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; is another server running there? (`server.port`)")
    })?;
    let app = tokio::task::spawn_blocking(move || App::new(config, Clock::system())).await??;
    // Before any token is made: what the clock ends when it went back is old.
    housekeeping::tidy(&app).await?;
    jobs::recover(&app).await?;
    let address = listener.local_addr()?;
    info!("Ready at http://{address}");
    setup::announce(&app, address).await?;
    let residence = tokio::spawn({
        let app = app.clone();
        async move {
            residence::keep(&app).await;
        }
    });
    let older = tokio::spawn({
        let app = app.clone();
        async move { pictures::describe_older(&app).await }
    });
    let housekeeping = tokio::spawn(housekeeping::run(app.clone()));
    serve(listener, app.clone(), ordered_to_end()?).await;
    residence.abort();
    older.abort();
    housekeeping.abort();
    housekeeping::tidy(&app).await?;
    app.database.write(jobs::store::none_runs).await?;
    app.database.settle().await?;
    info!("Ended");
    Ok(())
}

/// Serves on `listener` until `end` is there, then lets what is running finish.
pub async fn serve(listener: TcpListener, app: App, end: impl Future<Output = ()>) {
    let router = router::router(app.clone());
    let open = connections::serve_until(end, listener, router, &app.config).await;
    info!(running = app.jobs.unfinished(), "Draining");
    let jobs = async || {
        while app.jobs.unfinished() > 0 {
            tokio::time::sleep(GLANCE).await;
        }
    };
    let idle = async {
        jobs().await;
        tokio::time::sleep(DRAIN_IDLE).await;
    };
    tokio::select! {
        _ = async { tokio::join!(open.shutdown(), jobs()) } => {}
        // What is still open now is idle or never finished its request.
        () = idle => {}
        () = tokio::time::sleep(DRAIN) => warn!("Some requests did not finish in time"),
    }
    app.jobs.stop();
}

/// Takes as many file descriptors as the system allows: with the usual 1024 a crowd of connections would also
/// take those that pictures and the database need.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!(%error, "The limit of open files cannot be raised");
    }
}

/// Resolves when the process is told to end.
fn ordered_to_end() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
