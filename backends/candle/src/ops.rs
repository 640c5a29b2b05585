// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The operations of the networks on candle's tensors.
//!
//! Images are contiguous `[rows, channels, height, width]`, tokens contiguous `[rows, tokens, width]`. What
//! is left to candle works on every device of candle's; the fused loops of this crate are for the CPU.

use std::sync::Arc;

use alice_checkpoint::Tensor as Weight;
use alice_nets::{Activation, ConvAdd, ConvSpec, Ops, activation::activate};
use alice_plugin::{Error, Result};
use candle_core::{DType, Device, Tensor};
use rayon::ThreadPool;

use crate::{
    attention::attention,
    conv::{Conv, enlarge},
    image::{add_scaled, average_pool},
    linear::Linear,
    norm::{GroupNorm, LayerNorm},
    values::{failed, values, write_in_place},
};

/// [`Ops`] on one device of candle's, in one number format.
pub struct CandleOps {
    device: Device,
    dtype: DType,
    threads: Arc<ThreadPool>,
}

impl CandleOps {
    /// The operations in `f32` on the CPU, on the threads of that pool.
    pub fn cpu(threads: Arc<ThreadPool>) -> Self {
        Self { device: Device::Cpu, dtype: DType::F32, threads }
    }

    /// Does `work` on this backend's own threads, also what candle itself spreads over threads.
    fn on_threads<T: Send>(&self, work: impl FnOnce() -> candle_core::Result<T> + Send) -> Result<T> {
        self.threads.install(work).map_err(failed)
    }

    /// A tensor on the device from row-major values.
    fn tensor<S: Into<candle_core::Shape>>(&self, values: Vec<f32>, shape: S) -> candle_core::Result<Tensor> {
        Tensor::from_vec(values, shape, &self.device)?.to_dtype(self.dtype)
    }
}

/// A weight's values.
fn read(weight: &Weight<'_>) -> Result<Vec<f32>> {
    weight.to_f32().map_err(|error| Error::bad_model(error.to_string()))
}

/// A bias's values, or zeros.
fn read_bias(bias: Option<&Weight<'_>>, output: usize) -> Result<Vec<f32>> {
    bias.map_or_else(|| Ok(vec![0.0; output]), read)
}

impl Ops for CandleOps {
    type Tensor = Tensor;
    type Conv = Conv;
    type Linear = Linear;
    type Gated = Linear;
    type GroupNorm = GroupNorm;
    type LayerNorm = LayerNorm;
    type Embedding = Tensor;

    fn precise(&self) -> &Self {
        self
    }

    fn adopt(&self, tensor: &Tensor) -> Result<Tensor> {
        Ok(tensor.clone())
    }

    fn conv(&self, spec: ConvSpec, weight: &Weight<'_>, bias: Option<&Weight<'_>>) -> Result<Conv> {
        let shape = (spec.output, spec.input * spec.kernel * spec.kernel);
        let bias = read_bias(bias, spec.output)?;
        let weight = self.tensor(read(weight)?, shape).map_err(failed)?;
        Ok(Conv { spec, weight, bias })
    }

    fn linear(&self, weight: &Weight<'_>, bias: Option<&Weight<'_>>) -> Result<Linear> {
        let (output, input) = (weight.shape[0], weight.shape[1]);
        let bias = read_bias(bias, output)?;
        let values = read(weight)?;
        let weight = self.on_threads(|| self.tensor(values, (output, input))?.t()?.contiguous())?;
        Ok(Linear { weight, bias })
    }

    fn gated(&self, weight: &Weight<'_>, bias: Option<&Weight<'_>>) -> Result<Linear> {
        self.linear(weight, bias)
    }

    fn group_norm(
        &self,
        groups: usize,
        epsilon: f32,
        weight: &Weight<'_>,
        bias: &Weight<'_>,
    ) -> Result<GroupNorm> {
        Ok(GroupNorm { groups, epsilon, weight: read(weight)?, bias: read(bias)? })
    }

    fn layer_norm(&self, epsilon: f32, weight: &Weight<'_>, bias: &Weight<'_>) -> Result<LayerNorm> {
        Ok(LayerNorm { epsilon, weight: read(weight)?, bias: read(bias)? })
    }

