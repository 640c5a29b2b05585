// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The autoencoder between pictures and the latents that the denoiser works on.
//!
//! Source: diffusers `models/autoencoders/autoencoder_kl.py`, `AutoencoderKL`.

mod config;
mod convert;
mod decoder;
mod encoder;
mod mid;

use alice_plugin::Result;

pub(crate) use self::{
    config::{VaeConfig, VaePlan},
    convert::{from_pixels, to_pixels},
};
use self::{decoder::Decoder, encoder::Encoder};
use crate::{ops::Ops, weights::Weights};

/// Epsilon of every normalisation; the configuration does not tell it.
const EPSILON: f32 = 1e-6;

/// The network, ready to run.
pub(crate) struct Vae<O: Ops> {
    pub(crate) encoder: Encoder<O>,
    pub(crate) decoder: Decoder<O>,
    pub(crate) plan: VaePlan,
}

impl<O: Ops> Vae<O> {
    /// Builds the network that `plan` describes from its file.
    pub(crate) fn load(weights: &Weights<'_, O>, plan: VaePlan) -> Result<Self> {
        Ok(Self { encoder: Encoder::load(weights, &plan)?, decoder: Decoder::load(weights, &plan)?, plan })
    }
}
