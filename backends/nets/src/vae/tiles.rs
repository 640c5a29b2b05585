// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A latent that is decoded piece by piece, because the whole does not fit into the device's memory.
//!
//! The pieces overlap, and where they do their pixels fade into each other, so that no edge is seen where one
//! piece ends. The picture is still not the one that is decoded whole: a piece's normalisations and attention
//! see nothing of the others, and its colours may differ a little. Known from diffusers
//! `autoencoders/autoencoder_kl.py`, `tiled_decode`; the fading is symmetric here.

use std::ops::Range;

use alice_plugin::Result;

/// A tile shares one part in so many of its side with its neighbour.
const OVERLAP: usize = 4;

/// Where the pieces of a latent lie, in cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tiles {
    height: usize,
    width: usize,
    rows: Vec<Range<usize>>,
    columns: Vec<Range<usize>>,
}

impl Tiles {
    /// Pieces with sides of at most `side` cells (at least one) that cover a latent of this size.
    pub(crate) fn new(height: usize, width: usize, side: usize) -> Self {
        Self { height, width, rows: cut(height, side), columns: cut(width, side) }
    }

    /// How many pieces there are.
    pub(crate) fn count(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// Decodes `latent`, `[channels, height, width]`, into `picture`, `[3, height * scale, width * scale]`.
    /// `decode` makes the picture of one piece, whose height and width in cells it is told.
    pub(crate) fn decode(
        &self,
        latent: &[f32],
        scale: usize,
        picture: &mut [f32],
        mut decode: impl FnMut([usize; 2], &[f32], &mut [f32]) -> Result<()>,
    ) -> Result<()> {
        let (height, width) = (self.height * scale, self.width * scale);
        picture.fill(0.0);
        for rows in &self.rows {
            for columns in &self.columns {
                let sides = [rows.len(), columns.len()];
                let mut piece = vec![0.0; 3 * sides[0] * scale * sides[1] * scale];
                decode(sides, &self.piece(latent, rows, columns), &mut piece)?;
                let fades = [fade(rows, &self.rows, scale), fade(columns, &self.columns, scale)];
                let lines = piece.chunks_exact(sides[1] * scale).enumerate();
                for (line, pixels) in lines {
                    let (channel, y) = (line / fades[0].len(), line % fades[0].len());
                    let start = (channel * height + rows.start * scale + y) * width + columns.start * scale;
                    let there = picture[start..][..pixels.len()].iter_mut();
                    for ((there, pixel), across) in there.zip(pixels).zip(&fades[1]) {
                        *there += pixel * across * fades[0][y];
                    }
                }
            }
        }
        Ok(())
    }

    /// The cells of one piece, `[channels, rows, columns]`.
    fn piece(&self, latent: &[f32], rows: &Range<usize>, columns: &Range<usize>) -> Vec<f32> {
        let planes = latent.chunks_exact(self.height * self.width);
        let lines = planes.flat_map(|plane| plane.chunks_exact(self.width).take(rows.end).skip(rows.start));
        lines.flat_map(|line| &line[columns.clone()]).copied().collect()
    }
}

/// Ranges of at most `side` that cover `0..length`, all of one length where there are several.
fn cut(length: usize, side: usize) -> Vec<Range<usize>> {
    let side = side.clamp(1, length);
    let stride = (side - side / OVERLAP).max(1);
    let last = length - side;
    let starts = (0..last).step_by(stride).chain([last]);
    starts.map(|start| start..start + side).collect()
}

/// How much each pixel of `range` counts beside those of the other `ranges` of `scale` pixels a cell; at every
/// pixel of the picture the parts of all ranges add up to 1.
fn fade(range: &Range<usize>, ranges: &[Range<usize>], scale: usize) -> Vec<f32> {
    let pixels = range.start * scale..range.end * scale;
    // Rises from either edge to the middle, so that a range counts least where it sees least.
    let weight = |range: &Range<usize>, pixel: usize| {
        let edges = range.start * scale..range.end * scale;
        let inside = edges.contains(&pixel);
        if inside { (pixel - edges.start + 1).min(edges.end - pixel) as f32 } else { 0.0 }
    };
    let part = |pixel| {
        let all: f32 = ranges.iter().map(|range| weight(range, pixel)).sum();
        weight(range, pixel) / all
    };
    pixels.map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A decoder that sees one cell at a time, so that tiles must change nothing.
    fn decode_cells(sides: [usize; 2], latent: &[f32], scale: usize, picture: &mut [f32]) {
        let [height, width] = sides;
        for (index, pixel) in picture.iter_mut().enumerate() {
            let (channel, y, x) =
                (index / (height * width * scale * scale), index / (width * scale), index % (width * scale));
            let cell = (y % (height * scale) / scale) * width + x / scale;
            *pixel = latent[channel * height * width + cell] + (x % scale) as f32;
        }
    }

    #[test]
    fn a_decoder_that_sees_single_cells_gives_the_same_picture() {
        let lengths = [1, 2, 5, 8, 13];
        let pairs = lengths.iter().flat_map(|height| lengths.map(|width| (*height, width)));
        for (height, width) in pairs {
            for (side, scale) in (1..16).flat_map(|side| [(side, 1), (side, 3)]) {
                let latent: Vec<f32> =
                    (0..3 * height * width).map(|value| (value * 37 % 101) as f32).collect();
                let mut whole = vec![0.0; latent.len() * scale * scale];
                decode_cells([height, width], &latent, scale, &mut whole);
                let (mut tiled, mut count) = (vec![7.0; whole.len()], 0);
                let tiles = Tiles::new(height, width, side);
                let decode = |sides: [usize; 2], piece: &[f32], picture: &mut [f32]| {
                    assert!(sides.iter().all(|length| *length <= side));
                    count += 1;
                    decode_cells(sides, piece, scale, picture);
                    Ok(())
                };
                tiles.decode(&latent, scale, &mut tiled, decode).unwrap();
                assert_eq!(count, tiles.count());
                for (tiled, whole) in tiled.iter().zip(&whole) {
                    assert!((tiled - whole).abs() < 1e-3, "{tiled} is not {whole}: {tiles:?}");
                }
            }
        }
    }

    #[test]
    fn neighbours_overlap_by_a_quarter_at_least() {
        let starts = |length, side| cut(length, side).iter().map(|range| range.start).collect::<Vec<_>>();
        assert_eq!(starts(64, 64), [0]);
        assert_eq!(starts(10, 64), [0]);
        assert_eq!(starts(128, 64), [0, 48, 64]);
        assert_eq!(starts(3, 1), [0, 1, 2]);
        assert!(cut(128, 64).iter().all(|range| range.len() == 64));
    }
}