    fn embedding(&self, weight: &Weight<'_>) -> Result<Tensor> {
        self.tensor(read(weight)?, weight.shape.as_slice()).map_err(failed)
    }

    fn image(&self, shape: [usize; 4], values: &[f32]) -> Result<Tensor> {
        self.tensor(values.to_vec(), shape.as_slice()).map_err(failed)
    }

    fn tokens(&self, shape: [usize; 3], values: &[f32]) -> Result<Tensor> {
        self.tensor(values.to_vec(), shape.as_slice()).map_err(failed)
    }

    fn download(&self, tensor: &Tensor, out: &mut [f32]) -> Result<()> {
        out.copy_from_slice(&values(tensor).map_err(failed)?);
        Ok(())
    }

    fn image_shape(&self, image: &Tensor) -> [usize; 4] {
        let (rows, channels, height, width) = image.dims4().expect("images have four dimensions");
        [rows, channels, height, width]
    }

    fn stack(&self, tensors: &[&Tensor]) -> Result<Tensor> {
        Tensor::cat(tensors, 0).map_err(failed)
    }

    fn apply_conv(&self, conv: &Conv, image: &Tensor, add: ConvAdd<'_, Tensor>) -> Result<Tensor> {
        self.on_threads(|| conv.apply(image, &add))
    }

    fn upsample_conv(
        &self,
        conv: &Conv,
        image: &Tensor,
        height: usize,
        width: usize,
        activation: Activation,
    ) -> Result<Tensor> {
        let add = ConvAdd { activation, ..ConvAdd::default() };
        self.on_threads(|| conv.apply(&enlarge(image, height, width)?, &add))
    }

    fn average_pool(&self, image: &Tensor) -> Result<Tensor> {
        self.on_threads(|| average_pool(image))
    }

    fn apply_group_norm(&self, norm: &GroupNorm, image: &Tensor, activation: Activation) -> Result<Tensor> {
        self.on_threads(|| norm.apply(image, activation))
    }

    fn concat_channels(&self, first: &Tensor, second: &Tensor) -> Result<Tensor> {
        Tensor::cat(&[first, second], 1).and_then(|joined| joined.contiguous()).map_err(failed)
    }

    fn image_to_tokens(&self, image: &Tensor) -> Result<Tensor> {
        self.on_threads(|| image.flatten_from(2)?.transpose(1, 2)?.contiguous())
    }

    fn tokens_to_image(&self, tokens: &Tensor, height: usize, width: usize) -> Result<Tensor> {
        self.on_threads(|| {
            let (rows, _, channels) = tokens.dims3()?;
            tokens.transpose(1, 2)?.contiguous()?.reshape((rows, channels, height, width))
        })
    }

    fn apply_linear(
        &self,
        linear: &Linear,
        tokens: &Tensor,
        activation: Activation,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        self.on_threads(|| linear.apply(tokens, activation, residual))
    }

    fn apply_geglu(&self, linear: &Linear, tokens: &Tensor) -> Result<Tensor> {
        self.on_threads(|| linear.apply_geglu(tokens))
    }

    fn apply_layer_norm(&self, norm: &LayerNorm, tokens: &Tensor) -> Result<Tensor> {
        self.on_threads(|| norm.apply(tokens))
    }

    fn attention(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        heads: usize,
        causal: bool,
    ) -> Result<Tensor> {
        self.on_threads(|| attention(query, key, value, heads, causal))
    }

    fn embed(&self, table: &Tensor, ids: &[u32]) -> Result<Tensor> {
        let ids = Tensor::new(ids, &self.device);
        ids.and_then(|ids| table.index_select(&ids, 0)?.unsqueeze(0)).map_err(failed)
    }

    fn add(&self, first: &Tensor, second: &Tensor, activation: Activation) -> Result<Tensor> {
        self.on_threads(|| {
            let sum = (first + second)?;
            if activation != Activation::None {
                write_in_place(&sum, |values| activate(activation, values))?;
            }
            Ok(sum)
        })
    }

    fn add_scaled(&self, first: &Tensor, second: &Tensor, scales: &[f32]) -> Result<Tensor> {
        self.on_threads(|| add_scaled(first, second, scales))
    }
}
