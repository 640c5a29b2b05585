// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The right side of a product, packed once in the order in which the kernel reads it: panel by panel, in each
//! slab by slab, tap by tap and step by step.

use std::{ops::Range, sync::Arc};

use alice_plugin::Result;

use super::memory::{Arena, Buffer};
use crate::{format::Element, threads::Threads};

/// Values along the depth that are always in one slab, from each multiple of so many on.
pub(crate) const RUN: usize = 64;

/// How a kernel wants the right side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Values in a vector.
    pub(crate) lanes: usize,
    /// Vectors in a full panel.
    pub(crate) panel: usize,
    /// A panel has a multiple of so many vectors.
    pub(crate) vectors: usize,
    /// Values along the depth that are multiplied at once; the depth of a tap is filled up to a multiple of it.
    pub(crate) unit: usize,
    /// Bytes of a panel's slab, which stays in a cache while all rows of a block pass by.
    pub(crate) slab_bytes: usize,
}

/// A packed matrix `[taps, depth, columns]` with a bias.
pub(crate) struct Packed<E> {
    values: Buffer,
    bias: Vec<f32>,
    taps: usize,
    /// Values along the depth, filled up to a multiple of the layout's unit.
    depth: usize,
    /// Those that the left side has.
    input: usize,
    /// Columns of the result.
    columns: usize,
    layout: Layout,
    gated: bool,
    format: std::marker::PhantomData<E>,
}

/// A part of the depth that is gone through for all rows of a block before the next.
#[derive(Clone, Debug)]
pub(crate) struct Slab {
    pub(crate) taps: Range<usize>,
    /// Values along the depth.
    pub(crate) depth: Range<usize>,
}

impl Slab {
    /// Steps of a kernel along the depth that multiplies `E::DEPTH` values at once.
    pub(crate) fn steps<E: Element>(&self) -> usize {
        self.depth.len() / E::DEPTH
    }
}

/// What is to be packed.
pub(crate) struct Shape {
    pub(crate) taps: usize,
    pub(crate) depth: usize,
    pub(crate) columns: usize,
    /// The right side has `2 * columns` columns, of which the second half gates the first.
    pub(crate) gated: bool,
}

/// Whose threads pack, and into which memory.
pub(crate) struct Room<'a> {
    /// Without them the caller packs alone.
    pub(crate) threads: Option<&'a Threads>,
    /// Without one the memory is taken from the system.
    pub(crate) arena: Option<&'a Arc<Arena>>,
}

impl Room<'_> {
    fn take<E: Element>(&self, count: usize) -> Result<Buffer> {
        self.arena.map_or_else(|| Buffer::zeros::<E>(count), |arena| arena.take::<E>(count))
    }
}

impl<E: Element> Packed<E> {
    /// Packs `value(tap, depth, column)` and `bias(column)`.
    pub(crate) fn new(
        shape: Shape,
        layout: Layout,
        room: &Room<'_>,
        value: impl Fn(usize, usize, usize) -> f32 + Sync + Send,
        bias: impl Fn(usize) -> f32,
    ) -> Result<Self> {
        let Shape { taps, depth, columns, gated } = shape;
        let mut packed = Self {
            values: room.take::<E>(0)?,
            bias: Vec::new(),
            taps,
            depth: depth.next_multiple_of(layout.unit),
            input: depth,
            columns,
            layout,
            gated,
            format: std::marker::PhantomData,
        };
        packed.bias = packed.in_panels(bias, 0.0);
        let count = packed.padded_columns() * taps * packed.depth;
        let mut buffer = room.take::<E>(count)?;
        let values = &mut buffer.as_mut_slice::<E>()[..count];
        let panel = packed.wide() * taps * packed.depth;
        match room.threads {
            Some(threads) => threads.chunks(values, panel, |panel, out| packed.fill(panel, out, &value)),
            None => {
                values
                    .chunks_mut(panel.max(1))
                    .enumerate()
                    .for_each(|(panel, out)| packed.fill(panel, out, &value));
            }
        }
        packed.values = buffer;
        Ok(packed)
    }

    /// One value for each column, in the order of the panels; `other` stands where a vector is only filled up.
    pub(crate) fn in_panels<T: Copy>(&self, value: impl Fn(usize) -> T, other: T) -> Vec<T> {
        let all = 0..self.panels() * self.wide();
        all.map(|column| self.source(column / self.wide(), column % self.wide()).map_or(other, &value))
            .collect()
    }

    /// Writes a panel's values.
    fn fill(&self, panel: usize, out: &mut [E], value: impl Fn(usize, usize, usize) -> f32) {
        let columns = 0..self.vectors(panel) * self.layout.lanes;
        let sources: Vec<_> = columns.map(|column| self.source(panel, column)).collect();
        let mut places = out.iter_mut();
        for slab in self.slabs() {
            for tap in slab.taps.clone() {
                for first in slab.depth.clone().step_by(E::DEPTH) {
                    for source in &sources {
                        for (step, place) in (first..first + E::DEPTH).zip(&mut places) {
                            let source = source.filter(|_| step < self.input);
                            *place =
                                source.map_or_else(E::default, |source| E::narrow(value(tap, step, source)));
                        }
                    }
                }
            }
        }
    }

