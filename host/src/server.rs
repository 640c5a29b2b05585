// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The daemon's life: listen, serve, drain, end.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::app::App;
use crate::config::Config;
use crate::router;

/// How long requests that are running may take to finish after the order to end. The pictures of those that
/// do not are lost, as the client is told by its closed connection.
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
    let address = SocketAddr::new(config.server.host, config.server.port);
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; is another server running there? (`server.port`)")
    })?;
    let app = tokio::task::spawn_blocking(move || App::new(config)).await??;
    info!("Ready at http://{}", listener.local_addr()?);
    serve(listener, app, ordered_to_end()?).await
}

/// Serves on `listener` until `end` is there, then lets what is running finish.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    app: App,
    end: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let (draining, mut drained) = tokio::sync::oneshot::channel::<()>();
    let present = app.clone();
    let server = axum::serve(listener, router::router(app)).with_graceful_shutdown(async move {
        end.await;
        // Nobody listens any more only when the server has already ended.
        let _ended = draining.send(());
    });
    let server = server.into_future();
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return ended.context("the listener failed"),
        _ = &mut drained => {}
    }
    info!(running = present.queue.present(), "Draining");
    let drained = async {
        while present.queue.present() > 0 {
            tokio::time::sleep(GLANCE).await;
        }
        tokio::time::sleep(DRAIN_IDLE).await;
    };
    tokio::select! {
        ended = &mut server => ended.context("the listener failed")?,
        // What is still open now is idle or never finished its request.
        () = drained => {}
        () = tokio::time::sleep(DRAIN) => warn!("Some requests did not finish in time"),
    }
    info!("Ended");
    Ok(())
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
