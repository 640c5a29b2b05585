// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What time it is. Everything that expires asks the one clock of the daemon, so that a test can turn it, and
//! so that nothing lives longer because the machine's clock was turned back.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the beginning of 1970, UTC.
pub type Timestamp = i64;

/// How far the machine's clock may go back unnoticed, as it does by a little when it is set by the network.
const SLACK: i64 = 300;

/// The clock. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The time of a clock that somebody turns; `None` for the machine's.
    turned: Option<AtomicI64>,
    /// The latest time ever seen.
    latest: AtomicI64,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Arc::new(Inner { turned: None, latest: AtomicI64::new(0) }))
    }

    /// A clock that stands at `time` until it is turned.
    pub fn standing(time: Timestamp) -> Self {
        Self(Arc::new(Inner { turned: Some(AtomicI64::new(time)), latest: AtomicI64::new(0) }))
    }

    /// Turns a standing clock to `time`. The machine's clock stays as it is.
    pub fn turn(&self, time: Timestamp) {
        if let Some(turned) = &self.0.turned {
            turned.store(time, Ordering::Relaxed);
        }
    }

    /// The time now. A machine whose clock stands before 1970 is at 0.
    pub fn now(&self) -> Timestamp {
        let now = match &self.0.turned {
            Some(time) => time.load(Ordering::Relaxed),
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX)),
        };
        self.0.latest.fetch_max(now, Ordering::Relaxed);
        now
    }

    /// Whether something that ends at `end` has ended. When the clock went back, everything has: what it
    /// says about ends can no longer be believed.
    pub fn passed(&self, end: Timestamp) -> bool {
        self.now() >= end || self.went_back()
    }

    /// Whether the clock stands more than five minutes before a time that it has shown already.
    pub fn went_back(&self) -> bool {
        self.now().saturating_add(SLACK) < self.latest()
    }

    /// The latest time seen.
    pub fn latest(&self) -> Timestamp {
        self.0.latest.load(Ordering::Relaxed)
    }

    /// Counts a time that an earlier life of the daemon has seen.
    pub fn remember(&self, time: Timestamp) {
        self.0.latest.fetch_max(time, Ordering::Relaxed);
    }

    /// Believes the clock again, after everything with an end has been ended.
    pub fn believe(&self) {
        self.0.latest.store(self.now(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_come_when_the_clock_says_so_and_never_overflow() {
        let clock = Clock::standing(1000);
        assert!(
            clock.passed(1000) && !clock.passed(1001) && !clock.passed(i64::MAX) && clock.passed(i64::MIN)
        );
        clock.turn(i64::MAX);
        assert!(clock.passed(i64::MAX) && !clock.went_back());
    }

    #[test]
    fn a_clock_that_went_back_by_more_than_five_minutes_ends_everything_until_it_is_believed_again() {
        let clock = Clock::standing(10_000);
        assert!(!clock.passed(20_000));
        clock.turn(9_700);
        assert!(!clock.passed(20_000), "the network sets clocks back by a little");
        clock.turn(9_699);
        assert!(clock.went_back() && clock.passed(20_000));
        clock.believe();
        assert!(!clock.went_back() && !clock.passed(20_000));
    }

    #[test]
    fn a_time_of_an_earlier_life_counts() {
        let clock = Clock::standing(1000);
        clock.remember(5000);
        assert!(clock.passed(i64::MAX));
    }
}
