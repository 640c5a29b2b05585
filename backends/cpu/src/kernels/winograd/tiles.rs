// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Which pixels belong to which tile.

use alice_nets::{ConvSpec, Padding};

use super::{
    CHANNELS, PLACES, ROWS,
    transform::{POINTS, RESULTS},
};

/// What transforms cost, in tiles: measured on images of few tiles.
const TRANSFORMS: usize = 3;

/// Tiles over images of one size, which may first be enlarged by nearest neighbour.
#[derive(Clone, Debug)]
pub(crate) struct Tiles {
    /// For each row of tiles, the image's rows of pixels under it; `None` is beside the image.
    rows: Vec<[Option<u32>; POINTS]>,
    /// The same for columns.
    columns: Vec<[Option<u32>; POINTS]>,
    /// Height and width of the image, and of the result.
    image: [usize; 2],
    result: [usize; 2],
}

impl Tiles {
    /// The tiles of a convolution over images that are first enlarged from `image` to `seen`, both height and width;
    /// `None` where it is none that tiles can do, or the direct way takes less time.
    ///
    /// The answer must not depend on how many images there are: both ways round differently.
    pub(crate) fn of(spec: ConvSpec, image: [usize; 2], seen: [usize; 2]) -> Option<Self> {
        let fits = spec.kernel == 3 && spec.stride == 1 && spec.padding == Padding::Around(1);
        let tiles = Self::new(image, seen);
        let products = PLACES * (tiles.count().next_multiple_of(ROWS) + TRANSFORMS);
        let pays = products < 9 * seen[0] * seen[1];
        (fits && pays && spec.input.is_multiple_of(CHANNELS)).then_some(tiles)
    }

    fn new(image: [usize; 2], seen: [usize; 2]) -> Self {
        Self { rows: axis(image[0], seen[0]), columns: axis(image[1], seen[1]), image, result: seen }
    }

    /// Those of one image.
    pub(crate) fn count(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// A tile's image, and its place in it.
    fn place(&self, tile: usize) -> [usize; 3] {
        let (image, tile) = (tile / self.count(), tile % self.count());
        [image, tile / self.columns.len(), tile % self.columns.len()]
    }

    /// The number of a pixel of the image under a tile; `None` beside the image.
    pub(super) fn pixel(&self, tile: usize, y: usize, x: usize) -> Option<usize> {
        let [image, row, column] = self.place(tile);
        let (row, column) = (self.rows[row][y]? as usize, self.columns[column][x]? as usize);
        let [height, width] = self.image;
        Some((image * height + row) * width + column)
    }

    /// The number of a pixel of the result in a tile; `None` beside the result.
    pub(super) fn result(&self, tile: usize, y: usize, x: usize) -> Option<usize> {
        let [image, row, column] = self.place(tile);
        let (row, column) = (row * RESULTS + y, column * RESULTS + x);
        let [height, width] = self.result;
        (row < height && column < width).then_some((image * height + row) * width + column)
    }
}

/// For each tile along an axis that is first stretched from `size` to `seen`, the places under it.
fn axis(size: usize, seen: usize) -> Vec<[Option<u32>; POINTS]> {
    let source = |tile: usize, point: usize| {
        let stretched = (tile * RESULTS + point).checked_sub(1).filter(|stretched| *stretched < seen)?;
        u32::try_from(stretched * size / seen).ok()
    };
    (0..seen.div_ceil(RESULTS)).map(|tile| std::array::from_fn(|point| source(tile, point))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: ConvSpec =
        ConvSpec { input: 32, output: 7, kernel: 3, stride: 1, padding: Padding::Around(1) };

    #[test]
    fn tiles_know_their_pixels_and_those_beside_the_image() {
        let tiles = Tiles::new([5, 6], [10, 6]);
        assert_eq!(tiles.count(), 3 * 2);
        assert_eq!(tiles.pixel(0, 0, 1), None, "above the image");
        assert_eq!(tiles.pixel(0, 1, 0), None, "left of it");
        assert_eq!(tiles.pixel(0, 3, 2), Some(6 + 1), "each row is seen twice");
        assert_eq!(tiles.pixel(6 + 5, 0, 0), Some((5 + 3) * 6 + 3), "the last tile of the second image");
        assert_eq!(tiles.pixel(5, 3, 0), None, "below the image");
        assert_eq!(tiles.result(6 + 5, 1, 1), Some((10 + 9) * 6 + 5));
        assert_eq!(tiles.result(5, 2, 0), None);
        assert_eq!(tiles.result(5, 0, 2), None);
    }

    #[test]
    fn only_what_pays_is_tiled() {
        let tiled = |spec, size| Tiles::of(spec, size, size).is_some();
        assert!(tiled(SPEC, [64, 64]) && tiled(SPEC, [8, 8]) && tiled(SPEC, [9, 70]));
        assert!(!tiled(SPEC, [4, 4]), "one tile is computed as six");
        assert!(!tiled(SPEC, [1, 400]), "three quarters of every tile are beside the result");
        assert!(!tiled(ConvSpec { kernel: 1, ..SPEC }, [64, 64]));
        assert!(!tiled(ConvSpec { stride: 2, ..SPEC }, [64, 64]));
        assert!(!tiled(ConvSpec { padding: Padding::BelowAndRight, ..SPEC }, [64, 64]));
        assert!(!tiled(ConvSpec { input: 4, ..SPEC }, [64, 64]), "channels are no whole vectors");
    }
}
