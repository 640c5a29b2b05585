// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A picture made larger, tile by tile.
//!
//! Every tile is a call of its own. So none takes long, the calls of other jobs come between them, whoever drops the
//! future is rid of the rest, and what the device needs does not grow with the picture. The tiles overlap and fade
//! into each other, so that no edge is seen where one ends. A network that looks no further than they overlap
//! makes of them nearly what it makes of the whole; one that looks further (its convolutions may reach over hundreds of pixels,
//! but make next to nothing of what lies far away) differs from it near the edges of tiles alone.
//!
//! Overlap as in ComfyUI `comfy_extras/nodes_upscale_model.py`.

use std::ops::Range;
use std::sync::Arc;

use alice_plugin::tiles;

use super::room::{Room, Rooms};
use crate::denoiser::limited;
use crate::engine::{LoadedModel, Seat};
use crate::error::Result;

/// The longest side of a tile's answer, in pixels. A network of ESRGAN's size takes less than a gigabyte for it, and a CPU
/// seconds to a minute (about 3 TFLOP).
const LARGE: usize = 1024;
/// What the answers of two neighbours share at least. Upscalers by less than four fold so many pixels together that they
/// look as much further in the given picture as they enlarge it less.
const LARGE_OVERLAP: usize = 128;
/// The shortest tile in pixels of the given picture, and what it shares at least, however many times larger it becomes.
const LEAST: usize = 64;
const LEAST_OVERLAP: usize = 32;
/// Tiles begin and end at a multiple of this: some upscalers take squares of so many pixels together, and fill up what
/// is less.
const CELL: usize = 4;

