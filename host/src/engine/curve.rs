// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a pass of so many rows takes, as measured, and how many rows therefore pay.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::config::MaxRows;

/// Passes of one size that are remembered. The shortest of them counts: whatever else runs on the machine can only
/// make a pass longer.
const REMEMBERED: usize = 32;
/// Passes of one size before it is judged.
const ENOUGH: usize = 5;
/// How many more rows a second make a larger batch worth its longer steps.
const WORTH: f64 = 1.1;
/// After so many passes everything is measured anew: the machine may have been busy with other things, and of sizes
/// that are no longer used nothing else is ever learned.
const AGAIN: u64 = 512;
/// A batch waits for missing seats at most so long, and at most this part of a pass.
const PATIENCE: Duration = Duration::from_micros(300);
const PATIENCE_PART: f64 = 0.02;

/// The measured passes of one kind of evaluation.
#[derive(Clone, Debug, Default)]
pub(super) struct Curve {
    /// By number of rows.
    sizes: BTreeMap<usize, Size>,
    passes: u64,
    /// What is known to fit into the device's memory, once something did not.
    ceiling: Option<usize>,
}

/// Passes of one number of rows.
#[derive(Clone, Debug, Default)]
struct Size {
    /// Seconds of the last ones.
    seconds: VecDeque<f64>,
    /// The first pass of a size is not counted: devices choose their kernels and set up their memory in it.
    warm: bool,
}

impl Size {
    fn shortest(&self) -> Option<f64> {
        self.seconds.iter().copied().min_by(f64::total_cmp)
    }

    /// Rows per second of a pass of `rows`, once enough passes were seen.
    fn rate(&self, rows: usize) -> Option<f64> {
        self.shortest().filter(|_| self.seconds.len() >= ENOUGH).map(|seconds| rows as f64 / seconds)
    }
}

impl Curve {
    /// Notes what a pass took.
    pub(super) fn record(&mut self, rows: usize, took: Duration) {
        self.passes += 1;
        if self.passes.is_multiple_of(AGAIN) {
            self.sizes.clear();
        }
        let size = self.sizes.entry(rows).or_default();
        if !std::mem::replace(&mut size.warm, true) {
            return;
        }
        if size.seconds.len() == REMEMBERED {
            size.seconds.pop_front();
        }
        // A clock that shows no difference would make an infinite rate.
        size.seconds.push_back(took.as_secs_f64().max(1e-9));
    }

    /// Seconds of the shortest of the last passes of so many rows.
    pub(super) fn seconds(&self, rows: usize) -> Option<f64> {
        self.sizes.get(&rows).and_then(Size::shortest)
    }

    /// The most rows of a pass.
    pub(super) fn most_rows(&self, setting: MaxRows) -> usize {
        let most = match setting {
            MaxRows::Rows(rows) => rows as usize,
            MaxRows::Auto => self.pays(),
        };
        self.ceiling.map_or(most, |ceiling| most.min(ceiling))
    }

    /// The size up to which rows per second grew from one measured size to the next; twice that as long as it is
    /// not known what so many would bring; 1, hence one evaluation at a time, before anything is known.
    fn pays(&self) -> usize {
        let mut rates = self.sizes.iter().filter_map(|(&rows, size)| Some((rows, size.rate(rows)?)));
        let Some((mut best, mut best_rate)) = rates.next() else { return 1 };
        let mut largest = best;
        for (rows, rate) in rates {
            largest = rows;
            if rate > best_rate * WORTH {
                (best, best_rate) = (rows, rate);
            }
        }
        // Half more is enough of a trial where there are not twice as many rows to be had.
        if 2 * largest >= 3 * best { best } else { 2 * best }
    }

    /// How long a batch may wait to become full: nothing before anything is known.
    pub(super) fn patience(&self) -> Duration {
        let shortest = self.sizes.values().filter_map(Size::shortest).min_by(f64::total_cmp);
        shortest.map_or(Duration::ZERO, |pass| PATIENCE.min(Duration::from_secs_f64(pass * PATIENCE_PART)))
    }

    /// So many rows ran out of memory: from now on at most half of them run together. `false` when they were one.
    pub(super) fn halve(&mut self, rows: usize) -> bool {
        self.ceiling = Some((rows / 2).max(1));
        rows > 1
    }

    /// The most rows that are known to fit, once something did not.
    pub(super) fn ceiling(&self) -> Option<usize> {
        self.ceiling
    }

