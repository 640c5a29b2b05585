// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Takes in a request's whole body before its handler runs, under the limits of size and time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::app::App;
use crate::error::{Error, Result};
use crate::router;

/// How long the rest of a body that is too large is taken in.
const LINGER: Duration = Duration::from_secs(2);

/// The body of a request to a route that takes such bodies; empty where none is looked at.
pub(super) async fn read(app: &App, takes: router::Body, headers: &HeaderMap, body: Body) -> Result<Bytes> {
    let limits = &app.config.limits;
    let limit = match takes {
        router::Body::None => return Ok(Bytes::new()),
        router::Body::Text => limits.body_bytes,
        router::Body::Pictures => limits.picture_body_bytes,
    };
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        // A client that asks first whether it may send its body does not send it now.
        if !headers.contains_key(header::EXPECT) {
            pour_away(body).await;
        }
        return Err(Error::TooLarge { limit });
    }
    let idle = Duration::from_secs(limits.body_idle_seconds.into());
    let whole = Duration::from_secs(limits.body_seconds.into());
    timeout(whole, collect(body, limit, idle)).await.unwrap_or(Err(Error::BodyTimeout))
}

async fn collect(mut body: Body, limit: usize, idle: Duration) -> Result<Bytes> {
    let mut bytes = Vec::new();
    loop {
        let frame = match timeout(idle, body.frame()).await {
            Err(_) => return Err(Error::BodyTimeout),
            Ok(None) => return Ok(bytes.into()),
            Ok(Some(Err(_))) => return Err(Error::Malformed("the request's body ended early".into())),
            Ok(Some(Ok(frame))) => frame,
        };
        // What is no data are trailers, which nobody here reads.
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            pour_away(body).await;
            return Err(Error::TooLarge { limit });
        }
        bytes.extend_from_slice(&data);
    }
}

/// Lets a client that is still sending send on for a little: one whose connection was ended meanwhile never
/// reads why.
async fn pour_away(mut body: Body) {
    let pour = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whoever is not done by then sends too much to be waited for.
    drop(timeout(LINGER, pour).await);
}