/// In how many tiles a picture of so many pixels (width and height) is made `factor` times larger.
pub fn tiles(size: (u32, u32), factor: u32) -> u32 {
    let factor = factor as usize;
    let count = cut(size.0, factor).len() * cut(size.1, factor).len();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A picture that has been made larger.
#[derive(Debug)]
pub struct Larger {
    /// Its pixels.
    pub rgb: Vec<u8>,
    /// Width and height.
    pub size: (u32, u32),
    /// What it holds of the room for large pictures, for as long as its pixels are in memory.
    pub room: Room,
}

/// The picture `rgb` of so many pixels (width and height), made larger by the upscaler when there is room for it. `done`
/// hears of every tile that is finished. Dropping the future ends the work with the tile in hand.
///
/// # Errors
/// As [`Seat::upscale`]; [`Timeout`](crate::error::Error::Timeout) when a single tile takes more than `limit_s` seconds.
pub async fn enlarged(
    rooms: &Rooms,
    seat: &Seat,
    upscaler: &Arc<LoadedModel>,
    limit_s: u32,
    rgb: Vec<u8>,
    size: (u32, u32),
    done: &(dyn Fn() + Sync),
) -> Result<Larger> {
    let factor = upscaler.info.latent_scale;
    let larger = (size.0.saturating_mul(factor), size.1.saturating_mul(factor));
    let room = rooms.take(larger).await;
    let mut mosaic = Mosaic::new(size, factor as usize);
    for (row, column) in mosaic.places() {
        let (rows, columns) = (mosaic.down.range(row), mosaic.across.range(column));
        let (width, height) = (side(&columns), side(&rows));
        let tile = part(&rgb, size, rows, columns);
        let tile = limited(seat, limit_s, seat.upscale(upscaler, width, height, tile)).await?;
        // A moment for a thread of the runtime, but the device's own thread may be the one that goes on here.
        let lay = move || {
            mosaic.lay(row, column, &tile);
            mosaic
        };
        mosaic = tokio::task::spawn_blocking(lay).await.map_err(anyhow::Error::from)?;
        done();
    }
    Ok(Larger { rgb: mosaic.rgb, size: larger, room })
}

/// Where the tiles along a side of so many pixels lie that is made `factor` times longer.
fn cut(length: u32, factor: usize) -> Vec<Range<usize>> {
    let (length, factor) = ((length as usize).max(1), factor.max(1));
    let (tile, overlap) = ((LARGE / factor).max(LEAST), (LARGE_OVERLAP / factor).max(LEAST_OVERLAP));
    let cells = tiles::cut(length.div_ceil(CELL), tile / CELL, overlap.div_ceil(CELL));
    cells.into_iter().map(|cells| cells.start * CELL..(cells.end * CELL).min(length)).collect()
}

fn side(range: &Range<usize>) -> u32 {
    u32::try_from(range.len()).expect("a tile is small")
}

/// A part of RGB pixels.
fn part(rgb: &[u8], size: (u32, u32), rows: Range<usize>, columns: Range<usize>) -> Vec<u8> {
    let lines = rgb.chunks_exact(size.0 as usize * 3).take(rows.end).skip(rows.start);
    lines.flat_map(|line| &line[columns.start * 3..columns.end * 3]).copied().collect()
}

/// The larger picture, as far as there are tiles.
struct Mosaic {
    down: Axis,
    across: Axis,
    rgb: Vec<u8>,
}

/// The tiles along one direction.
struct Axis {
    /// In pixels of the given picture.
    ranges: Vec<Range<usize>>,
    factor: usize,
    /// How much each pixel of the larger picture counts in each tile.
    shares: Vec<Vec<Share>>,
    length: usize,
}

/// How much one tile counts at a pixel.
#[derive(Clone, Copy)]
struct Share {
    own: f32,
    /// That of all tiles before it.
    before: f32,
}

impl Axis {
    fn new(length: u32, factor: usize) -> Self {
        let ranges = cut(length, factor);
        let length = length as usize * factor;
        let scaled: Vec<_> = ranges.iter().map(|range| range.start * factor..range.end * factor).collect();
        let mut sums = vec![0.0; length];
        let mut shares_of = |range: &Range<usize>| {
            let sums = sums[range.clone()].iter_mut();
            let share = |(sum, own): (&mut f32, f32)| {
                let before = *sum;
                *sum += own;
                Share { own, before }
            };
            sums.zip(tiles::fade(range, &scaled)).map(share).collect()
        };
        let shares = scaled.iter().map(&mut shares_of).collect();
        Self { ranges, factor, shares, length }
    }

    fn range(&self, tile: usize) -> Range<usize> {
        self.ranges[tile].clone()
    }

    /// Where the tile begins in the larger picture.
    fn start(&self, tile: usize) -> usize {
        self.ranges[tile].start * self.factor
    }
}

impl Mosaic {
    /// A picture of so many pixels (width and height) made `factor` times larger, without any tile.
    fn new(size: (u32, u32), factor: usize) -> Self {
        let (across, down) = (Axis::new(size.0, factor), Axis::new(size.1, factor));
        let rgb = vec![0; across.length * down.length * 3];
        Self { down, across, rgb }
    }

    /// Row and column of each tile, in the order in which they are to be laid.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (rows, columns) = (self.down.ranges.len(), self.across.ranges.len());
        (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)))
    }

    /// Lays a tile over those that are there already: of each pixel so much of the old is left that in the end every
    /// tile has its share. Rounding after every tile makes a difference of less than two levels, and none where the tiles say
    /// the same.
    fn lay(&mut self, row: usize, column: usize, tile: &[u8]) {
        let (rows, columns) = (&self.down.shares[row], &self.across.shares[column]);
        let (top, left) = (self.down.start(row), self.across.start(column));
        let lines = tile.chunks_exact(columns.len() * 3).zip(rows).enumerate();
        for (y, (line, down)) in lines {
            let start = ((top + y) * self.across.length + left) * 3;
            let there = self.rgb[start..][..line.len()].as_chunks_mut::<3>().0.iter_mut();
            for ((there, pixel), across) in there.zip(line.as_chunks::<3>().0).zip(columns) {
                let so_far = down.before + down.own * (across.before + across.own);
                let part = down.own * across.own / so_far;
                if part >= 1.0 {
                    *there = *pixel;
                    continue;
                }
                for (there, value) in there.iter_mut().zip(pixel) {
                    *there = mixed(*there, *value, part);
                }
            }
        }
    }
}

