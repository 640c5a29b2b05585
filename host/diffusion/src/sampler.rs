// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The samplers: each in a file of its own, found here by name.

mod run;

use std::fmt;
use std::str::FromStr;

pub(crate) use self::run::Run;
use crate::denoise::signal_and_noise;
use crate::error::shortened;
use crate::schedule::{Curve, NoiseSchedule, Step, Table};
use crate::{Denoise, Error, Latent, Result, SchedulerConfig};

/// Declares the samplers' files and makes [`Method`] of them. Each has three items: `ABOUT`, its names;
/// `table(config, steps)`, where the network is asked; and `walk(run, x)`, the loop.
macro_rules! samplers {
    ($($file:ident => $method:ident,)+) => {
        $(mod $file;)+

        /// A way from noise to a picture: one file under `sampler/` each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each is described in its file")]
        pub enum Method {
            $($method,)+
        }

        impl Method {
            /// Every method, in the order in which they are listed to people.
            pub const ALL: &[Self] = &[$(Self::$method,)+];

            pub(crate) fn about(self) -> &'static About {
                match self {
                    $(Self::$method => &$file::ABOUT,)+
                }
            }

            fn table(self, config: &SchedulerConfig, steps: usize) -> Result<Table> {
                match self {
                    $(Self::$method => $file::table(config, steps),)+
                }
            }

            async fn walk<D: Denoise>(
                self,
                run: Run<'_, D>,
                x: Latent,
            ) -> std::result::Result<Latent, D::Error> {
                match self {
                    $(Self::$method => $file::walk(run, x).await,)+
                }
            }
        }
    };
}

samplers! {
    euler => Euler,
    euler_ancestral => EulerAncestral,
    heun => Heun,
    lms => Lms,
    ddim => Ddim,
    ddpm => Ddpm,
    pndm => Pndm,
    dpm2 => Dpm2,
    dpm2_ancestral => Dpm2Ancestral,
    dpmpp_2m => Dpmpp2m,
    dpmpp_2m_sde => Dpmpp2mSde,
    dpmpp_3m_sde => Dpmpp3mSde,
    dpmpp_2s_ancestral => Dpmpp2sAncestral,
    dpmpp_sde => DpmppSde,
    unipc => Unipc,
    deis => Deis,
    lcm => Lcm,
    tcd => Tcd,
    flow_match_euler => FlowMatchEuler,
}

/// What a method is called, and on what it works.
pub(crate) struct About {
    /// ALICE's name for it, as in requests and in the configuration.
    pub(crate) name: &'static str,
    /// What A1111 calls it in a picture's parameters.
    pub(crate) label: &'static str,
    /// Further names.
    pub(crate) aliases: &'static [&'static str],
    /// The class of diffusers that does the same, if there is one: an alias too.
    pub(crate) class: Option<&'static str>,
    /// What its latent is made of.
    pub(crate) space: Space,
}

/// What a sampler's latent is made of between the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// picture + sigma * noise. The noise levels are free, so named noise schedules can be used.
    Sigma,
    /// picture and noise in shares that keep the variance, at the model's own timesteps.
    Network,
    /// (1 - sigma) * picture + sigma * noise, for models of flow matching.
    Flow,
}

impl Space {
    /// The latent of a picture with noise at noise level `sigma`: diffusers' `add_noise` and `scale_noise`.
    pub(crate) fn noised(self, picture: &Latent, noise: &Latent, sigma: f32) -> Latent {
        match self {
            Self::Sigma => picture.zip(noise, |picture, noise| picture + sigma * noise),
            Self::Network => ddim::mixed(picture, noise, sigma),
            Self::Flow => picture.zip(noise, |picture, noise| (1.0 - sigma) * picture + sigma * noise),
        }
    }
}

/// A method, on the noise levels that the model's settings lead to or on a named noise schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sampler {
    method: Method,
    schedule: Option<NoiseSchedule>,
}

impl From<Method> for Sampler {
    fn from(method: Method) -> Self {
        Self { method, schedule: None }
    }
}

impl Sampler {
    /// The stochastic DPM-Solver++ on Karras' noise levels: what the Python ALICE uses unless told otherwise.
    pub const DPMPP_SDE_KARRAS: Self =
        Self { method: Method::Dpmpp2mSde, schedule: Some(NoiseSchedule::KARRAS) };
    /// The deterministic DPM-Solver++ on Karras' noise levels.
    pub const DPMPP_2M_KARRAS: Self = Self { method: Method::Dpmpp2m, schedule: Some(NoiseSchedule::KARRAS) };

    /// The samplers that are listed to people: every method, and the two that are known with Karras' levels.
    pub fn listed() -> impl Iterator<Item = Self> {
        let with_karras = [Self::DPMPP_2M_KARRAS, Self::DPMPP_SDE_KARRAS];
        Method::ALL.iter().map(|&method| method.into()).chain(with_karras)
    }

    /// `self` on a named noise schedule.
    ///
    /// # Errors
    /// [`Error::OwnTimesteps`] for a method whose timesteps are part of it.
    pub fn on(self, schedule: NoiseSchedule) -> Result<Self> {
        match self.method.about().space {
            Space::Sigma => Ok(Self { schedule: Some(schedule), ..self }),
            Space::Network | Space::Flow => Err(Error::OwnTimesteps { sampler: self.method.about().name }),
        }
    }

