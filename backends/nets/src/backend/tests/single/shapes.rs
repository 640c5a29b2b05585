// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Operations that keep no weights, so that the largest models load at once. They compute nothing.

use super::*;
use crate::ops::{Activation, ConvAdd, ConvSpec};

type Weight<'a> = alice_checkpoint::Tensor<'a>;

pub(super) struct Shapes;

impl Ops for Shapes {
    type Tensor = ();
    type Conv = ();
    type Linear = ();
    type Gated = ();
    type GroupNorm = ();
    type LayerNorm = ();
    type Embedding = ();

    fn precise(&self) -> &Self {
        self
    }

    fn adopt(&self, (): &()) -> Result<()> {
        Ok(())
    }

    fn conv(&self, _: ConvSpec, _: &Weight<'_>, _: Option<&Weight<'_>>) -> Result<()> {
        Ok(())
    }

    fn linear(&self, _: &Weight<'_>, _: Option<&Weight<'_>>) -> Result<()> {
        Ok(())
    }

    fn gated(&self, _: &Weight<'_>, _: Option<&Weight<'_>>) -> Result<()> {
        Ok(())
    }

    fn group_norm(&self, _: usize, _: f32, _: &Weight<'_>, _: &Weight<'_>) -> Result<()> {
        Ok(())
    }

    fn layer_norm(&self, _: f32, _: &Weight<'_>, _: &Weight<'_>) -> Result<()> {
        Ok(())
    }

    fn embedding(&self, _: &Weight<'_>) -> Result<()> {
        Ok(())
    }

    fn image(&self, _: [usize; 4], _: &[f32]) -> Result<()> {
        unreachable!("layers are only built")
    }

    fn tokens(&self, _: [usize; 3], _: &[f32]) -> Result<()> {
        unreachable!("layers are only built")
    }

    fn download(&self, (): &(), _: &mut [f32]) -> Result<()> {
        unreachable!("layers are only built")
    }

    fn image_shape(&self, (): &()) -> [usize; 4] {
        unreachable!("layers are only built")
    }

    fn stack(&self, _: &[&()]) -> Result<()> {
        unreachable!("layers are only built")
    }

    fn apply_conv(&self, (): &(), (): &(), _: ConvAdd<'_, ()>) -> Result<()> {
        unreachable!("layers are only built")
    }

    fn upsample_conv(&self, (): &(), (): &(), _: usize, _: usize, _: Activation) -> Result<()> {
        unreachable!("layers are only built")
    }

    fn average_pool(&self, (): &()) -> Result<()> {
        unreachable!("layers are only built")
    }

    fn apply_group_norm(&self, (): &(), (): &(), _: Activation) -> Result<()> {
        unreachable!("layers are only built")
    }

    fn concat_channels(&self, (): &(), (): &()) -> Result<()> {
        unreachable!("layers are only built")
    }

    fn image_to_tokens(&self, (): &()) -> Result<()> {
        unreachable!("layers are only built")
    }

    fn tokens_to_image(&self, (): &(), _: usize, _: usize) -> Result<()> {
        unreachable!("layers are only built")
    }

    fn apply_linear(&self, (): &(), (): &(), _: Activation, _: Option<&()>) -> Result<()> {
        unreachable!("layers are only built")
    }

    fn apply_geglu(&self, (): &(), (): &()) -> Result<()> {
        unreachable!("layers are only built")
    }

    fn apply_layer_norm(&self, (): &(), (): &()) -> Result<()> {
        unreachable!("layers are only built")
    }

    fn attention(&self, (): &(), (): &(), (): &(), _: usize, _: bool) -> Result<()> {
        unreachable!("layers are only built")
    }

    fn embed(&self, (): &(), _: &[u32]) -> Result<()> {
        unreachable!("layers are only built")
    }

    fn add(&self, (): &(), (): &(), _: Activation) -> Result<()> {
        unreachable!("layers are only built")
    }

    fn add_scaled(&self, (): &(), (): &(), _: &[f32]) -> Result<()> {
        unreachable!("layers are only built")
    }
}
