// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! From a file's named tensors to a backend's layers.
//!
//! Every shape is stated by the network that asks and checked against the file before a layer is built, so
//! a backend never sees weights that do not fit.

use std::{
    cell::{Cell, RefCell},
    fmt::Display,
};

use alice_checkpoint::{Layer, Scope, Tensor, TensorSet};
use alice_plugin::{Error, Result};

use crate::{
    changeable::{Changeable, Place},
    ops::{ConvSpec, Ops, Padding},
    progress::Progress,
    slot::{Conv, Gated, Linear, Slot},
};

/// Bytes of one number of the precise operations.
pub(crate) const PRECISE_BYTES: u64 = 4;
/// The fewest bytes of one number of the fine operations, and of a tensor's: no tensor is kept in 8 bits.
pub(crate) const FINE_BYTES: u64 = 2;
/// The networks that no adapter changes.
const UNCHANGED: [&str; 4] = ["vae", "controlnet", "t2i_adapter", "upscaler"];

/// One part of a network in a file, with the backend that is to hold it.
pub(crate) struct Weights<'a, O: Ops> {
    ops: &'a O,
    /// The network's name in the model.
    component: &'static str,
    scope: Scope<'a>,
    loading: &'a Loading<'a, O>,
    whose: Whose,
}

/// Whose the layers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// The operations'.
    Own,
    /// Those of the [fine](Ops::fine) operations.
    Fine,
    /// Those of the [precise](Ops::precise) operations.
    Precise,
}

/// One load of a model: how far it is, and what it has loaded.
pub(crate) struct Loading<'a, O: Ops> {
    pub(crate) progress: Progress<'a>,
    /// Bytes of one weight in the model's number format.
    value_bytes: u64,
    /// Bytes of the weights that layers were built of.
    pub(crate) bytes: Cell<u64>,
    /// The layers that adapters can change.
    pub(crate) layers: RefCell<Vec<Changeable<O>>>,
}

impl<'a, O: Ops> Loading<'a, O> {
    /// A load that begins now, of a model in the number format called `dtype`.
    pub(crate) fn new(progress: Progress<'a>, dtype: &str) -> Self {
        Self {
            progress,
            value_bytes: bytes_per_value(dtype),
            bytes: Cell::new(0),
            layers: RefCell::default(),
        }
    }
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
    /// All of the `tensors` of the network called `component`.
    pub(crate) fn new(
        ops: &'a O,
        component: &'static str,
        tensors: &'a TensorSet,
        loading: &'a Loading<'a, O>,
    ) -> Self {
        Self { ops, component, scope: Scope::root(tensors), loading, whose: Whose::Own }
    }

    /// The same part for the [fine](Ops::fine) operations.
    pub(crate) fn fine(self) -> Self {
        Self { whose: Whose::Fine, ..self }
    }

    /// The same part for the [precise](Ops::precise) operations.
    pub(crate) fn precise(self) -> Self {
        Self { whose: Whose::Precise, ..self }
    }

