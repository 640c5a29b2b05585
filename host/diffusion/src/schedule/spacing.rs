// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Which of the training timesteps a short run visits.

use serde::Deserialize;

/// How the visited timesteps lie among the trained ones.
///
/// Source: Lin et al. 2023, arXiv:2305.08891, table 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Spacing {
    /// Evenly, both ends included.
    Linspace,
    /// Whole strides from the clean end; the noisiest timesteps are left out.
    Leading,
    /// Whole strides from the noisy end.
    Trailing,
}

impl Spacing {
    /// `count` of `trained` timesteps, noisiest first. Only [`Linspace`](Self::Linspace) gives fractions, and
    /// only [`Leading`](Self::Leading) adds `offset`.
    pub(crate) fn timesteps(self, trained: usize, offset: usize, count: usize) -> Vec<f64> {
        match self {
            Self::Linspace => {
                let stride = (trained - 1) as f64 / (count - 1).max(1) as f64;
                let inner = (0..count - 1).rev().map(|index| index as f64 * stride);
                // One timestep alone is the cleanest, not the noisiest: so it is in numpy, hence in
                // diffusers.
                let noisiest = if count == 1 { 0.0 } else { (trained - 1) as f64 };
                std::iter::once(noisiest).chain(inner).collect()
            }
            Self::Leading => {
                // A stride of 0 would visit one timestep again and again and never leave the noise.
                let stride = (trained / count).max(1);
                (0..count).rev().map(|index| (index * stride + offset) as f64).collect()
            }
            Self::Trailing => {
                let start = trained as f64;
                // As numpy's `arange` steps: with the rounding of the first difference.
                let stride = (start - start / count as f64) - start;
                // Rounding lets `arange` give one timestep too many for some counts, -1, which is left out
                // here.
                (0..count).map(|index| (start + index as f64 * stride).round_ties_even() - 1.0).collect()
            }
        }
    }
}
