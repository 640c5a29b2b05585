// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The layers that adapters can change: each with its place in a network and in the model's files, so that it can be
//! built again.

use alice_checkpoint::{Dtype, Layer, Scope, Tensor, TensorSet};
use alice_plugin::Result;

use crate::{
    ops::{ConvSpec, Ops},
    slot::{Conv, Gated, Linear},
    weights::bad_model,
};

/// A convolution or a linear layer of a loaded model.
pub(crate) struct Changeable<O: Ops> {
    /// What it is called, and its weight's shape in the files.
    pub(crate) layer: Layer,
    pub(crate) place: Place<O>,
    /// Whether it has a bias, which no adapter changes.
    pub(crate) bias: bool,
    /// Whether it is a layer of the precise operations.
    pub(crate) precise: bool,
}

/// Where the network has the layer.
pub(crate) enum Place<O: Ops> {
    Linear(Linear<O>),
    Gated(Gated<O>),
    Conv(ConvSpec, Conv<O>),
}

impl<O: Ops> Changeable<O> {
    /// Builds the layer anew from its network's `tensors`. Where there is a `change`, it is made to the files' weight in
    /// f32 before; without, the layer is the very one that loading has built.
    pub(crate) fn rebuild(
        &self,
        ops: &O,
        tensors: &TensorSet,
        change: Option<impl FnOnce(&mut [f32]) -> Result<()>>,
    ) -> Result<()> {
        let ops = if self.precise { ops.precise() } else { ops };
        let scope = Scope::root(tensors).at(&self.layer.module);
        let mut values;
        let mut weight = scope.tensor("weight", &self.layer.shape).map_err(bad_model)?;
        if let Some(change) = change {
            values = weight.to_f32().map_err(bad_model)?;
            change(&mut values)?;
            if cfg!(target_endian = "big") {
                values.iter_mut().for_each(|value| *value = f32::from_bits(value.to_bits().to_le()));
            }
            weight = Tensor { dtype: Dtype::F32, bytes: bytemuck::cast_slice(&values).into(), ..weight };
        }
        let bias = match self.bias {
            true => Some(scope.tensor("bias", &self.layer.shape[..1]).map_err(bad_model)?),
            false => None,
        };
        match &self.place {
            Place::Linear(slot) => slot.set(ops.linear(&weight, bias.as_ref())?),
            Place::Gated(slot) => slot.set(ops.gated(&weight, bias.as_ref())?),
            Place::Conv(spec, slot) => slot.set(ops.conv(*spec, &weight, bias.as_ref())?),
        }
        Ok(())
    }
}
