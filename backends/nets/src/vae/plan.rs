// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `vae/config.json`, of whichever autoencoder it is.

use alice_checkpoint::Checkpoint;
use alice_plugin::Result;
use serde::Deserialize;

use super::{
    config::{KlConfig, KlPlan},
    convert::LatentSpace,
    tiny::{TinyConfig, TinyPlan},
};
use crate::{config::ConfigFile, weights::bad_model};

/// The autoencoder's layout.
#[derive(Clone, Debug)]
pub(crate) enum VaePlan {
    Kl(KlPlan),
    Tiny(TinyPlan),
}

/// What of the configuration says which one it is.
#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "_class_name", default)]
    class_name: String,
}

impl VaePlan {
    /// Reads the configuration of `checkpoint`, checks every value and works out the layout.
    ///
    /// # Errors
    /// `BadModel` for a file that cannot be read and for values that make no sense, `Unsupported` for those
    /// that this crate does not do.
    pub(crate) fn read(checkpoint: &Checkpoint) -> Result<Self> {
        let file = ConfigFile::of(checkpoint, "vae");
        let kind: Kind = checkpoint.config("vae").map_err(bad_model)?;
        if kind.class_name == "AutoencoderTiny" {
            let config: TinyConfig = checkpoint.config("vae").map_err(bad_model)?;
            return Ok(Self::Tiny(config.plan(&file)?));
        }
        let config: KlConfig = checkpoint.config("vae").map_err(bad_model)?;
        Ok(Self::Kl(config.plan(&file)?))
    }

    /// Channels of a latent.
    pub(crate) fn latent(&self) -> usize {
        match self {
            Self::Kl(plan) => plan.latent,
            Self::Tiny(plan) => plan.latent,
        }
    }

    /// Pixels along one side of a latent cell.
    pub(crate) fn scale(&self) -> u32 {
        match self {
            Self::Kl(plan) => plan.scale(),
            Self::Tiny(plan) => plan.scale(),
        }
    }

    /// The latents' scale.
    pub(super) fn space(&self) -> LatentSpace {
        match self {
            Self::Kl(plan) => plan.space,
            Self::Tiny(plan) => plan.space,
        }
    }

    /// Number of blocks of the encoder, for the progress of a call.
    pub(crate) fn encoder_blocks(&self) -> usize {
        match self {
            Self::Kl(plan) => plan.encoder_blocks(),
            Self::Tiny(plan) => plan.encoder.iter().sum(),
        }
    }

    /// Number of blocks of the decoder.
    pub(crate) fn decoder_blocks(&self) -> usize {
        match self {
            Self::Kl(plan) => plan.decoder_blocks(),
            Self::Tiny(plan) => plan.decoder.iter().sum(),
        }
    }
}
