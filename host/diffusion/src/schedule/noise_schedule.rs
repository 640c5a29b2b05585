// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The named ways in which noise levels lie between the highest and the lowest one, as users of k-diffusion
//! and A1111 know them. All of them cover the model's whole range, whatever its own spacing.
//!
//! Sources: k-diffusion `sampling.py` (`get_sigmas_karras`, `get_sigmas_exponential`,
//! `get_sigmas_polyexponential`) and `external.py` (`DiscreteSchedule`); stable-diffusion-webui
//! `modules/sd_schedulers.py` for the others.

use super::{NoiseLevels, beta_distribution};

/// A named spread of noise levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoiseSchedule {
    /// Along a curve from the highest to the lowest level.
    Along(Curve),
    /// Evenly in the timestep, leaving out the cleanest, as Stability AI's own code does.
    SgmUniform,
    /// Every so many of the trained levels, as ComfyUI's "simple".
    Simple,
    /// Levels tuned for ten steps, stretched to any number: Sabour et al. 2024, arXiv:2404.14507.
    AlignYourSteps,
}

/// A curve from a high noise level down to a low one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// Evenly in `sigma^(1/7)`: Karras et al. 2022, arXiv:2206.00364, equation 5 with rho = 7.
    Karras,
    /// Evenly in `log(sigma)`.
    Exponential,
    /// Polynomial in `log(sigma)`; with the usual exponent of 1 the same levels as [`Self::Exponential`].
    Polyexponential,
    /// Dense at both ends, by a beta distribution: Lee et al. 2024, arXiv:2407.12173.
    Beta,
    /// Evenly in the angle `atan(sigma)`: Sabour et al. 2024, arXiv:2404.14507, theorem 3.1.
    KlOptimal,
}

/// The names of one noise schedule.
struct Names {
    /// What follows a sampler's name, in ALICE's words.
    name: &'static str,
    /// A1111's "Schedule type".
    label: &'static str,
    /// Another word for it, or the name again.
    alias: &'static str,
}

impl NoiseSchedule {
    /// Every named schedule.
    pub const ALL: [Self; 8] = [
        Self::Along(Curve::Karras),
        Self::Along(Curve::Exponential),
        Self::Along(Curve::Polyexponential),
        Self::SgmUniform,
        Self::Simple,
        Self::Along(Curve::Beta),
        Self::AlignYourSteps,
        Self::Along(Curve::KlOptimal),
    ];
    /// The most popular of them.
    pub const KARRAS: Self = Self::Along(Curve::Karras);

    /// ALICE's name for it, as it follows a sampler's name.
    pub fn name(self) -> &'static str {
        self.names().name
    }

    /// What A1111 calls it in a picture's parameters.
    pub fn label(self) -> &'static str {
        self.names().label
    }

    fn names(self) -> Names {
        let (name, label, alias) = match self {
            Self::Along(Curve::Karras) => ("karras", "Karras", "karras"),
            Self::Along(Curve::Exponential) => ("exponential", "Exponential", "exponential"),
            Self::Along(Curve::Polyexponential) => ("polyexponential", "Polyexponential", "poly_exponential"),
            Self::Along(Curve::Beta) => ("beta", "Beta", "beta"),
            Self::Along(Curve::KlOptimal) => ("kl_optimal", "KL Optimal", "kl_optimal"),
            Self::SgmUniform => ("sgm_uniform", "SGM Uniform", "sgm_uniform"),
            Self::Simple => ("simple", "Simple", "simple"),
            Self::AlignYourSteps => ("align_your_steps", "Align Your Steps", "ays"),
        };
        Names { name, label, alias }
    }

    /// Every way to read `name` as a sampler's name followed by a schedule's: the first part, and the
    /// schedule.
    pub(crate) fn split_off(name: &str) -> impl Iterator<Item = (&str, Self)> {
        Self::ALL.into_iter().flat_map(move |schedule| {
            let Names { name: own, label, alias } = schedule.names();
            [own, label, alias].into_iter().filter_map(move |word| Some((before(name, word)?, schedule)))
        })
    }

    /// `count` levels of a model, each with its timestep: (sigma, timestep), noisiest first. `tuned` are the
    /// levels that were found best for the model's kind.
    pub(crate) fn points(self, levels: &NoiseLevels, tuned: &[f64], count: usize) -> Vec<(f64, f64)> {
        let (lowest, highest) = levels.range();
        let sigmas = match self {
            Self::Along(curve) => curve.between(lowest.into(), highest.into(), count),
            Self::SgmUniform => sgm_uniform(levels, count),
            Self::Simple => simple(levels, count),
            Self::AlignYourSteps => stretched(tuned, count),
        };
        levels.with_timesteps(sigmas)
    }
}

