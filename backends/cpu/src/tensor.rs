// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Images and tokens. Both lie in memory pixel by pixel (or token by token), the channels of one side by side, so
//! that an image's pixels are tokens as they are.

use std::sync::Arc;

use alice_plugin::Result;

use crate::{
    format::{Bf16, Element},
    kernels::memory::{Arena, Buffer},
};

/// An image or tokens.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub(crate) shape: Shape,
    pub(crate) values: Values,
}

/// Sizes; tokens have the width 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    /// Whether the values are told channel by channel.
    pub(crate) is_image: bool,
}

impl Shape {
    /// Pixels or tokens of one row.
    pub(crate) fn area(&self) -> usize {
        self.height * self.width
    }

    /// Pixels or tokens of all rows.
    pub(crate) fn pixels(&self) -> usize {
        self.rows * self.area()
    }

    /// Values.
    pub(crate) fn count(&self) -> usize {
        self.pixels() * self.channels
    }
}

/// Values in one of the formats.
#[derive(Clone, Debug)]
pub(crate) enum Values {
    F32(Arc<Buffer>),
    Bf16(Arc<Buffer>),
}

/// A format that tensors have.
pub(crate) trait Kept: Element {
    /// Values of this format in `buffer`.
    fn kept(buffer: Buffer) -> Values;

    /// The values, if they are of this format.
    fn of(values: &Values) -> Option<&[Self]>;
}

impl Kept for f32 {
    fn kept(buffer: Buffer) -> Values {
        Values::F32(Arc::new(buffer))
    }

    fn of(values: &Values) -> Option<&[Self]> {
        match values {
            Values::F32(buffer) => Some(buffer.as_slice()),
            Values::Bf16(_) => None,
        }
    }
}

impl Kept for Bf16 {
    fn kept(buffer: Buffer) -> Values {
        Values::Bf16(Arc::new(buffer))
    }

    fn of(values: &Values) -> Option<&[Self]> {
        match values {
            Values::Bf16(buffer) => Some(buffer.as_slice()),
            Values::F32(_) => None,
        }
    }
}

impl Tensor {
    /// A tensor of these values, and of some more behind them.
    pub(crate) fn of<E: Kept>(shape: Shape, values: Buffer) -> Self {
        Self { shape, values: E::kept(values) }
    }

    /// A tensor whose values `fill` writes; they are anything before.
    pub(crate) fn build<E: Kept>(
        arena: &Arc<Arena>,
        shape: Shape,
        fill: impl FnOnce(&mut [E]),
    ) -> Result<Self> {
        let mut buffer = arena.take::<E>(shape.count())?;
        fill(&mut buffer.as_mut_slice()[..shape.count()]);
        Ok(Self::of::<E>(shape, buffer))
    }

    /// The values in the format `E`, converted where they are not.
    pub(crate) fn in_format<E: Kept>(&self, arena: &Arc<Arena>) -> Result<Self> {
        match &self.values {
            values if E::of(values).is_some() => Ok(self.clone()),
            Values::F32(buffer) => self.converted::<f32, E>(arena, buffer),
            Values::Bf16(buffer) => self.converted::<Bf16, E>(arena, buffer),
        }
    }

    fn converted<A: Kept, B: Kept>(&self, arena: &Arc<Arena>, buffer: &Buffer) -> Result<Self> {
        let values = buffer.as_slice::<A>();
        Self::build::<B>(arena, self.shape, |out| {
            out.iter_mut().zip(values).for_each(|(out, value)| *out = B::narrow(value.widen()));
        })
    }

    /// The values, which are of this format.
    pub(crate) fn slice<E: Kept>(&self) -> &[E] {
        let values = E::of(&self.values).expect("the tensor was brought to this format");
        &values[..self.shape.count()]
    }
}