    /// Its method.
    pub fn method(self) -> Method {
        self.method
    }

    /// ALICE's name for it, as in requests and in the configuration: `euler`, `euler_karras`.
    pub fn name(self) -> String {
        self.to_string()
    }

    /// What A1111 calls the method in a picture's parameters.
    pub fn label(self) -> &'static str {
        self.method.about().label
    }

    /// What A1111 calls the spacing of its noise levels: `Karras`, ... or `Automatic`.
    pub fn schedule_label(self) -> &'static str {
        self.schedule.map_or("Automatic", NoiseSchedule::label)
    }

    /// Whether it can sample a model of this kind.
    pub fn fits(self, config: &SchedulerConfig) -> bool {
        (self.method.about().space == Space::Flow) == config.flow_shift().is_some()
    }

    /// The steps it takes on a model with these settings.
    pub(crate) fn table(self, config: &SchedulerConfig, steps: usize) -> Result<Table> {
        match self.schedule {
            None => self.method.table(config, steps),
            // These two names have always meant diffusers' own Karras levels.
            Some(NoiseSchedule::KARRAS) if matches!(self.method, Method::Dpmpp2m | Method::Dpmpp2mSde) => {
                Ok(Table::multistep(config, Some(Curve::Karras), steps))
            }
            Some(schedule) => Ok(Table::named(config, schedule, steps)),
        }
    }

    /// What its latent is made of.
    pub(crate) fn space(self) -> Space {
        self.method.about().space
    }

    /// How many of `steps` a run takes that goes back only a part of the way to noise: [`Schedule::from_strength`](crate::Schedule::from_strength).
    pub fn steps_taken(self, steps: usize, strength: f64) -> usize {
        steps - self.left_out(steps, strength)
    }

    /// The number of `steps` that are left out for a run that goes back only a part of the way to noise.
    ///
    /// Source: `get_timesteps` of diffusers' pipelines for pictures; those of flow matching round the number of steps
    /// up, the others down.
    pub(crate) fn left_out(self, steps: usize, strength: f64) -> usize {
        let taken = steps as f64 * strength.clamp(0.0, 1.0);
        match self.space() {
            Space::Flow => (steps as f64 - taken) as usize,
            Space::Sigma | Space::Network => steps - taken as usize,
        }
    }

    /// Those of all `steps` that a run takes which leaves out the first `begin`, fewer than there are.
    pub(crate) fn begun(self, steps: &[Step], begin: usize) -> Vec<Step> {
        match self.method {
            Method::Pndm => pndm::begun(steps, begin),
            _ => steps[begin..].to_vec(),
        }
    }

    /// Takes those steps, from the first latent `x` to the finished one, in the network's space.
    pub(crate) async fn walk<D: Denoise>(
        self,
        run: Run<'_, D>,
        x: Latent,
    ) -> std::result::Result<Latent, D::Error> {
        let end = run.steps.last().map_or(0.0, |step| step.next);
        let x = self.method.walk(run, x).await?;
        // Where no noise is left, picture + sigma * noise is the picture in either space.
        if self.method.about().space != Space::Sigma || end == 0.0 {
            return Ok(x);
        }
        let (signal, _) = signal_and_noise(end);
        Ok(x.map(|x| signal * x))
    }
}

impl Method {
    /// The method of a scheduler class of diffusers.
    pub(crate) fn of_class(class: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|method| method.about().class == Some(class))
    }

    fn named(name: &str) -> Option<Self> {
        let is_named = |method: &Self| {
            let About { name: own, label, aliases, class, .. } = *method.about();
            let names = [own, label].into_iter().chain(class).chain(aliases.iter().copied());
            names.into_iter().any(|known| known.eq_ignore_ascii_case(name))
        };
        Self::ALL.iter().copied().find(is_named)
    }
}

impl FromStr for Sampler {
    type Err = Error;

    /// Any of a method's names, A1111's and diffusers' among them, in upper or lower case; then, if wanted,
    /// a noise schedule's: `dpm++_2m_karras`, `DPM++ 2M Karras`, `Euler a SGM Uniform`.
    ///
    /// # Errors
    /// [`Error::UnknownSampler`], which lists the names; [`Error::OwnTimesteps`].
    fn from_str(name: &str) -> Result<Self> {
        if let Some(method) = Method::named(name) {
            return Ok(method.into());
        }
        let mut parts = NoiseSchedule::split_off(name);
        match parts.find_map(|(first, schedule)| Some((Method::named(first)?, schedule))) {
            Some((method, schedule)) => Self::from(method).on(schedule),
            None => Err(Error::UnknownSampler {
                name: shortened(name, 80),
                known: Self::listed().map(Self::name).collect::<Vec<_>>().join(", "),
                schedules: NoiseSchedule::ALL.map(NoiseSchedule::name).join(", "),
            }),
        }
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.method.about().name)?;
        match self.schedule {
            Some(schedule) => write!(f, "_{}", schedule.name()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