    /// Other things have left the device: what did not fit may fit now.
    pub(super) fn lift_ceiling(&mut self) {
        self.ceiling = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A curve that has seen passes of these sizes on a device of this cost, in seconds by rows.
    fn measured(sizes: &[usize], cost: impl Fn(usize) -> f64) -> Curve {
        let mut curve = Curve::default();
        for &rows in sizes {
            for _ in 0..=ENOUGH {
                curve.record(rows, Duration::from_secs_f64(cost(rows)));
            }
        }
        curve
    }

    /// The sizes that are tried when batches are always as large as is thought to pay.
    fn explored(first: usize, cost: impl Fn(usize) -> f64 + Copy) -> Vec<usize> {
        let (mut curve, mut tried) = (measured(&[first], cost), vec![first]);
        loop {
            let next = curve.most_rows(MaxRows::Auto).max(first);
            if tried.contains(&next) {
                return tried;
            }
            tried.push(next);
            (0..=ENOUGH).for_each(|_| curve.record(next, Duration::from_secs_f64(cost(next))));
        }
    }

    #[test]
    fn nothing_is_joined_before_anything_is_known() {
        assert_eq!(Curve::default().most_rows(MaxRows::Auto), 1);
        assert_eq!(Curve::default().patience(), Duration::ZERO);
        assert_eq!(measured(&[2], |_| 0.1).most_rows(MaxRows::Auto), 4, "one more evaluation is tried");
    }

    #[test]
    fn where_rows_cost_their_full_time_one_evaluation_stays_alone() {
        let linear = |rows: usize| 0.01 * rows as f64;
        assert_eq!(measured(&[2, 4], linear).most_rows(MaxRows::Auto), 2);
        assert_eq!(measured(&[1, 2], linear).most_rows(MaxRows::Auto), 1);
        assert_eq!(explored(2, linear), [2, 4]);
    }

    #[test]
    fn batches_grow_as_long_as_rows_per_second_do() {
        // Eight rows' worth of fixed cost: from 64 to 128 rows the rate grows by less than a tenth.
        let launch_bound = |rows: usize| 0.008 + 0.001 * rows as f64;
        assert_eq!(explored(1, launch_bound), [1, 2, 4, 8, 16, 32, 64, 128]);
        assert_eq!(measured(&[1, 2, 4, 8, 16, 32, 64, 128], launch_bound).most_rows(MaxRows::Auto), 64);
        // Qwen-Image at 512 x 512 on an H200, seconds by rows.
        let h200 = |rows: usize| [0.167, 0.183, 0.240, 0.425, 0.832][rows.ilog2() as usize];
        assert_eq!(measured(&[1, 2, 4, 8, 16], h200).most_rows(MaxRows::Auto), 8);
    }

    #[test]
    fn a_trial_does_not_need_exactly_twice_the_rows() {
        let linear = |rows: usize| 0.01 * rows as f64;
        assert_eq!(measured(&[2, 3], linear).most_rows(MaxRows::Auto), 2);
        assert_eq!(measured(&[4, 5], linear).most_rows(MaxRows::Auto), 8, "a fifth more says little");
    }

    #[test]
    fn everything_is_measured_anew_after_a_while() {
        // While small passes were measured the machine was busy, so that large ones seemed to pay.
        let mut curve = measured(&[2, 4], |_| 0.04);
        assert_eq!(curve.most_rows(MaxRows::Auto), 8);
        for _ in 0..AGAIN {
            curve.record(4, Duration::from_millis(40));
        }
        for rows in [2, 4].repeat(ENOUGH + 1) {
            curve.record(rows, Duration::from_millis(10 * rows as u64));
        }
        assert_eq!(curve.most_rows(MaxRows::Auto), 2);
    }

    #[test]
    fn the_operator_and_the_memory_have_the_last_word() {
        let mut curve = measured(&[2, 4], |rows| 0.01 * rows as f64);
        assert_eq!(curve.most_rows(MaxRows::Rows(8)), 8);
        assert!(curve.halve(8));
        assert_eq!(curve.most_rows(MaxRows::Rows(8)), 4);
        assert!(curve.halve(3));
        assert_eq!(curve.ceiling(), Some(1));
        assert!(!curve.halve(1), "less than a row cannot be asked for");
        curve.lift_ceiling();
        assert_eq!(curve.most_rows(MaxRows::Rows(8)), 8);
    }

    #[test]
    fn patience_is_a_fiftieth_of_a_pass_and_never_long() {
        assert_eq!(measured(&[2], |_| 0.005).patience(), Duration::from_micros(100));
        assert_eq!(measured(&[2], |_| 1.0).patience(), PATIENCE);
    }
}
