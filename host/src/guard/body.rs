// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Takes in a request's whole body before its handler runs, under the limits of size and time, and of what all requests
//! may have in memory together.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::app::App;
use crate::error::{Error, Result};
use crate::inputs::Share;
use crate::router;

/// How long the rest of a body that is too large is taken in.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes of a body that are not counted: whoever sends no pictures is served also while others' take all the room. The
/// number of connections bounds them.
const FREE: u64 = 64 << 10;

/// The body of a request to a route that takes such bodies; empty where none is looked at. With it comes its share of
/// what all requests may have in memory.
pub(super) async fn read(
    app: &App,
    takes: router::Body,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Bytes, Share)> {
    let limits = &app.config.limits;
    let in_hand = app.inputs.in_hand();
    let limit = match takes {
        router::Body::None => return Ok((Bytes::new(), in_hand.share())),
        router::Body::Text => limits.body_bytes,
        router::Body::Pictures => limits.picture_body_bytes,
    };
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let fits = |length: u64| match length > limit as u64 {
        true => Err(Error::TooLarge { limit }),
        false => in_hand.check(beyond(length)),
    };
    if let Err(error) = announced.map_or(Ok(()), fits) {
        // A client that asks first whether it may send its body does not send it now.
        if !headers.contains_key(header::EXPECT) {
            pour_away(body).await;
        }
        return Err(error);
    }
    let idle = Duration::from_secs(limits.body_idle_seconds.into());
    let whole = Duration::from_secs(limits.body_seconds.into());
    timeout(whole, collect(body, limit, idle, in_hand.share())).await.unwrap_or(Err(Error::BodyTimeout))
}

/// How many of a body's bytes are counted.
fn beyond(bytes: u64) -> u64 {
    bytes.saturating_sub(FREE)
}

async fn collect(mut body: Body, limit: usize, idle: Duration, mut share: Share) -> Result<(Bytes, Share)> {
    let mut bytes = Vec::new();
    loop {
        let frame = match timeout(idle, body.frame()).await {
            Err(_) => return Err(Error::BodyTimeout),
            Ok(None) => return Ok((bytes.into(), share)),
            Ok(Some(Err(_))) => return Err(Error::Malformed("the request's body ended early".into())),
            Ok(Some(Ok(frame))) => frame,
        };
        // What is no data are trailers, which nobody here reads.
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            pour_away(body).await;
            return Err(Error::TooLarge { limit });
        }
        if let Err(error) = share.grow_to(beyond((bytes.len() + data.len()) as u64)) {
            drop((bytes, share));
            pour_away(body).await;
            return Err(error);
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
