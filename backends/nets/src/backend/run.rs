// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The four calls that run a network: slices in, slices out.

use alice_plugin::{Control, DenoiseRow, LatentShape, Result, TextRequest};

use super::{
    arguments::{self, check_text, unweighted},
    model::Model,
};
use crate::{
    clip::emphasise,
    ops::Ops,
    progress::Progress,
    vae::{from_pixels, to_pixels},
};

impl<O: Ops> Model<O> {
    /// The encoded prompt, tokens `[1, length, width]`, and its length.
    pub(super) fn encode_text(
        &self,
        request: &TextRequest<'_>,
        control: &dyn Control,
    ) -> Result<(O::Tensor, usize)> {
        let plan = &self.clip.plan;
        check_text(request, plan)?;
        let (chunks, skip) = (request.chunks, request.clip_skip as usize);
        let progress = Progress::begin(control, chunks.len() * (plan.layers - skip))?;
        let length = chunks.len() * plan.context_length;
        if let [chunk] = chunks
            && unweighted(chunk)
        {
            return Ok((self.clip.forward(&self.ops, chunk.ids, skip, &progress)?, length));
        }
        // Weighting and joining are rare and small, so they are done here and not by the device.
        let chunk_values = plan.context_length * plan.width;
        let mut joined = vec![0.0; chunks.len() * chunk_values];
        for (chunk, part) in chunks.iter().zip(joined.chunks_exact_mut(chunk_values)) {
            let encoded = self.clip.forward(&self.ops, chunk.ids, skip, &progress)?;
            self.ops.download(&encoded, part)?;
            if !unweighted(chunk) {
                emphasise(part, chunk.weights);
            }
        }
        Ok((self.ops.tokens([1, length, plan.width], &joined)?, length))
    }

    /// Evaluates the denoiser on all rows at once; `prompts` are their encoded prompts.
    pub(super) fn denoise(
        &self,
        shape: LatentShape,
        rows: &[DenoiseRow<'_>],
        prompts: &[&O::Tensor],
        out: &mut [f32],
        control: &dyn Control,
    ) -> Result<()> {
        arguments::check_denoise(shape, rows, out.len(), &self.info)?;
        let progress = Progress::begin(control, self.unet.plan.blocks())?;
        let latents: Vec<f32> = rows.iter().flat_map(|row| row.latent).copied().collect();
        let timesteps: Vec<f32> = rows.iter().map(|row| row.timestep).collect();
        let latents = self.ops.image(image_shape(rows.len(), shape), &latents)?;
        let prompts = self.ops.stack(prompts)?;
        let answer = self.unet.forward(&self.ops, &latents, &timesteps, &prompts, &progress)?;
        self.ops.download(&answer, out)
    }

    /// Decodes latents into pictures, one after the other.
    pub(super) fn decode(
        &self,
        shape: LatentShape,
        latents: &[f32],
        out: &mut [u8],
        control: &dyn Control,
    ) -> Result<()> {
        let sizes = arguments::picture_sizes(shape, &self.info)?;
        let rows =
            sizes.rows(&[("latents", latents.len(), sizes.latent), ("out", out.len(), sizes.picture)])?;
        let progress = Progress::begin(control, rows * self.vae.plan.decoder_blocks())?;
        let mut image = vec![0.0; sizes.picture];
        for (latent, pixels) in latents.chunks_exact(sizes.latent).zip(out.chunks_exact_mut(sizes.picture)) {
            let own = self.vae.plan.space.to_own(latent);
            let own = self.ops.image(image_shape(1, shape), &own)?;
            self.ops.download(&self.vae.decoder.forward(&self.ops, &own, &progress)?, &mut image)?;
            to_pixels(&image, pixels);
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
        let sizes = arguments::picture_sizes(shape, &self.info)?;
        let rows = sizes.rows(&[
            ("pixels", pixels.len(), sizes.picture),
            ("mean", mean.len(), sizes.latent),
            ("deviation", deviation.len(), sizes.latent),
        ])?;
        let progress = Progress::begin(control, rows * self.vae.plan.encoder_blocks())?;
        let mut moments = vec![0.0; 2 * sizes.latent];
        let posteriors = mean.chunks_exact_mut(sizes.latent).zip(deviation.chunks_exact_mut(sizes.latent));
        for (pixels, (mean, deviation)) in pixels.chunks_exact(sizes.picture).zip(posteriors) {
            let image = self.ops.image([1, 3, sizes.height, sizes.width], &from_pixels(pixels))?;
            self.ops.download(&self.vae.encoder.forward(&self.ops, &image, &progress)?, &mut moments)?;
            self.vae.plan.space.posterior(&moments, mean, deviation);
        }
        Ok(())
    }
}

fn image_shape(rows: usize, shape: LatentShape) -> [usize; 4] {
    [rows, shape.channels as usize, shape.height as usize, shape.width as usize]
}