impl Curve {
    /// `count` levels from `highest` down to `lowest`.
    pub(crate) fn between(self, lowest: f64, highest: f64, count: usize) -> Vec<f64> {
        let evenly = |to_scale: fn(f64) -> f64, from_scale: fn(f64) -> f64| {
            let (from, to) = (to_scale(highest), to_scale(lowest));
            ramp(count).map(|part| from_scale(from + part * (to - from))).collect()
        };
        match self {
            Self::Karras => evenly(|sigma| sigma.powf(1.0 / 7.0), |root| root.powf(7.0)),
            Self::Exponential | Self::Polyexponential => evenly(f64::ln, f64::exp),
            Self::KlOptimal => evenly(f64::atan, f64::tan),
            Self::Beta => {
                let share = |part: f64| beta_distribution::quantile(1.0 - part);
                ramp(count).map(|part| lowest + share(part) * (highest - lowest)).collect()
            }
        }
    }
}

/// `count` numbers from 0 to 1; one alone is 0.
fn ramp(count: usize) -> impl Iterator<Item = f64> {
    (0..count).map(move |index| index as f64 / (count - 1).max(1) as f64)
}

/// What stands before `word` at the end of `name`, in any case and with anything between words.
fn before<'a>(name: &'a str, word: &str) -> Option<&'a str> {
    let is_space = |letter: char| matches!(letter, ' ' | '_' | '-');
    let mut rest = name;
    for letter in word.chars().rev() {
        let last = rest.chars().next_back()?;
        let same = last.eq_ignore_ascii_case(&letter) || (is_space(last) && is_space(letter));
        if !same {
            return None;
        }
        rest = &rest[..rest.len() - last.len_utf8()];
    }
    rest.strip_suffix(is_space)
}

fn sgm_uniform(levels: &NoiseLevels, count: usize) -> Vec<f64> {
    let last = (levels.len() - 1) as f64;
    (0..count).map(|index| levels.at_fraction(last - last * index as f64 / count as f64)).collect()
}

fn simple(levels: &NoiseLevels, count: usize) -> Vec<f64> {
    let stride = levels.len() as f64 / count as f64;
    let timestep = |index: usize| levels.len() - 1 - (index as f64 * stride) as usize;
    (0..count).map(|index| levels.at(timestep(index)).into()).collect()
}

/// `levels` (noisiest first) brought to another count: evenly spaced on their broken line in `log(sigma)`.
fn stretched(levels: &[f64], count: usize) -> Vec<f64> {
    let last = levels.len() - 1;
    let between = |place: f64| {
        let low = (place as usize).min(last - 1);
        let (from, to) = (levels[low].ln(), levels[low + 1].ln());
        (from + (to - from) * (place - low as f64)).exp()
    };
    ramp(count).map(|part| between(part * last as f64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_split_off_a_samplers_name_in_every_spelling() {
        let split = |name| NoiseSchedule::split_off(name).next();
        assert_eq!(split("euler_karras"), Some(("euler", NoiseSchedule::KARRAS)));
        assert_eq!(split("DPM++ 2M Karras"), Some(("DPM++ 2M", NoiseSchedule::KARRAS)));
        assert_eq!(split("Euler a SGM Uniform"), Some(("Euler a", NoiseSchedule::SgmUniform)));
        assert_eq!(split("heun_sgm_uniform"), Some(("heun", NoiseSchedule::SgmUniform)));
        assert_eq!(split("euler-ays"), Some(("euler", NoiseSchedule::AlignYourSteps)));
        for other in ["karras", "euler", "eulerkarras", "", "_karra", "ö", "karras_euler"] {
            assert_eq!(split(other), None, "{other}");
        }
    }

    #[test]
    fn every_curve_goes_down_from_the_highest_to_the_lowest_level() {
        for schedule in NoiseSchedule::ALL {
            let NoiseSchedule::Along(curve) = schedule else { continue };
            let sigmas = curve.between(0.03, 14.6, 9);
            assert!((sigmas[0] - 14.6).abs() < 1e-9 && (sigmas[8] - 0.03).abs() < 1e-9, "{curve:?}");
            assert!(sigmas.windows(2).all(|pair| pair[0] > pair[1]), "{curve:?}: {sigmas:?}");
            assert!((curve.between(0.03, 14.6, 1)[0] - 14.6).abs() < 1e-9, "one step begins in noise");
        }
    }
}
