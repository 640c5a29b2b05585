// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How often one caller may ask. Each allowance refills evenly, and whoever has rested may use all of it at
//! once. It is kept in memory only: a restart forgives.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::config::Limits;
use crate::error::{Error, Result};

/// Most callers that one limit remembers.
const REMEMBERED: usize = 65_536;

/// The limits of everything that somebody could do too often.
#[derive(Debug)]
pub struct Rates {
    /// Of keys, by what the keys allow.
    keys: Mutex<HashMap<u32, Limiter<String>>>,
    accounts: Limiter<i64>,
    addresses: Limiter<IpAddr>,
    logins_from: Limiter<IpAddr>,
    /// By the hash of the name, which an attacker makes as long as he likes, but cannot make collide.
    logins_to: Limiter<u64>,
    names: RandomState,
    registrations: Limiter<IpAddr>,
}

impl Rates {
    /// The limits that the operator set.
    pub fn new(limits: &Limits) -> Self {
        let requests = Quota::per_minute(at_least_one(limits.requests_per_minute));
        Self {
            keys: Mutex::default(),
            accounts: Limiter::new(requests),
            addresses: Limiter::new(requests),
            logins_from: Limiter::new(Quota::per_minute(at_least_one(limits.logins_per_minute_per_address))),
            logins_to: Limiter::new(Quota::per_minute(at_least_one(limits.logins_per_minute))),
            names: RandomState::new(),
            registrations: Limiter::new(Quota::per_hour(at_least_one(limits.registrations_per_hour))),
        }
    }

    /// Counts a request with the key `id`, which allows so many a minute. When that number is changed, the
    /// count begins anew.
    ///
    /// # Errors
    /// [`Error::TooOften`].
    pub fn request_by_key(&self, id: &str, per_minute: u32) -> Result<()> {
        let mut keys = lock(&self.keys);
        let limiter = keys
            .entry(per_minute)
            .or_insert_with(|| Limiter::new(Quota::per_minute(at_least_one(per_minute))));
        limiter.check(&id.to_owned())
    }

    /// Counts a request of somebody who has logged in.
    ///
    /// # Errors
    /// [`Error::TooOften`].
    pub fn request_by_account(&self, account: i64) -> Result<()> {
        self.accounts.check(&account)
    }

    /// Counts a request of somebody without an account. This machine itself is not limited, as a container's
    /// port forwarding shows all its callers as one loopback address.
    ///
    /// # Errors
    /// [`Error::TooOften`].
    pub fn request_by_address(&self, address: IpAddr) -> Result<()> {
        if address.to_canonical().is_loopback() {
            return Ok(());
        }
        self.addresses.check(&neighbourhood(address))
    }

    /// Counts an attempt to log in, to set up, or with a wrong key, from `address`.
    ///
    /// # Errors
    /// [`Error::TooOften`].
    pub fn login_from(&self, address: IpAddr) -> Result<()> {
        self.logins_from.check(&neighbourhood(address))
    }

    /// Counts an attempt to log in to the account of this name, whether it exists or not.
    ///
    /// # Errors
    /// [`Error::TooOften`].
    pub fn login_to(&self, folded_name: &str) -> Result<()> {
        self.logins_to.check(&self.names.hash_one(folded_name))
    }

    /// Counts a registration from `address`.
    ///
    /// # Errors
    /// [`Error::TooOften`].
    pub fn registration_from(&self, address: IpAddr) -> Result<()> {
        self.registrations.check(&neighbourhood(address))
    }
}

/// The configuration and the database have no limit of 0.
fn at_least_one(limit: u32) -> NonZeroU32 {
    NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN)
}

/// All addresses that count as one: an IPv6 line has 2^64 of them (RFC 4291, 2.5.1), and an IPv4 address may
/// come in the form of an IPv6 one.
pub(crate) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

type Counts<K, C> = RateLimiter<K, HashMapStateStore<K>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// One limit for each of many callers.
struct Limiter<K: Eq + Hash + Clone, C: Clock = DefaultClock> {
    quota: Quota,
    clock: C,
    counts: Mutex<Counts<K, C>>,
}

impl<K: Eq + Hash + Clone> Limiter<K> {
    fn new(quota: Quota) -> Self {
        Self::with_clock(quota, DefaultClock::default())
    }
}

impl<K: Eq + Hash + Clone, C: Clock + Clone> Limiter<K, C> {
    fn with_clock(quota: Quota, clock: C) -> Self {
        let counts = Counts::hashmap_with_clock(quota, clock.clone());
        Self { quota, clock, counts: Mutex::new(counts) }
    }

    fn check(&self, caller: &K) -> Result<()> {
        let mut counts = lock(&self.counts);
        if counts.len() >= REMEMBERED {
            self.make_room(&mut counts);
        }
        counts.check_key(caller).map_err(|refused| too_often(refused.wait_time_from(self.clock.now())))
    }

    /// Forgets whoever has rested, or else everybody. Somebody who has that many addresses is held back by
    /// no count of theirs, so nothing is lost by starting again, while to refuse new callers would shut out
    /// everybody else, and to remember more would take all the memory. Half the room must come free, or every
    /// request would search the whole list again.
    fn make_room(&self, counts: &mut Counts<K, C>) {
        counts.retain_recent();
        if counts.len() > REMEMBERED / 2 {
            *counts = Counts::hashmap_with_clock(self.quota, self.clock.clone());
        }
    }
}

