// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The beta distribution with both shapes 0.6, which the "beta" noise schedule follows.

/// Both shapes of the distribution: Lee et al. 2024, arXiv:2407.12173, section 4.
const SHAPE: f64 = 0.6;
/// The beta function of that shape, B(0.6, 0.6).
const BETA: f64 = 2.415_344_208_002_472_3;

/// The value that a share of `probability` (0 to 1) of the distribution lies below.
pub(super) fn quantile(probability: f64) -> f64 {
    if probability <= 0.0 || probability >= 1.0 {
        return probability.clamp(0.0, 1.0);
    }
    // The distribution is symmetric, and small values can be told apart more finely than those near 1.
    if probability > 0.5 {
        return 1.0 - quantile(1.0 - probability);
    }
    let (mut low, mut high) = (0.0, 0.5);
    // Halving leaves nothing to halve after the 1074 steps from 1 to the smallest number; 200 are plenty.
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if cumulative(middle) < probability { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// The share of the distribution below `x`, 0 to 0.5: the regularised incomplete beta function.
///
/// Source: the power series of Abramowitz and Stegun 1964, 26.5.4 (as a hypergeometric function): for shapes
/// a and b it is x^a / (a B) times the sum over n of (1 - b)(2 - b)...(n - b) / n! * a / (a + n) * x^n.
fn cumulative(x: f64) -> f64 {
    let (mut factor, mut sum) = (1.0, 1.0);
    let mut n = 0.0;
    // At x = 0.5 each term is less than half of the last one.
    while factor > f64::EPSILON * 1e-3 {
        n += 1.0;
        factor *= (n - SHAPE) / n * x;
        sum += factor * SHAPE / (SHAPE + n);
    }
    x.powf(SHAPE) / (SHAPE * BETA) * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_scipy() {
        // scipy 1.17.1, `scipy.stats.beta.ppf(p, 0.6, 0.6)`.
        for (probability, value) in [
            (1e-6, 1.8558824624053043e-10),
            (0.001, 1.855873851745199e-5),
            (0.05, 0.012554456873611399),
            (0.25, 0.17568037865269498),
            (0.3, 0.23401700387523572),
            (0.5, 0.5),
            (0.7, 0.7659829961247643),
            (0.99, 0.9991387611784571),
        ] {
            let found = quantile(probability);
            assert!((found - value).abs() <= 1e-11 * value, "{probability}: {found}, not {value}");
        }
    }

    #[test]
    fn a_quantile_inverts_the_share_below_it() {
        for step in 1..100 {
            let probability = f64::from(step) / 200.0;
            assert!((cumulative(quantile(probability)) - probability).abs() < 1e-14);
            assert!((quantile(probability) + quantile(1.0 - probability) - 1.0).abs() < 1e-14);
        }
        assert_eq!((quantile(0.0), quantile(1.0)), (0.0, 1.0));
    }
}
