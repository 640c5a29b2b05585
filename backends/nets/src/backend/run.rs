// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The three calls that run the denoiser and the autoencoder: slices in, slices out.

use alice_plugin::{Control, DecodeOptions, DenoiseRow, EncodeOptions, Error, LatentShape, Result, checks};

use super::{
    CONCAT, TIME_IDS,
    arguments::{check_denoise, check_rows, check_sides},
    guide::Guidance,
    model::Model,
    text::Prompt,
};
use crate::{
    ops::Ops,
    progress::Progress,
    tiles::Tiles,
    unet::{Added, Question, Steering},
    vae::{from_pixels, from_seen_pixels},
};

impl<O: Ops> Model<O> {
    /// Evaluates the denoiser on all rows at once; `prompts` are their encoded prompts, `guides` what guides them
    /// beside those.
    pub(super) fn denoise(
        &self,
        shape: LatentShape,
        rows: &[DenoiseRow<'_>],
        prompts: &[&Prompt<O>],
        mut guides: Vec<Guidance<'_, O>>,
        out: &mut [f32],
        control: &dyn Control,
    ) -> Result<()> {
        self.adapters.check()?;
        check_denoise(shape, rows, out, &self.info)?;
        let trunk = &self.unet.plan.trunk;
        guides.iter().try_for_each(|guide| guide.check(trunk, shape))?;
        guides.retain(|guide| !guide.is_idle());
        let beside = guides.iter().map(Guidance::blocks).sum::<usize>();
        let progress = Progress::begin(control, self.unet.plan.blocks() + beside)?;
        let timesteps: Vec<f32> = rows.iter().map(|row| row.timestep).collect();
        let added = match trunk.added {
            Some(_) => rows.iter().zip(prompts).map(added).collect::<Result<_>>()?,
            None => Vec::new(),
        };
        let prompts: Vec<&O::Tensor> = prompts.iter().map(|prompt| &prompt.tokens).collect();
        let prompt = self.ops.adopt(&self.ops.precise().stack(&prompts)?)?;
        let latents =
            self.images(shape, shape.channels as usize, rows.iter().map(|row| row.latent.to_vec()))?;
        let question = Question {
            latents: &latents,
            timesteps: &timesteps,
            prompt: &prompt,
            added: &added,
            progress: &progress,
        };
        let mut steering = Steering::none();
        guides.iter().try_for_each(|guide| guide.steer(&question, &mut steering))?;
        // Channels are the outer dimension of a row, so that those behind the latent's follow it. ControlNets see the
        // latent alone.
        let joined = rows.iter().map(|row| [row.latent, input(row, CONCAT)].concat());
        let images = match trunk.input == shape.channels as usize {
            true => latents.clone(),
            false => self.images(shape, trunk.input, joined)?,
        };
        let answer = self.unet.forward(&self.ops, &Question { latents: &images, ..question }, &steering)?;
        self.ops.download(&answer, out)
    }

    /// The rows as one image.
    fn images(
        &self,
        shape: LatentShape,
        channels: usize,
        rows: impl ExactSizeIterator<Item = Vec<f32>>,
    ) -> Result<O::Tensor> {
        let sizes = [rows.len(), channels, shape.height as usize, shape.width as usize];
        self.ops.image(sizes, &rows.flatten().collect::<Vec<f32>>())
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
        let tiles = tiles(shape, options.tile)?;
        let progress = Progress::begin(control, rows * tiles.count() * self.vae.plan.decoder_blocks())?;
        let picture = out.len() / rows;
        for (latent, pixels) in latents.chunks_exact(shape.len()).zip(out.chunks_exact_mut(picture)) {
            self.vae.decode(self.ops.fine(), latent, &tiles, pixels, &progress)?;
        }
        Ok(())
    }

    /// Encodes pictures into the posteriors of their latents, one after the other, in tiles where that is wished.
    pub(super) fn encode_image(
        &self,
        shape: LatentShape,
        pixels: &[u8],
        options: &EncodeOptions,
        mean: &mut [f32],
        deviation: &mut [f32],
        control: &dyn Control,
    ) -> Result<()> {
        check_sides(shape)?;
        let rows = checks::encode_image(&self.info, shape, pixels, options, mean, deviation)?;
        check_rows(rows)?;
        let tiles = tiles(shape, options.tile)?;
        let progress = Progress::begin(control, rows * tiles.count() * self.vae.plan.encoder_blocks())?;
        let posteriors = mean.chunks_exact_mut(shape.len()).zip(deviation.chunks_exact_mut(shape.len()));
        for (pixels, (mean, deviation)) in pixels.chunks_exact(pixels.len() / rows).zip(posteriors) {
            let planes = if options.alpha { from_seen_pixels(pixels) } else { from_pixels(pixels) };
            self.vae.encode(self.ops.fine(), planes, &tiles, mean, deviation, &progress)?;
        }
        Ok(())
    }
}

/// The tiles of a latent with sides of at most `side` cells; one tile without.
fn tiles(shape: LatentShape, side: Option<u32>) -> Result<Tiles> {
    let (height, width) = (shape.height as usize, shape.width as usize);
    checks::tile(side)?;
    Ok(Tiles::new(height, width, side.map_or(height.max(width), |side| side as usize)))
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
