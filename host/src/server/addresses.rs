// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How many connections each address has open, so that no single caller takes them all.

use std::net::IpAddr;

use crate::auth::rate::neighbourhood;
use crate::config::Network;
use crate::tally::{Counted, Tally};

/// The open connections of every address.
#[derive(Debug)]
pub(super) struct Addresses {
    open: Tally<IpAddr>,
    /// How many one address may have.
    limit: usize,
    /// Proxies, whose connections are those of many.
    trusted: Vec<Network>,
}

impl Addresses {
    /// Nobody is connected, and one address may be so `limit` times, unless it is `trusted` to speak for others.
    pub(super) fn new(limit: usize, trusted: &[Network]) -> Self {
        Self { open: Tally::default(), limit, trusted: trusted.to_vec() }
    }

    /// Counts a connection from `address`. None when it has as many as it may have. Loopback addresses may
    /// have any number: the programs of this machine and a proxy on it all share them.
    pub(super) fn count(&self, address: IpAddr) -> Option<Counted<IpAddr>> {
        let address = address.to_canonical();
        let many = address.is_loopback() || self.trusted.iter().any(|network| network.contains(address));
        let limit = if many { usize::MAX } else { self.limit };
        self.open.count(neighbourhood(address), limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(addresses: &Addresses, address: &str) -> Option<Counted<IpAddr>> {
        addresses.count(address.parse().unwrap())
    }

    #[test]
    fn the_addresses_of_an_ipv6_network_and_an_ipv4_address_in_ipv6_form_are_one_caller() {
        let addresses = Addresses::new(1, &[]);
        let _open = [count(&addresses, "2001:db8::1"), count(&addresses, "192.0.2.1")];
        assert!(count(&addresses, "2001:db8::ffff:1:2:3").is_none());
        assert!(count(&addresses, "2001:db8:0:1::1").is_some());
        assert!(count(&addresses, "::ffff:192.0.2.1").is_none());
    }

    #[test]
    fn loopback_addresses_and_trusted_proxies_have_no_limit() {
        let proxy = Network::try_from("192.0.2.1".to_owned()).unwrap();
        let addresses = Addresses::new(1, &[proxy]);
        for many in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "192.0.2.1"] {
            let open: Vec<_> = (0..3).map(|_| count(&addresses, many)).collect();
            assert!(open.iter().all(Option::is_some), "{many}");
        }
    }
}
