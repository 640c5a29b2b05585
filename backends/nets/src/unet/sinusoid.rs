// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The timestep as a vector of sines and cosines.
//!
//! Source: diffusers `models/embeddings.py`, `get_timestep_embedding`. Computed here in f32 for every
//! backend: in half precision the large timesteps' phases would be off by up to half a turn.

use crate::unet::config::SinusoidPlan;

/// The longest period, in timesteps, divided by 2π.
const MAX_PERIOD: f32 = 10_000.0;

/// The vectors of `timesteps`, one after the other: `[timesteps, width]`.
pub(crate) fn sinusoids(plan: SinusoidPlan, timesteps: &[f32]) -> Vec<f32> {
    let half = plan.width / 2;
    let frequency = |index| (-MAX_PERIOD.ln() * index as f32 / (half as f32 - plan.shift)).exp();
    let frequencies: Vec<f32> = (0..half).map(frequency).collect();
    let mut vectors = Vec::with_capacity(timesteps.len() * plan.width);
    for timestep in timesteps {
        let sines = frequencies.iter().map(|frequency| (timestep * frequency).sin());
        let cosines = frequencies.iter().map(|frequency| (timestep * frequency).cos());
        match plan.flip {
            true => vectors.extend(cosines.chain(sines)),
            false => vectors.extend(sines.chain(cosines)),
        }
        // An odd width has a zero at its end.
        vectors.extend((2 * half..plan.width).map(|_| 0.0));
    }
    vectors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(found: f32, expected: f32) {
        // A phase of some hundred turns has lost seven of its bits before the sine is taken.
        assert!((found - expected).abs() < 2e-5, "{found} instead of {expected}");
    }

    /// Expected values: `get_timestep_embedding` of diffusers 0.42.1 in f32.
    #[test]
    fn vectors_are_those_of_diffusers() {
        let plan = SinusoidPlan { width: 320, flip: true, shift: 0.0 };
        let vector = sinusoids(plan, &[981.0]);
        assert_eq!(vector.len(), 320);
        for (place, expected) in [(0, 0.679957), (1, -0.798429), (40, -0.757959), (100, -0.999224)] {
            assert_close(vector[place], expected);
        }
        for (place, expected) in [(159, 0.9946059), (160, 0.733252), (200, -0.652303), (319, 0.103726)] {
            assert_close(vector[place], expected);
        }
    }

    #[test]
    fn sines_first_and_shifted_with_a_zero_at_an_odd_end() {
        let plan = SinusoidPlan { width: 7, flip: false, shift: 1.0 };
        let expected = [
            [-0.0264608, -0.535603, 0.0997339, 0.99965, -0.84447, 0.995014, 0.0],
            [0.247404, 0.0025, 2.5e-5, 0.968912, 0.9999969, 1.0, 0.0],
        ];
        let found = sinusoids(plan, &[999.0, 0.25]);
        assert_eq!(found.len(), 14);
        found
            .iter()
            .zip(expected.as_flattened())
            .for_each(|(found, expected)| assert_close(*found, *expected));
    }
}
