// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Threads and memory, and how the operations' work is cut into tasks for them.

use std::sync::Arc;

use alice_checkpoint::Tensor as Weight;
use alice_nets::{Activation, ConvSpec};
use alice_plugin::{Error, Result};

#[cfg(target_arch = "x86_64")]
use crate::kernels::amx::{Tile, quantise};
use crate::{
    format::Element,
    kernels::{
        Kernels,
        memory::Arena,
        norm::PIXELS,
        pack::{self, Layout, Packed, Room},
        product::{Joined, Out, Product},
        window::Left,
        winograd::{self, Winograd},
    },
    tensor::{Kept, Shape, Tensor},
    threads::Threads,
};

/// What computes.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) threads: Arc<Threads>,
    pub(crate) arena: Arc<Arena>,
}

/// A weight's values.
pub(crate) fn read(weight: &Weight<'_>) -> Result<Vec<f32>> {
    weight.to_f32().map_err(|error| Error::bad_model(error.to_string()))
}

/// What joins a product.
pub(crate) struct Joining<'a> {
    pub(crate) per_channel: Option<&'a [f32]>,
    pub(crate) residual: Option<&'a Tensor>,
    pub(crate) residual_first: bool,
    pub(crate) activation: Activation,
}

impl<'a> Joining<'a> {
    /// The same of a product with `right` whose result is `out`; the residual is of its format.
    pub(crate) fn to<E: Kept, R>(&self, right: &'a Packed<R>, out: Out<E>) -> Joined<'a, E, R> {
        Joined {
            right,
            per_channel: self.per_channel,
            residual: self.residual.map(Tensor::slice::<E>),
            residual_first: self.residual_first,
            activation: self.activation,
            out,
        }
    }
}

impl Machine {
    /// Packs `[output, input, kernel, kernel]`, of which a linear layer has only the first two.
    pub(crate) fn packed<E: Kept>(
        &self,
        layout: Layout,
        weight: &Weight<'_>,
        bias: Option<&Weight<'_>>,
        spec: ConvSpec,
        gated: bool,
    ) -> Result<Packed<E>> {
        let values = read(weight)?;
        self.pack(layout, bias, spec, gated, |place, _| values[place])
    }

    /// Packs `value(place, column)` of the weight's values, told by their places, with its bias.
    fn pack<E: Element>(
        &self,
        layout: Layout,
        bias: Option<&Weight<'_>>,
        spec: ConvSpec,
        gated: bool,
        value: impl Fn(usize, usize) -> f32 + Sync + Send,
    ) -> Result<Packed<E>> {
        let bias = bias.map(read).transpose()?;
        let taps = spec.kernel * spec.kernel;
        let columns = if gated { spec.output / 2 } else { spec.output };
        let shape = pack::Shape { taps, depth: spec.input, columns, gated };
        let value = |tap: usize, depth: usize, column: usize| {
            value((column * spec.input + depth) * taps + tap, column)
        };
        let bias = |column: usize| bias.as_ref().map_or(0.0, |bias| bias[column]);
        let room = Room { threads: Some(&self.threads), arena: None };
        Packed::new(shape, layout, &room, value, bias)
    }

    /// Packs the same in int8, with the size of a step in each column in the order of the panels.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn quantised(
        &self,
        weight: &Weight<'_>,
        bias: Option<&Weight<'_>>,
        spec: ConvSpec,
        gated: bool,
    ) -> Result<(Packed<i8>, Vec<f32>)> {
        let values = read(weight)?;
        let columns = values.chunks(spec.input * spec.kernel * spec.kernel);
        let scales: Vec<_> = columns.map(|column| quantise::scale(column.iter().map(|x| x.abs()))).collect();
        let value = |place: usize, column: usize| values[place] / scales[column];
        let packed = self.pack(i8::LAYOUT, bias, spec, gated, value)?;
        let scales = packed.in_panels(|column| scales[column], 0.0);
        Ok((packed, scales))
    }

    /// The product of `left` with `right`, in a tensor of that shape.
    pub(crate) fn multiply<E: Kept>(
        &self,
        kernels: &Kernels<E>,
        left: Left<'_, E>,
        right: &Packed<E>,
        joining: &Joining<'_>,
        shape: Shape,
    ) -> Result<Tensor> {
        Tensor::build::<E>(&self.arena, shape, |out| {
            let product = Product { left, area: shape.area(), joined: joining.to(right, Out::new(out)) };
            kernels.multiply(&self.threads, &product, shape.pixels());
        })
    }

    /// The convolution of `image` tile by tile, in a tensor of that shape.
    pub(crate) fn winograd(
        &self,
        kernel: &winograd::Kernel,
        (image, tiles): (&Tensor, &winograd::Tiles),
        right: &Packed<f32>,
        joining: &Joining<'_>,
        shape: Shape,
    ) -> Result<Tensor> {
        let mut buffer = self.arena.take::<f32>(shape.count())?;
        let left = Left::Dense { values: image.slice::<f32>(), stride: image.shape.channels };
        let joined = joining.to(right, Out::new(buffer.as_mut_slice()));
        let task = Winograd { product: Product { left, area: shape.area(), joined }, tiles };
        kernel.convolve(&self.threads, &self.arena, &task, shape.rows)?;
        Ok(Tensor::of::<f32>(shape, buffer))
    }

