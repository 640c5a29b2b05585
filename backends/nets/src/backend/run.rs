// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The three calls that run the denoiser and the autoencoder: slices in, slices out.

use alice_plugin::{Control, DecodeOptions, DenoiseRow, Error, LatentShape, Result, checks};

use super::{
    CONCAT, TIME_IDS,
    arguments::{check_denoise, check_rows, check_sides},
    model::Model,
    text::Prompt,
};
use crate::{ops::Ops, progress::Progress, unet::Added, vae::Tiles};

impl<O: Ops> Model<O> {
    /// Evaluates the denoiser on all rows at once; `prompts` are their encoded prompts.
    pub(super) fn denoise(
        &self,
        shape: LatentShape,
        rows: &[DenoiseRow<'_>],
        prompts: &[&Prompt<O>],
        out: &mut [f32],
        control: &dyn Control,
    ) -> Result<()> {
        self.adapters.check()?;
        check_denoise(shape, rows, out, &self.info)?;
        let progress = Progress::begin(control, self.unet.plan.blocks())?;
        // Channels are the outer dimension of a row, so that those behind the latent's follow it.
        let images: Vec<f32> =
            rows.iter().flat_map(|row| [row.latent, input(row, CONCAT)].concat()).collect();
        let sides = [shape.height as usize, shape.width as usize];
        let images = self.ops.image([rows.len(), self.unet.plan.input, sides[0], sides[1]], &images)?;
        let timesteps: Vec<f32> = rows.iter().map(|row| row.timestep).collect();
        let added = match self.unet.plan.added {
            Some(_) => rows.iter().zip(prompts).map(added).collect::<Result<_>>()?,
            None => Vec::new(),
        };
        let prompts: Vec<&O::Tensor> = prompts.iter().map(|prompt| &prompt.tokens).collect();
        let prompts = self.ops.stack(&prompts)?;
        let answer = self.unet.forward(&self.ops, &images, &timesteps, &prompts, &added, &progress)?;
        self.ops.download(&answer, out)
    }

    /// Decodes latents into pictures, one after the other, in tiles where that is wished.
    pub(super) fn decode(
        &self,
        shape: LatentShape,
        latents: &[f32],
        options: &DecodeOptions,
        out: &mut [u8],
        control: &dyn Control,
    ) -> Result<()> {
        check_sides(shape)?;
        let rows = checks::decode(&self.info, shape, latents, out)?;
        check_rows(rows)?;
        if options.tile == Some(0) {
            return Err(Error::invalid("a tile has a side of at least one cell"));
        }
        let (height, width) = (shape.height as usize, shape.width as usize);
        let tiles = Tiles::new(height, width, options.tile.map_or(height.max(width), |side| side as usize));
        let progress = Progress::begin(control, rows * tiles.count() * self.vae.plan.decoder_blocks())?;
        let picture = out.len() / rows;
        for (latent, pixels) in latents.chunks_exact(shape.len()).zip(out.chunks_exact_mut(picture)) {
            self.vae.decode(&self.ops, latent, &tiles, pixels, &progress)?;
        }
        Ok(())
    }

    /// Encodes pictures into the posteriors of their latents, one after the other.
    pub(super) fn encode_image(
        &self,
        shape: LatentShape,
        pixels: &[u8],
        mean: &mut [f32],
        deviation: &mut [f32],
        control: &dyn Control,
    ) -> Result<()> {
        check_sides(shape)?;
        let rows = checks::encode_image(&self.info, shape, pixels, mean, deviation)?;
        check_rows(rows)?;
        let progress = Progress::begin(control, rows * self.vae.plan.encoder_blocks())?;
        let sides = [shape.height, shape.width].map(|side| (side * self.info.latent_scale) as usize);
        let posteriors = mean.chunks_exact_mut(shape.len()).zip(deviation.chunks_exact_mut(shape.len()));
        for (pixels, (mean, deviation)) in pixels.chunks_exact(pixels.len() / rows).zip(posteriors) {
            self.vae.encode(&self.ops, sides, pixels, mean, deviation, &progress)?;
        }
        Ok(())
    }
}

/// What joins the time embedding of a row with this prompt.
fn added<'a, O: Ops>((row, prompt): (&DenoiseRow<'a>, &&'a Prompt<O>)) -> Result<Added<'a>> {
    let pooled = prompt.pooled.as_deref();
    let pooled = pooled.ok_or_else(|| Error::internal("the model's encoder has made no pooled vector"))?;
    Ok(Added { pooled, time_ids: input(row, TIME_IDS) })
}

/// The values of a further input; none where the model asks for none.
fn input<'a>(row: &DenoiseRow<'a>, name: &str) -> &'a [f32] {
    row.extras.iter().find(|extra| extra.name == name).map_or(&[], |extra| extra.data)
}
