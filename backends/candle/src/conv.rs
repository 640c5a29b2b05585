// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Convolutions as matrix products.
//!
//! A row's pixels are unfolded into a matrix with a column for each pixel of the result and a row for each
//! weight of one output channel; the weights times that matrix is the result. Unfolding a band of the image
//! at a time keeps the matrix in the cache and the memory small. candle's own convolution on the CPU moves
//! input, weights and result one value at a time on every call, which takes longer than the product.

use std::ops::Range;

use alice_nets::{ConvAdd, ConvSpec, Padding, activation::activate};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::values::{values, write_in_place};

/// Pixels of a band, to the next full line. Half of it spends more time on reading weights, the double falls
/// out of the cache; both are slower on the layers of Stable Diffusion.
const BAND_PIXELS: usize = 512;

/// A convolution's weights and geometry.
pub struct Conv {
    pub(crate) spec: ConvSpec,
    /// `[output, input * kernel * kernel]`.
    pub(crate) weight: Tensor,
    /// One value per output channel, zeros if the layer has none.
    pub(crate) bias: Vec<f32>,
}

impl Conv {
    /// `activation(conv(image) + bias + per_channel + residual)`.
    pub(crate) fn apply(&self, image: &Tensor, add: &ConvAdd<'_, Tensor>) -> Result<Tensor> {
        let (rows, _, height, width) = image.dims4()?;
        let (height_out, width_out) = (self.side_out(height), self.side_out(width));
        let area = height_out * width_out;
        let (per_channel, residual) =
            (add.per_channel.map(values).transpose()?, add.residual.map(values).transpose()?);
        let mut out = vec![0.0; rows * self.spec.output * area];
        for (row, out) in out.chunks_mut(self.spec.output * area).enumerate() {
            // Every row by itself, so that no picture depends on its company.
            self.each_product(&image.get(row)?, |first, product| {
                let band = product.len() / self.spec.output;
                out.par_chunks_mut(area).zip(product.par_chunks(band)).enumerate().for_each(
                    |(channel, (out, product))| {
                        let plane = row * self.spec.output + channel;
                        let bias = self.bias[channel] + per_channel.as_ref().map_or(0.0, |add| add[plane]);
                        let out = &mut out[first..first + band];
                        out.iter_mut().zip(product).for_each(|(out, x)| *out = x + bias);
                        if let Some(residual) = &residual {
                            let residual = &residual[plane * area + first..];
                            out.iter_mut().zip(residual).for_each(|(out, x)| *out += x);
                        }
                        activate(add.activation, out);
                    },
                );
            })?;
        }
        Tensor::from_vec(out, (rows, self.spec.output, height_out, width_out), image.device())
    }

    /// Hands out the product of the weights with one row's image `[input, height, width]`, a band of the
    /// result's pixels at a time: the band's first pixel, and `[output, pixels of the band]`.
    fn each_product(&self, image: &Tensor, mut take: impl FnMut(usize, &[f32])) -> Result<()> {
        let (channels, height, width) = image.dims3()?;
        if self.spec.kernel == 1 && self.spec.stride == 1 {
            let product = self.weight.matmul(&image.reshape((channels, height * width))?)?;
            take(0, &values(&product)?);
            return Ok(());
        }
        let (height_out, width_out) = (self.side_out(height), self.side_out(width));
        let weights = self.weight.dim(1)?;
        let lines = BAND_PIXELS.div_ceil(width_out).min(height_out);
        let unfolded = Tensor::zeros(weights * lines * width_out, image.dtype(), image.device())?;
        for first in (0..height_out).step_by(lines) {
            let last = (first + lines).min(height_out);
            let pixels = (last - first) * width_out;
            let unfolded = unfolded.narrow(0, 0, weights * pixels)?;
            let source = values(image)?;
            write_in_place(&unfolded, |matrix| self.unfold(&source, height, width, first..last, matrix))?;
            let product = self.weight.matmul(&unfolded.reshape((weights, pixels))?)?;
            take(first * width_out, &values(&product)?);
        }
        Ok(())
    }

    /// Writes the unfolded `lines` of the result into `matrix`: for each input channel and each place in the
    /// kernel a row with the pixels that this place sees.
    fn unfold(&self, image: &[f32], height: usize, width: usize, lines: Range<usize>, matrix: &mut [f32]) {
        let width_out = self.side_out(width);
        let places = self.spec.kernel * self.spec.kernel;
        let pixels = lines.len() * width_out;
        let planes = matrix.par_chunks_mut(places * pixels).zip(image.par_chunks(height * width));
        planes.for_each(|(matrix, plane)| {
            for (place, seen) in matrix.chunks_mut(pixels).enumerate() {
                let (down, right) = (place / self.spec.kernel, place % self.spec.kernel);
                for (line, seen) in lines.clone().zip(seen.chunks_mut(width_out)) {
                    match self.source(line, down).filter(|source| *source < height) {
                        Some(source) => self.shift(&plane[source * width..][..width], right, seen),
                        None => seen.fill(0.0),
                    }
                }
            }
        });
    }

    /// Writes what the place `right` in the kernel sees of one line of pixels, zeros beyond its ends.
    fn shift(&self, line: &[f32], right: usize, seen: &mut [f32]) {
        let (stride, padding) = (self.spec.stride, self.padding_before());
        // Positions before `first` look at the padding in front, those from `last` on at that behind.
        let first = padding.saturating_sub(right).div_ceil(stride).min(seen.len());
        let last = (line.len() + padding).saturating_sub(right).div_ceil(stride).clamp(first, seen.len());
        seen[..first].fill(0.0);
        seen[last..].fill(0.0);
        let seen = &mut seen[first..last];
        let line = &line[(first * stride + right).saturating_sub(padding).min(line.len())..];
        match stride {
            1 => seen.copy_from_slice(&line[..seen.len()]),
            _ => seen.iter_mut().zip(line.iter().step_by(stride)).for_each(|(seen, x)| *seen = *x),
        }
    }

    /// The input's line (or column) that the result's `position` sees at `place` in the kernel, if that is
    /// not in the padding in front.
    fn source(&self, position: usize, place: usize) -> Option<usize> {
        (position * self.spec.stride + place).checked_sub(self.padding_before())
    }

    fn padding_before(&self) -> usize {
        match self.spec.padding {
            Padding::Around(padding) => padding,
            Padding::BelowAndRight => 0,
        }
    }

    /// Height or width of the result for an input of that height or width.
    fn side_out(&self, side: usize) -> usize {
        let padding = match self.spec.padding {
            Padding::Around(padding) => 2 * padding,
            Padding::BelowAndRight => 1,
        };
        (side + padding - self.spec.kernel) / self.spec.stride + 1
    }
}

/// Enlarges an image by nearest neighbour: each pixel is the one at `floor(target * old / new)`.
pub(crate) fn enlarge(image: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (rows, channels, old_height, old_width) = image.dims4()?;
    let source = values(image)?;
    let columns: Vec<usize> = (0..width).map(|x| x * old_width / width).collect();
    let mut out = vec![0.0; rows * channels * height * width];
    let planes = out.par_chunks_mut(height * width).zip(source.par_chunks(old_height * old_width));
    planes.for_each(|(out, plane)| {
        for (y, out) in out.chunks_mut(width).enumerate() {
            let line = &plane[y * old_height / height * old_width..][..old_width];
            out.iter_mut().zip(&columns).for_each(|(out, x)| *out = line[*x]);
        }
    });
    Tensor::from_vec(out, (rows, channels, height, width), image.device())
}
