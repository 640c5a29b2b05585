// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What is checked before any route: that the request names this server and that no other web site made it.
//! Anyone who can reach a loopback address may use this server, and every web page that the owner opens can
//! reach it; these two checks keep such pages out.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::error::{Alice, Error};

/// Refuses requests to foreign names and from foreign pages.
pub async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    if !names_us(request.headers(), &app.config.server.hostnames) {
        return Alice(Error::Host).into_response();
    }
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if changes && cross_site(request.headers()) {
        return Alice(Error::CrossSite).into_response();
    }
    next.run(request).await
}

/// Whether the `Host` header holds a plain address, a loopback name or a configured name. A page that has
/// pointed its own name at this machine (DNS rebinding) is found out by that name.
fn names_us(headers: &HeaderMap, hostnames: &[String]) -> bool {
    let Some(host) = headers.get(header::HOST) else { return false };
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    if authority.as_str().contains('@') {
        return false;
    }
    let name = authority.host().trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    name.parse::<IpAddr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
        || hostnames.iter().any(|known| known.eq_ignore_ascii_case(&name))
}

/// Whether a browser says that a page of another site made the request. Programs say nothing.
fn cross_site(headers: &HeaderMap) -> bool {
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        Some(site) => !matches!(site, b"same-origin" | b"none"),
        // Browsers too old for that header still send Origin with what they post.
        None => match (headers.get(header::ORIGIN), headers.get(header::HOST)) {
            (Some(origin), Some(host)) => {
                let origin = origin.to_str().unwrap_or_default();
                origin.split_once("://").map(|(_, host)| host.as_bytes()) != Some(host.as_bytes())
            }
            _ => false,
        },
    }
}

/// Headers that every answer carries: nothing is guessed, framed, leaked to other sites, or run that is not
/// ours.
pub async fn add_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    );
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn addresses_and_known_names_are_ours_and_others_are_not() {
        let known = ["alice.lan".to_owned()];
        for ours in
            ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "192.168.1.7:8080", "Alice.Lan:80"]
        {
            assert!(names_us(&headers(&[("host", ours)]), &known), "{ours}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8080",
            "user@localhost",
            "a b",
            "",
        ] {
            assert!(!names_us(&headers(&[("host", foreign)]), &known), "{foreign}");
        }
        assert!(!names_us(&headers(&[]), &known));
    }

    #[test]
    fn pages_of_other_sites_are_recognised() {
        let same = [("host", "localhost:8080"), ("origin", "http://localhost:8080")];
        let other = [("host", "localhost:8080"), ("origin", "http://evil.example")];
        let sandboxed = [("host", "localhost:8080"), ("origin", "null")];
        assert!(!cross_site(&headers(&same)));
        assert!(cross_site(&headers(&other)));
        assert!(cross_site(&headers(&sandboxed)));
        assert!(!cross_site(&headers(&[("host", "localhost")])), "a program sends neither header");
        assert!(cross_site(&headers(&[("sec-fetch-site", "cross-site")])));
        assert!(cross_site(&headers(&[("sec-fetch-site", "same-site")])));
        assert!(!cross_site(&headers(&[("sec-fetch-site", "same-origin")])));
        assert!(!cross_site(&headers(&[("sec-fetch-site", "none")])));
    }
}
