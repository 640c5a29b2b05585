// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The picture in the network's space: a small stack of planes of plain numbers.

/// The size of one latent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LatentShape {
    /// Channels.
    pub channels: usize,
    /// Cells from top to bottom.
    pub height: usize,
    /// Cells from left to right.
    pub width: usize,
}

impl LatentShape {
    /// Number of values in one latent.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether it holds no value at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The latent of one image, row-major: `[channels, height, width]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Latent {
    /// Its size.
    pub shape: LatentShape,
    /// As many values as [`LatentShape::len`] says.
    pub values: Vec<f32>,
}

impl Latent {
    /// A latent of zeros.
    pub fn zeros(shape: LatentShape) -> Self {
        Self { shape, values: vec![0.0; shape.len()] }
    }

    /// `change` of every value.
    pub(crate) fn map(&self, change: impl Fn(f32) -> f32) -> Self {
        Self { shape: self.shape, values: self.values.iter().map(|&value| change(value)).collect() }
    }

    /// `join` of every pair of values of two latents of the same shape.
    pub(crate) fn zip(&self, other: &Self, join: impl Fn(f32, f32) -> f32) -> Self {
        let pairs = self.values.iter().zip(&other.values);
        Self { shape: self.shape, values: pairs.map(|(&a, &b)| join(a, b)).collect() }
    }
}
