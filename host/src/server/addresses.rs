// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How many connections each address has open, so that no single caller takes them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::auth::rate::neighbourhood;
use crate::config::Network;

/// The open connections of every address.
#[derive(Debug)]
pub(super) struct Addresses {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    /// How many one address may have.
    limit: usize,
    /// Proxies, whose connections are those of many.
    trusted: Vec<Network>,
}

/// One open connection; it counts until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    caller: IpAddr,
}

impl Addresses {
    /// Nobody is connected, and one address may be so `limit` times, unless it is `trusted` to speak for others.
    pub(super) fn new(limit: usize, trusted: &[Network]) -> Self {
        Self { open: Arc::default(), limit, trusted: trusted.to_vec() }
    }

    /// Counts a connection from `address`. None when it has as many as it may have. Loopback addresses may
    /// have any number: the programs of this machine and a proxy on it all share them.
    pub(super) fn count(&self, address: IpAddr) -> Option<Counted> {
        let address = address.to_canonical();
        let many = address.is_loopback() || self.trusted.iter().any(|network| network.contains(address));
        let limit = if many { usize::MAX } else { self.limit };
        let caller = neighbourhood(address);
        // The lock guards plain numbers: they are whole even if another holder panicked.
        let mut open = self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let count = open.entry(caller).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Counted { open: Arc::clone(&self.open), caller })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(count) = open.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(addresses: &Addresses, address: &str) -> Option<Counted> {
        addresses.count(address.parse().unwrap())
    }

    #[test]
    fn an_address_has_its_limit_and_gets_a_place_back_with_every_end() {
        let addresses = Addresses::new(2, &[]);
        let first = count(&addresses, "192.0.2.1");
        let second = count(&addresses, "192.0.2.1");
        assert!(first.is_some() && second.is_some());
        assert!(count(&addresses, "192.0.2.1").is_none());
        assert!(count(&addresses, "192.0.2.2").is_some(), "another caller has places of its own");
        drop(first);
        assert!(count(&addresses, "192.0.2.1").is_some());
        drop(second);
        assert!(addresses.open.lock().unwrap().is_empty(), "nothing is kept about those who left");
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
