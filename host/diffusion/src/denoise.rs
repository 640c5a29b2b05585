// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The network as a sampler sees it, and what its answer means.

use crate::{Latent, Prediction};

/// Where on the way from noise to picture a latent is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Standard deviation of the noise over that of the picture, in k-diffusion's sense. Infinite where a
    /// DDIM schedule begins without any signal.
    pub sigma: f32,
    /// The network's timestep, in its training units; fractions occur.
    pub t: f32,
}

/// A denoising network with its prompt and guidance, and an observer of the steps.
pub trait Denoise: Sync {
    /// Why an evaluation failed or the sampling was given up.
    type Error: Send;

    /// The network's raw prediction, guidance applied, for the input `x`, which the sampler has scaled.
    ///
    /// The answer has the shape of `x`.
    ///
    /// # Errors
    /// Whatever went wrong; sampling ends with it.
    fn denoise(&self, x: &Latent, at: Point) -> impl Future<Output = Result<Latent, Self::Error>> + Send;

    /// Called after each step: `step` of `steps`, counted from 1, with the present estimate of the finished
    /// latent.
    ///
    /// # Errors
    /// Ends the sampling, for example because nobody waits for the picture any more.
    fn stepped(&self, step: usize, steps: usize, denoised: &Latent) -> Result<(), Self::Error>;
}

/// What `Schedule::new` makes sure of.
const WRONG_KIND: &str = "a model of flow matching has a sampler of flows";

/// A network of which only the meaning of its predictions is known: the samplers' view of [`Denoise`].
pub(crate) struct Denoiser<'a, D> {
    model: &'a D,
    prediction: Prediction,
    steps: usize,
}

impl<'a, D: Denoise> Denoiser<'a, D> {
    pub(crate) fn new(model: &'a D, prediction: Prediction, steps: usize) -> Self {
        Self { model, prediction, steps }
    }

    /// The denoised picture for `x` = picture + sigma * noise.
    ///
    /// The network was trained on inputs of unit variance, so it is shown `x / sqrt(sigma^2 + 1)`.
    /// Source: Karras et al. 2022, arXiv:2206.00364, table 1, column "VP".
    pub(crate) async fn denoised(&self, x: &Latent, at: Point) -> Result<Latent, D::Error> {
        let sigma = at.sigma;
        let variance = sigma * sigma + 1.0;
        let deviation = variance.sqrt();
        let raw = self.raw(&x.map(|x| x / deviation), at).await?;
        Ok(match self.prediction {
            Prediction::Epsilon => x.zip(&raw, |x, eps| x - sigma * eps),
            Prediction::V => x.zip(&raw, |x, v| v * (-sigma / deviation) + x / variance),
            Prediction::Sample => raw,
            Prediction::Flow => unreachable!("{WRONG_KIND}"),
        })
    }

    /// The denoised picture and the noise in `x` = signal * picture + noise_level * noise, where signal and
    /// noise level are those of `at`: see [`signal_and_noise`].
    pub(crate) async fn parts(&self, x: &Latent, at: Point) -> Result<(Latent, Latent), D::Error> {
        let raw = self.raw(x, at).await?;
        Ok(self.split(x, &raw, at.sigma))
    }

    /// The same for an answer `raw` that the network has given, to `x` or to latents near it.
    pub(crate) fn split(&self, x: &Latent, raw: &Latent, sigma: f32) -> (Latent, Latent) {
        let (signal, level) = signal_and_noise(sigma);
        match self.prediction {
            Prediction::Epsilon => (x.zip(raw, |x, eps| (x - level * eps) / signal), raw.clone()),
            Prediction::V => {
                let denoised = x.zip(raw, |x, v| signal * x - level * v);
                (denoised, x.zip(raw, |x, v| signal * v + level * x))
            }
            Prediction::Sample => {
                let noise = x.zip(raw, |x, denoised| (x - signal * denoised) / level);
                (raw.clone(), noise)
            }
            Prediction::Flow => unreachable!("{WRONG_KIND}"),
        }
    }

    /// Tells the observer that the step of this index, counted from 0, is done.
    pub(crate) fn stepped(&self, index: usize, denoised: &Latent) -> Result<(), D::Error> {
        self.model.stepped(index + 1, self.steps, denoised)
    }

    /// The network's answer as it is.
    pub(crate) async fn raw(&self, x: &Latent, at: Point) -> Result<Latent, D::Error> {
        let raw = self.model.denoise(x, at).await?;
        assert_eq!(raw.values.len(), x.values.len(), "a `Denoise` answers in the shape it is asked in");
        Ok(raw)
    }
}

/// The square roots of alpha-bar and of 1 - alpha-bar (Ho et al. 2020, arXiv:2006.11239) at noise level
/// `sigma`, 0 to infinity.
pub(crate) fn signal_and_noise(sigma: f32) -> (f32, f32) {
    let alpha_bar = alpha_bar(sigma);
    (alpha_bar.sqrt() as f32, (1.0 - alpha_bar).sqrt() as f32)
}

/// The share of the picture in the variance, alpha-bar, at noise level `sigma`: in double precision, because
/// what it lacks to 1 is small at the last steps.
pub(crate) fn alpha_bar(sigma: f32) -> f64 {
    1.0 / (f64::from(sigma).powi(2) + 1.0)
}
