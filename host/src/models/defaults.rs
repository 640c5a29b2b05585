// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a request leaves open, and what is usual for a model then.

use alice_checkpoint::Family;
use alice_checkpoint::diffusers::Settings;
use alice_diffusion::{Method, Sampler, SchedulerConfig};
use serde::Serialize;

use super::Model;
use crate::config::Generation;
use crate::draft::{
    DEFAULT_GUIDANCE_SCALE, DEFAULT_SAMPLER, DEFAULT_STEPS, GUIDANCE, SIDES, STEPS, default_sampler, within,
};
use crate::error::Result;

/// Parameters that a request leaves out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Defaults {
    pub steps: Option<u32>,
    pub guidance_scale: Option<f32>,
    pub scheduler: Option<String>,
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub clip_skip: Option<u32>,
}

impl Defaults {
    /// The same rules as for the numbers that a request says.
    pub(super) fn check(&self) -> Result<()> {
        within("steps", self.steps, STEPS)?;
        within("guidance_scale", self.guidance_scale, GUIDANCE)?;
        within("width", self.width, SIDES)?;
        within("height", self.height, SIDES).map(drop)
    }

    /// What is said here, else there.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            steps: self.steps.or(other.steps),
            guidance_scale: self.guidance_scale.or(other.guidance_scale),
            scheduler: self.scheduler.or(other.scheduler),
            width: self.width.or(other.width),
            height: self.height.or(other.height),
            clip_skip: self.clip_skip.or(other.clip_skip),
        }
    }

    /// What is usual for a family, and for models that were distilled to few steps, as far as their own sampler or
    /// their file's title gives that away. Turbo and Lightning models do not differ from others in their tensors;
    /// where the title is silent, their owners say it in the sidecar.
    ///
    /// Sources: the Python ALICE's 25 steps; guidance of diffusers' pipelines (7.5, for SDXL 5); four steps
    /// without guidance for consistency models, Luo et al. 2023, arXiv:2311.05556, and Zheng et al. 2024,
    /// arXiv:2402.19159.
    pub(super) fn usual(family: Family, scheduler: &SchedulerConfig, settings: Settings) -> Self {
        let distilled = [Method::Lcm, Method::Tcd].map(Sampler::from);
        let few_steps =
            settings.few_steps || scheduler.sampler().is_some_and(|sampler| distilled.contains(&sampler));
        let (steps, guidance_scale) = match family {
            _ if few_steps => (4, 1.0),
            Family::Sd1 | Family::Sd2 => (DEFAULT_STEPS, DEFAULT_GUIDANCE_SCALE),
            Family::Sdxl | Family::SdxlRefiner => (DEFAULT_STEPS, 5.0),
        };
        Self { steps: Some(steps), guidance_scale: Some(guidance_scale), ..Self::default() }
    }
}

/// What a request gets that leaves everything open, in whole numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeftOpen {
    /// Steps.
    pub steps: u32,
    /// Guidance scale.
    pub guidance_scale: f32,
    /// The scheduler's name.
    pub scheduler: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// What a request for `model` gets that leaves everything open: the configuration's word, else the model's. Without
/// any model it is what Stable Diffusion 1 would get.
pub fn left_open(model: Option<&Model>, generation: &Generation) -> LeftOpen {
    let usual = || Defaults::usual(Family::Sd1, &SchedulerConfig::default(), Settings::default());
    let (own, native) =
        model.map_or_else(|| (usual(), 512), |model| (model.defaults.clone(), model.native_size));
    let configured = generation.default_scheduler.as_deref();
    LeftOpen {
        steps: generation.default_steps.or(own.steps).unwrap_or(DEFAULT_STEPS),
        guidance_scale: generation
            .default_guidance_scale
            .or(own.guidance_scale)
            .unwrap_or(DEFAULT_GUIDANCE_SCALE),
        scheduler: match model {
            Some(model) => default_sampler(model, configured).name(),
            None => configured.map_or_else(|| DEFAULT_SAMPLER.name(), str::to_owned),
        },
        width: generation.default_width.or(own.width).unwrap_or(native),
        height: generation.default_height.or(own.height).unwrap_or(native),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_own_word_comes_before_what_is_usual() {
        let usual = Defaults::usual(Family::Sdxl, &SchedulerConfig::default(), Settings::default());
        assert_eq!((usual.steps, usual.guidance_scale), (Some(25), Some(5.0)));
        let own = Defaults { steps: Some(8), ..Defaults::default() };
        let both = own.or(usual);
        assert_eq!((both.steps, both.guidance_scale), (Some(8), Some(5.0)));
    }

    #[test]
    fn distilled_models_take_few_steps_without_guidance() {
        let lcm = SchedulerConfig::from_json(r#"{"_class_name": "LCMScheduler"}"#).unwrap();
        let usual = Defaults::usual(Family::Sd1, &lcm, Settings::default());
        assert_eq!((usual.steps, usual.guidance_scale), (Some(4), Some(1.0)));
        let titled = Settings { few_steps: true, ..Settings::default() };
        let usual = Defaults::usual(Family::Sdxl, &SchedulerConfig::default(), titled);
        assert_eq!((usual.steps, usual.guidance_scale), (Some(4), Some(1.0)));
    }
}
