// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Operations that keep no weights, so that the largest models load at once. They compute nothing.

use super::*;
use crate::ops::{Activation, ConvAdd, ConvSpec};

type Weight<'a> = alice_checkpoint::Tensor<'a>;

pub(super) struct Shapes;

#[expect(clippy::unimplemented, reason = "only loading is asked of it")]
impl Ops for Shapes {
    type Tensor = ();
    type Conv = ();
    type Linear = ();
    type GroupNorm = ();
    type LayerNorm = ();
    type Embedding = ();

    fn conv(&self, _: ConvSpec, _: &Weight<'_>, _: Option<&Weight<'_>>) -> Result<()> {
        Ok(())
    }

    fn linear(&self, _: &Weight<'_>, _: Option<&Weight<'_>>) -> Result<()> {
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
        unimplemented!()
    }

    fn tokens(&self, _: [usize; 3], _: &[f32]) -> Result<()> {
        unimplemented!()
    }

    fn download(&self, (): &(), _: &mut [f32]) -> Result<()> {
        unimplemented!()
    }

    fn image_shape(&self, (): &()) -> [usize; 4] {
        unimplemented!()
    }

    fn stack(&self, _: &[&()]) -> Result<()> {
        unimplemented!()
    }

    fn apply_conv(&self, (): &(), (): &(), _: ConvAdd<'_, ()>) -> Result<()> {
        unimplemented!()
    }

    fn upsample_conv(&self, (): &(), (): &(), _: usize, _: usize) -> Result<()> {
        unimplemented!()
    }

    fn apply_group_norm(&self, (): &(), (): &(), _: Activation) -> Result<()> {
        unimplemented!()
    }

    fn concat_channels(&self, (): &(), (): &()) -> Result<()> {
        unimplemented!()
    }

    fn image_to_tokens(&self, (): &()) -> Result<()> {
        unimplemented!()
    }

    fn tokens_to_image(&self, (): &(), _: usize, _: usize) -> Result<()> {
        unimplemented!()
    }

    fn apply_linear(&self, (): &(), (): &(), _: Activation, _: Option<&()>) -> Result<()> {
        unimplemented!()
    }

    fn apply_geglu(&self, (): &(), (): &()) -> Result<()> {
        unimplemented!()
    }

    fn apply_layer_norm(&self, (): &(), (): &()) -> Result<()> {
        unimplemented!()
    }

    fn attention(&self, (): &(), (): &(), (): &(), _: usize, _: bool) -> Result<()> {
        unimplemented!()
    }

    fn embed(&self, (): &(), _: &[u32]) -> Result<()> {
        unimplemented!()
    }

    fn add(&self, (): &(), (): &(), _: Activation) -> Result<()> {
        unimplemented!()
    }
}