/// Without the callers, who are somebody's addresses and keys.
impl<K: Eq + Hash + Clone, C: Clock> fmt::Debug for Limiter<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("quota", &self.quota).finish_non_exhaustive()
    }
}

fn too_often(wait: Duration) -> Error {
    let retry_after_s = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Error::TooOften { retry_after_s: retry_after_s.max(1) }
}

fn lock<T>(guarded: &Mutex<T>) -> MutexGuard<'_, T> {
    // The locks guard plain maps: they are whole even if another holder panicked.
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    /// How many of `tries` are let through, and what the last refusal says.
    fn burn(tries: usize, attempt: impl Fn() -> Result<()>) -> (usize, Option<u64>) {
        let mut refused = None;
        let mut passed = 0;
        for _ in 0..tries {
            match attempt() {
                Ok(()) => passed += 1,
                Err(Error::TooOften { retry_after_s }) => refused = Some(retry_after_s),
                Err(error) => panic!("{error}"),
            }
        }
        (passed, refused)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_allowance_can_be_used_at_once_and_comes_back_evenly() {
        let clock = FakeRelativeClock::default();
        let limiter = Limiter::with_clock(Quota::per_minute(at_least_one(4)), clock.clone());
        assert_eq!(burn(6, || limiter.check(&"a")), (4, Some(15)));
        assert_eq!(burn(6, || limiter.check(&"b")), (4, Some(15)), "everybody has an own one");
        clock.advance(Duration::from_millis(14_500));
        assert_eq!(burn(1, || limiter.check(&"a")), (0, Some(1)), "half a second counts as one");
        clock.advance(Duration::from_millis(500));
        assert_eq!(burn(2, || limiter.check(&"a")), (1, Some(15)));
        clock.advance(Duration::from_secs(60));
        assert_eq!(burn(6, || limiter.check(&"a")).0, 4);
    }

    #[test]
    fn callers_who_have_rested_are_forgotten_first_and_the_memory_is_bounded() {
        let clock = FakeRelativeClock::default();
        let limiter = Limiter::with_clock(Quota::per_minute(at_least_one(2)), clock.clone());
        for caller in 0..REMEMBERED - 1 {
            limiter.check(&caller).unwrap();
        }
        clock.advance(Duration::from_secs(61));
        assert_eq!(burn(3, || limiter.check(&usize::MAX)).0, 2);
        limiter.check(&0).unwrap();
        assert_eq!(lock(&limiter.counts).len(), 2, "the others had rested");
        assert_eq!(burn(1, || limiter.check(&usize::MAX)).0, 0, "but not this one");
        for caller in 0..3 * REMEMBERED {
            limiter.check(&caller).unwrap();
            assert!(lock(&limiter.counts).len() <= REMEMBERED);
        }
    }

    #[test]
    fn each_limit_is_the_configured_one() {
        let limits = Limits {
            requests_per_minute: 7,
            logins_per_minute: 2,
            logins_per_minute_per_address: 4,
            registrations_per_hour: 3,
            ..Limits::default()
        };
        let rates = Rates::new(&limits);
        let here = address("192.0.2.1");
        assert_eq!(burn(20, || rates.request_by_account(1)).0, 7);
        assert_eq!(burn(20, || rates.request_by_account(2)).0, 7);
        assert_eq!(burn(20, || rates.request_by_address(here)).0, 7);
        assert_eq!(burn(20, || rates.login_to("alice")).0, 2);
        assert_eq!(burn(20, || rates.login_to("bob")).0, 2);
        assert_eq!(burn(20, || rates.login_from(here)), (4, Some(15)));
        assert_eq!(burn(20, || rates.registration_from(here)), (3, Some(1200)));
    }

    #[test]
    fn a_key_is_limited_by_its_own_number_and_counted_anew_when_that_changes() {
        let rates = Rates::new(&Limits::default());
        assert_eq!(burn(20, || rates.request_by_key("a", 5)).0, 5);
        assert_eq!(burn(20, || rates.request_by_key("b", 5)).0, 5);
        assert_eq!(burn(20, || rates.request_by_key("a", 8)).0, 8);
        assert_eq!(burn(20, || rates.request_by_key("a", 0)).0, 1, "there is no limit of none");
    }

    #[test]
    fn loopback_is_exempt_from_the_limit_of_requests_alone() {
        let rates = Rates::new(&Limits { requests_per_minute: 1, ..Limits::default() });
        for loopback in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(burn(50, || rates.request_by_address(address(loopback))).0, 50, "{loopback}");
        }
        assert_eq!(burn(50, || rates.login_from(address("127.0.0.1"))).0, 20);
        assert_eq!(burn(50, || rates.registration_from(address("::1"))).0, 10);
    }

    #[test]
    fn an_ipv6_network_and_both_forms_of_an_ipv4_address_are_one_caller() {
        let rates = Rates::new(&Limits { requests_per_minute: 1, ..Limits::default() });
        let passes = |text: &str| rates.request_by_address(address(text)).is_ok();
        assert!(passes("2001:db8:1:2::1"));
        assert!(!passes("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert!(passes("2001:db8:1:3::1"));
        assert!(passes("192.0.2.1"));
        assert!(!passes("::ffff:192.0.2.1"));
        assert!(passes("::ffff:192.0.2.2"));
    }
}
