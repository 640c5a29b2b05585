// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Pseudo numerical methods on the manifold of noisy pictures: the transfer of DDIM, with the network's last
//! answers joined as a multistep method joins slopes.
//!
//! Source: Liu et al. 2022, arXiv:2202.09778, equations 9, 12 and 13; diffusers' `PNDMScheduler`. With
//! `skip_prk_steps`, as all Stable Diffusion models set it, it is PLMS of Stable Diffusion's first release.

use std::collections::VecDeque;

use super::{
    About, Run, Space,
    ddim::{self, mixed},
};
use crate::schedule::{NoiseLevels, Step, Table};
use crate::{Denoise, Latent, Point, Result, SchedulerConfig};

pub(super) const ABOUT: About = About {
    name: "pndm",
    label: "PLMS",
    aliases: &["k_plms"],
    class: Some("PNDMScheduler"),
    space: Space::Network,
};

/// Steps by the method of Runge and Kutta, after which there are answers enough for the multistep method.
const RUNGE_KUTTA_STEPS: usize = 3;

pub(super) fn table(config: &SchedulerConfig, steps: usize) -> Result<Table> {
    Ok(ddim::strided(config, config.alpha_ends_at_one(false), steps))
}

/// What is left of all `steps` for a run that begins so many of them later.
///
/// diffusers leaves out timesteps from the front of a list in which the second one stands twice, for the two
/// evaluations of the first step. So the first step that is left begins one timestep before its place, or at its
/// place if that is the second, and leads to the level from which the next one is counted; the timestep between
/// them is that of its second evaluation.
pub(super) fn begun(steps: &[Step], begin: usize) -> Vec<Step> {
    let mut left = steps[begin..].to_vec();
    if begin > 0 {
        left[0] = steps[(begin - 1).max(1)];
    }
    left
}

pub(super) async fn walk<D: Denoise>(
    run: Run<'_, D>,
    mut x: Latent,
) -> std::result::Result<Latent, D::Error> {
    let pndm = Pndm {
        levels: NoiseLevels::of(run.config),
        stride: run.config.train_timesteps() / run.whole.len(),
        run,
    };
    // Fewer steps are not enough to leave the method of Runge and Kutta again, and it has no stages for a run that
    // begins later.
    let with_runge_kutta = !pndm.run.config.skips_runge_kutta()
        && pndm.run.begin() == 0
        && pndm.run.steps.len() > RUNGE_KUTTA_STEPS;
    let second = pndm.run.whole.get(pndm.run.begin().max(1));
    // The network's last answers, the newest first.
    let mut answers = VecDeque::new();
    for (index, step) in pndm.run.steps.iter().enumerate() {
        let answer = pndm.run.denoiser.raw(&x, step.at).await?;
        answers.push_front(answer);
        answers.truncate(4);
        let (next, denoised) = match (pndm.run.steps.get(index + 1), second) {
            (Some(following), _) if with_runge_kutta && index < RUNGE_KUTTA_STEPS => {
                pndm.runge_kutta(&x, &answers[0], step, following).await?
            }
            (_, Some(second)) if index == 0 => pndm.warm_up(&x, &answers[0], step, second).await?,
            _ => pndm.transferred(&x, &adams_bashforth(&answers), step.at.sigma, step.next),
        };
        x = pndm.run.kept_after(index, next);
        pndm.run.denoiser.stepped(index, &denoised)?;
    }
    Ok(x)
}

struct Pndm<'a, D> {
    run: Run<'a, D>,
    levels: NoiseLevels,
    /// Training timesteps that one step goes back.
    stride: usize,
}

impl<D: Denoise> Pndm<'_, D> {
    /// `x` brought from one noise level to another along the network's `answer`, and the picture seen in it.
    fn transferred(&self, x: &Latent, answer: &Latent, from: f32, to: f32) -> (Latent, Latent) {
        let (picture, noise) = self.run.denoiser.split(x, answer, from);
        (mixed(&picture, &noise, to), picture)
    }

    /// The first step without history: there and again, with the mean of the answers at both ends.
    async fn warm_up(
        &self,
        x: &Latent,
        first: &Latent,
        step: &Step,
        following: &Step,
    ) -> std::result::Result<(Latent, Latent), D::Error> {
        let (predicted, _) = self.transferred(x, first, step.at.sigma, step.next);
        let predicted = self.run.kept(predicted, following.at.sigma);
        let second = self.run.denoiser.raw(&predicted, following.at).await?;
        let mean = first.zip(&second, |first, second| (first + second) / 2.0);
        // diffusers' own start of this step, which for some spacings is not the first point.
        let start = self.levels.at(following.at.t as usize + self.stride);
        Ok(self.transferred(x, &mean, start, following.at.sigma))
    }

    /// A step by the classical method of Runge and Kutta; `first` is the answer at its beginning.
    async fn runge_kutta(
        &self,
        x: &Latent,
        first: &Latent,
        step: &Step,
        following: &Step,
    ) -> std::result::Result<(Latent, Latent), D::Error> {
        let half = self.stride / 2;
        let (start, end) = (step.at.t as usize, following.at.t as usize);
        let middle = Point { sigma: self.levels.at(end + half), t: (end + half) as f32 };
        let from = step.at.sigma;
        let answer_at = async |level: f32, along: &Latent, at: Point| {
            let (there, _) = self.transferred(x, along, from, level);
            let there = self.run.kept(there, at.sigma);
            self.run.denoiser.raw(&there, at).await
        };
        // Whole timesteps have no exact middle: the first half is counted from the beginning.
        let second = answer_at(self.levels.at(start.saturating_sub(half)), first, middle).await?;
        let third = answer_at(middle.sigma, &second, middle).await?;
        let fourth = answer_at(following.at.sigma, &third, following.at).await?;
        let outer = first.zip(&fourth, |first, fourth| (first + fourth) / 6.0);
        let inner = second.zip(&third, |second, third| (second + third) / 3.0);
        let mean = outer.zip(&inner, |outer, inner| outer + inner);
        Ok(self.transferred(x, &mean, from, following.at.sigma))
    }
}

/// The network's answer halfway through the step, extrapolated from the last ones (the newest first).
fn adams_bashforth(answers: &VecDeque<Latent>) -> Latent {
    let weights: &[f32] = match answers.len() {
        1 => &[1.0],
        2 => &[3.0 / 2.0, -1.0 / 2.0],
        3 => &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
        _ => &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
    };
    let mut sum = Latent::zeros(answers[0].shape);
    for (answer, weight) in answers.iter().zip(weights) {
        sum = sum.zip(answer, |sum, answer| sum + weight * answer);
    }
    sum
}
