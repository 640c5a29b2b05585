// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Upscalers: loading them, and making a picture larger.

use alice_checkpoint::upscaler::UpscalerFile;
use alice_plugin::{Control, Error, LoadRequest, ModelInfo, Result, UpscaleOptions, checks};

use crate::{
    ops::Ops,
    progress::Progress,
    rrdb::{Rrdb, RrdbPlan},
    weights::{Loading, Weights, bad_model},
};

/// Channels of a picture.
const RGB: u32 = 3;
/// The largest side of a picture to begin with, in pixels.
const MAX_SIDE: u32 = 16_384;

/// A network that makes pictures larger, with the operations that run it.
pub(super) struct Upscaler<O: Ops> {
    ops: O,
    network: Rrdb<O>,
    pub(super) info: ModelInfo,
}

impl<O: Ops> Upscaler<O> {
    /// Loads the network that `request` names, on the operations that `open` makes for `dtype`.
    pub(super) fn load(
        request: &LoadRequest,
        dtype: String,
        open: impl Fn(u32, &str) -> Result<O>,
        control: &dyn Control,
    ) -> Result<Self> {
        let file = UpscalerFile::open(request.files.path()).map_err(bad_model)?;
        let tensors = file.weights().map_err(bad_model)?;
        let shape = |name: &str| tensors.tensor(name).ok().map(|tensor| tensor.shape);
        let plan = RrdbPlan::new(file.unshuffle(), shape)?;
        let loading = Loading::new(Progress::begin(control, plan.blocks())?, &dtype);
        let ops = open(request.device, &dtype)?;
        let network = Rrdb::load(&Weights::new(&ops, "upscaler", &tensors, &loading).fine(), plan)?;
        let info = ModelInfo {
            latent_channels: RGB,
            output_channels: RGB,
            latent_scale: plan.scale() as u32,
            text_encoders: Vec::new(),
            inputs: Vec::new(),
            memory_bytes: loading.bytes.get(),
            dtype,
        };
        Ok(Self { ops, network, info })
    }

    /// Makes a picture of `height` x `width` pixels larger.
    pub(super) fn upscale(
        &self,
        [height, width]: [u32; 2],
        pixels: &[u8],
        options: &UpscaleOptions,
        out: &mut [u8],
        control: &dyn Control,
    ) -> Result<()> {
        if let Some(side) = [height, width].into_iter().find(|side| !(1..=MAX_SIDE).contains(side)) {
            return Err(Error::invalid(format!(
                "a picture's side must be 1 to {MAX_SIDE} pixels, not {side}"
            )));
        }
        checks::upscale(&self.info, height, width, pixels, options, out)?;
        let sides = [height as usize, width as usize];
        let tiles = self.network.plan.tiles(sides, options.tile.map(|side| side as usize));
        let progress = Progress::begin(control, tiles.count() * self.network.plan.blocks())?;
        self.network.upscale(self.ops.fine(), pixels, sides, &tiles, out, &progress)
    }
}
