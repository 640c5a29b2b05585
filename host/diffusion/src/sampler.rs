// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The samplers by name: what clients call them, and where each is written down.

mod ddim;
mod dpmpp_2m;
mod dpmpp_2m_sde;
mod euler;
mod euler_ancestral;

use std::fmt;
use std::str::FromStr;

use crate::denoise::Denoiser;
use crate::error::shortened;
use crate::schedule::{Step, Table};
use crate::{Denoise, Error, Latent, Noise, SchedulerConfig};

/// A way from noise to a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sampler {
    /// Euler's method.
    Euler,
    /// Euler's method with fresh noise after each step.
    EulerAncestral,
    /// Denoising diffusion implicit models, without added noise.
    Ddim,
    /// DPM-Solver++, second order, multistep.
    Dpmpp2m,
    /// [`Dpmpp2m`](Self::Dpmpp2m) on Karras' noise levels.
    Dpmpp2mKarras,
    /// The stochastic DPM-Solver++, second order, multistep; one evaluation a step.
    DpmppSde,
    /// [`DpmppSde`](Self::DpmppSde) on Karras' noise levels.
    DpmppSdeKarras,
}

/// The names of one sampler.
struct Names {
    name: &'static str,
    /// The sampler in the words of A1111's picture parameters.
    label: &'static str,
    /// The "Schedule type" in the same place.
    schedule_label: &'static str,
    aliases: &'static [&'static str],
}

impl Sampler {
    /// Every sampler.
    pub const ALL: [Self; 7] = [
        Self::Euler,
        Self::EulerAncestral,
        Self::Ddim,
        Self::Dpmpp2m,
        Self::Dpmpp2mKarras,
        Self::DpmppSde,
        Self::DpmppSdeKarras,
    ];

    /// ALICE's name for it, as in requests and in the configuration.
    pub fn name(self) -> &'static str {
        self.names().name
    }

    /// What A1111 calls the sampler in a picture's parameters.
    pub fn label(self) -> &'static str {
        self.names().label
    }

    /// What A1111 calls the spacing of its noise levels: `Karras` or `Automatic`.
    pub fn schedule_label(self) -> &'static str {
        self.names().schedule_label
    }

    // A1111's "DPM++ SDE" evaluates the network twice a step and is another sampler: its name is not an
    // alias.
    fn names(self) -> Names {
        let (name, label, schedule_label, aliases): (_, _, _, &[_]) = match self {
            Self::Euler => ("euler", "Euler", "Automatic", &["EulerDiscreteScheduler", "k_euler"]),
            Self::EulerAncestral => (
                "euler_ancestral",
                "Euler a",
                "Automatic",
                &["euler_a", "EulerAncestralDiscreteScheduler", "k_euler_a"],
            ),
            Self::Ddim => ("ddim", "DDIM", "Automatic", &["ddim_uniform", "DDIMScheduler"]),
            Self::Dpmpp2m => (
                "dpm++_2m",
                "DPM++ 2M",
                "Automatic",
                &[
                    "dpm++",
                    "dpm_solver++",
                    "dpmsolver++",
                    "dpm++2m",
                    "dpmpp_2m",
                    "DPMSolverMultistepScheduler",
                ],
            ),
            Self::Dpmpp2mKarras => (
                "dpm++_2m_karras",
                "DPM++ 2M",
                "Karras",
                &["dpm++_karras", "dpm++2m_karras", "dpmpp_2m_karras", "DPM++ 2M Karras"],
            ),
            Self::DpmppSde => (
                "dpm++_sde",
                "DPM++ 2M SDE",
                "Automatic",
                &["sde-dpmsolver++", "dpm++_2m_sde", "dpmpp_2m_sde"],
            ),
            Self::DpmppSdeKarras => (
                "dpm++_sde_karras",
                "DPM++ 2M SDE",
                "Karras",
                &["dpm++_2m_sde_karras", "dpmpp_2m_sde_karras", "DPM++ 2M SDE Karras"],
            ),
        };
        Names { name, label, schedule_label, aliases }
    }

    /// The steps it takes on a model with these settings.
    pub(crate) fn table(self, config: &SchedulerConfig, steps: usize) -> Table {
        match self {
            Self::Euler => euler::table(config, steps),
            Self::EulerAncestral => euler_ancestral::table(config, steps),
            Self::Ddim => ddim::table(config, steps),
            Self::Dpmpp2m | Self::DpmppSde => dpmpp_2m::table(config, steps),
            Self::Dpmpp2mKarras | Self::DpmppSdeKarras => dpmpp_2m::karras_table(config, steps),
        }
    }

    /// Takes those steps, from the first latent `x` to the finished one.
    pub(crate) async fn walk<D: Denoise>(
        self,
        denoiser: &Denoiser<'_, D>,
        steps: &[Step],
        x: Latent,
        noise: &mut Noise,
    ) -> Result<Latent, D::Error> {
        match self {
            Self::Euler => euler::walk(denoiser, steps, x).await,
            Self::EulerAncestral => euler_ancestral::walk(denoiser, steps, x, noise).await,
            Self::Ddim => ddim::walk(denoiser, steps, x).await,
            Self::Dpmpp2m | Self::Dpmpp2mKarras => dpmpp_2m::walk(denoiser, steps, x).await,
            Self::DpmppSde | Self::DpmppSdeKarras => dpmpp_2m_sde::walk(denoiser, steps, x, noise).await,
        }
    }
}

impl FromStr for Sampler {
    type Err = Error;

    /// Any of a sampler's names, A1111's and diffusers' among them, in upper or lower case.
    ///
    /// # Errors
    /// [`Error::UnknownSampler`], which lists the names.
    fn from_str(name: &str) -> Result<Self, Error> {
        let is_named = |sampler: &Self| {
            let names = sampler.names();
            // A label alone means the sampler on its usual noise levels.
            let label = (names.schedule_label != "Karras").then_some(names.label);
            let known = [Some(names.name), label].into_iter().flatten();
            known.chain(names.aliases.iter().copied()).any(|known| known.eq_ignore_ascii_case(name))
        };
        Self::ALL.into_iter().find(is_named).ok_or_else(|| Error::UnknownSampler {
            name: shortened(name, 80),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sampler_is_found_by_its_name_and_its_aliases_in_any_case() {
        for sampler in Sampler::ALL {
            let names = sampler.names();
            for name in names.aliases.iter().copied().chain([names.name]) {
                assert_eq!(name.parse(), Ok(sampler));
                assert_eq!(name.to_uppercase().parse(), Ok(sampler));
            }
        }
        assert_eq!("euler a".parse(), Ok(Sampler::EulerAncestral));
        assert_eq!("DPM++ 2M".parse(), Ok(Sampler::Dpmpp2m));
        assert_eq!("DPM++ 2M SDE".parse(), Ok(Sampler::DpmppSde));
        assert_eq!("dpm++_karras".parse(), Ok(Sampler::Dpmpp2mKarras));
    }

    #[test]
    fn no_name_means_two_samplers() {
        let mut seen = std::collections::HashSet::new();
        for sampler in Sampler::ALL {
            let names = sampler.names();
            for name in names.aliases.iter().copied().chain([names.name]) {
                assert!(seen.insert(name.to_lowercase()), "{name}");
            }
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_names() {
        for unknown in ["", "eulr", "DPM++ SDE", "dpm++ sde karras", &"x".repeat(100_000)] {
            let message = unknown.parse::<Sampler>().unwrap_err().to_string();
            assert!(Sampler::ALL.iter().all(|sampler| message.contains(sampler.name())), "{message}");
            assert!(message.len() < 400);
        }
    }
}