    /// Which column of the matrix is that of a panel; `None` for one that only fills a vector.
    fn source(&self, panel: usize, column: usize) -> Option<usize> {
        let (half, width) = (self.half(), self.wide());
        let (place, offset) = match self.gated {
            true if column >= half => (panel * half + column - half, self.columns),
            true => (panel * half + column, 0),
            false => (panel * width + column, 0),
        };
        (place < self.columns).then_some(place + offset)
    }

    fn wide(&self) -> usize {
        self.layout.panel * self.layout.lanes
    }

    fn half(&self) -> usize {
        self.wide() / 2
    }

    /// Columns of the result that a full panel has.
    fn finished(&self) -> usize {
        if self.gated { self.half() } else { self.wide() }
    }

    /// Panels.
    pub(crate) fn panels(&self) -> usize {
        self.columns.div_ceil(self.finished())
    }

    /// Vectors in a panel; only the last one may have fewer than the layout says.
    pub(crate) fn vectors(&self, panel: usize) -> usize {
        match self.gated {
            true => self.layout.panel,
            false => {
                let vectors = (self.columns - panel * self.wide()).div_ceil(self.layout.lanes);
                vectors.next_multiple_of(self.layout.vectors).min(self.layout.panel)
            }
        }
    }

    /// Columns of all panels' vectors, filled up as the layout says.
    pub(crate) fn padded_columns(&self) -> usize {
        (0..self.panels()).map(|panel| self.vectors(panel) * self.layout.lanes).sum()
    }

    /// Columns of the result.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The result's columns that a panel makes.
    pub(crate) fn columns_of(&self, panel: usize) -> Range<usize> {
        let first = panel * self.finished();
        first..self.columns.min(first + self.finished())
    }

    /// Whether the second half of the columns gates the first.
    pub(crate) fn is_gated(&self) -> bool {
        self.gated
    }

    /// The bias of a panel's columns.
    pub(crate) fn bias(&self, panel: usize) -> &[f32] {
        &self.bias[panel * self.wide()..][..self.wide()]
    }

    /// Values along the depth that the left side has; what is packed beyond them is zero.
    pub(crate) fn input(&self) -> usize {
        self.input
    }

    /// Taps and values along the depth of a slab at most; several taps only with the whole depth.
    fn slab_size(&self) -> (usize, usize) {
        let step_bytes = self.wide() * size_of::<E>();
        let Layout { unit, slab_bytes, .. } = self.layout;
        let most = (slab_bytes / step_bytes).max(unit);
        let taps = (most / self.depth.max(1)).clamp(1, self.taps.max(1));
        // Parts of about one length.
        let parts = self.depth.div_ceil(most).max(1);
        (taps, self.depth.div_ceil(parts).next_multiple_of(unit.max(RUN)))
    }

    /// The parts of the depth, in their order.
    pub(crate) fn slabs(&self) -> impl Iterator<Item = Slab> + use<E> {
        let (all_taps, all_depth) = (self.taps, self.depth);
        let (taps, depth) = self.slab_size();
        (0..all_taps).step_by(taps).flat_map(move |tap| {
            (0..all_depth).step_by(depth.max(1)).map(move |first| Slab {
                taps: tap..all_taps.min(tap + taps),
                depth: first..all_depth.min(first + depth),
            })
        })
    }

    /// The values of one tap in a panel, for a part of the depth that lies within one slab.
    pub(crate) fn tap(&self, panel: usize, tap: usize, depth: &Range<usize>) -> &[E] {
        let (taps, most) = self.slab_size();
        let (tap_start, depth_start) = (tap / taps * taps, depth.start / most * most);
        let slab = Slab {
            taps: tap_start..self.taps.min(tap_start + taps),
            depth: depth_start..self.depth.min(depth_start + most),
        };
        let wide = self.vectors(panel) * self.layout.lanes;
        let first = (tap - tap_start) * slab.depth.len() + depth.start - depth_start;
        assert!(depth.end <= slab.depth.end, "{depth:?} is in two slabs");
        &self.slab(panel, &slab)[first * wide..][..depth.len() * wide]
    }

    /// The values of a panel for the depth from `first` on, of a matrix with one tap.
    pub(crate) fn rows(&self, panel: usize, first: usize, count: usize) -> &[E] {
        let wide = self.vectors(panel) * self.layout.lanes;
        let before = panel * self.wide() * self.depth;
        &self.values.as_slice::<E>()[before + first * wide..][..count * wide]
    }

    /// The values of a panel's slab.
    pub(crate) fn slab(&self, panel: usize, slab: &Slab) -> &[E] {
        let wide = self.vectors(panel) * self.layout.lanes;
        let before = panel * self.wide() * self.taps * self.depth;
        // Slabs follow each other in the order of taps, and within one tap in that of the depth.
        let first = before + (slab.taps.start * self.depth + slab.depth.start * slab.taps.len()) * wide;
        &self.values.as_slice::<E>()[first..][..slab.taps.len() * slab.depth.len() * wide]
    }
}
