// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Euler's method to below the next noise level, then fresh noise up to it.
//!
//! Source: ancestral sampling as in k-diffusion's `sample_euler_ancestral`; diffusers'
//! `EulerAncestralDiscreteScheduler`.

use super::euler;
use crate::denoise::Denoiser;
use crate::schedule::{NoiseLevels, Spacing, Step, Table};
use crate::{Denoise, Latent, Noise, SchedulerConfig};

/// The model's own levels. Karras' are not offered, even if the model's settings ask for them: diffusers'
/// class does not know that setting.
pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Table {
    let spacing = config.spacing().unwrap_or(Spacing::Linspace);
    let levels = NoiseLevels::new(config.betas()).with_finite_end();
    euler::table_through(&euler::own_points(config, spacing, &levels, steps), spacing)
}

/// `x` is picture + sigma * noise throughout.
pub(super) async fn walk<D: Denoise>(
    denoiser: &Denoiser<'_, D>,
    steps: &[Step],
    mut x: Latent,
    noise: &mut Noise,
) -> Result<Latent, D::Error> {
    for (index, &Step { at, next }) in steps.iter().enumerate() {
        let denoised = denoiser.denoised(&x, at).await?;
        let (down, up) = split(at.sigma, next);
        x = x.zip(&denoised, |x, denoised| {
            let slope = (x - denoised) / at.sigma;
            x + slope * (down - at.sigma)
        });
        // Drawn after the last step too, where `up` is 0, so that the stream ends where diffusers' does.
        x = x.zip(&noise.latent(x.shape), |x, fresh| x + fresh * up);
        denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}

/// The level to step down to and the fresh noise to add, which together have the variance of level `next`.
fn split(sigma: f32, next: f32) -> (f32, f32) {
    let (from, to) = (sigma * sigma, next * next);
    let up = (to * (from - to) / from).sqrt();
    ((to - up * up).max(0.0).sqrt(), up)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_step_down_and_the_fresh_noise_add_up_to_the_next_level(
            sigma in 0.01f32..5000.0, part in 0.0f32..=1.0,
        ) {
            let next = sigma * part;
            let (down, up) = split(sigma, next);
            prop_assert!(down <= next && up <= next);
            let sum = f64::from(down).powi(2) + f64::from(up).powi(2);
            prop_assert!((sum - f64::from(next).powi(2)).abs() <= 1e-6 * f64::from(next).powi(2));
        }
    }

    #[test]
    fn no_noise_is_added_where_nothing_changes_or_everything_ends() {
        assert_eq!(split(2.0, 0.0), (0.0, 0.0));
        assert_eq!(split(2.0, 2.0), (2.0, 0.0));
    }
}
