// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Pictures that clients name by their address, where the operator allows it. This is the one way in which a client can
//! make the daemon speak to somebody else, so everything is checked that decides to whom: the address as written, the name
//! before anybody is asked about it, and every address that the name has. The connection goes to one of the addresses
//! that were checked, through no proxy, and each redirect begins anew.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::budget::Budget;
use super::store::PARAM;
use crate::error::{Error, Result};

mod address;

/// Redirects that are followed.
const REDIRECTS: usize = 3;
/// Fetches at the same time.
const AT_ONCE: usize = 8;
/// Everything together.
const WHOLE: Duration = Duration::from_secs(30);
/// Until there is a connection, and between two pieces of an answer.
const STEP: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const ADDRESSES: usize = 8;
/// The longest address.
const MOST_LETTERS: usize = 4096;
/// What servers are told they speak to.
const AGENT: &str = concat!("alice/", env!("CARGO_PKG_VERSION"));
/// What is said of everything that goes wrong between here and there: whoever asks learns nothing about networks.
const UNREACHABLE: &str = "cannot be fetched from its address";

/// Whom the daemon may speak to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Also without encryption.
    pub(super) http: bool,
    /// Also on other ports than the usual one.
    pub(super) any_port: bool,
    /// Whether an address may be connected to.
    pub(super) may_connect: fn(IpAddr) -> bool,
}

impl Rules {
    /// Everybody on the public network.
    pub(super) fn public(http: bool) -> Self {
        Self { http, any_port: false, may_connect: address::is_public }
    }
}

/// Tells the addresses of a name.
pub(super) type Resolve = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The client.
#[derive(Clone)]
pub(super) struct Fetcher {
    rules: Rules,
    resolve: Resolve,
    most_bytes: u64,
    in_hand: Budget,
    places: Arc<Semaphore>,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// Where a redirect leads, or the picture.
enum Came {
    Elsewhere(Url),
    Picture(Bytes),
}

impl Fetcher {
    /// One that speaks to whom `rules` allow, asks the system for names and takes so many bytes, which count as `in_hand`.
    pub(super) fn new(rules: Rules, most_bytes: u64, in_hand: Budget) -> Self {
        Self::with_names(rules, most_bytes, in_hand, Arc::new(|name| Box::pin(of_the_system(name))))
    }

