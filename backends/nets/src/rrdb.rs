// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The network that makes pictures larger: residual blocks of dense blocks (RRDBNet), as ESRGAN and Real-ESRGAN have it.
//!
//! Source: Wang et al. 2018, arXiv:1809.00219, and 2021, arXiv:2107.10833; BasicSR `archs/rrdbnet_arch.py`. Every
//! doubling is a nearest neighbour's, with a convolution behind it. Those that enlarge by less than they double begin
//! with squares of pixels as channels.

use alice_plugin::{Error, Result};

use crate::{
    config::{MAX_DEPTH, MAX_WIDTH},
    ops::{Activation, ConvAdd, Ops},
    pixels,
    progress::Progress,
    slot::Conv,
    tiles::Tiles,
    weights::Weights,
};

/// How much of what a dense block or a residual block adds counts.
const SHARE: f32 = 0.2;
/// Convolutions of a dense block.
const DENSE: usize = 5;
/// The most doublings.
const MAX_DOUBLINGS: usize = 3;

/// The network, ready to run.
pub(crate) struct Rrdb<O: Ops> {
    first: Conv<O>,
    blocks: Vec<[DenseBlock<O>; 3]>,
    body: Conv<O>,
    doublings: Vec<Conv<O>>,
    high: Conv<O>,
    last: Conv<O>,
    pub(crate) plan: RrdbPlan,
}

/// Five convolutions, each of which sees the input and what all before it have found.
struct DenseBlock<O: Ops> {
    convs: Vec<Conv<O>>,
}

/// The layout, as the shapes of the tensors say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RrdbPlan {
    /// Side of the squares of pixels that become channels at first.
    fold: usize,
    /// Channels.
    features: usize,
    /// Channels that each convolution of a dense block adds.
    growth: usize,
    blocks: usize,
    doublings: usize,
}

impl RrdbPlan {
    /// The layout of a network with tensors of these shapes, the first `fold`ed so often.
    ///
    /// # Errors
    /// `BadModel` when they are not those of such a network, or beyond all sizes.
    pub(crate) fn new(fold: usize, shape: impl Fn(&str) -> Option<Vec<usize>>) -> Result<Self> {
        let outputs = |name: &str| {
            let shape = shape(&format!("{name}.weight"));
            let missing = || Error::bad_model(format!("the upscaler has no convolution `{name}`"));
            shape.and_then(|shape| shape.first().copied()).ok_or_else(missing)
        };
        let count = |name: &dyn Fn(usize) -> String, most: usize| {
            (0..=most).take_while(|index| shape(&format!("{}.weight", name(*index))).is_some()).count()
        };
        let plan = Self {
            fold,
            features: outputs("conv_first")?,
            growth: outputs("body.0.rdb1.conv1")?,
            blocks: count(&|index| format!("body.{index}.rdb1.conv1"), MAX_DEPTH),
            doublings: count(&|index| format!("conv_up{}", index + 1), MAX_DOUBLINGS),
        };
        let widths = [plan.features, plan.growth].into_iter().all(|width| (1..=MAX_WIDTH).contains(&width));
        let fits = widths && plan.blocks <= MAX_DEPTH && plan.doublings <= MAX_DOUBLINGS;
        match fits && fold > 0 && plan.doubled().is_multiple_of(fold) {
            true => Ok(plan),
            false => Err(Error::bad_model(format!("the upscaler has sizes that none can have: {plan:?}"))),
        }
    }

    /// How many times higher and wider a picture becomes.
    pub(crate) fn scale(&self) -> usize {
        self.doubled() / self.fold
    }

    fn doubled(&self) -> usize {
        1 << self.doublings
    }

    /// Number of blocks, for the progress of a call.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks + self.doublings
    }

    /// The tiles of a picture of this size, with sides of at most `side` pixels where they can be so small; whole
    /// without.
    pub(crate) fn tiles(&self, sides: [usize; 2], side: Option<usize>) -> Tiles {
        let [height, width] = sides.map(|length| length.div_ceil(self.fold));
        Tiles::new(height, width, side.map_or(height.max(width), |side| (side / self.fold).max(1)))
    }
}

