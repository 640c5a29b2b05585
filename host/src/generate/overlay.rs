// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a mask does to pixels: the region around it that is rendered, and putting back what it does not cover. Pure.

use crate::inputs::{Part, shape};

/// A part of a picture in pixels: left, top, width and height.
pub(crate) type Region = [u32; 4];

/// The picture into which a painted one is put.
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    /// Width and height of the picture.
    pub(crate) size: (u32, u32),
    /// Its pixels, `[height, width, 3]`.
    pub(crate) rgb: Vec<u8>,
    /// The part that is painted.
    pub(crate) region: Region,
    /// How strongly each pixel of that part is painted over, 0 to 255, with soft edges.
    pub(crate) mask: Vec<u8>,
}

impl Overlay {
    /// The part of the picture that is painted.
    pub(super) fn part(&self) -> Part {
        Part { of: self.size, region: self.region }
    }

    /// The whole picture with `painted` (RGB, of the size `painted_size`) in it.
    pub(crate) fn put(&self, painted: Vec<u8>, painted_size: (u32, u32)) -> Vec<u8> {
        let [left, top, width, height] = self.region;
        let painted = match painted_size == (width, height) {
            true => painted,
            false => shape::resized_rgb(&painted, painted_size, (width, height)),
        };
        let mut picture = self.rgb.clone();
        let row_bytes = self.size.0 as usize * 3;
        let rows = picture.chunks_exact_mut(row_bytes).skip(top as usize);
        let painted = painted.chunks_exact(width as usize * 3).zip(self.mask.chunks_exact(width as usize));
        for (row, (painted, mask)) in rows.zip(painted) {
            let part = &mut row[left as usize * 3..(left + width) as usize * 3];
            for ((pixel, painted), &mask) in part.chunks_exact_mut(3).zip(painted.chunks_exact(3)).zip(mask) {
                for (old, &new) in pixel.iter_mut().zip(painted) {
                    *old = mixed(*old, new, mask);
                }
            }
        }
        picture
    }
}

/// `old` and `new` in shares of which `share` of 255 is the new one's, rounded.
fn mixed(old: u8, new: u8, share: u8) -> u8 {
    let (old, new, share) = (u32::from(old), u32::from(new), u32::from(share));
    ((new * share + old * (255 - share) + 127) / 255) as u8
}

/// The part of a picture of this size around everything that `mask` covers, `padding` pixels wider on each side, and
/// grown to the shape of `rendered` as far as the picture reaches; `None` if it covers nothing.
pub(super) fn region(mask: &[u8], size: (u32, u32), padding: u32, rendered: (u32, u32)) -> Option<Region> {
    let width = size.0 as usize;
    let covered = |row: &[u8]| row.iter().any(|&pixel| pixel > 0);
    let rows = || mask.chunks_exact(width);
    let (top, bottom) = (rows().position(covered)?, rows().rposition(covered)?);
    let column = |row: &[u8]| row.iter().position(|&pixel| pixel > 0);
    let left = rows().filter_map(column).min()?;
    let right = rows().filter_map(|row| row.iter().rposition(|&pixel| pixel > 0)).max()?;
    let across = padded(left as u32, right as u32 + 1, padding, size.0);
    let down = padded(top as u32, bottom as u32 + 1, padding, size.1);
    let wider = u64::from(across.1) * u64::from(rendered.1) > u64::from(down.1) * u64::from(rendered.0);
    let side = |other: u32, one: u32, of: u32| {
        let side = u64::from(other) * u64::from(one) / u64::from(of.max(1));
        u32::try_from(side).unwrap_or(u32::MAX)
    };
    let (across, down) = match wider {
        true => (across, grown(down, side(across.1, rendered.1, rendered.0), size.1)),
        false => (grown(across, side(down.1, rendered.0, rendered.1), size.0), down),
    };
    Some([across.0, down.0, across.1, down.1])
}

/// Begin and length of the stretch from `begin` to `end` with `padding` on both sides, within `most`.
fn padded(begin: u32, end: u32, padding: u32, most: u32) -> (u32, u32) {
    let first = begin.saturating_sub(padding);
    (first, end.saturating_add(padding).min(most) - first)
}

/// The stretch of this begin and length, made `wanted` long on both sides evenly, and moved until it is within `most`.
fn grown((begin, length): (u32, u32), wanted: u32, most: u32) -> (u32, u32) {
    let wanted = wanted.clamp(length, most);
    let first = begin.saturating_sub((wanted - length) / 2).min(most - wanted);
    (first, wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(size: (u32, u32), covered: &[(u32, u32)]) -> Vec<u8> {
        let mut mask = vec![0; (size.0 * size.1) as usize];
        covered.iter().for_each(|(x, y)| mask[(y * size.0 + x) as usize] = 1);
        mask
    }

    #[test]
    fn the_region_is_the_masks_with_padding_in_the_shape_that_is_rendered() {
        let size = (100, 60);
        let region =
            |covered: &[(u32, u32)], padding, rendered| region(&mask(size, covered), size, padding, rendered);
        assert_eq!(region(&[], 8, (64, 64)), None);
        // 20 x 10 pixels, 5 more on each side: 30 x 20, which is made square.
        assert_eq!(region(&[(40, 20), (59, 29)], 5, (64, 64)), Some([35, 10, 30, 30]));
        assert_eq!(region(&[(40, 20), (59, 29)], 5, (128, 64)), Some([30, 15, 40, 20]));
        // At a corner it grows inwards.
        assert_eq!(region(&[(0, 59)], 4, (64, 64)), Some([0, 55, 5, 5]));
        assert_eq!(region(&[(0, 59)], 4, (64, 32)), Some([0, 55, 10, 5]));
        // More than there is: the whole picture, whatever its shape.
        assert_eq!(region(&[(0, 0), (99, 59)], 1000, (64, 64)), Some([0, 0, 100, 60]));
    }

    proptest! {
        #[test]
        fn the_region_lies_in_the_picture_and_holds_all_that_is_covered(
            width in 1u32..50, height in 1u32..50, padding in 0u32..40, place in (0.0..1.0, 0.0..1.0),
            other in (0.0..1.0, 0.0..1.0), rendered in (1u32..9, 1u32..9),
        ) {
            let point = |(x, y): (f64, f64)| ((x * f64::from(width)) as u32, (y * f64::from(height)) as u32);
            let points = [point(place), point(other)];
            let found = region(&mask((width, height), &points), (width, height), padding, rendered);
            let [left, top, across, down] = found.unwrap();
            prop_assert!(left + across <= width && top + down <= height);
            for (x, y) in points {
                prop_assert!((left..left + across).contains(&x) && (top..top + down).contains(&y));
            }
        }
    }

    #[test]
    fn what_the_mask_does_not_cover_is_the_picture_to_the_bit() {
        let size = (4, 2);
        let rgb: Vec<u8> = (0..24).collect();
        let overlay = Overlay { size, rgb: rgb.clone(), region: [1, 0, 2, 2], mask: vec![0, 255, 128, 0] };
        let put = overlay.put(vec![200; 12], (2, 2));
        let mut expected = rgb;
        expected[6..9].fill(200);
        expected[15] = mixed(15, 200, 128);
        expected[16] = mixed(16, 200, 128);
        expected[17] = mixed(17, 200, 128);
        assert_eq!(put, expected);
        assert_eq!((mixed(10, 250, 0), mixed(10, 250, 255)), (10, 250));
        // What was rendered in another size comes to that of the region first.
        assert_eq!(overlay.put(vec![200; 4 * 4 * 3], (4, 4)), expected);
    }
}
