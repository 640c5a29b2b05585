// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Where the rows of a product's left side lie: one after the other, or under the windows of a convolution.

use std::ops::Range;

use alice_nets::Padding;

use super::{
    pack::Slab,
    product::{MOST_TAPS, ROWS, Runs},
};

/// The left side of a product.
#[derive(Clone, Copy)]
pub(crate) enum Left<'a, E> {
    /// Row `i` begins at `i * stride`.
    Dense { values: &'a [E], stride: usize },
    /// Row `i` is a pixel of the result, its taps are pixels of `image`.
    Windows { image: &'a [E], windows: &'a Windows, zeros: &'a [E] },
}

/// The windows of a convolution over images whose pixels are runs of channels.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    /// For each row of pixels of the result, and each row of the kernel, the image's row of pixels.
    rows: Vec<[Option<u32>; 3]>,
    /// The same for columns.
    columns: Vec<[Option<u32>; 3]>,
    kernel: usize,
    /// Pixels in a row of pixels of the image, and in the whole image.
    width: usize,
    area: usize,
    channels: usize,
}

/// How a convolution goes over an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: Padding,
}

impl Windows {
    /// The windows over images `[height, width, channels]` that are first enlarged to `seen` by nearest neighbour.
    pub(crate) fn new(walk: Walk, [height, width]: [usize; 2], seen: [usize; 2], channels: usize) -> Self {
        Self {
            rows: axis(walk, height, seen[0]),
            columns: axis(walk, width, seen[1]),
            kernel: walk.kernel,
            width,
            area: height * width,
            channels,
        }
    }

    /// Height and width of the result.
    pub(crate) fn result(&self) -> [usize; 2] {
        [self.rows.len(), self.columns.len()]
    }

    /// The first value under `tap` of the window number `index`; `None` beside the image.
    #[inline(always)]
    pub(super) fn place(&self, index: usize, tap: usize) -> Option<usize> {
        let area = self.rows.len() * self.columns.len();
        let (image, pixel) = (index / area, index % area);
        let (row, column) = (pixel / self.columns.len(), pixel % self.columns.len());
        let row = self.rows[row][tap / self.kernel]?;
        let column = self.columns[column][tap % self.kernel]?;
        Some((image * self.area + row as usize * self.width + column as usize) * self.channels)
    }
}

/// For each place of the result, and each of the kernel, the place of an axis that is first stretched from `size` to
/// `seen`.
fn axis(walk: Walk, size: usize, seen: usize) -> Vec<[Option<u32>; 3]> {
    let Walk { kernel, stride, padding } = walk;
    let (before, after) = match padding {
        Padding::Around(zeros) => (zeros, zeros),
        Padding::BelowAndRight => (0, 1),
    };
    let count = (seen + before + after - kernel) / stride + 1;
    let source = |place: usize, tap: usize| {
        let stretched = (place * stride + tap).checked_sub(before).filter(|stretched| *stretched < seen)?;
        u32::try_from(stretched * size / seen).ok()
    };
    (0..count)
        .map(|place| std::array::from_fn(|tap| if tap < kernel { source(place, tap) } else { None }))
        .collect()
}

impl<E> Left<'_, E> {
    /// Where `count` rows from number `first` on lie in `slab`; the runs of rows that are too many are those of the
    /// first one.
    #[inline(always)]
    pub(crate) fn runs(&self, first: usize, count: usize, slab: &Slab) -> Runs<E> {
        let mut runs = [[std::ptr::null(); ROWS]; MOST_TAPS];
        for (runs, tap) in runs.iter_mut().zip(slab.taps.clone()) {
            for (place, run) in runs.iter_mut().enumerate() {
                let row = if place < count { first + place } else { first };
                *run = self.run(row, tap, slab.depth.clone()).as_ptr();
            }
        }
        runs
    }

    /// The values of a row under a tap, of that part of the depth.
    #[inline(always)]
    pub(crate) fn run(&self, row: usize, tap: usize, depth: Range<usize>) -> &[E] {
        match self {
            Self::Dense { values, stride } => &values[row * stride..][depth],
            Self::Windows { image, windows, zeros } => match windows.place(row, tap) {
                Some(place) => &image[place..][depth],
                None => &zeros[depth],
            },
        }
    }
}
