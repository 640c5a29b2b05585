// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A picture at another size, made row by row: nothing but the row in hand is there beside the picture itself, however
//! large it becomes, and whoever reads the rows can stop at any of them.

use image::{Rgb, RgbImage};

/// Half the width of Lanczos' filter, in pixels of the coarser picture.
const SUPPORT: f32 = 3.0;

/// The rows of a picture at another size, scaled by Lanczos' filter.
#[derive(Debug)]
pub struct Rows {
    picture: RgbImage,
    width: u32,
    height: u32,
    /// What is not as it is.
    frame: Option<Frame>,
}

/// A scaled picture within another.
#[derive(Debug)]
struct Frame {
    /// The colour of what stays free beside it; `None` where nothing does.
    border: Option<Rgb<u8>>,
    left: u32,
    top: u32,
    across: Filter,
    down: Filter,
    /// A row of the wanted height, as wide as the picture was.
    row: Vec<f32>,
}

/// What each pixel along one direction is made of.
#[derive(Debug)]
struct Filter {
    /// The first pixel of those that count, and how much they do.
    taps: Vec<(usize, Vec<f32>)>,
}

impl Filter {
    /// From `old` pixels to `new`.
    ///
    /// Source: the crate `image`, `imageops::resize` with `Lanczos3`, to the bit but for rounding.
    fn new(old: u32, new: u32) -> Self {
        let ratio = old as f32 / new as f32;
        let wide = ratio.max(1.0);
        let support = SUPPORT * wide;
        let tap = |at: u32| {
            let centre = (at as f32 + 0.5) * ratio;
            let first = ((centre - support).floor().max(0.0) as u32).min(old - 1);
            let last = ((centre + support).ceil() as u32).clamp(first + 1, old);
            let weight = |pixel: u32| lanczos((pixel as f32 - (centre - 0.5)) / wide);
            let mut weights: Vec<f32> = (first..last).map(weight).collect();
            let sum: f32 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
            (first as usize, weights)
        };
        Self { taps: (0..new).map(tap).collect() }
    }
}

/// Lanczos' kernel. Source: Duchon 1979.
fn lanczos(x: f32) -> f32 {
    let sinc =
        |x: f32| if x == 0.0 { 1.0 } else { (x * std::f32::consts::PI).sin() / (x * std::f32::consts::PI) };
    if x.abs() < SUPPORT { sinc(x) * sinc(x / SUPPORT) } else { 0.0 }
}

impl Rows {
    /// The rows of the picture at `width` x `height`, both at least 1. It is scaled to fit inside and never distorted;
    /// what stays free beside it takes the colour of its border.
    pub fn framed(picture: RgbImage, width: u32, height: u32) -> Self {
        let (old_width, old_height) = picture.dimensions();
        let scale =
            f64::min(f64::from(width) / f64::from(old_width), f64::from(height) / f64::from(old_height));
        let side = |old: u32| (f64::from(old) * scale).round().max(1.0) as u32;
        let inside = (side(old_width), side(old_height));
        Self::new(picture, (width, height), inside)
    }

    /// The same with either side scaled for itself, so that nothing stays free.
    pub fn stretched(picture: RgbImage, width: u32, height: u32) -> Self {
        Self::new(picture, (width, height), (width, height))
    }

    fn new(picture: RgbImage, (width, height): (u32, u32), inside: (u32, u32)) -> Self {
        let same = picture.dimensions() == (width, height);
        let frame = (!same).then(|| Frame::new(&picture, (width, height), inside));
        Self { picture, width, height, frame }
    }

    /// Pixels in a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// How many rows there are.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Writes the row at `y` from above into `out`, three bytes a pixel.
    ///
    /// # Panics
    /// When there is no such row, or `out` is not as long as one.
    pub fn write(&mut self, y: u32, out: &mut [u8]) {
        match &mut self.frame {
            Some(frame) => frame.write(&self.picture, y, out),
            None => {
                let length = out.len();
                out.copy_from_slice(&self.picture.as_raw()[y as usize * length..][..length]);
            }
        }
    }

    /// All of them, one under the other.
    pub fn whole(mut self) -> RgbImage {
        if self.frame.is_none() {
            return self.picture;
        }
        let mut whole = RgbImage::new(self.width, self.height);
        let rows = whole.chunks_exact_mut(self.width as usize * 3);
        (0..).zip(rows).for_each(|(y, row)| self.write(y, row));
        whole
    }
}

