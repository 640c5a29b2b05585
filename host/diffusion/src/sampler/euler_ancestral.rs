// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Euler's method to below the next noise level, then fresh noise up to it.
//!
//! Source: ancestral sampling as in k-diffusion's `sample_euler_ancestral`; diffusers'
//! `EulerAncestralDiscreteScheduler`.

use super::{About, Run, Space, euler::slid};
use crate::schedule::{Spacing, Table};
use crate::{Denoise, Latent, Result, SchedulerConfig};

pub(super) const ABOUT: About = About {
    name: "euler_ancestral",
    label: "Euler a",
    aliases: &["euler_a", "k_euler_a", "k_euler_ancestral"],
    class: Some("EulerAncestralDiscreteScheduler"),
    space: Space::Sigma,
};

/// The model's own levels, even if its settings ask for a curve: diffusers' class does not know those
/// settings.
pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Result<Table> {
    Ok(Table::spaced_without_curve(config, Spacing::Linspace, steps))
}

pub(super) async fn walk<D: Denoise>(
    mut run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    for (index, step) in run.steps.iter().enumerate() {
        let denoised = run.denoiser.denoised(&x, step.at).await?;
        let (down, up) = split(step.at.sigma, step.next);
        x = slid(&x, &denoised, step.at.sigma, down);
        // Drawn after the last step too, where `up` is 0, so that the stream ends where diffusers' does.
        x = x.zip(&run.fresh(x.shape), |x, fresh| x + fresh * up);
        x = run.kept_after(index, x);
        run.denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}

/// The level to step down to and the fresh noise to add, which together have the variance of level `next`.
pub(super) fn split(sigma: f32, next: f32) -> (f32, f32) {
    // The references take this quotient from the difference of two squares that are nearly equal.
    let down = next * next / sigma;
    (down, (next * next - down * down).max(0.0).sqrt())
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
