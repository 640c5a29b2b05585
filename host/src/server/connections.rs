// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The connections: accepted up to the limits, spoken to in HTTP/1.1, given up when a client is too slow.
//!
//! `axum::serve` has no timer and no limit: a client that sends nothing, or never takes its answer, would
//! hold its connection for ever. What a request's body may take is not decided here.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutWriter;
use tower::ServiceExt;
use tracing::{debug, warn};

use super::addresses::Addresses;
use crate::config::{Config, Limits};

/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;
/// Bytes that are read ahead of what is asked for, and bytes of an answer that wait to be sent.
const BUFFER_BYTES: usize = 64 << 10;
/// Fields of a request's head.
const HEAD_FIELDS: usize = 100;
/// Bytes of a request's path and query.
const URI_BYTES: usize = 8 << 10;
/// How long nothing is accepted after the system refused a connection, mostly for want of a file descriptor.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` to everyone who connects, until `end`; then nobody listens any more. Gives the
/// connections that are still open, so that they can be told to end.
pub(super) async fn serve_until(
    end: impl Future<Output = ()>,
    listener: TcpListener,
    router: Router,
    config: &Config,
) -> GracefulShutdown {
    let open = GracefulShutdown::new();
    tokio::select! {
        never = serve(&listener, router, config, &open) => match never {},
        () = end => open,
    }
}

/// Accepts and serves connections. When there are as many as there may be, the next ones wait in the system.
async fn serve(
    listener: &TcpListener,
    router: Router,
    config: &Config,
    open: &GracefulShutdown,
) -> Infallible {
    let limits = &config.limits;
    let http = http(limits);
    let answer_idle = seconds(limits.answer_idle_seconds);
    let places = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
    let addresses = Addresses::new(limits.connections_per_address, &config.server.trusted_proxies);
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes this semaphore");
        let (stream, peer) = accept(listener).await;
        let Some(counted) = addresses.count(peer.ip()) else {
            debug!(%peer, "A connection is refused: its address has as many as it may have");
            continue;
        };
        let router = router.clone();
        let service = service_fn(move |request| answer(router.clone(), peer, request));
        let connection = open.watch(http.serve_connection(socket(stream, answer_idle), service));
        tokio::spawn(async move {
            let _held = (place, counted);
            if let Err(error) = connection.await {
                debug!(%peer, "A connection ended early: {error}");
            }
        });
    }
}

/// The next connection. That the system cannot give one is logged once, not once for every try.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut logged = false;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if !logged => {
                warn!("Connections cannot be accepted for now: {error}");
                logged = true;
            }
            Err(_same_again) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// HTTP/1.1 under our limits.
fn http(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        // The time runs from the moment a head is awaited, so it also ends a connection that idles between
        // two requests.
        .header_read_timeout(seconds(limits.header_seconds))
        .max_headers(HEAD_FIELDS)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(BUFFER_BYTES)
        // A client that hangs up is gone: its request is cancelled, not answered into the void.
        .half_close(false);
    http
}

/// The stream of one connection, which fails when the client takes nothing of its answer for `answer_idle`.
fn socket(stream: TcpStream, answer_idle: Duration) -> TokioIo<Pin<Box<TimeoutWriter<TcpStream>>>> {
    // An answer goes out at once instead of waiting for the client's acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        debug!("TCP_NODELAY cannot be set: {error}");
    }
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(answer_idle));
    TokioIo::new(Box::pin(stream))
}

/// Answers one request. Handlers find the address of the caller in [`ConnectInfo`].
async fn answer(
    router: Router,
    peer: SocketAddr,
    request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    let mut request = request.map(Body::new);
    if let Some(status) = objection(&request) {
        // As hyper answers a head that it cannot read: what follows on this connection is not trusted.
        return Ok((status, [(header::CONNECTION, "close")]).into_response());
    }
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}

/// What is wrong with a head that hyper accepts.
fn objection(request: &Request) -> Option<StatusCode> {
    let uri = request.uri().path_and_query().map_or("", |uri| uri.as_str());
    if uri.len() > URI_BYTES {
        return Some(StatusCode::URI_TOO_LONG);
    }
    // A proxy before us may understand such a head differently, and so see other requests than we do. Only one
    // coding is known here, and hyper would pass over the others in silence.
    let headers = request.headers();
    let chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let unknown = !headers.get_all(header::TRANSFER_ENCODING).iter().all(chunked);
    let twice = |name| headers.get_all(name).iter().count() > 1;
    let unclear = unknown || twice(header::TRANSFER_ENCODING) || twice(header::HOST);
    unclear.then_some(StatusCode::BAD_REQUEST)
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use axum::routing::{get, post};
    use tokio::sync::oneshot;

    use super::*;

    const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n";

    /// A client's connection to `router`, which is served until the test ends.
    async fn connect(router: Router) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            serve_until(std::future::pending(), listener, router, &Config::default()).await
        });
        TcpStream::connect(address).unwrap()
    }

    fn rest(stream: &mut TcpStream) -> String {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn handlers_learn_the_address_of_their_caller() {
        let handler = async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string();
        let mut client = connect(Router::new().route("/", get(handler))).await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let answer = rest(&mut client);
        assert!(answer.ends_with(&client.local_addr().unwrap().to_string()), "{answer}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_body_that_is_given_up_is_answered_and_ends_its_connection() {
        let handler = async |body: Body| {
            let read = axum::body::to_bytes(body, 100);
            match tokio::time::timeout(Duration::from_millis(100), read).await {
                Ok(_) => StatusCode::OK,
                Err(_elapsed) => StatusCode::REQUEST_TIMEOUT,
            }
        };
        let mut client = connect(Router::new().route("/", post(handler))).await;
        client.write_all(POST).unwrap();
        client.write_all(b"too little").unwrap();
        let answer = rest(&mut client);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }

    /// Asserts that a handler ends when its client hangs up during `work`.
    async fn hang_up_during<W: Future<Output = ()> + Send>(
        sent: &[u8],
        work: impl Fn(Body) -> W + Clone + Send + Sync + 'static,
    ) {
        let (began, begins) = oneshot::channel::<()>();
        let (held, ended) = oneshot::channel::<()>();
        let once = Arc::new(std::sync::Mutex::new(Some((began, held))));
        let handler = async move |body: Body| {
            let (began, _held) = once.lock().unwrap().take().unwrap();
            began.send(()).unwrap();
            work(body).await;
        };
        let mut client = connect(Router::new().route("/", post(handler))).await;
        client.write_all(sent).unwrap();
        begins.await.unwrap();
        drop(client);
        let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
        assert!(ended.expect("the handler goes on").is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_hangs_up_cancels_its_request() {
        let whole = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
        hang_up_during(whole, async |_body| std::future::pending().await).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_hangs_up_amid_its_body_ends_the_reading_of_it() {
        hang_up_during(POST, async |body| assert!(axum::body::to_bytes(body, 100).await.is_err())).await;
    }
}
