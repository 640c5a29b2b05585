// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! From a model directory to networks on a device.

use std::{cell::Cell, path::Path};

use alice_checkpoint::{Family, diffusers::Directory};
use alice_plugin::{Control, Error, LoadRequest, ModelFiles, ModelInfo, Result, TextEncoderInfo};

use crate::{
    clip::{Clip, ClipConfig, ClipPlan},
    config::ConfigFile,
    ops::Ops,
    progress::Progress,
    unet::{Unet, UnetConfig, UnetPlan},
    vae::{Vae, VaeConfig, VaePlan},
    weights::{Loading, Weights, bad_model},
};

/// The networks of one model, with the operations that run them.
pub(super) struct Model<O: Ops> {
    pub(super) ops: O,
    pub(super) clip: Clip<O>,
    pub(super) unet: Unet<O>,
    pub(super) vae: Vae<O>,
    pub(super) info: ModelInfo,
}

/// What the three configurations say, checked each for itself and against each other.
struct Plans {
    clip: ClipPlan,
    unet: UnetPlan,
    vae: VaePlan,
}

impl<O: Ops> Model<O> {
    /// Loads the model that `request` names, on the operations that `open` makes for `dtype`.
    pub(super) fn load(
        request: &LoadRequest,
        dtype: String,
        open: impl Fn(u32, &str) -> Result<O>,
        control: &dyn Control,
    ) -> Result<Self> {
        let ModelFiles::Diffusers { path } = &request.files;
        let family: Family = request.family.parse().map_err(Error::unsupported)?;
        let directory = Directory::open(path).map_err(bad_model)?;
        let found = directory.family().map_err(bad_model)?;
        if found != family {
            let message = format!("`{}` is a model of family {found}, not {family}", path.display());
            return Err(Error::bad_model(message));
        }
        let plans = Plans::read(&directory, path)?;
        let loading = Loading { progress: Progress::begin(control, plans.blocks())?, values: Cell::new(0) };
        let ops = open(request.device, &dtype)?;
        let file = |component| directory.weights(component).map_err(bad_model);
        let Plans { clip, unet, vae } = plans;
        let clip = Clip::load(&Weights::new(&ops, &file("text_encoder")?, &loading), clip)?;
        let unet = Unet::load(&Weights::new(&ops, &file("unet")?, &loading), unet)?;
        let vae = Vae::load(&Weights::new(&ops, &file("vae")?, &loading), vae)?;
        let info = ModelInfo {
            latent_channels: vae.plan.latent as u32,
            output_channels: unet.plan.output as u32,
            latent_scale: vae.plan.scale(),
            text_encoders: vec![TextEncoderInfo {
                context_length: clip.plan.context_length as u32,
                vocab_size: clip.plan.vocabulary as u32,
                hidden_size: clip.plan.width as u32,
            }],
            memory_bytes: loading.values.get() * bytes_per_value(&dtype),
            dtype,
        };
        Ok(Self { ops, clip, unet, vae, info })
    }

    /// Bytes that `values` numbers take on the device.
    pub(super) fn bytes_of(&self, values: usize) -> u64 {
        values as u64 * bytes_per_value(&self.info.dtype)
    }
}

impl Plans {
    fn read(directory: &Directory, path: &Path) -> Result<Self> {
        let file = |component| ConfigFile::new(path, component);
        let clip: ClipConfig = directory.config("text_encoder").map_err(bad_model)?;
        let clip = clip.plan(&file("text_encoder"))?;
        let unet: UnetConfig = directory.config("unet").map_err(bad_model)?;
        let unet = unet.plan(&file("unet"))?;
        let vae: VaeConfig = directory.config("vae").map_err(bad_model)?;
        let vae = vae.plan(&file("vae"))?;
        if unet.context != clip.width {
            let why = format_args!("the text encoder's `hidden_size` is {}", clip.width);
            return Err(file("unet").bad("cross_attention_dim", unet.context, why));
        }
        if unet.input != vae.latent {
            let known = format_args!("the {} channels of the autoencoder's latents", vae.latent);
            return Err(file("unet").unsupported("in_channels", unet.input, known));
        }
        Ok(Self { clip, unet, vae })
    }

    /// Number of blocks to load.
    fn blocks(&self) -> usize {
        self.clip.layers + self.unet.blocks() + self.vae.encoder_blocks() + self.vae.decoder_blocks()
    }
}

/// Bytes of one number in the format called `dtype`.
fn bytes_per_value(dtype: &str) -> u64 {
    match dtype {
        "f16" | "bf16" => 2,
        _ => 4,
    }
}
