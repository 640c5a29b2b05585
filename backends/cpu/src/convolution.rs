// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The ways in which a convolution is computed: tile by tile, on the processor's tiles, or with windows that are read
//! where they lie.

use alice_nets::{Activation, ConvAdd, ConvSpec, Padding};
use alice_plugin::Result;

use crate::{
    kernels::{
        Kernels,
        pack::Packed,
        window::{Left, Walk, Windows},
        winograd::Tiles,
    },
    machine::Joining,
    ops::{Conv, CpuOps, Weights},
    tensor::{Kept, Shape, Tensor},
};

/// What joins a convolution's result, in the formats in which it does.
pub(crate) struct Beside {
    per_channel: Option<Tensor>,
    residual: Option<Tensor>,
    activation: Activation,
}

impl Beside {
    pub(crate) fn joining(&self) -> Joining<'_> {
        Joining {
            per_channel: self.per_channel.as_ref().map(Tensor::slice::<f32>),
            residual: self.residual.as_ref(),
            residual_first: true,
            activation: self.activation,
        }
    }
}

impl CpuOps {
    /// Brings what joins a convolution in the format `E` to its formats.
    pub(crate) fn beside<E: Kept>(&self, add: &ConvAdd<'_, Tensor>) -> Result<Beside> {
        Ok(Beside {
            per_channel: self.brought::<f32>(add.per_channel)?,
            residual: self.brought::<E>(add.residual)?,
            activation: add.activation,
        })
    }

    /// A convolution of an image that is first enlarged to `seen`.
    pub(crate) fn convolve(
        &self,
        conv: &Conv,
        (image, seen): (&Tensor, [usize; 2]),
        add: &ConvAdd<'_, Tensor>,
    ) -> Result<Tensor> {
        let tiles = Tiles::of(conv.spec, [image.shape.height, image.shape.width], seen);
        match (&conv.weights, self.bf16, tiles) {
            (Weights::F32(right), _, Some(tiles)) => self.conv_in_tiles(right, (image, &tiles, seen), add),
            (Weights::F32(right), _, None) => self.conv_as(self.f32, right, conv.spec, (image, seen), add),
            (Weights::Bf16(right), Some(kernels), _) => {
                self.conv_as(kernels, right, conv.spec, (image, seen), add)
            }
            #[cfg(target_arch = "x86_64")]
            (Weights::Tiled(amx, right), _, _) => self.conv_tiled(*amx, right, conv.spec, (image, seen), add),
            (Weights::Bf16(_), None, _) => unreachable!("weights are bf16 only where the operations are"),
        }
    }

    fn conv_as<E: Kept>(
        &self,
        kernels: &Kernels<E>,
        right: &Packed<E>,
        spec: ConvSpec,
        (image, seen): (&Tensor, [usize; 2]),
        add: &ConvAdd<'_, Tensor>,
    ) -> Result<Tensor> {
        let image = image.in_format::<E>(self.arena())?;
        let beside = self.beside::<E>(add)?;
        let joining = beside.joining();
        let Shape { rows, height, width, channels, .. } = image.shape;
        let shape = |[height, width]: [usize; 2]| Shape {
            rows,
            height,
            width,
            channels: spec.output,
            is_image: true,
        };
        if spec.kernel == 1
            && spec.stride == 1
            && seen == [height, width]
            && spec.padding == Padding::Around(0)
        {
            let left = Left::Dense { values: image.slice::<E>(), stride: channels };
            return self.own(self.machine.multiply(kernels, left, right, &joining, shape(seen))?);
        }
        let walk = Walk { kernel: spec.kernel, stride: spec.stride, padding: spec.padding };
        let windows = Windows::new(walk, [height, width], seen, channels);
        let mut zeros = self.arena().take::<E>(channels)?;
        zeros.as_mut_slice::<E>().fill(E::default());
        let left = Left::Windows { image: image.slice::<E>(), windows: &windows, zeros: zeros.as_slice() };
        self.own(self.machine.multiply(kernels, left, right, &joining, shape(windows.result()))?)
    }

    fn conv_in_tiles(
        &self,
        right: &Packed<f32>,
        (image, tiles, seen): (&Tensor, &Tiles, [usize; 2]),
        add: &ConvAdd<'_, Tensor>,
    ) -> Result<Tensor> {
        let image = image.in_format::<f32>(self.arena())?;
        let beside = self.beside::<f32>(add)?;
        let [height, width] = seen;
        let shape = Shape { height, width, channels: right.columns(), ..image.shape };
        self.own(self.machine.winograd(self.winograd, (&image, tiles), right, &beside.joining(), shape)?)
    }
}