impl<O: Ops> Rrdb<O> {
    /// Builds the network that `plan` describes from its file.
    pub(crate) fn load(weights: &Weights<'_, O>, plan: RrdbPlan) -> Result<Self> {
        let RrdbPlan { fold, features, .. } = plan;
        let conv = |name: &str, input, output| weights.at(name).conv3x3(input, output);
        let block = |index: usize| {
            let weights = weights.at("body").at(index);
            let dense = |name| DenseBlock::load(&weights.at(name), plan);
            weights.loaded([dense("rdb1")?, dense("rdb2")?, dense("rdb3")?])
        };
        let doubling = |step: usize| weights.loaded(conv(&format!("conv_up{step}"), features, features)?);
        Ok(Self {
            first: conv("conv_first", 3 * fold * fold, features)?,
            blocks: (0..plan.blocks).map(block).collect::<Result<_>>()?,
            body: conv("conv_body", features, features)?,
            doublings: (1..=plan.doublings).map(doubling).collect::<Result<_>>()?,
            high: conv("conv_hr", features, features)?,
            last: conv("conv_last", features, 3)?,
            plan,
        })
    }

    /// Makes a picture's pixels, `[height, width, 3]`, larger, tile by tile.
    pub(crate) fn upscale(
        &self,
        ops: &O,
        pixels: &[u8],
        sides: [usize; 2],
        tiles: &Tiles,
        out: &mut [u8],
        progress: &Progress<'_>,
    ) -> Result<()> {
        let (fold, doubled) = (self.plan.fold, self.plan.doubled());
        let filled = sides.map(|side| side.next_multiple_of(fold));
        let picture = pixels::mirror(&pixels::planes(pixels, [0, 1, 2]), sides, filled);
        let large = filled.map(|side| side * self.plan.scale());
        let mut enlarged = vec![0.0; 3 * large[0] * large[1]];
        tiles.run((&picture, fold), (&mut enlarged, doubled), |[height, width], piece, made| {
            let folded = pixels::fold(piece, [height * fold, width * fold], fold);
            let image = ops.image([1, 3 * fold * fold, height, width], &folded)?;
            ops.download(&self.forward(ops, &image, progress)?, made)
        })?;
        let wanted = sides.map(|side| side * self.plan.scale());
        pixels::to_pixels(&pixels::crop(&enlarged, large, wanted), out);
        Ok(())
    }

    /// The larger picture, about 0 ..= 1.
    fn forward(&self, ops: &O, image: &O::Tensor, progress: &Progress<'_>) -> Result<O::Tensor> {
        let leaky = || ConvAdd { activation: Activation::LeakyRelu, ..ConvAdd::default() };
        let first = ops.apply_conv(&self.first.get(), image, ConvAdd::default())?;
        let mut found = first.clone();
        for block in &self.blocks {
            let mut inner = found.clone();
            for dense in block {
                inner = dense.forward(ops, &inner)?;
            }
            found = ops.add_scaled(&found, &inner, &[SHARE])?;
            progress.step()?;
        }
        let add = ConvAdd { residual: Some(&first), ..ConvAdd::default() };
        found = ops.apply_conv(&self.body.get(), &found, add)?;
        for doubling in &self.doublings {
            let [_, _, height, width] = ops.image_shape(&found);
            found =
                ops.upsample_conv(&doubling.get(), &found, 2 * height, 2 * width, Activation::LeakyRelu)?;
            progress.step()?;
        }
        found = ops.apply_conv(&self.high.get(), &found, leaky())?;
        ops.apply_conv(&self.last.get(), &found, ConvAdd::default())
    }
}

impl<O: Ops> DenseBlock<O> {
    fn load(weights: &Weights<'_, O>, plan: RrdbPlan) -> Result<Self> {
        let conv = |index: usize| {
            let output = if index + 1 == DENSE { plan.features } else { plan.growth };
            weights.at(format_args!("conv{}", index + 1)).conv3x3(plan.features + index * plan.growth, output)
        };
        Ok(Self { convs: (0..DENSE).map(conv).collect::<Result<_>>()? })
    }

    fn forward(&self, ops: &O, image: &O::Tensor) -> Result<O::Tensor> {
        let leaky = || ConvAdd { activation: Activation::LeakyRelu, ..ConvAdd::default() };
        let (last, convs) = self.convs.split_last().expect("a dense block has five convolutions");
        let mut seen = image.clone();
        for conv in convs {
            let found = ops.apply_conv(&conv.get(), &seen, leaky())?;
            seen = ops.concat_channels(&seen, &found)?;
        }
        let found = ops.apply_conv(&last.get(), &seen, ConvAdd::default())?;
        ops.add_scaled(image, &found, &[SHARE])
    }
}
