// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a sampler's loop works with.

use super::Space;
use crate::denoise::Denoiser;
use crate::schedule::{NoiseLevels, Step};
use crate::{Denoise, Kept, Latent, LatentShape, Noise, Point, SchedulerConfig};

/// One run: the network, the steps, the model's settings and the image's own noise.
pub(crate) struct Run<'a, D> {
    /// The network.
    pub(crate) denoiser: Denoiser<'a, D>,
    /// The steps to take, noisiest first.
    pub(crate) steps: &'a [Step],
    /// These and those that are left out because the run begins later.
    pub(crate) whole: &'a [Step],
    /// The model's settings.
    pub(crate) config: &'a SchedulerConfig,
    /// The image's noise, from which the first latent has been drawn.
    pub(crate) noise: &'a mut Noise,
    /// What the latent is made of.
    pub(crate) space: Space,
    /// What is kept of a picture.
    pub(crate) kept: Option<&'a Kept>,
}

impl<D: Denoise> Run<'_, D> {
    /// The number of steps that are left out.
    pub(crate) fn begin(&self) -> usize {
        self.whole.len() - self.steps.len()
    }

    /// `x` with what is kept of a picture in it, at noise level `sigma`.
    pub(crate) fn kept(&self, x: Latent, sigma: f32) -> Latent {
        match self.kept {
            Some(kept) => kept.put_into(&x, &self.space.noised(&kept.picture, &kept.noise, sigma)),
            None => x,
        }
    }

    /// The same for the latent after the step of this index: at the level where the next one begins. After the last
    /// one the picture without noise is put into the finished latent, which is not yet here.
    pub(crate) fn kept_after(&self, index: usize, x: Latent) -> Latent {
        match self.steps.get(index + 1) {
            Some(following) => self.kept(x, following.at.sigma),
            None => x,
        }
    }

    /// The model's noise levels, finite throughout.
    pub(crate) fn levels(&self) -> NoiseLevels {
        NoiseLevels::new(self.config.betas()).with_finite_end()
    }

    /// The highest noise level of the model, or of the whole run where that begins above it.
    pub(crate) fn highest_sigma(&self) -> f32 {
        let first = self.whole.first().map_or(0.0, |step| step.at.sigma);
        self.levels().range().1.max(first)
    }

    /// The next latent of the image's noise.
    pub(crate) fn fresh(&mut self, shape: LatentShape) -> Latent {
        self.noise.latent(shape)
    }
}

/// The point at noise level `sigma`, which need not be one of the model's own.
pub(crate) fn point_at(levels: &NoiseLevels, sigma: f32) -> Point {
    Point { sigma, t: levels.timestep_of(sigma.into()) as f32 }
}
