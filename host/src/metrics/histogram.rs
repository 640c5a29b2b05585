// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How often a value fell between which bounds, counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Nanoseconds in a second.
const NANOS: u64 = 1_000_000_000;

/// From a small model's forward pass to a large model's load, about three bounds for each power of ten.
const TIMES: &[u64] = &[
    NANOS / 1000,
    NANOS / 400,
    NANOS / 200,
    NANOS / 100,
    NANOS / 40,
    NANOS / 20,
    NANOS / 10,
    NANOS / 4,
    NANOS / 2,
    NANOS,
    NANOS * 5 / 2,
    NANOS * 5,
    NANOS * 10,
    NANOS * 30,
    NANOS * 60,
    NANOS * 300,
];

/// A guided evaluation has two rows, so the even numbers matter; 3 tells one evaluation from two.
const ROWS: &[u64] = &[1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];

/// Counts values by the first bound that is not below them.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// How many of the values recorded make one of the values read.
    unit: u64,
    /// One for each bound, and one for what is above them all.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// What a [`Histogram`] has counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Rising bounds, the last of them infinite, each with the number of values up to it and above the one
    /// before.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all values.
    pub sum: f64,
}

impl Histogram {
    /// Of times, recorded with [`record_time`](Self::record_time) and read in seconds.
    pub fn of_seconds() -> Self {
        Self::new(TIMES, NANOS)
    }

    /// Of rows in a forward pass.
    pub fn of_rows() -> Self {
        Self::new(ROWS, 1)
    }

    fn new(bounds: &'static [u64], unit: u64) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, unit, counts, sum: AtomicU64::new(0) }
    }

    /// Counts a value.
    pub fn record(&self, value: u64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a time.
    pub fn record_time(&self, took: Duration) {
        // 64 bits of nanoseconds are 584 years.
        self.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// What was counted so far.
    pub fn read(&self) -> Reading {
        let scale = |value: u64| value as f64 / self.unit as f64;
        let bounds = self.bounds.iter().map(|&bound| scale(bound)).chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        Reading { buckets: bounds.zip(counts).collect(), sum: scale(self.sum.load(Ordering::Relaxed)) }
    }
}

impl Reading {
    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// Their mean; `None` of none.
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum / count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_at_the_first_bound_that_is_not_below_it() {
        let histogram = Histogram::of_rows();
        for rows in [0, 1, 2, 5, 6, 64, 65] {
            histogram.record(rows);
        }
        let reading = histogram.read();
        let counted: Vec<_> = reading.buckets.iter().filter(|(_, count)| *count > 0).copied().collect();
        assert_eq!(counted, [(1.0, 2), (2.0, 1), (6.0, 2), (64.0, 1), (f64::INFINITY, 1)]);
        assert_eq!((reading.count(), reading.sum), (7, 143.0));
    }

    #[test]
    fn times_are_read_in_seconds() {
        let histogram = Histogram::of_seconds();
        assert_eq!(histogram.read().mean(), None);
        for millis in [500, 1500] {
            histogram.record_time(Duration::from_millis(millis));
        }
        let reading = histogram.read();
        assert_eq!((reading.sum, reading.mean()), (2.0, Some(1.0)));
        assert_eq!(reading.buckets[0].0, 0.001);
        assert_eq!(reading.buckets.iter().find(|(bound, _)| *bound == 0.5), Some(&(0.5, 1)));
    }

    #[test]
    fn bounds_rise() {
        for bounds in [TIMES, ROWS] {
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{bounds:?}");
        }
    }
}
