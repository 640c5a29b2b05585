// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Where the tiles of a large picture lie, and how much each counts where they overlap: for one direction, as the two
//! know nothing of each other. Hosts that ask for a picture tile by tile use it, and plugins that work on one so.

use std::ops::Range;

/// Ranges of at most `side` that cover `0..length`: one where that is enough, else as few of one length as share at
/// least `overlap` with each neighbour. A range is no longer than it must be for that.
///
/// # Panics
/// Unless `overlap` is less than `side`, and `length` at least 1.
pub fn cut(length: usize, side: usize, overlap: usize) -> Vec<Range<usize>> {
    assert!(length > 0 && overlap < side, "tiles of {side} that share {overlap} cannot cover {length}");
    if length <= side {
        return vec![Range { start: 0, end: length }];
    }
    let count = (length - overlap).div_ceil(side - overlap);
    let side = (length + (count - 1) * overlap).div_ceil(count);
    let start = |index: usize| index * (length - side) / (count - 1);
    (0..count).map(start).map(|start| start..start + side).collect()
}

/// How much each place of `range` counts beside those of all `ranges`, it among them; at every place the parts of all
/// ranges add up to 1. It rises from the range's edges to its middle, so that a range counts least where it sees
/// least.
pub fn fade(range: &Range<usize>, ranges: &[Range<usize>]) -> Vec<f32> {
    let weight = |range: &Range<usize>, place: usize| {
        let inside = range.contains(&place);
        if inside { (place - range.start + 1).min(range.end - place) as f32 } else { 0.0 }
    };
    let part = |place| {
        let all: f32 = ranges.iter().map(|range| weight(range, place)).sum();
        weight(range, place) / all
    };
    range.clone().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_everything_with_the_overlap_asked_for_and_not_much_more() {
        for (length, side) in (1..70).flat_map(|length| (1..20).map(move |side| (length, side))) {
            for overlap in 0..side {
                let ranges = cut(length, side, overlap);
                let told = format!("{length}, {side}, {overlap}: {ranges:?}");
                assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, length), "{told}");
                assert!(ranges.iter().all(|range| range.len() == ranges[0].len()), "{told}");
                assert!(ranges[0].len() <= side, "{told}");
                for pair in ranges.windows(2) {
                    assert!(
                        pair[1].start > pair[0].start && pair[0].end - pair[1].start >= overlap,
                        "{told}"
                    );
                }
                // With one fewer they would have to be longer.
                let fewer = ranges.len() - 1;
                assert!(fewer == 0 || fewer * side < length + (fewer - 1) * overlap, "{told}");
            }
        }
        assert_eq!(cut(512, 256, 32), [0..192, 160..352, 320..512]);
    }

    #[test]
    fn the_parts_add_up_to_one_and_a_lone_range_counts_for_all() {
        for (length, side, overlap) in [(64, 64, 0), (1, 3, 0), (65, 64, 16), (100, 20, 15), (7, 2, 0)] {
            let ranges = cut(length, side, overlap);
            let mut sums = vec![0.0; length];
            for range in &ranges {
                let parts = fade(range, &ranges);
                assert!(parts.iter().all(|part| (0.0..=1.0).contains(part) && *part > 0.0));
                sums[range.clone()].iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
            }
            assert!(sums.iter().all(|sum: &f32| (sum - 1.0).abs() < 1e-6), "{length}: {sums:?}");
        }
        assert_eq!(fade(&(3..5), &[Range { start: 3, end: 5 }]), [1.0; 2]);
    }
}
