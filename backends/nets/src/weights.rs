// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! From a file's named tensors to a backend's layers.
//!
//! Every shape is stated by the network that asks and checked against the file before a layer is built, so
//! a backend never sees weights that do not fit.

use std::{cell::Cell, fmt::Display};

use alice_checkpoint::{Scope, Tensor, TensorSet};
use alice_plugin::{Error, Result};

use crate::{
    ops::{ConvSpec, Ops, Padding},
    progress::Progress,
};

/// One part of a network in a file, with the backend that is to hold it.
pub(crate) struct Weights<'a, O: Ops> {
    ops: &'a O,
    scope: Scope<'a>,
    loading: &'a Loading<'a>,
}

/// One load of a model: how far it is, and how much it has loaded.
pub(crate) struct Loading<'a> {
    pub(crate) progress: Progress<'a>,
    /// Number of weights that layers were built of.
    pub(crate) values: Cell<u64>,
}

/// How a layer that acts on each pixel alone is kept in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pointwise {
    /// As a linear layer, `[output, input]`.
    Matrix,
    /// As a convolution, `[output, input, 1, 1]`.
    Kernel,
}

impl Pointwise {
    fn shape(self, input: usize, output: usize) -> Vec<usize> {
        match self {
            Self::Matrix => vec![output, input],
            Self::Kernel => vec![output, input, 1, 1],
        }
    }
}

impl<'a, O: Ops> Weights<'a, O> {
    /// All of a network's `tensors`.
    pub(crate) fn new(ops: &'a O, tensors: &'a TensorSet, loading: &'a Loading<'a>) -> Self {
        Self { ops, scope: Scope::root(tensors), loading }
    }

    /// The part called `name` (or numbered so) within this one; dots go further down.
    pub(crate) fn at(&self, name: impl Display) -> Self {
        Self { ops: self.ops, scope: self.scope.at(name), loading: self.loading }
    }

    /// Whether the file has the tensor `name` here.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.scope.contains(name)
    }

    /// Gives `block` back and a sign of life: one more block of the network is loaded.
    pub(crate) fn loaded<T>(&self, block: T) -> Result<T> {
        self.loading.progress.step()?;
        Ok(block)
    }

    /// A 3x3 convolution with bias that keeps the image's size.
    pub(crate) fn conv3x3(&self, input: usize, output: usize) -> Result<O::Conv> {
        self.conv(same_size(input, output), true)
    }

    /// The same without bias.
    pub(crate) fn conv3x3_without_bias(&self, input: usize, output: usize) -> Result<O::Conv> {
        self.conv(same_size(input, output), false)
    }

    /// A 3x3 convolution with bias that halves the image's sides.
    pub(crate) fn halving(&self, channels: usize, padding: Padding) -> Result<O::Conv> {
        self.conv(half_size(channels, padding), true)
    }

    /// The same without bias, with zeros on all sides.
    pub(crate) fn halving_without_bias(&self, channels: usize) -> Result<O::Conv> {
        self.conv(half_size(channels, Padding::Around(1)), false)
    }

    fn conv(&self, spec: ConvSpec, bias: bool) -> Result<O::Conv> {
        let weight = self.tensor("weight", &[spec.output, spec.input, spec.kernel, spec.kernel])?;
        let bias = if bias { Some(self.tensor("bias", &[spec.output])?) } else { None };
        self.ops.conv(spec, &weight, bias.as_ref())
    }

    /// A 1x1 convolution with bias.
    pub(crate) fn conv1x1(&self, input: usize, output: usize, kept: Pointwise) -> Result<O::Conv> {
        let spec = ConvSpec { input, output, kernel: 1, stride: 1, padding: Padding::Around(0) };
        let weight = self.tensor("weight", &kept.shape(input, output))?;
        self.ops.conv(spec, &weight, Some(&self.tensor("bias", &[output])?))
    }

    /// A linear layer with bias.
    pub(crate) fn linear(&self, input: usize, output: usize) -> Result<O::Linear> {
        self.pointwise(input, output, Pointwise::Matrix)
    }

    /// A linear layer with bias that the file may keep as a convolution.
    pub(crate) fn pointwise(&self, input: usize, output: usize, kept: Pointwise) -> Result<O::Linear> {
        let weight = self.tensor("weight", &kept.shape(input, output))?;
        self.ops.linear(&weight, Some(&self.tensor("bias", &[output])?))
    }

    /// A linear layer without bias.
    pub(crate) fn linear_without_bias(&self, input: usize, output: usize) -> Result<O::Linear> {
        self.ops.linear(&self.tensor("weight", &[output, input])?, None)
    }

    /// A group normalisation of `channels` channels; `groups` divides them.
    pub(crate) fn group_norm(&self, groups: usize, epsilon: f32, channels: usize) -> Result<O::GroupNorm> {
        let (weight, bias) = (self.tensor("weight", &[channels])?, self.tensor("bias", &[channels])?);
        self.ops.group_norm(groups, epsilon, &weight, &bias)
    }

    /// A layer normalisation of tokens of `width` values.
    pub(crate) fn layer_norm(&self, epsilon: f32, width: usize) -> Result<O::LayerNorm> {
        let (weight, bias) = (self.tensor("weight", &[width])?, self.tensor("bias", &[width])?);
        self.ops.layer_norm(epsilon, &weight, &bias)
    }

    /// A table of `entries` vectors.
    pub(crate) fn embedding(&self, entries: usize, width: usize) -> Result<O::Embedding> {
        self.ops.embedding(&self.tensor("weight", &[entries, width])?)
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor<'a>> {
        let tensor = self.scope.tensor(name, shape).map_err(bad_model)?;
        let values = &self.loading.values;
        values.set(values.get() + shape.iter().product::<usize>() as u64);
        Ok(tensor)
    }
}

fn same_size(input: usize, output: usize) -> ConvSpec {
    ConvSpec { input, output, kernel: 3, stride: 1, padding: Padding::Around(1) }
}

fn half_size(channels: usize, padding: Padding) -> ConvSpec {
    ConvSpec { input: channels, output: channels, kernel: 3, stride: 2, padding }
}

/// A fault of the model's files in the contract's terms.
pub(crate) fn bad_model(error: alice_checkpoint::Error) -> Error {
    Error::bad_model(error.to_string())
}
