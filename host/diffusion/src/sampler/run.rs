// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a sampler's loop works with.

use crate::denoise::Denoiser;
use crate::schedule::{NoiseLevels, Step};
use crate::{Denoise, Latent, LatentShape, Noise, Point, SchedulerConfig};

/// One run: the network, the steps, the model's settings and the image's own noise.
pub(crate) struct Run<'a, D> {
    /// The network.
    pub(crate) denoiser: Denoiser<'a, D>,
    /// Noisiest first.
    pub(crate) steps: &'a [Step],
    /// The model's settings.
    pub(crate) config: &'a SchedulerConfig,
    /// The image's noise, from which the first latent has been drawn.
    pub(crate) noise: &'a mut Noise,
}

impl<'a, D: Denoise> Run<'a, D> {
    pub(crate) fn new(
        model: &'a D,
        config: &'a SchedulerConfig,
        steps: &'a [Step],
        noise: &'a mut Noise,
    ) -> Self {
        Self { denoiser: Denoiser::new(model, config.prediction(), steps.len()), steps, config, noise }
    }

    /// The model's noise levels, finite throughout.
    pub(crate) fn levels(&self) -> NoiseLevels {
        NoiseLevels::new(self.config.betas()).with_finite_end()
    }

    /// The highest noise level of the model, or of the run where that begins above it.
    pub(crate) fn highest_sigma(&self) -> f32 {
        let first = self.steps.first().map_or(0.0, |step| step.at.sigma);
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
