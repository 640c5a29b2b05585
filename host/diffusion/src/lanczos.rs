// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Pictures of another size by Lanczos' filter of three lobes, byte for byte as Pillow has it: diffusers and A1111 scale with
//! Pillow, and a pixel of another value before a run is another picture after it.
//!
//! Source: Pillow 13.0.0 `src/libImaging/Resample.c`: weights in fixed point, first along the rows, then along the columns, and
//! between both rounded to eight bits. Everything is row-major with eight bits a channel.

use std::f64::consts::PI;
use std::ops::Range;

/// Lobes on each side.
const LOBES: f64 = 3.0;
/// Bits behind the point of a weight: what 32 leave beside a value's eight and two for sums.
const BITS: u32 = 32 - 8 - 2;

/// What one pixel of a line is made of: a run of old pixels, with their weights.
struct Taps {
    places: Range<usize>,
    weights: Vec<i32>,
}

/// RGB pixels, `old` (width and height) of them, scaled to `new`. No side may be 0.
///
/// # Panics
/// When there are not three bytes for each pixel.
pub fn lanczos(pixels: &[u8], old: (u32, u32), new: (u32, u32)) -> Vec<u8> {
    let size = |(width, height): (u32, u32)| (width as usize, height as usize);
    let ((old_width, old_height), (new_width, new_height)) = (size(old), size(new));
    assert_eq!(pixels.len(), 3 * old_width * old_height, "three bytes for each pixel");
    let wide = match old_width == new_width {
        true => pixels.to_vec(),
        false => along_rows(pixels, old_width, &taps(old_width, new_width)),
    };
    match old_height == new_height {
        true => wide,
        false => along_columns(&wide, 3 * new_width, &taps(old_height, new_height)),
    }
}

fn along_rows(pixels: &[u8], width: usize, taps: &[Taps]) -> Vec<u8> {
    let mut scaled = Vec::with_capacity(pixels.len() / width * taps.len());
    for row in pixels.as_chunks::<3>().0.chunks_exact(width) {
        for Taps { places, weights } in taps {
            let mut sums = [0; 3];
            for (pixel, weight) in row[places.clone()].iter().zip(weights) {
                sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += i32::from(value) * weight);
            }
            scaled.extend(sums.map(rounded));
        }
    }
    scaled
}

/// `row` is the number of bytes in a row.
fn along_columns(pixels: &[u8], row: usize, taps: &[Taps]) -> Vec<u8> {
    let mut scaled = Vec::with_capacity(row * taps.len());
    let mut sums = vec![0; row];
    for Taps { places, weights } in taps {
        sums.fill(0);
        let rows = pixels[row * places.start..row * places.end].chunks_exact(row);
        for (values, weight) in rows.zip(weights) {
            sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += i32::from(value) * weight);
        }
        scaled.extend(sums.iter().copied().map(rounded));
    }
    scaled
}

/// A sum in fixed point as a byte.
fn rounded(sum: i32) -> u8 {
    ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, u8::MAX.into()) as u8
}

/// What each of `new` pixels of a line is made of, which had `old`.
fn taps(old: usize, new: usize) -> Vec<Taps> {
    let scale = old as f64 / new as f64;
    // A line that becomes shorter is seen through a filter as much wider.
    let stretch = scale.max(1.0);
    let reach = LOBES * stretch;
    let make = |index: usize| {
        let centre = (index as f64 + 0.5) * scale;
        let start = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(old);
        let weight = |place: usize| filter((place as f64 - centre + 0.5) / stretch);
        let sum: f64 = (start..end).map(weight).sum();
        let fixed = |place| (weight(place) / sum * f64::from(1 << BITS)).round() as i32;
        Taps { places: start..end, weights: (start..end).map(fixed).collect() }
    };
    (0..new).map(make).collect()
}

/// The filter at a distance in old pixels.
fn filter(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) };
    if (-LOBES..LOBES).contains(&x) { sinc(x) * sinc(x / LOBES) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_colour_stays_and_what_has_its_size_is_left_alone() {
        assert_eq!(lanczos(&[137; 3 * 7 * 5], (7, 5), (64, 1)), [137; 3 * 64]);
        let rising: Vec<u8> = (0..3 * 4 * 2).collect();
        assert_eq!(lanczos(&rising, (4, 2), (4, 2)), rising);
    }

    #[test]
    fn a_picture_of_one_pixel_can_be_made_larger_and_any_made_to_one() {
        assert_eq!(lanczos(&[1, 2, 3], (1, 1), (3, 2)), [1, 2, 3].repeat(6));
        let mean = lanczos(&[0, 0, 0, 255, 255, 255], (2, 1), (1, 1));
        assert!(mean.iter().all(|value| (126..=129).contains(value)), "{mean:?}");
    }

    #[test]
    fn an_edge_between_black_and_white_swings_over_and_stays_within_a_byte() {
        // Pillow 13.0.0: `Image.fromarray(row).resize((8, 1), Image.LANCZOS)`.
        let row = [[0; 3], [0; 3], [255; 3], [255; 3]].concat();
        let scaled = lanczos(&row, (4, 1), (8, 1));
        let one: Vec<u8> = scaled.iter().copied().step_by(3).collect();
        assert_eq!(one, [10, 0, 0, 54, 201, 255, 255, 245]);
    }
}