    /// Group normalisation of `image` into `groups` runs of channels, then `activation`.
    pub(crate) fn group_norm<E: Kept>(
        &self,
        kernels: &Kernels<E>,
        norm: &Norm,
        groups: usize,
        image: &Tensor,
        activation: Activation,
    ) -> Result<Tensor> {
        let (shape, channels) = (image.shape, image.shape.channels);
        let (values, row) = (image.slice::<E>(), shape.area() * channels);
        let chunks = shape.area().div_ceil(PIXELS);
        let chunk = |index: usize| {
            let first = (index / chunks) * row + (index % chunks) * PIXELS * channels;
            first..((index / chunks + 1) * row).min(first + PIXELS * channels)
        };
        let mut moments = self.arena.take::<f32>(shape.rows * chunks * 2 * channels)?;
        let moments = &mut moments.as_mut_slice::<f32>()[..shape.rows * chunks * 2 * channels];
        self.threads.chunks(moments, 2 * channels, |index, moments| {
            let (means, squares) = moments.split_at_mut(channels);
            kernels.moments(&values[chunk(index)], means, squares);
        });
        let moments = &*moments;
        let affine: Vec<(Vec<f32>, Vec<f32>)> = (0..shape.rows)
            .map(|row| {
                let moments = &moments[row * chunks * 2 * channels..][..chunks * 2 * channels];
                let pixels = |chunk: usize| PIXELS.min(shape.area() - chunk * PIXELS);
                norm.affine(groups, moments, pixels)
            })
            .collect();
        Tensor::build::<E>(&self.arena, shape, |out| {
            // Chunks do not cross rows when each row is cut by itself.
            for (index, (out, (factors, shifts))) in out.chunks_mut(row).zip(&affine).enumerate() {
                let values = &values[index * row..][..row];
                self.threads.chunks(out, PIXELS * channels, |chunk, out| {
                    let values = &values[chunk * PIXELS * channels..][..out.len()];
                    kernels.scale_and_shift(values, factors, shifts, activation, out);
                });
            }
        })
    }

    /// Layer normalisation of each token.
    pub(crate) fn layer_norm<E: Kept>(
        &self,
        kernels: &Kernels<E>,
        norm: &Norm,
        tokens: &Tensor,
    ) -> Result<Tensor> {
        let (values, channels) = (tokens.slice::<E>(), tokens.shape.channels);
        Tensor::build::<E>(&self.arena, tokens.shape, |out| {
            self.threads.chunks(out, PIXELS * channels, |chunk, out| {
                let values = &values[chunk * PIXELS * channels..][..out.len()];
                for (out, token) in out.chunks_mut(channels).zip(values.chunks(channels)) {
                    kernels.layer_norm(token, &norm.weight, &norm.bias, norm.epsilon, out);
                }
            });
        })
    }

    /// `activation(first + scale * second)`, with a scale for each row.
    pub(crate) fn add<E: Kept>(
        &self,
        kernels: &Kernels<E>,
        [first, second]: [&Tensor; 2],
        scale: impl Fn(usize) -> f32,
        activation: Activation,
    ) -> Result<Tensor> {
        const CHUNK: usize = 1 << 14;
        let row = first.shape.area() * first.shape.channels;
        let (one, two) = (first.slice::<E>(), second.slice::<E>());
        Tensor::build::<E>(&self.arena, first.shape, |out| {
            for (index, out) in out.chunks_mut(row).enumerate() {
                let (one, two, scale) =
                    (&one[index * row..][..row], &two[index * row..][..row], scale(index));
                self.threads.chunks(out, CHUNK, |chunk, out| {
                    let (one, two) = (&one[chunk * CHUNK..][..out.len()], &two[chunk * CHUNK..][..out.len()]);
                    match scale {
                        // The second one may hold anything then, also what is no number.
                        0.0 => out.copy_from_slice(one),
                        _ => kernels.add(one, two, scale, activation, out),
                    }
                });
            }
        })
    }
}

/// A normalisation's weights.
pub struct Norm {
    pub(crate) epsilon: f32,
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

impl Norm {
    /// Factor and shift of each channel for one row, from the moments of its chunks, `[chunks, 2, channels]`.
    fn affine(
        &self,
        groups: usize,
        moments: &[f32],
        pixels: impl Fn(usize) -> usize,
    ) -> (Vec<f32>, Vec<f32>) {
        let channels = self.weight.len();
        let size = channels / groups;
        let (mut factors, mut shifts) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
        for group in 0..groups {
            let of_group = |moments: &[f32]| moments[group * size..][..size].to_vec();
            let (mut count, mut sum) = (0.0_f64, 0.0_f64);
            for (chunk, moments) in moments.chunks_exact(2 * channels).enumerate() {
                let pixels = pixels(chunk) as f64;
                count += pixels * size as f64;
                sum += of_group(moments).iter().map(|mean| f64::from(*mean) * pixels).sum::<f64>();
            }
            let mean = sum / count;
            let mut squares = 0.0_f64;
            for (chunk, moments) in moments.chunks_exact(2 * channels).enumerate() {
                let pixels = pixels(chunk) as f64;
                let (means, distances) = moments.split_at(channels);
                for (of_chunk, distance) in of_group(means).iter().zip(of_group(distances)) {
                    squares += f64::from(distance) + (f64::from(*of_chunk) - mean).powi(2) * pixels;
                }
            }
            let scale = 1.0 / (squares / count + f64::from(self.epsilon)).sqrt();
            for channel in group * size..(group + 1) * size {
                let factor = f64::from(self.weight[channel]) * scale;
                factors.push(factor as f32);
                shifts.push((f64::from(self.bias[channel]) - mean * factor) as f32);
            }
        }
        (factors, shifts)
    }
}
