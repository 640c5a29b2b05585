// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! An image that is worked on piece by piece, because the whole does not fit into the device's memory: latents that are
//! decoded, pictures that are encoded or made larger.
//!
//! The pieces overlap, and where they do their results fade into each other, so that no edge is seen where one
//! piece ends. The result is still not the one of the whole: near its edges a piece sees zeros where its neighbours
//! are, and the autoencoder's normalisations and attention are over the piece alone, so that its colours may differ a
//! little. Known from diffusers `autoencoders/autoencoder_kl.py`, `tiled_decode` and `tiled_encode`; the fading is
//! symmetric here. Of an encoded picture, means and the logarithms of variances fade.

use std::ops::Range;

use alice_plugin::Result;
use alice_plugin::tiles::{cut, fade};

/// A tile shares at least one part in so many of the longest side allowed with its neighbour.
const OVERLAP: usize = 4;

/// Where the pieces of an image lie, in cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tiles {
    height: usize,
    width: usize,
    rows: Vec<Range<usize>>,
    columns: Vec<Range<usize>>,
}

impl Tiles {
    /// Pieces with sides of at most `side` cells (at least one) that cover an image of this size.
    pub(crate) fn new(height: usize, width: usize, side: usize) -> Self {
        let side = side.max(1);
        let cut = |length| cut(length, side, side / OVERLAP);
        Self { height, width, rows: cut(height), columns: cut(width) }
    }

    /// How many pieces there are.
    pub(crate) fn count(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// Makes `target` of `source`, both `[channels, height, width]` with any number of channels, and with `from` or
    /// `to` pixels along the side of a cell. `make` makes the result of one piece, whose height and width in cells it
    /// is told.
    pub(crate) fn run(
        &self,
        (source, from): (&[f32], usize),
        (target, to): (&mut [f32], usize),
        mut make: impl FnMut([usize; 2], &[f32], &mut [f32]) -> Result<()>,
    ) -> Result<()> {
        let (height, width) = (self.height * to, self.width * to);
        let channels = target.len() / (height * width);
        let (down, across) = (fades(&self.rows, to), fades(&self.columns, to));
        target.fill(0.0);
        for (rows, down) in self.rows.iter().zip(&down) {
            for (columns, across) in self.columns.iter().zip(&across) {
                let sides = [rows.len(), columns.len()];
                let mut piece = vec![0.0; channels * sides[0] * to * sides[1] * to];
                make(sides, &self.piece(source, from, rows, columns), &mut piece)?;
                let lines = piece.chunks_exact(sides[1] * to).enumerate();
                for (line, pixels) in lines {
                    let (channel, y) = (line / down.len(), line % down.len());
                    let start = (channel * height + rows.start * to + y) * width + columns.start * to;
                    let there = target[start..][..pixels.len()].iter_mut();
                    for ((there, pixel), across) in there.zip(pixels).zip(across) {
                        *there += pixel * across * down[y];
                    }
                }
            }
        }
        Ok(())
    }

    /// One piece of an image with `from` pixels along the side of a cell.
    fn piece(&self, source: &[f32], from: usize, rows: &Range<usize>, columns: &Range<usize>) -> Vec<f32> {
        let (height, width) = (self.height * from, self.width * from);
        let (down, across) = (rows.start * from..rows.end * from, columns.start * from..columns.end * from);
        let planes = source.chunks_exact(height * width);
        let lines = planes.flat_map(|plane| plane.chunks_exact(width).take(down.end).skip(down.start));
        lines.flat_map(|line| &line[across.clone()]).copied().collect()
    }
}

/// How much each pixel of each range counts, with `scale` pixels a cell.
fn fades(ranges: &[Range<usize>], scale: usize) -> Vec<Vec<f32>> {
    let ranges: Vec<_> = ranges.iter().map(|range| range.start * scale..range.end * scale).collect();
    ranges.iter().map(|range| fade(range, &ranges)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes of each cell's pixels as many others, and of three channels two, so that tiles must change nothing.
    fn cell_by_cell(sides: [usize; 2], (source, from): (&[f32], usize), (target, to): (&mut [f32], usize)) {
        let [height, width] = sides;
        for (index, pixel) in target.iter_mut().enumerate() {
            let (y, x) = (index / (width * to) % (height * to), index % (width * to));
            let channel = index / (height * to * width * to) + 1;
            let line = (channel * height + y / to) * from + y % to % from;
            *pixel = source[line * width * from + x / to * from] + (x % to) as f32;
        }
    }

    #[test]
    fn what_sees_single_cells_makes_the_same_of_tiles() {
        let lengths = [1, 2, 5, 8, 13];
        let pairs = lengths.iter().flat_map(|height| lengths.map(|width| (*height, width)));
        for (height, width) in pairs {
            for (side, (from, to)) in
                (1..16).flat_map(|side| [(1, 1), (1, 3), (2, 1), (2, 4)].map(|by| (side, by)))
            {
                let source: Vec<f32> =
                    (0..3 * height * width * from * from).map(|value| (value * 37 % 101) as f32).collect();
                let mut whole = vec![0.0; 2 * height * width * to * to];
                cell_by_cell([height, width], (&source, from), (&mut whole, to));
                let (mut tiled, mut count) = (vec![7.0; whole.len()], 0);
                let tiles = Tiles::new(height, width, side);
                let make = |sides: [usize; 2], piece: &[f32], made: &mut [f32]| {
                    assert!(sides.iter().all(|length| *length <= side));
                    count += 1;
                    cell_by_cell(sides, (piece, from), (made, to));
                    Ok(())
                };
                tiles.run((&source, from), (&mut tiled, to), make).unwrap();
                assert_eq!(count, tiles.count());
                for (tiled, whole) in tiled.iter().zip(&whole) {
                    assert!((tiled - whole).abs() < 1e-3, "{tiled} is not {whole}: {tiles:?}");
                }
            }
        }
    }

    #[test]
    fn neighbours_share_a_quarter_of_the_longest_side_at_least() {
        assert_eq!(Tiles::new(64, 10, 64).count(), 1);
        assert_eq!(Tiles::new(128, 64, 64).rows, [0..54, 37..91, 74..128]);
        assert_eq!(Tiles::new(3, 1, 0).count(), 3, "a tile of one cell shares none");
    }
}
