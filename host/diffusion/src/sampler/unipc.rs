// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! UniPC: a multistep predictor, and a corrector that uses each new estimate once more for the step before,
//! at no further evaluation.
//!
//! Source: Zhao et al. 2023, arXiv:2302.04867, algorithms 5 and 6 (data prediction), equations 5 to 9;
//! diffusers' `UniPCMultistepScheduler` with `predict_x0`.

use std::collections::VecDeque;

use super::{About, Run, Space};
use crate::schedule::Table;
use crate::{Denoise, Latent, Result, SchedulerConfig};

pub(super) const ABOUT: About = About {
    name: "unipc",
    label: "UniPC",
    aliases: &["uni_pc", "uni_pc_bh2"],
    class: Some("UniPCMultistepScheduler"),
    space: Space::Sigma,
};

pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Result<Table> {
    Ok(Table::multistep(config, config.curve(), steps))
}

/// Estimates of the picture with lambda = -ln(sigma) of where they were made, the newest first.
type Estimates = VecDeque<(f64, Latent)>;

pub(super) async fn walk<D: Denoise>(
    run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    let solver = run.config.solver();
    let mut estimates = Estimates::new();
    // The latent that the last step began with and the order that it had.
    let mut last: Option<(Latent, usize)> = None;
    for (index, step) in run.steps.iter().enumerate() {
        let denoised = run.denoiser.denoised(&x, step.at).await?;
        let lambda = -f64::from(step.at.sigma).ln();
        if let Some((before, order)) = last.take().filter(|_| estimates[0].0 < lambda) {
            let terms = Terms::of(&estimates, lambda, order, solver.is_bh1);
            x = terms.corrected(&before, &estimates, &denoised, order);
        }
        // Two estimates at one level (more steps than timesteps) have no difference to use.
        estimates.retain(|(other, _)| *other != lambda);
        estimates.push_front((lambda, denoised));
        estimates.truncate(solver.order);
        // The step to 0 is infinitely long, and whatever lies before it no direction.
        let order = if step.next == 0.0 { 1 } else { solver.order_at(run.begin() + index, run.whole.len()) };
        let order = order.min(estimates.len());
        last = Some((x.clone(), order));
        x = if step.next < step.at.sigma {
            let terms = Terms::of(&estimates, -f64::from(step.next).ln(), order, solver.is_bh1);
            terms.predicted(&x, &estimates, order)
        } else {
            x
        };
        x = run.kept_after(index, x);
        run.denoiser.stepped(index, &estimates[0].1)?;
    }
    Ok(x)
}

/// The numbers of one step from the newest of some estimates to another level.
struct Terms {
    /// What is left of the latent: the quotient of the two noise levels.
    kept: f64,
    /// `B(h)` of the paper.
    b_of_h: f64,
    /// Where the older estimates lie, in lengths of the step; then 1, its end.
    ratios: Vec<f64>,
    /// The right-hand side of equation 5.
    right: Vec<f64>,
}

impl Terms {
    fn of(estimates: &Estimates, lambda: f64, order: usize, is_bh1: bool) -> Self {
        let from = estimates[0].0;
        let length = lambda - from;
        let older = estimates.iter().skip(1).take(order - 1);
        let mut ratios: Vec<f64> = older.map(|(other, _)| (other - from) / length).collect();
        ratios.push(1.0);
        let b_of_h = if is_bh1 { -length } else { (-length).exp_m1() };
        let mut right = Vec::new();
        // phi_k(-h) by the recursion below equation 5.
        let (mut phi, mut factorial) = ((-length).exp_m1() / -length - 1.0, 1.0);
        for k in 1..=order {
            right.push(phi * factorial / b_of_h);
            factorial *= (k + 1) as f64;
            phi = phi / -length - 1.0 / factorial;
        }
        Self { kept: (-length).exp(), b_of_h, ratios, right }
    }

    /// The step with what is known at its beginning.
    fn predicted(&self, x: &Latent, estimates: &Estimates, order: usize) -> Latent {
        let weights = match order {
            1 => vec![],
            // The paper's choice for this order, whatever B(h).
            2 => vec![0.5],
            _ => solved(&self.ratios[..order - 1], &self.right[..order - 1]),
        };
        self.stepped(x, estimates, &weights, None)
    }

    /// The same step with the estimate at its end.
    fn corrected(&self, x: &Latent, estimates: &Estimates, end: &Latent, order: usize) -> Latent {
        let mut weights = match order {
            1 => vec![0.5],
            _ => solved(&self.ratios, &self.right),
        };
        let last = weights.pop().map(|weight| (end, weight));
        self.stepped(x, estimates, &weights, last)
    }

    fn stepped(
        &self,
        x: &Latent,
        estimates: &Estimates,
        weights: &[f64],
        end: Option<(&Latent, f64)>,
    ) -> Latent {
        let newest = &estimates[0].1;
        let kept = self.kept as f32;
        let mut stepped = x.zip(newest, |x, newest| kept * x + (1.0 - kept) * newest);
        let mut add = |estimate: &Latent, weight: f64| {
            let weight = (self.b_of_h * weight) as f32;
            let change = estimate.zip(newest, |estimate, newest| weight * (estimate - newest));
            stepped = stepped.zip(&change, |stepped, change| stepped - change);
        };
        for ((weight, ratio), (_, older)) in weights.iter().zip(&self.ratios).zip(estimates.iter().skip(1)) {
            add(older, weight / ratio);
        }
        if let Some((end, weight)) = end {
            add(end, weight);
        }
        stepped
    }
}

/// The weights w for which the sum over k of `ratios[k]^i * w[k]` is `right[i]`, for every i: by elimination,
/// of at most three unknowns.
fn solved(ratios: &[f64], right: &[f64]) -> Vec<f64> {
    let count = ratios.len();
    let mut rows: Vec<Vec<f64>> = (0..count)
        .map(|power| {
            let row = ratios.iter().map(|ratio| ratio.powi(power as i32));
            row.chain([right[power]]).collect()
        })
        .collect();
    for pivot in 0..count {
        let pivot_row = rows[pivot].clone();
        for (_, row) in rows.iter_mut().enumerate().filter(|(index, _)| *index != pivot) {
            let factor = row[pivot] / pivot_row[pivot];
            row.iter_mut().zip(&pivot_row).for_each(|(value, above)| *value -= factor * above);
        }
    }
    (0..count).map(|index| rows[index][count] / rows[index][index]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_solve_their_equations() {
        let (ratios, right) = ([-1.5, -0.4, 1.0], [0.3, -0.2, 0.7]);
        for count in 1..=3 {
            let weights = solved(&ratios[..count], &right[..count]);
            for (power, right) in right[..count].iter().enumerate() {
                let sum: f64 = (0..count).map(|k| ratios[k].powi(power as i32) * weights[k]).sum();
                assert!((sum - right).abs() < 1e-12);
            }
        }
    }
}
