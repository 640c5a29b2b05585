// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The autoencoder between pictures and the latents that the denoiser works on: the one that the model was
//! trained with, or a tiny one that imitates it.
//!
//! Source: diffusers `models/autoencoders/autoencoder_kl.py`, `AutoencoderKL`; for the tiny one see `tiny`.

mod config;
mod convert;
mod decoder;
mod encoder;
mod mid;
mod plan;
mod tiny;

use alice_plugin::Result;

pub(crate) use self::convert::{from_pixels, from_seen_pixels};
pub(crate) use self::plan::VaePlan;
use self::{
    convert::to_pixels,
    decoder::Decoder,
    encoder::Encoder,
    tiny::{TinyDecoder, TinyEncoder},
};
use crate::{ops::Ops, progress::Progress, tiles::Tiles, weights::Weights};

/// Epsilon of every normalisation; the configuration does not tell it.
const EPSILON: f32 = 1e-6;

/// The network, ready to run.
pub(crate) struct Vae<O: Ops> {
    halves: Halves<O>,
    pub(crate) plan: VaePlan,
}

enum Halves<O: Ops> {
    Kl(Box<Encoder<O>>, Box<Decoder<O>>),
    Tiny(TinyEncoder<O>, TinyDecoder<O>),
}

impl<O: Ops> Vae<O> {
    /// Builds the network that `plan` describes from its file.
    pub(crate) fn load(weights: &Weights<'_, O>, plan: VaePlan) -> Result<Self> {
        let halves = match &plan {
            VaePlan::Kl(plan) => {
                Halves::Kl(Box::new(Encoder::load(weights, plan)?), Box::new(Decoder::load(weights, plan)?))
            }
            VaePlan::Tiny(plan) => {
                Halves::Tiny(TinyEncoder::load(weights, plan)?, TinyDecoder::load(weights, plan)?)
            }
        };
        Ok(Self { halves, plan })
    }

    /// Decodes one latent of the sampler's, `[channels, height, width]`, into a picture's pixels, tile by tile.
    pub(crate) fn decode(
        &self,
        ops: &O,
        latent: &[f32],
        tiles: &Tiles,
        pixels: &mut [u8],
        progress: &Progress<'_>,
    ) -> Result<()> {
        let (channels, scale) = (self.plan.latent(), self.plan.scale() as usize);
        let mut picture = vec![0.0; pixels.len()];
        tiles.run((latent, 1), (&mut picture, scale), |[height, width], latent, picture| {
            self.picture(ops, [1, channels, height, width], latent, picture, progress)
        })?;
        to_pixels(&picture, pixels);
        Ok(())
    }

    /// The picture before it becomes bytes: `[3, height, width]`, about -1 ..= 1.
    pub(crate) fn picture(
        &self,
        ops: &O,
        shape: [usize; 4],
        latent: &[f32],
        picture: &mut [f32],
        progress: &Progress<'_>,
    ) -> Result<()> {
        let mut own = self.plan.space().to_own(latent);
        match &self.halves {
            Halves::Kl(_, decoder) => {
                let image = decoder.forward(ops, &ops.image(shape, &own)?, progress)?;
                ops.download(&image, picture)
            }
            Halves::Tiny(_, decoder) => {
                tiny::bend(&mut own);
                let image = decoder.forward(ops, &ops.image(shape, &own)?, progress)?;
                ops.download(&image, picture)?;
                tiny::from_unit(picture);
                Ok(())
            }
        }
    }

    /// Encodes one picture, `[3, height, width]` in -1 ..= 1, into mean and deviation of its latent in the sampler's
    /// numbers, tile by tile.
    pub(crate) fn encode(
        &self,
        ops: &O,
        mut picture: Vec<f32>,
        tiles: &Tiles,
        mean: &mut [f32],
        deviation: &mut [f32],
        progress: &Progress<'_>,
    ) -> Result<()> {
        let (space, scale) = (self.plan.space(), self.plan.scale() as usize);
        match &self.halves {
            Halves::Kl(encoder, _) => {
                let mut moments = vec![0.0; 2 * mean.len()];
                tiles.run((&picture, scale), (&mut moments, 1), |sides, picture, moments| {
                    let [height, width] = sides.map(|side| side * scale);
                    let picture = ops.image([1, 3, height, width], picture)?;
                    ops.download(&encoder.forward(ops, &picture, progress)?, moments)
                })?;
                space.posterior(&moments, mean, deviation);
            }
            Halves::Tiny(encoder, _) => {
                tiny::to_unit(&mut picture);
                tiles.run((&picture, scale), (mean, 1), |sides, picture, latent| {
                    let [height, width] = sides.map(|side| side * scale);
                    let picture = ops.image([1, 3, height, width], picture)?;
                    ops.download(&encoder.forward(ops, &picture, progress)?, latent)
                })?;
                space.to_sampler(mean);
                // It answers with one latent, not with a distribution of them.
                deviation.fill(0.0);
            }
        }
        Ok(())
    }
}
