// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Prompt weights: `(apple:1.3)` makes the tokens of "apple" count more.
//!
//! Source: AUTOMATIC1111 `modules/sd_emphasis.py`, the "Original" kind, which the images shared on the web
//! were made with.

/// Multiplies the vector of each token by the token's weight, then all by the one factor that restores the
/// mean. `embedding` is one chunk, `[tokens, width]`, with one of `weights` for each token.
pub(crate) fn emphasise(embedding: &mut [f32], weights: &[f32]) {
    let before = mean(embedding);
    let width = embedding.len() / weights.len();
    for (token, weight) in embedding.chunks_mut(width).zip(weights) {
        token.iter_mut().for_each(|value| *value *= weight);
    }
    let factor = (before / mean(embedding)) as f32;
    // A mean of zero cannot be restored from; the weighted vectors stay as they are then.
    if factor.is_finite() {
        embedding.iter_mut().for_each(|value| *value *= factor);
    }
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_change_the_proportions_and_keep_the_mean() {
        let mut embedding = [1.0, 2.0, 3.0, 6.0];
        emphasise(&mut embedding, &[1.0, 2.0]);
        // Weighted: 1 2 6 12, the mean 5.25 instead of 3.
        let factor = 3.0 / 5.25;
        for (value, expected) in embedding.iter().zip([1.0, 2.0, 6.0, 12.0]) {
            assert!((value - expected * factor).abs() < 1e-6, "{embedding:?}");
        }
    }

    #[test]
    fn a_mean_of_zero_is_left_alone() {
        let mut embedding = [1.0, 1.0, 1.0, 1.0];
        emphasise(&mut embedding, &[2.0, -2.0]);
        assert_eq!(embedding, [2.0, 2.0, -2.0, -2.0]);
        emphasise(&mut embedding, &[0.0, 0.0]);
        assert_eq!(embedding, [0.0; 4]);
    }
}
