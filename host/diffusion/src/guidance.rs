// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Classifier-free guidance: the prompt's pull, made stronger.

/// Whether `scale` changes anything. When it does not, the network need not run without the prompt.
pub fn is_used(scale: f32) -> bool {
    scale > 1.0
}

/// The guided prediction: from the one without the prompt towards the one with it, and `scale` times as far.
///
/// Source: Ho and Salimans 2022, arXiv:2207.12598, in the scaling of Imagen (1 is the prompt alone).
/// Both slices have the same length, which is the answer's.
pub fn guide(conditional: &[f32], unconditional: &[f32], scale: f32) -> Vec<f32> {
    let pairs = conditional.iter().zip(unconditional);
    pairs.map(|(&with, &without)| without + scale * (with - without)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guidance_of_one_is_the_prompt_alone_and_three_goes_three_times_as_far() {
        assert_eq!(guide(&[2.0, 5.0], &[1.0, 7.0], 1.0), [2.0, 5.0]);
        assert_eq!(guide(&[2.0, 5.0], &[1.0, 7.0], 3.0), [4.0, 1.0]);
        assert_eq!(guide(&[2.0, 5.0], &[1.0, 7.0], 0.0), [1.0, 7.0]);
    }

    #[test]
    fn only_guidance_above_one_needs_the_network_twice() {
        assert!(is_used(1.01) && is_used(7.5));
        assert!(!is_used(1.0) && !is_used(0.0) && !is_used(-3.0) && !is_used(f32::NAN));
    }
}
