// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The residual block of two convolutions that the UNet and the autoencoder are made of.
//!
//! Source: diffusers `models/resnet.py`, `ResnetBlock2D`.

use alice_plugin::Result;

use crate::{
    ops::{Activation, ConvAdd, Ops},
    slot::{Conv, Linear},
    weights::{Pointwise, Weights},
};

/// Normalise, activate, convolve, twice; the timestep joins in between and the input at the end.
pub(crate) struct Resnet<O: Ops> {
    norm1: O::GroupNorm,
    conv1: Conv<O>,
    /// Projects the time embedding to one value per channel; the autoencoder knows no time.
    time: Option<Linear<O>>,
    norm2: O::GroupNorm,
    conv2: Conv<O>,
    /// Brings the input to the output's channels where they differ.
    shortcut: Option<Conv<O>>,
}

/// What a block's sizes are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResnetShape {
    /// Channels in.
    pub(crate) input: usize,
    /// Channels out.
    pub(crate) output: usize,
    /// Width of the time embedding, if the block hears of time.
    pub(crate) time: Option<usize>,
    /// Groups of both normalisations.
    pub(crate) groups: usize,
    /// Epsilon of both normalisations.
    pub(crate) epsilon: f32,
}

impl<O: Ops> Resnet<O> {
    /// Builds the block from its part of the file.
    pub(crate) fn load(weights: &Weights<'_, O>, shape: ResnetShape) -> Result<Self> {
        let ResnetShape { input, output, time, groups, epsilon } = shape;
        let time =
            time.map(|width| weights.at("time_emb_proj").precise().linear(width, output)).transpose()?;
        let shortcut = match input == output {
            true => None,
            false => Some(weights.at("conv_shortcut").conv1x1(input, output, Pointwise::Kernel)?),
        };
        Ok(Self {
            norm1: weights.at("norm1").group_norm(groups, epsilon, input)?,
            conv1: weights.at("conv1").conv3x3(input, output)?,
            time,
            norm2: weights.at("norm2").group_norm(groups, epsilon, output)?,
            conv2: weights.at("conv2").conv3x3(output, output)?,
            shortcut,
        })
    }

    /// The block's answer to `image`. `time` is the time embedding after its activation, tokens
    /// `[rows, 1, width]` of the precise operations; it is there exactly if the block was built for one.
    pub(crate) fn forward(&self, ops: &O, image: &O::Tensor, time: Option<&O::Tensor>) -> Result<O::Tensor> {
        let time = match (&self.time, time) {
            (Some(project), Some(time)) => {
                Some(ops.precise().apply_linear(&project.get(), time, Activation::None, None)?)
            }
            _ => None,
        };
        let hidden = ops.apply_group_norm(&self.norm1, image, Activation::Silu)?;
        let add = ConvAdd { per_channel: time.as_ref(), ..ConvAdd::default() };
        let hidden = ops.apply_conv(&self.conv1.get(), &hidden, add)?;
        let hidden = ops.apply_group_norm(&self.norm2, &hidden, Activation::Silu)?;
        let shortcut = match &self.shortcut {
            Some(shortcut) => &ops.apply_conv(&shortcut.get(), image, ConvAdd::default())?,
            None => image,
        };
        ops.apply_conv(&self.conv2.get(), &hidden, ConvAdd { residual: Some(shortcut), ..ConvAdd::default() })
    }
}
