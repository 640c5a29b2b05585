// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Answers that begin before their end is known: clients give up on a server that says nothing for some
//! minutes, which is no long time for a picture on a slow machine.
//!
//! After `server.early_answer_seconds` the status is 200 and white space comes, which JSON may begin with; then
//! the JSON, or the JSON of an error.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use tokio::time::{Interval, interval, timeout};

use super::{HEARTBEAT, JOB, UNBUFFERED};
use crate::app::App;
use crate::error::{Error, Result};
use crate::jobs::Attendance;

type Whole = Pin<Box<dyn Future<Output = Response> + Send>>;

/// The answer to the request that `job` was made for: the JSON that `finish` makes of it, or its error in the words of
/// the dialect `E`. The job is attended until the answer is sent or its client gone.
pub(super) async fn answer<E, T, F>(
    app: &App,
    job: Attendance,
    finish: impl FnOnce(Attendance) -> F,
) -> Response
where
    E: From<Error> + IntoResponse,
    T: IntoResponse,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let id = job.id.clone();
    let finish = finish(job);
    let mut whole: Whole = Box::pin(async {
        match finish.await {
            Ok(answer) => answer.into_response(),
            Err(error) => E::from(error).into_response(),
        }
    });
    let patience = Duration::from_secs(app.config.server.early_answer_seconds.into());
    let response = match timeout(patience, &mut whole).await {
        Ok(response) => response,
        Err(_elapsed) => {
            let headers = [(header::CONTENT_TYPE.as_str(), "application/json"), UNBUFFERED];
            (headers, Body::from_stream(trickle(whole))).into_response()
        }
    };
    ([(JOB, id)], response).into_response()
}

/// White space until `whole` is there, then its body.
fn trickle(whole: Whole) -> impl Stream<Item = std::result::Result<Bytes, axum::Error>> {
    let begin: Option<(Whole, Interval)> = Some((whole, interval(HEARTBEAT)));
    let bodies = stream::unfold(begin, |state| async {
        let (mut whole, mut beats) = state?;
        tokio::select! {
            response = &mut whole => Some((response.into_body(), None)),
            _ = beats.tick() => Some((Body::from("\n"), Some((whole, beats)))),
        }
    });
    bodies.flat_map(Body::into_data_stream)
}
