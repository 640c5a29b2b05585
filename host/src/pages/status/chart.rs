// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The bars of a chart over hours, ready for the template: a drawing for eyes, and the same numbers for a table.

use crate::jobs::throughput::HOUR;

/// Width and height of the drawing, and the room between two bars, in its own units.
const WIDTH: u64 = 20;
pub(super) const HEIGHT: u64 = 100;
const GAP: u64 = 4;

/// One hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bar {
    /// When it began, in UTC.
    pub(super) hour: String,
    pub(super) count: u64,
    pub(super) x: u64,
    pub(super) y: u64,
    pub(super) width: u64,
    pub(super) height: u64,
}

/// The bars of these counts, of which the first hour began at `begin`.
pub(super) fn bars(counts: &[u64], begin: i64) -> Vec<Bar> {
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let bar = |(place, &count): (u64, &u64)| {
        // One picture is seen beside a thousand.
        let height = (count * HEIGHT / most).max(if count > 0 { 2 } else { 0 });
        let hour = (begin / HOUR + place.cast_signed()).rem_euclid(24);
        Bar {
            hour: format!("{hour:02}:00"),
            count,
            x: place * WIDTH + GAP / 2,
            y: HEIGHT - height,
            width: WIDTH - GAP,
            height,
        }
    };
    (0_u64..).zip(counts).map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_bar_takes_all_the_room_and_a_single_picture_is_seen() {
        let bars = bars(&[0, 1000, 1], 22 * HOUR);
        let told: Vec<_> = bars.iter().map(|bar| (bar.hour.as_str(), bar.x, bar.y, bar.height)).collect();
        assert_eq!(told, [("22:00", 2, 100, 0), ("23:00", 22, 0, 100), ("00:00", 42, 98, 2)]);
        assert!(super::bars(&[0, 0], 0).iter().all(|bar| bar.height == 0));
    }
}
