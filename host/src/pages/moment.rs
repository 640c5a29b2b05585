// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Times as pages show them.

use std::fmt;

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::clock::Timestamp;

const FORM: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]");

/// Seconds of each unit in which an age is told, the longest first.
const UNITS: &[(i64, &str)] = &[(24 * 3600, "day"), (3600, "hour"), (60, "minute")];

/// A moment, seen from now: `2026-11-22 21:40 (3 days ago)`, in UTC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    pub(super) now: Timestamp,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A year of more than four digits: it stands in no list that this program made.
        let Ok(moment) = OffsetDateTime::from_unix_timestamp(self.at) else { return f.write_str("unknown") };
        let text = moment.format(FORM).map_err(|_| fmt::Error)?;
        write!(f, "{text} ({})", self.distance())
    }
}

impl Moment {
    /// How far it is from now: `just now`, `5 minutes ago`, `in 2 days`.
    pub(super) fn distance(&self) -> String {
        let seconds = self.now.saturating_sub(self.at);
        let magnitude = seconds.saturating_abs();
        let Some((unit, word)) = UNITS.iter().find(|(unit, _)| magnitude >= *unit) else {
            return if seconds < 0 { "in a moment".into() } else { "just now".into() };
        };
        let count = magnitude / unit;
        let plural = if count == 1 { "" } else { "s" };
        if seconds < 0 { format!("in {count} {word}{plural}") } else { format!("{count} {word}{plural} ago") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_in_utc_with_their_age() {
        let now = 1_795_383_600; // 2026-11-22 21:40
        let told = |at| Moment { at, now }.to_string();
        assert_eq!(told(now), "2026-11-22 21:40 (just now)");
        assert_eq!(told(now - 59), "2026-11-22 21:39 (just now)");
        assert_eq!(told(now - 60), "2026-11-22 21:39 (1 minute ago)");
        assert_eq!(told(now - 7200), "2026-11-22 19:40 (2 hours ago)");
        assert_eq!(told(now - 3 * 86_400), "2026-11-19 21:40 (3 days ago)");
        assert_eq!(told(now + 90), "2026-11-22 21:41 (in 1 minute)");
        assert_eq!(told(now + 1), "2026-11-22 21:40 (in a moment)");
        assert_eq!(told(i64::MAX), "unknown");
        assert_eq!(told(i64::MIN), "unknown");
    }
}
