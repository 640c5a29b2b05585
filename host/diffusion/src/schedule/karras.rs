// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Noise levels that spend more steps where there is little noise.

use super::NoiseLevels;

/// `count` levels from `highest` down to `lowest`, evenly spaced in `sigma^(1/7)`.
///
/// Source: Karras et al. 2022, arXiv:2206.00364, equation 5 with rho = 7.
pub(super) fn sigmas(lowest: f64, highest: f64, count: usize) -> Vec<f64> {
    const RHO: f64 = 7.0;
    let (from, to) = (highest.powf(1.0 / RHO), lowest.powf(1.0 / RHO));
    let ramp = |index: usize| index as f64 / (count - 1).max(1) as f64;
    (0..count).map(|index| (from + ramp(index) * (to - from)).powf(RHO)).collect()
}

impl NoiseLevels {
    /// Karras' levels between two of a model's own, each with its timestep: (sigma, timestep), noisiest
    /// first.
    pub(crate) fn karras(&self, lowest: f64, highest: f64, count: usize) -> Vec<(f64, f64)> {
        sigmas(lowest, highest, count).into_iter().map(|sigma| (sigma, self.timestep_of(sigma))).collect()
    }
}