    /// The same with other names.
    pub(super) fn with_names(rules: Rules, most_bytes: u64, in_hand: Budget, resolve: Resolve) -> Self {
        Self { rules, resolve, most_bytes, in_hand, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// What lies at `url`.
    ///
    /// # Errors
    /// [`Error::Invalid`] about `image`, and [`Error::NoRoom`].
    pub(super) async fn fetch(&self, url: &str) -> Result<Bytes> {
        if url.len() > MOST_LETTERS {
            return Err(invalid("has too long an address"));
        }
        let mut url = Url::parse(url.trim()).map_err(|_| invalid("is no address that can be read"))?;
        let all = async {
            let _place = self.places.acquire().await.map_err(|_| invalid(UNREACHABLE))?;
            for _ in 0..=REDIRECTS {
                match self.step(&url).await? {
                    Came::Elsewhere(next) => url = next,
                    Came::Picture(bytes) => return Ok(bytes),
                }
            }
            Err(invalid("is redirected too often"))
        };
        timeout(WHOLE, all).await.unwrap_or_else(|_| Err(invalid(UNREACHABLE)))
    }

    /// One connection, one request.
    async fn step(&self, url: &Url) -> Result<Came> {
        let (host, addresses) = self.whereto(url).await?;
        let stream = connected(&addresses).await?;
        if url.scheme() == "http" {
            return self.ask(stream, url).await;
        }
        let name = ServerName::try_from(host).map_err(|_| invalid(UNREACHABLE))?;
        let tls = timeout(STEP, tls()?.connect(name, stream)).await;
        let tls = tls.map_err(|_| invalid(UNREACHABLE))?.map_err(|_| invalid(UNREACHABLE))?;
        self.ask(tls, url).await
    }

    /// The name of the host, and its addresses, all of which may be connected to.
    async fn whereto(&self, url: &Url) -> Result<(String, Vec<SocketAddr>)> {
        match url.scheme() {
            "https" => {}
            "http" if self.rules.http => {}
            "http" => return Err(invalid("must have an address that begins with https://")),
            _ => return Err(invalid("must have an address that begins with https:// (or be a data URL)")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("must have an address without a user"));
        }
        if url.port().is_some() && !self.rules.any_port {
            return Err(invalid("must have an address without a port"));
        }
        let port = url.port_or_known_default().ok_or_else(|| invalid(UNREACHABLE))?;
        let (host, addresses) = match url.host().ok_or_else(|| invalid(UNREACHABLE))? {
            Host::Ipv4(address) => (address.to_string(), vec![address.into()]),
            Host::Ipv6(address) => (address.to_string(), vec![address.into()]),
            Host::Domain(name) => {
                if !address::is_public_name(name) {
                    return Err(invalid(UNREACHABLE));
                }
                let found = timeout(STEP, (self.resolve)(name.to_owned())).await;
                let found = found.map_err(|_| invalid(UNREACHABLE))?.map_err(|_| invalid(UNREACHABLE))?;
                (name.trim_end_matches('.').to_owned(), found)
            }
        };
        if !addresses.iter().all(|address| (self.rules.may_connect)(*address)) {
            return Err(invalid(UNREACHABLE));
        }
        let addresses = addresses.into_iter().take(ADDRESSES);
        Ok((host, addresses.map(|address| SocketAddr::new(address, port)).collect()))
    }

    /// Asks for `url` on a connection that is there.
    async fn ask(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        url: &Url,
    ) -> Result<Came> {
        let unreachable = |_| invalid(UNREACHABLE);
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(64 << 10)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(unreachable)?;
        // It ends when the sender and the answer are dropped.
        let driver = tokio::spawn(connection);
        let _ended = Ended(driver.abort_handle());
        let answer = timeout(STEP, sender.send_request(request(url)?)).await;
        let answer = answer.map_err(|_| invalid(UNREACHABLE))?.map_err(unreachable)?;
        if answer.status().is_redirection() {
            return redirect(url, &answer).map(Came::Elsewhere);
        }
        if answer.status() != StatusCode::OK {
            return Err(invalid(UNREACHABLE));
        }
        check_type(&answer)?;
        self.body(answer.into_body()).await.map(Came::Picture)
    }

    async fn body(&self, mut body: Incoming) -> Result<Bytes> {
        let too_large = || invalid(&format!("has more than {} bytes", self.most_bytes));
        let (mut bytes, mut share) = (Vec::new(), self.in_hand.share());
        loop {
            let frame = timeout(STEP, body.frame()).await.map_err(|_| invalid(UNREACHABLE))?;
            let Some(frame) = frame else { return share.with(bytes) };
            let frame = frame.map_err(|_| invalid(UNREACHABLE))?;
            let Ok(data) = frame.into_data() else { continue };
            if (bytes.len() + data.len()) as u64 > self.most_bytes {
                return Err(too_large());
            }
            share.grow_to((bytes.len() + data.len()) as u64)?;
            bytes.extend_from_slice(&data);
        }
    }
}

/// Ends the task of a connection with this value.
struct Ended(tokio::task::AbortHandle);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection to the first of `addresses` that takes one, in their order. Those that do not answer share the time that
/// one may take.
async fn connected(addresses: &[SocketAddr]) -> Result<TcpStream> {
    for (place, address) in addresses.iter().enumerate() {
        let is_last = place + 1 == addresses.len();
        let patience = if is_last { STEP } else { STEP / addresses.len() as u32 };
        if let Ok(Ok(stream)) = timeout(patience, TcpStream::connect(address)).await {
            return Ok(stream);
        }
    }
    Err(invalid(UNREACHABLE))
}

/// Nothing of the client's own goes along.
fn request(url: &Url) -> Result<Request<Empty<Bytes>>> {
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let host = url.host_str().ok_or_else(|| invalid(UNREACHABLE))?;
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Request::get(target)
        .header(header::HOST, host)
        .header(header::USER_AGENT, AGENT)
        .header(header::ACCEPT, "image/png, image/jpeg, image/webp")
        .header(header::ACCEPT_ENCODING, "identity")
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|_| invalid(UNREACHABLE))
}

fn redirect(from: &Url, answer: &Response<Incoming>) -> Result<Url> {
    let location = answer.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
    let to = location.and_then(|location| from.join(location).ok()).ok_or_else(|| invalid(UNREACHABLE))?;
    match from.scheme() == "https" && to.scheme() == "http" {
        true => Err(invalid("is redirected to an address without encryption")),
        false => Ok(to),
    }
}

/// What calls itself something else than a picture is not read, nor what is packed.
fn check_type(answer: &Response<Incoming>) -> Result<()> {
    let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let kind = text(header::CONTENT_TYPE).split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let pictures = [
        "image/png",
        "image/jpeg",
        "image/jpg",
        "image/webp",
        "application/octet-stream",
        "binary/octet-stream",
    ];
    if !pictures.contains(&kind.as_str()) {
        return Err(invalid("is no PNG, JPEG or WebP picture at its address"));
    }
    let coding = text(header::CONTENT_ENCODING);
    if !coding.is_empty() && !coding.eq_ignore_ascii_case("identity") {
        return Err(invalid(UNREACHABLE));
    }
    Ok(())
}

async fn of_the_system(name: String) -> io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
}

/// TLS with the certificates that this machine trusts.
fn tls() -> Result<TlsConnector> {
    static CONFIG: LazyLock<std::result::Result<Arc<ClientConfig>, String>> = LazyLock::new(|| {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(format!("this machine trusts no certificates: {:?}", found.errors));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| error.to_string())?;
        Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    });
    match &*CONFIG {
        Ok(config) => Ok(TlsConnector::from(Arc::clone(config))),
        Err(reason) => Err(Error::Internal(anyhow::anyhow!("pictures cannot be fetched: {reason}"))),
    }
}

fn invalid(problem: &str) -> Error {
    Error::invalid(PARAM, problem)
}

#[cfg(test)]
mod tests;
