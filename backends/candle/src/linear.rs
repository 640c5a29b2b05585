// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Linear layers: one matrix product, and everything after it in one pass over its result.

use alice_nets::{
    Activation,
    activation::{activate, gelu},
};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::values::values;

/// A linear layer's weights.
pub struct Linear {
    /// `[input, output]`: candle's matrix product reads it in this order without packing it again.
    pub(crate) weight: Tensor,
    /// One value per output, zeros if the layer has none.
    pub(crate) bias: Vec<f32>,
}

impl Linear {
    /// `activation(tokens x weight + bias) + residual`.
    pub(crate) fn apply(
        &self,
        tokens: &Tensor,
        activation: Activation,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let residual = residual.map(values).transpose()?;
        let width = self.bias.len();
        self.product_then(tokens, width, |at, product, out| {
            out.iter_mut().zip(product).zip(&self.bias).for_each(|((out, x), bias)| *out = x + bias);
            activate(activation, out);
            if let Some(residual) = &residual {
                out.iter_mut().zip(&residual[at..]).for_each(|(out, x)| *out += x);
            }
        })
    }

    /// `(tokens x weight + bias)` halved along its width: the first half times `gelu` of the second.
    pub(crate) fn apply_geglu(&self, tokens: &Tensor) -> Result<Tensor> {
        let width = self.bias.len() / 2;
        let (value_bias, gate_bias) = self.bias.split_at(width);
        self.product_then(tokens, width, |_, product, out| {
            let (value, gate) = product.split_at(width);
            let value = value.iter().zip(value_bias).map(|(x, bias)| x + bias);
            let gate = gate.iter().zip(gate_bias).map(|(x, bias)| gelu(x + bias));
            out.iter_mut().zip(value.zip(gate)).for_each(|(out, (value, gate))| *out = value * gate);
        })
    }

    /// Multiplies, then makes each token's result of `width` values from its product. `finish` gets where
    /// the result begins among all results, the product, and the result to write.
    fn product_then(
        &self,
        tokens: &Tensor,
        width: usize,
        finish: impl Fn(usize, &[f32], &mut [f32]) + Sync,
    ) -> Result<Tensor> {
        let (rows, length, _) = tokens.dims3()?;
        let mut out = vec![0.0; rows * length * width];
        // Row by row, because the product of all rows at once may add in another order than that of one row
        // alone, and a picture must not depend on its company.
        for (row, out) in out.chunks_mut(length * width).enumerate() {
            let product = tokens.get(row)?.matmul(&self.weight)?;
            let product = values(&product)?;
            let results = out.par_chunks_mut(width).zip(product.par_chunks(self.bias.len())).enumerate();
            results.with_min_len(16).for_each(|(token, (out, product))| {
                finish((row * length + token) * width, product, out);
            });
        }
        Tensor::from_vec(out, (rows, length, width), tokens.device())
    }
}
