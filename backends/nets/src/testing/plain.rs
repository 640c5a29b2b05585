// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The definitions as a backend's operations.

#[cfg(test)]
use std::cell::Cell;
use std::sync::Arc;

use alice_checkpoint::Tensor as Weight;
use alice_plugin::Result;

use super::{array::Array, definitions as define};
use crate::{
    ops::{Activation, ConvAdd, ConvSpec, Ops},
    weights::bad_model,
};

/// Operations in double precision, value by value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

#[cfg(test)]
thread_local! {
    /// How many layers can be built on this thread until the memory is said to be full.
    pub(crate) static ROOM: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// A layer: its weights, its bias, and what else it must know.
#[derive(Debug)]
pub struct Layer<S> {
    weight: Array,
    bias: Option<Array>,
    settings: S,
}

impl<S> Layer<S> {
    fn new(weight: &Weight<'_>, bias: Option<&Weight<'_>>, settings: S) -> Result<Self> {
        #[cfg(test)]
        take_room()?;
        Ok(Self { weight: read(weight)?, bias: bias.map(read).transpose()?, settings })
    }

    /// The bias of a normalisation.
    fn shift(&self) -> &Array {
        self.bias.as_ref().expect("normalisations are built with a bias")
    }
}

#[cfg(test)]
fn take_room() -> Result<()> {
    let full = alice_plugin::Error::new(alice_plugin::ErrorKind::OutOfMemory, "there is no room for a layer");
    ROOM.set(ROOM.get().checked_sub(1).ok_or(full)?);
    Ok(())
}

fn read(weight: &Weight<'_>) -> Result<Array> {
    let values = weight.to_f32().map_err(bad_model)?;
    Ok(Array::new(&weight.shape, values.into_iter().map(f64::from).collect()))
}

fn reshaped(array: Array, shape: &[usize]) -> Array {
    Array::new(shape, array.values)
}

fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

impl Ops for Plain {
    type Tensor = Arc<Array>;
    type Conv = Layer<ConvSpec>;
    type Linear = Layer<()>;
    type Gated = Layer<()>;
    type GroupNorm = Layer<(usize, f64)>;
    type LayerNorm = Layer<f64>;
    type Embedding = Array;

    fn precise(&self) -> &Self {
        self
    }

    fn adopt(&self, tensor: &Self::Tensor) -> Result<Self::Tensor> {
        Ok(tensor.clone())
    }

    fn conv(&self, spec: ConvSpec, weight: &Weight<'_>, bias: Option<&Weight<'_>>) -> Result<Self::Conv> {
        let layer = Layer::new(weight, bias, spec)?;
        let shape = [spec.output, spec.input, spec.kernel, spec.kernel];
        Ok(Layer { weight: reshaped(layer.weight, &shape), ..layer })
    }

    fn linear(&self, weight: &Weight<'_>, bias: Option<&Weight<'_>>) -> Result<Self::Linear> {
        let layer = Layer::new(weight, bias, ())?;
        Ok(Layer { weight: reshaped(layer.weight, &weight.shape[..2]), ..layer })
    }

    fn gated(&self, weight: &Weight<'_>, bias: Option<&Weight<'_>>) -> Result<Self::Gated> {
        self.linear(weight, bias)
    }

    fn group_norm(
        &self,
        groups: usize,
        epsilon: f32,
        weight: &Weight<'_>,
        bias: &Weight<'_>,
    ) -> Result<Self::GroupNorm> {
        Layer::new(weight, Some(bias), (groups, f64::from(epsilon)))
    }

    fn layer_norm(&self, epsilon: f32, weight: &Weight<'_>, bias: &Weight<'_>) -> Result<Self::LayerNorm> {
        Layer::new(weight, Some(bias), f64::from(epsilon))
    }

    fn embedding(&self, weight: &Weight<'_>) -> Result<Self::Embedding> {
        read(weight)
    }

    fn image(&self, shape: [usize; 4], values: &[f32]) -> Result<Self::Tensor> {
        Ok(Arc::new(Array::new(&shape, widened(values))))
    }

    fn tokens(&self, shape: [usize; 3], values: &[f32]) -> Result<Self::Tensor> {
        Ok(Arc::new(Array::new(&shape, widened(values))))
    }

    fn download(&self, tensor: &Self::Tensor, out: &mut [f32]) -> Result<()> {
        out.copy_from_slice(&tensor.to_f32());
        Ok(())
    }

    fn image_shape(&self, image: &Self::Tensor) -> [usize; 4] {
        define::sizes(image)
    }

    fn stack(&self, tensors: &[&Self::Tensor]) -> Result<Self::Tensor> {
        let arrays: Vec<&Array> = tensors.iter().map(|tensor| tensor.as_ref()).collect();
        Ok(Arc::new(define::stack(&arrays)))
    }

    fn apply_conv(
        &self,
        conv: &Self::Conv,
        image: &Self::Tensor,
        add: ConvAdd<'_, Self::Tensor>,
    ) -> Result<Self::Tensor> {
        let mut result = define::conv(conv.settings, &conv.weight, conv.bias.as_ref(), image);
        if let Some(values) = add.per_channel {
            result = define::add_per_channel(&result, values);
        }
        if let Some(residual) = add.residual {
            result = define::add(&result, residual);
        }
        Ok(Arc::new(result.map(|value| define::activate(add.activation, value))))
    }

    fn upsample_conv(
        &self,
        conv: &Self::Conv,
        image: &Self::Tensor,
        height: usize,
        width: usize,
        activation: Activation,
    ) -> Result<Self::Tensor> {
        let add = ConvAdd { activation, ..ConvAdd::default() };
        self.apply_conv(conv, &Arc::new(define::upsample(image, height, width)), add)
    }

    fn average_pool(&self, image: &Self::Tensor) -> Result<Self::Tensor> {
        Ok(Arc::new(define::average_pool(image)))
    }

    fn apply_group_norm(
        &self,
        norm: &Self::GroupNorm,
        image: &Self::Tensor,
        activation: Activation,
    ) -> Result<Self::Tensor> {
        let (groups, epsilon) = norm.settings;
        let normed = define::group_norm(groups, epsilon, &norm.weight, norm.shift(), image);
        Ok(Arc::new(normed.map(|value| define::activate(activation, value))))
    }

    fn concat_channels(&self, first: &Self::Tensor, second: &Self::Tensor) -> Result<Self::Tensor> {
        Ok(Arc::new(define::concat_channels(first, second)))
    }

    fn image_to_tokens(&self, image: &Self::Tensor) -> Result<Self::Tensor> {
        Ok(Arc::new(define::image_to_tokens(image)))
    }

    fn tokens_to_image(&self, tokens: &Self::Tensor, height: usize, width: usize) -> Result<Self::Tensor> {
        Ok(Arc::new(define::tokens_to_image(tokens, height, width)))
    }

    fn apply_linear(
        &self,
        linear: &Self::Linear,
        tokens: &Self::Tensor,
        activation: Activation,
        residual: Option<&Self::Tensor>,
    ) -> Result<Self::Tensor> {
        let result = define::linear(&linear.weight, linear.bias.as_ref(), tokens);
        let result = result.map(|value| define::activate(activation, value));
        Ok(Arc::new(match residual {
            Some(residual) => define::add(&result, residual),
            None => result,
        }))
    }

    fn apply_geglu(&self, linear: &Self::Gated, tokens: &Self::Tensor) -> Result<Self::Tensor> {
        Ok(Arc::new(define::geglu(&define::linear(&linear.weight, linear.bias.as_ref(), tokens))))
    }

    fn apply_layer_norm(&self, norm: &Self::LayerNorm, tokens: &Self::Tensor) -> Result<Self::Tensor> {
        Ok(Arc::new(define::layer_norm(norm.settings, &norm.weight, norm.shift(), tokens)))
    }

    fn attention(
        &self,
        query: &Self::Tensor,
        key: &Self::Tensor,
        value: &Self::Tensor,
        heads: usize,
        causal: bool,
    ) -> Result<Self::Tensor> {
        Ok(Arc::new(define::attention(query, key, value, heads, causal)))
    }

    fn embed(&self, table: &Self::Embedding, ids: &[u32]) -> Result<Self::Tensor> {
        let width = table.shape[1];
        let vector = |index: &[usize]| table.at(&[ids[index[1]] as usize, index[2]]);
        Ok(Arc::new(Array::build(&[1, ids.len(), width], vector)))
    }

    fn add(
        &self,
        first: &Self::Tensor,
        second: &Self::Tensor,
        activation: Activation,
    ) -> Result<Self::Tensor> {
        Ok(Arc::new(define::add(first, second).map(|value| define::activate(activation, value))))
    }

    fn add_scaled(
        &self,
        first: &Self::Tensor,
        second: &Self::Tensor,
        scales: &[f32],
    ) -> Result<Self::Tensor> {
        Ok(Arc::new(define::add_scaled(first, second, scales)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operations_keep_their_definitions() {
        crate::testing::check_ops(&Plain);
    }
}
