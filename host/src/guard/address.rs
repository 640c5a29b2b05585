// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! From which address a request came.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use crate::config::Network;

/// The address that the connection came from or, when that is a trusted proxy's, the one that it tells.
pub(super) fn of(parts: &Parts, trusted: &[Network]) -> IpAddr {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    // Without a connection there is no network either: a test calls the router itself.
    let peer = peer.map_or(IpAddr::from(Ipv4Addr::LOCALHOST), |ConnectInfo(peer)| peer.ip());
    told(peer, &parts.headers, trusted).to_canonical()
}

/// Follows `X-Forwarded-For` from its end, where the nearest proxy wrote, up to the first address that is no
/// trusted proxy's. What stands before that may be the caller's own invention.
fn told(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let lines = headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok());
    let hops: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let mut address = peer;
    for hop in hops.into_iter().rev() {
        if !trusted.iter().any(|network| network.contains(address)) {
            break;
        }
        let Ok(before) = hop.parse::<IpAddr>() else { break };
        address = before;
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed_and_only_about_their_own_callers() {
        let trusted = [Network::try_from("10.0.0.0/8".to_owned()).unwrap()];
        let seen = |peer: &str, forwarded: &[&str]| {
            let headers = forwarded
                .iter()
                .map(|line| ("x-forwarded-for".parse().unwrap(), line.parse().unwrap()))
                .collect();
            told(peer.parse().unwrap(), &headers, &trusted).to_string()
        };
        assert_eq!(seen("192.0.2.1", &["198.51.100.1"]), "192.0.2.1", "no proxy of ours");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(
            seen("10.0.0.1", &["203.0.113.9, 192.0.2.1"]),
            "192.0.2.1",
            "the first is the caller's word"
        );
        assert_eq!(seen("10.0.0.1", &["203.0.113.9, 192.0.2.1, 10.0.0.2"]), "192.0.2.1");
        assert_eq!(seen("10.0.0.1", &["203.0.113.9", "192.0.2.1"]), "192.0.2.1", "in two headers");
        assert_eq!(seen("10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(seen("::ffff:10.0.0.1", &["2001:db8::1"]), "2001:db8::1");
    }
}
