// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Whom the line treats as one.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::str::FromStr;

use crate::auth::Actor;
use crate::auth::rate::neighbourhood;

/// An account, or everyone without one in a neighbourhood of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// The number of an account.
    Account(i64),
    /// A neighbourhood of addresses.
    Address(IpAddr),
}

impl Caller {
    /// As whom `actor` stands in line.
    pub fn of(actor: &Actor) -> Self {
        actor.account().map_or_else(|| Self::Address(neighbourhood(actor.address)), Self::Account)
    }

    /// Whether these are people without an account on this very machine, or behind a container's port
    /// forwarding, which shows all its callers as one loopback address: nobody can tell how many they are.
    pub fn is_this_machine(&self) -> bool {
        matches!(self, Self::Address(address) if address.to_canonical().is_loopback())
    }

    /// A number that stands for the caller.
    pub fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(number) => write!(f, "account {number}"),
            Self::Address(address) => write!(f, "address {address}"),
        }
    }
}

impl FromStr for Caller {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.split_once(' ') {
            Some(("account", number)) => Ok(Self::Account(number.parse()?)),
            Some(("address", address)) => Ok(Self::Address(address.parse()?)),
            _ => anyhow::bail!("`{text}` is no caller"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_written_down_and_read_back() {
        for caller in [Caller::Account(7), Caller::Address("10.0.0.9".parse().unwrap())] {
            assert_eq!(caller.to_string().parse::<Caller>().unwrap(), caller);
        }
        assert!("somebody".parse::<Caller>().is_err());
    }

    #[test]
    fn only_people_without_an_account_on_this_machine_are_nobody_knows_how_many() {
        let at = |address: &str| Caller::Address(address.parse().unwrap());
        assert!(at("127.0.0.1").is_this_machine() && at("::1").is_this_machine());
        assert!(!at("192.168.0.3").is_this_machine() && !Caller::Account(1).is_this_machine());
    }
}
