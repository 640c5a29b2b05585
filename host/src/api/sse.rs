// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Server-sent events (WHATWG HTML, 9.2): an answer that is told bit by bit.

use std::convert::Infallible;
use std::future::Future;

use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt, stream};
use serde::Serialize;

use super::{HEARTBEAT, UNBUFFERED};
use crate::error::{Error, Result};

/// Where a teller puts its events.
pub(super) struct Events(mpsc::Sender<Event>);

impl Events {
    /// Tells the event `name`, and waits until the one before it was taken.
    ///
    /// # Errors
    /// When `data` is no JSON.
    pub(super) async fn tell(&mut self, name: &str, data: impl Serialize) -> Result<()> {
        let event = Event::default().event(name).json_data(data);
        let event = event.map_err(|error| Error::Internal(anyhow::Error::from(error)))?;
        let told = self.0.send(event).await;
        told.map_err(|_| Error::Internal(anyhow::anyhow!("events are told to nobody")))
    }
}

/// An answer of the events that `tell` tells, which runs as long as somebody reads them.
pub(super) fn answer<F: Future<Output = ()> + Send + 'static>(tell: impl FnOnce(Events) -> F) -> Response {
    let (events, told) = mpsc::channel(0);
    let telling = stream::once(tell(Events(events))).filter_map(async |()| None);
    let events = stream::select(told, telling).map(Ok::<_, Infallible>);
    let headers = [(header::CACHE_CONTROL.as_str(), "no-store"), UNBUFFERED];
    let alive = KeepAlive::new().interval(HEARTBEAT).text("keep-alive");
    (headers, Sse::new(events).keep_alive(alive)).into_response()
}