/// `old` with `part` of `new` in it, rounded.
fn mixed(old: u8, new: u8, part: f32) -> u8 {
    let (old, new) = (f32::from(old), f32::from(new));
    (old + part * (new - old) + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each pixel as a square, with something of where in the square it is.
    fn squares(rgb: &[u8], width: usize, factor: usize) -> Vec<u8> {
        let lines = rgb.chunks_exact(width * 3).flat_map(|line| (0..factor).map(move |y| (line, y)));
        let pixel = |line: &[u8], x: usize, y: usize| {
            [0, 1, 2].map(|channel| line[x / factor * 3 + channel] ^ (x % factor + y) as u8)
        };
        lines.flat_map(|(line, y)| (0..width * factor).flat_map(move |x| pixel(line, x, y))).collect()
    }

    fn noise((width, height): (u32, u32)) -> Vec<u8> {
        (0..width * height * 3).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    #[test]
    fn what_sees_single_pixels_makes_the_same_of_tiles_in_every_size() {
        for size in [(1, 1), (3, 500), (256, 90), (257, 30), (150, 140), (1100, 4)] {
            for factor in [1, 2, 3, 4, 8] {
                let rgb = noise(size);
                let mut mosaic = Mosaic::new(size, factor);
                let mut count = 0;
                for (row, column) in mosaic.places() {
                    let (rows, columns) = (mosaic.down.range(row), mosaic.across.range(column));
                    assert!(rows.len().max(columns.len()) * factor <= LARGE);
                    let width = columns.len();
                    let tile = squares(&part(&rgb, size, rows, columns), width, factor);
                    mosaic.lay(row, column, &tile);
                    count += 1;
                }
                assert_eq!(count, tiles(size, factor as u32));
                assert!(mosaic.rgb == squares(&rgb, size.0 as usize, factor), "{size:?} by {factor}");
            }
        }
    }

    #[test]
    fn tiles_that_differ_fade_into_each_other_by_their_shares() {
        let size = (400, 330);
        let mut mosaic = Mosaic::new(size, 4);
        let values = [[10, 60], [140, 250]];
        for (row, column) in mosaic.places() {
            let (width, height) = (mosaic.across.shares[column].len(), mosaic.down.shares[row].len());
            mosaic.lay(row, column, &vec![values[row][column]; width * height * 3]);
        }
        let share = |axis: &Axis, tile: usize, place: usize| {
            let within = place.checked_sub(axis.start(tile));
            within.and_then(|within| axis.shares[tile].get(within)).map_or(0.0, |share| share.own)
        };
        for (index, value) in mosaic.rgb.iter().enumerate() {
            let (y, x) = (index / 3 / mosaic.across.length, index / 3 % mosaic.across.length);
            let part = |row: usize, column: usize| {
                share(&mosaic.down, row, y)
                    * share(&mosaic.across, column, x)
                    * f32::from(values[row][column])
            };
            let wanted = part(0, 0) + part(0, 1) + part(1, 0) + part(1, 1);
            assert!((f32::from(*value) - wanted).abs() < 2.0, "{value} at {x}, {y}, not {wanted}");
        }
    }

    #[test]
    fn tiles_overlap_and_begin_where_squares_of_pixels_do() {
        let sides = [(1, 1), (256, 256), (257, 256), (512, 512), (2048, 2048)];
        assert_eq!(sides.map(|size| tiles(size, 4)), [1, 1, 2, 9, 81]);
        assert_eq!([1, 2, 4, 8, 300].map(|factor| tiles((1024, 1024), factor)), [1, 9, 25, 121, 961]);
        for (length, factor) in (1..1200).flat_map(|length| (1..9).map(move |factor| (length, factor))) {
            let ranges = cut(length, factor);
            assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, length as usize));
            assert!(ranges.iter().all(|range| range.start.is_multiple_of(CELL)));
            assert!(ranges.iter().all(|range| range.len() * factor <= LARGE));
            assert!(ranges.windows(2).all(|pair| pair[0].end - pair[1].start >= LEAST_OVERLAP));
            assert!(ranges.windows(2).all(|pair| (pair[0].end - pair[1].start) * factor >= LARGE_OVERLAP));
        }
    }
}
