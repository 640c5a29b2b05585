// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Which web site made a request, and under which name it found this server. Every page that somebody opens
//! can send requests here from their browser; these checks tell such requests from their own.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};

use super::text;

/// Whether the `Host` header holds a plain address, a loopback name or a configured name. A page that has
/// pointed its own name at this machine (DNS rebinding) is found out by that name.
pub(super) fn names_us(headers: &HeaderMap, hostnames: &[String]) -> bool {
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

/// What a browser says about the page that made the request.
#[derive(PartialEq, Eq)]
enum From {
    /// Nothing: a program sends neither header.
    Unknown,
    /// One of this server's pages, or the person's own hand.
    Ours,
    /// A page of another site.
    Foreign,
}

fn from(headers: &HeaderMap) -> From {
    if let Some(site) = headers.get("sec-fetch-site") {
        return if matches!(site.as_bytes(), b"same-origin" | b"none") { From::Ours } else { From::Foreign };
    }
    // Browsers too old for that header still send Origin with what they post.
    let Some(origin) = headers.get(header::ORIGIN) else { return From::Unknown };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let same = origin.is_some_and(|(scheme, host)| {
        matches!(scheme, "http" | "https") && text(headers, header::HOST.as_str()) == Some(host)
    });
    if same { From::Ours } else { From::Foreign }
}

/// Whether a page of another site made the request.
pub(super) fn is_foreign(headers: &HeaderMap) -> bool {
    from(headers) == From::Foreign
}

/// Whether one of this server's own pages made the request; not when nothing is said about it.
pub(super) fn is_ours(headers: &HeaderMap) -> bool {
    from(headers) == From::Ours
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
        assert!(!is_foreign(&headers(&same)));
        assert!(is_foreign(&headers(&other)));
        assert!(is_foreign(&headers(&sandboxed)));
        assert!(!is_foreign(&headers(&[("host", "localhost")])), "a program sends neither header");
        assert!(is_foreign(&headers(&[("sec-fetch-site", "cross-site")])));
        assert!(is_foreign(&headers(&[("sec-fetch-site", "same-site")])));
        assert!(!is_foreign(&headers(&[("sec-fetch-site", "same-origin")])));
        assert!(!is_foreign(&headers(&[("sec-fetch-site", "none")])));
        assert!(is_foreign(&headers(&[("host", "localhost:8080"), ("origin", "ftp://localhost:8080")])));
        let no_host = [("origin", "http://localhost:8080")];
        assert!(is_foreign(&headers(&no_host)));
    }

    #[test]
    fn what_says_nothing_about_its_page_is_not_known_to_be_ours() {
        assert!(!is_ours(&headers(&[("host", "localhost:8080")])));
        assert!(is_ours(&headers(&[("host", "localhost:8080"), ("origin", "http://localhost:8080")])));
        assert!(is_ours(&headers(&[("sec-fetch-site", "same-origin")])));
        assert!(!is_ours(&headers(&[("origin", "null"), ("host", "localhost")])));
    }
}
