// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Server-sent events (WHATWG HTML, 9.2): an answer that is told bit by bit.

use std::future::Future;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt, stream};
use serde::Serialize;
use tokio::time::timeout;

use super::filled::Filled;
use super::{HEARTBEAT, UNBUFFERED};
use crate::error::{Error, Result};

/// Where a teller puts its events, each of which may be too large to be in memory as a whole.
pub(super) struct Events(mpsc::Sender<Body>);

impl Events {
    /// Tells the event `name`, and waits until the one before it was taken.
    ///
    /// # Errors
    /// When `data` is no JSON, or nobody listens.
    pub(super) async fn tell(&mut self, name: &str, data: impl Serialize) -> Result<()> {
        let data = serde_json::to_string(&data).map_err(anyhow::Error::from)?;
        self.put(name, Body::from(data)).await
    }

    /// The same with data that holds a picture.
    ///
    /// # Errors
    /// When nobody listens.
    pub(super) async fn tell_filled(&mut self, name: &str, data: Filled) -> Result<()> {
        self.put(name, data.into_body()).await
    }

    /// `data` is JSON and has no line breaks.
    async fn put(&mut self, name: &str, data: Body) -> Result<()> {
        let parts = [Body::from(format!("event: {name}\ndata: ")), data, Body::from("\n\n")];
        let event = Body::from_stream(stream::iter(parts).flat_map(Body::into_data_stream));
        let told = self.0.send(event).await;
        told.map_err(|_| Error::Internal(anyhow::anyhow!("events are told to nobody")))
    }
}

/// An answer of the events that `tell` tells, which runs as long as somebody reads them.
pub(super) fn answer<F: Future<Output = ()> + Send + 'static>(tell: impl FnOnce(Events) -> F) -> Response {
    let (events, told) = mpsc::channel(0);
    let telling = stream::once(tell(Events(events))).filter_map(async |()| None);
    let events = Box::pin(stream::select(told, telling));
    let bodies = stream::unfold(events, |mut events| async {
        let body = match timeout(HEARTBEAT, events.next()).await {
            Ok(event) => event?,
            Err(_elapsed) => Body::from(": keep-alive\n\n"),
        };
        Some((body, events))
    });
    let headers = [
        (header::CONTENT_TYPE.as_str(), "text/event-stream"),
        (header::CACHE_CONTROL.as_str(), "no-store"),
        UNBUFFERED,
    ];
    (headers, Body::from_stream(bodies.flat_map(Body::into_data_stream))).into_response()
}
