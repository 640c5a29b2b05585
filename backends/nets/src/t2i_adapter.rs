// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A T2I-Adapter: a small network that makes of a picture, once, an image for each level of the denoiser's way down.
//!
//! Source: diffusers `models/adapter.py`, `T2IAdapter`: `FullAdapter`, `FullAdapterXL` and `LightAdapter`.

mod config;

use alice_plugin::Result;

use self::config::{BlockPlan, Inner};
pub(crate) use self::config::{T2iAdapterConfig, T2iAdapterPlan};
use crate::{
    ops::{Activation, ConvAdd, Ops},
    pixels,
    progress::Progress,
    slot::Conv,
    weights::{Pointwise, Weights},
};

/// The network, ready to run.
pub(crate) struct T2iAdapter<O: Ops> {
    /// Before the blocks, in all but the light one.
    conv_in: Option<Conv<O>>,
    blocks: Vec<Block<O>>,
    pub(crate) plan: T2iAdapterPlan,
}

/// Makes one image.
struct Block<O: Ops> {
    /// Whether the sides are halved first.
    pools: bool,
    /// Brings the image to the inner channels.
    enter: Option<Conv<O>>,
    /// Two convolutions each, around which the input goes too.
    resnets: Vec<[Conv<O>; 2]>,
    /// Brings it to the outer channels.
    leave: Option<Conv<O>>,
}

impl<O: Ops> T2iAdapter<O> {
    /// Builds the network that `plan` describes from its file.
    pub(crate) fn load(weights: &Weights<'_, O>, plan: T2iAdapterPlan) -> Result<Self> {
        let weights = weights.at("adapter");
        let block = |(index, block): (usize, &BlockPlan)| Block::load(&weights.at("body").at(index), block);
        let conv_in = match plan.enters {
            Some(channels) => Some(weights.at("conv_in").conv3x3(plan.folded(), channels)?),
            None => None,
        };
        Ok(Self { conv_in, blocks: plan.blocks.iter().enumerate().map(block).collect::<Result<_>>()?, plan })
    }

    /// The images for a picture's pixels, `[height, width, 3]`, whose sides are multiples of the plan's `fold`.
    pub(crate) fn encode(
        &self,
        ops: &O,
        pixels: &[u8],
        sides: [usize; 2],
        progress: &Progress<'_>,
    ) -> Result<Vec<O::Tensor>> {
        let planes = match self.plan.grey {
            true => pixels::grey_plane(pixels),
            false => pixels::planes(pixels, [0, 1, 2]),
        };
        let folded = pixels::fold(&planes, sides, self.plan.fold);
        let [height, width] = sides.map(|side| side / self.plan.fold);
        let mut image = ops.image([1, self.plan.folded(), height, width], &folded)?;
        if let Some(conv) = &self.conv_in {
            image = ops.apply_conv(&conv.get(), &image, ConvAdd::default())?;
        }
        let mut images = Vec::new();
        for block in &self.blocks {
            image = block.forward(ops, image, progress)?;
            images.push(image.clone());
        }
        Ok(images)
    }
}

impl<O: Ops> Block<O> {
    fn load(weights: &Weights<'_, O>, plan: &BlockPlan) -> Result<Self> {
        let BlockPlan { input, inner, output, .. } = *plan;
        let pointwise = |name, from, to| weights.at(name).conv1x1(from, to, Pointwise::Kernel);
        let resnet = |index: usize| {
            let weights = weights.at("resnets").at(index);
            let (first, second) = (weights.at("block1"), weights.at("block2"));
            let second = match plan.kind {
                Inner::Full => second.conv1x1(inner, inner, Pointwise::Kernel)?,
                Inner::Light => second.conv3x3(inner, inner)?,
            };
            weights.loaded([first.conv3x3(inner, inner)?, second])
        };
        let light = plan.kind == Inner::Light;
        Ok(Self {
            pools: plan.pools,
            enter: (light || input != inner).then(|| pointwise("in_conv", input, inner)).transpose()?,
            resnets: (0..plan.resnets).map(resnet).collect::<Result<_>>()?,
            leave: light.then(|| pointwise("out_conv", inner, output)).transpose()?,
        })
    }

    fn forward(&self, ops: &O, mut image: O::Tensor, progress: &Progress<'_>) -> Result<O::Tensor> {
        if self.pools {
            image = ops.average_pool(&image)?;
        }
        if let Some(conv) = &self.enter {
            image = ops.apply_conv(&conv.get(), &image, ConvAdd::default())?;
        }
        for [first, second] in &self.resnets {
            let relu = ConvAdd { activation: Activation::Relu, ..ConvAdd::default() };
            let hidden = ops.apply_conv(&first.get(), &image, relu)?;
            let add = ConvAdd { residual: Some(&image), ..ConvAdd::default() };
            image = ops.apply_conv(&second.get(), &hidden, add)?;
            progress.step()?;
        }
        match &self.leave {
            Some(conv) => ops.apply_conv(&conv.get(), &image, ConvAdd::default()),
            None => Ok(image),
        }
    }
}