    /// The operations that are to have the layers.
    fn ops(&self) -> &'a O {
        match self.whose {
            Whose::Own => self.ops,
            Whose::Fine => self.ops.fine(),
            Whose::Precise => self.ops.precise(),
        }
    }

    /// The part called `name` (or numbered so) within this one; dots go further down.
    pub(crate) fn at(&self, name: impl Display) -> Self {
        Self { scope: self.scope.at(name), ..*self }
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
    pub(crate) fn conv3x3(&self, input: usize, output: usize) -> Result<Conv<O>> {
        self.conv(same_size(input, output), true)
    }

    /// The same without bias.
    pub(crate) fn conv3x3_without_bias(&self, input: usize, output: usize) -> Result<Conv<O>> {
        self.conv(same_size(input, output), false)
    }

    /// A 3x3 convolution with bias that halves the image's sides.
    pub(crate) fn halving(&self, input: usize, output: usize, padding: Padding) -> Result<Conv<O>> {
        self.conv(half_size(input, output, padding), true)
    }

    /// The same without bias, with zeros on all sides.
    pub(crate) fn halving_without_bias(&self, channels: usize) -> Result<Conv<O>> {
        self.conv(half_size(channels, channels, Padding::Around(1)), false)
    }

    fn conv(&self, spec: ConvSpec, bias: bool) -> Result<Conv<O>> {
        self.conv_of(spec, &[spec.output, spec.input, spec.kernel, spec.kernel], bias)
    }

    /// A 1x1 convolution with bias.
    pub(crate) fn conv1x1(&self, input: usize, output: usize, kept: Pointwise) -> Result<Conv<O>> {
        let spec = ConvSpec { input, output, kernel: 1, stride: 1, padding: Padding::Around(0) };
        self.conv_of(spec, &kept.shape(input, output), true)
    }

    /// A convolution whose weight has this shape in the file.
    fn conv_of(&self, spec: ConvSpec, shape: &[usize], bias: bool) -> Result<Conv<O>> {
        let (weight, bias) = (self.tensor("weight", shape)?, self.bias(bias, spec.output)?);
        let slot = Slot::new(self.ops().conv(spec, &weight, bias.as_ref())?);
        self.register(Place::Conv(spec, slot.clone()), shape, bias.is_some());
        Ok(slot)
    }

    /// A linear layer with bias.
    pub(crate) fn linear(&self, input: usize, output: usize) -> Result<Linear<O>> {
        self.pointwise(input, output, Pointwise::Matrix)
    }

    /// A linear layer with bias that the file may keep as a convolution.
    pub(crate) fn pointwise(&self, input: usize, output: usize, kept: Pointwise) -> Result<Linear<O>> {
        self.linear_of(&kept.shape(input, output), true)
    }

    /// A linear layer without bias.
    pub(crate) fn linear_without_bias(&self, input: usize, output: usize) -> Result<Linear<O>> {
        self.linear_of(&[output, input], false)
    }

    /// A gated linear unit with bias that makes `output` values.
    pub(crate) fn gated(&self, input: usize, output: usize) -> Result<Gated<O>> {
        let shape = [2 * output, input];
        let (weight, bias) = (self.tensor("weight", &shape)?, self.bias(true, 2 * output)?);
        let slot = Slot::new(self.ops().gated(&weight, bias.as_ref())?);
        self.register(Place::Gated(slot.clone()), &shape, true);
        Ok(slot)
    }

    /// A linear layer whose weight has this shape in the file.
    fn linear_of(&self, shape: &[usize], bias: bool) -> Result<Linear<O>> {
        let (weight, bias) = (self.tensor("weight", shape)?, self.bias(bias, shape[0])?);
        let slot = Slot::new(self.ops().linear(&weight, bias.as_ref())?);
        self.register(Place::Linear(slot.clone()), shape, bias.is_some());
        Ok(slot)
    }

    /// Notes a layer for the adapters, which act on denoisers and text encoders.
    fn register(&self, place: Place<O>, shape: &[usize], bias: bool) {
        if !UNCHANGED.contains(&self.component) {
            let (component, module) = (self.component, self.scope.module().to_owned());
            let layer = Layer { component, module, shape: shape.to_vec() };
            self.loading.layers.borrow_mut().push(Changeable {
                layer,
                place,
                bias,
                precise: self.whose == Whose::Precise,
            });
        }
    }

    /// A group normalisation of `channels` channels; `groups` divides them.
    pub(crate) fn group_norm(&self, groups: usize, epsilon: f32, channels: usize) -> Result<O::GroupNorm> {
        let (weight, bias) = (self.tensor("weight", &[channels])?, self.tensor("bias", &[channels])?);
        self.ops().group_norm(groups, epsilon, &weight, &bias)
    }

    /// A layer normalisation of tokens of `width` values.
    pub(crate) fn layer_norm(&self, epsilon: f32, width: usize) -> Result<O::LayerNorm> {
        let (weight, bias) = (self.tensor("weight", &[width])?, self.tensor("bias", &[width])?);
        self.ops().layer_norm(epsilon, &weight, &bias)
    }

    /// A table of `entries` vectors.
    pub(crate) fn embedding(&self, entries: usize, width: usize) -> Result<O::Embedding> {
        self.ops().embedding(&self.tensor("weight", &[entries, width])?)
    }

    fn bias(&self, there: bool, length: usize) -> Result<Option<Tensor<'a>>> {
        there.then(|| self.tensor("bias", &[length])).transpose()
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor<'a>> {
        let tensor = self.scope.tensor(name, shape).map_err(bad_model)?;
        let (bytes, values) = (&self.loading.bytes, shape.iter().product::<usize>() as u64);
        let each = match self.whose {
            Whose::Own => self.loading.value_bytes,
            Whose::Fine => self.loading.value_bytes.max(FINE_BYTES),
            Whose::Precise => PRECISE_BYTES,
        };
        bytes.set(bytes.get() + values * each);
        Ok(tensor)
    }
}

fn same_size(input: usize, output: usize) -> ConvSpec {
    ConvSpec { input, output, kernel: 3, stride: 1, padding: Padding::Around(1) }
}

fn half_size(input: usize, output: usize, padding: Padding) -> ConvSpec {
    ConvSpec { input, output, kernel: 3, stride: 2, padding }
}

/// Bytes of one number in the format called `dtype`.
pub(crate) fn bytes_per_value(dtype: &str) -> u64 {
    match dtype {
        "int8" => 1,
        "f16" | "bf16" => 2,
        _ => PRECISE_BYTES,
    }
}

/// A fault of the model's files in the contract's terms.
pub(crate) fn bad_model(error: alice_checkpoint::Error) -> Error {
    Error::bad_model(error.to_string())
}