impl Frame {
    fn new(picture: &RgbImage, size: (u32, u32), inside: (u32, u32)) -> Self {
        let (width, height) = picture.dimensions();
        Self {
            border: (inside != size).then(|| border_colour(picture)),
            left: (size.0 - inside.0) / 2,
            top: (size.1 - inside.1) / 2,
            across: Filter::new(width, inside.0),
            down: Filter::new(height, inside.1),
            row: vec![0.0; width as usize * 3],
        }
    }

    fn write(&mut self, picture: &RgbImage, y: u32, out: &mut [u8]) {
        let (pixels, _) = out.as_chunks_mut::<3>();
        if let Some(border) = self.border {
            pixels.fill(border.0);
        }
        let Some((first, weights)) = y.checked_sub(self.top).and_then(|y| self.down.taps.get(y as usize))
        else {
            return;
        };
        self.row.fill(0.0);
        let lines = picture.as_raw().chunks_exact(self.row.len()).skip(*first);
        for (line, weight) in lines.zip(weights) {
            self.row.iter_mut().zip(line).for_each(|(sum, value)| *sum += f32::from(*value) * weight);
        }
        let (row, _) = self.row.as_chunks::<3>();
        for (pixel, (first, weights)) in pixels.iter_mut().skip(self.left as usize).zip(&self.across.taps) {
            let mut sums = [0.0; 3];
            for (from, weight) in row[*first..].iter().zip(weights) {
                sums.iter_mut().zip(from).for_each(|(sum, value)| *sum += value * weight);
            }
            *pixel = sums.map(|sum| (sum.clamp(0.0, 255.0) + 0.5) as u8);
        }
    }
}

/// The median colour of the outermost pixels.
fn border_colour(picture: &RgbImage) -> Rgb<u8> {
    let (width, height) = picture.dimensions();
    let on_border = |x: u32, y: u32| x == 0 || y == 0 || x + 1 == width || y + 1 == height;
    let border: Vec<_> = picture.enumerate_pixels().filter(|(x, y, _)| on_border(*x, *y)).collect();
    Rgb([0, 1, 2].map(|channel| {
        let mut values: Vec<u8> = border.iter().map(|(_, _, pixel)| pixel.0[channel]).collect();
        values.sort_unstable();
        values[values.len() / 2]
    }))
}

#[cfg(test)]
mod tests {
    use image::imageops::{self, FilterType};

    use super::*;

    #[test]
    fn scaling_keeps_the_shape_and_fills_the_rest_with_the_border() {
        let mut picture = RgbImage::from_pixel(16, 16, Rgb([250, 250, 250]));
        for (x, y) in (4..12).flat_map(|x| (4..12).map(move |y| (x, y))) {
            picture.put_pixel(x, y, Rgb([200, 0, 0]));
        }
        let wide = Rows::framed(picture.clone(), 128, 64).whole();
        assert_eq!(wide.dimensions(), (128, 64));
        let near = |x, y, colour: [u8; 3]| {
            let pixel = wide.get_pixel(x, y).0;
            assert!(pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 8), "({x}, {y}) is {pixel:?}");
        };
        near(0, 0, [250, 250, 250]);
        near(64, 32, [200, 0, 0]);
        near(127, 63, [250, 250, 250]);
        // The square is 32 pixels wide and high in the middle: not stretched.
        near(64, 10, [250, 250, 250]);
        near(42, 32, [250, 250, 250]);
        near(54, 32, [200, 0, 0]);
        assert_eq!(Rows::framed(picture.clone(), 16, 16).whole(), picture);
    }

    #[test]
    fn rows_are_those_of_the_picture_that_is_scaled_as_a_whole() {
        let value = |x: u32, y: u32, channel: u32| ((x * 37 + y * 101 + channel * 59) % 256) as u8;
        for (old, new) in
            [((40, 30), (160, 120)), ((31, 17), (62, 34)), ((64, 48), (20, 15)), ((5, 1), (35, 8))]
        {
            let picture = RgbImage::from_fn(old.0, old.1, |x, y| Rgb([0, 1, 2].map(|c| value(x, y, c))));
            let whole = imageops::resize(&picture, new.0, new.1, FilterType::Lanczos3);
            let rows = Rows::stretched(picture, new.0, new.1).whole();
            let apart = whole.iter().zip(rows.iter()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(apart <= Some(1), "{old:?} to {new:?}: {apart:?}");
        }
    }
}
