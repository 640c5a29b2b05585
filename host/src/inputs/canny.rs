// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Edges, white on black, as the pictures have them that ControlNets for edges were trained on: those of OpenCV's
//! `Canny` on the three channels of a picture, which is not smoothed before. Pure.
//!
//! Source: Canny 1986, "A Computational Approach to Edge Detection"; held against OpenCV bit by bit.

use image::{GrayImage, RgbImage};

/// The tangent of 22.5 degrees as a fraction of `1 << SHIFT`.
const TANGENT: i64 = 13_573;
const SHIFT: u32 = 15;

/// Slope of the brightness at one pixel.
#[derive(Clone, Copy)]
struct Slope {
    across: i32,
    down: i32,
}

impl Slope {
    fn strength(self) -> i32 {
        self.across.abs() + self.down.abs()
    }
}

/// What is known of a pixel.
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    None,
    /// On an edge if an edge leads here.
    Weak,
    Edge,
}

/// The edges of `picture`: slopes (as sums of absolute differences, up to 2040) over `high` begin one, and it goes on
/// as long as they are over `low`.
pub(super) fn edges(picture: &RgbImage, low: u32, high: u32) -> GrayImage {
    let (width, height) = picture.dimensions();
    let (low, high) = (low.min(high) as i32, low.max(high) as i32);
    let slopes = slopes(picture);
    let strengths = Strengths::of(&slopes, width as usize);
    let marks = slopes.iter().enumerate().map(|(at, slope)| {
        let (x, y) = (at % width as usize, at / width as usize);
        mark(*slope, &strengths, x, y, low, high)
    });
    let mut marks: Vec<_> = marks.collect();
    follow(&mut marks, width as usize);
    let white = |mark: &Mark| if *mark == Mark::Edge { u8::MAX } else { 0 };
    GrayImage::from_raw(width, height, marks.iter().map(white).collect()).expect("one byte for each pixel")
}

/// Sobel's slopes, at each pixel that of the steepest channel; beyond the border the picture goes on unchanged.
fn slopes(picture: &RgbImage) -> Vec<Slope> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let pixels = picture.as_raw().as_chunks::<3>().0;
    let mut slopes = Vec::with_capacity(pixels.len());
    for y in 0..height {
        let rows = [y.saturating_sub(1), y, (y + 1).min(height - 1)].map(|y| &pixels[y * width..][..width]);
        for x in 0..width {
            let columns = [x.saturating_sub(1), x, (x + 1).min(width - 1)];
            let [first, second, third] = [0, 1, 2].map(|channel| {
                let at = |row: usize, column: usize| i32::from(rows[row][columns[column]][channel]);
                let column = |column| at(0, column) + 2 * at(1, column) + at(2, column);
                let row = |row| at(row, 0) + 2 * at(row, 1) + at(row, 2);
                Slope { across: column(2) - column(0), down: row(2) - row(0) }
            });
            // Of equally steep ones the first.
            let steeper = |one: Slope, other: Slope| {
                if other.strength() > one.strength() { other } else { one }
            };
            slopes.push(steeper(steeper(first, second), third));
        }
    }
    slopes
}

/// The slopes' strengths, with a row and a column of nothing around them.
struct Strengths {
    values: Vec<i32>,
    stride: usize,
}

impl Strengths {
    fn of(slopes: &[Slope], width: usize) -> Self {
        let stride = width + 2;
        let mut values = vec![0; stride];
        for row in slopes.chunks_exact(width) {
            values.push(0);
            values.extend(row.iter().map(|slope| slope.strength()));
            values.push(0);
        }
        values.resize(values.len() + stride, 0);
        Self { values, stride }
    }

    /// That of the neighbour at (`across`, `down`) of the pixel (`x`, `y`); both are 0 to 2 and 1 means no step.
    fn near(&self, x: usize, y: usize, across: usize, down: usize) -> i32 {
        self.values[(y + down) * self.stride + x + across]
    }
}

/// Whether a pixel is the steepest of its neighbours in the direction of its slope, and how steep.
fn mark(slope: Slope, strengths: &Strengths, x: usize, y: usize, low: i32, high: i32) -> Mark {
    let strength = slope.strength();
    if strength <= low {
        return Mark::None;
    }
    let near = |across, down| strengths.near(x, y, across, down);
    let (across, down) = (i64::from(slope.across.abs()), i64::from(slope.down.abs()) << SHIFT);
    let flat = across * TANGENT;
    let steep = flat + (across << (SHIFT + 1));
    let is_peak = if down < flat {
        strength > near(0, 1) && strength >= near(2, 1)
    } else if down > steep {
        strength > near(1, 0) && strength >= near(1, 2)
    } else if (slope.across < 0) != (slope.down < 0) {
        strength > near(2, 0) && strength > near(0, 2)
    } else {
        strength > near(0, 0) && strength > near(2, 2)
    };
    match is_peak {
        false => Mark::None,
        true if strength > high => Mark::Edge,
        true => Mark::Weak,
    }
}

/// Edges go on over weak pixels that touch them.
fn follow(marks: &mut [Mark], width: usize) {
    let mut ends: Vec<usize> = (0..marks.len()).filter(|at| marks[*at] == Mark::Edge).collect();
    while let Some(at) = ends.pop() {
        let (x, y) = (at % width, at / width);
        for row in y.saturating_sub(1)..=(y + 1).min(marks.len() / width - 1) {
            for column in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                let near = row * width + column;
                if marks[near] == Mark::Weak {
                    marks[near] = Mark::Edge;
                    ends.push(near);
                }
            }
        }
    }
}
