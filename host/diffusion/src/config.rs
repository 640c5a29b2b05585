// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A model's `scheduler_config.json`: what its network was trained to predict, on which noise levels, and how
//! its authors space the steps.
//!
//! The meaning of a key is diffusers' own. A key that is absent or null has the default of the class that
//! reads it, so a model without `timestep_spacing` is spaced differently by different samplers. Keys that
//! nothing here reads are ignored, `clip_sample` and its relatives among them: the values of a latent have no
//! bounds to be clipped to, and diffusers' own Stable Diffusion pipeline turns that setting off.

mod json;

use serde::Deserialize;

use self::json::Keys;
use crate::schedule::{NoiseLevels, Spacing};
use crate::{Error, Result, Sampler};

/// What the network's answer is an estimate of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Prediction {
    /// The noise in its input.
    #[serde(rename = "epsilon")]
    Epsilon,
    /// The velocity between picture and noise: Salimans and Ho 2022, arXiv:2202.00512, appendix D.
    #[serde(rename = "v_prediction")]
    V,
    /// The picture itself.
    #[serde(rename = "sample", alias = "original_sample")]
    Sample,
}

/// How the added noise grows with the training timestep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BetaSchedule {
    /// Evenly.
    Linear,
    /// Evenly in its square root.
    ScaledLinear,
    /// So that the signal falls like a squared cosine.
    SquaredcosCapV2,
}

/// The variance of the noise that each training timestep adds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Betas {
    pub(crate) schedule: BetaSchedule,
    /// The first beta; unused by the cosine schedule, like `end`.
    pub(crate) start: f64,
    pub(crate) end: f64,
    /// Number of training timesteps.
    pub(crate) count: usize,
    /// Whether the schedule is stretched until its last timestep has no signal.
    pub(crate) zero_terminal_snr: bool,
}

/// The settings of a model that its samplers need.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerConfig {
    sampler: Option<Sampler>,
    prediction: Prediction,
    betas: Betas,
    spacing: Option<Spacing>,
    steps_offset: usize,
    karras: bool,
    alpha_ends_at_one: bool,
}

impl Default for SchedulerConfig {
    /// Those of Stable Diffusion 1.x, for model files that bring none. Like its own file they name no
    /// spacing, so each sampler has its own.
    fn default() -> Self {
        Self {
            sampler: None,
            prediction: Prediction::Epsilon,
            betas: Betas {
                schedule: BetaSchedule::ScaledLinear,
                start: 0.00085,
                end: 0.012,
                count: 1000,
                zero_terminal_snr: false,
            },
            spacing: None,
            steps_offset: 1,
            karras: false,
            alpha_ends_at_one: false,
        }
    }
}

/// The schedulers whose settings describe a network with discrete timesteps and betas, which is what every
/// sampler here can drive. The networks of all others (flow matching, EDM, cascades) are scaled differently.
const CLASSES: [&str; 16] = [
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "TCDScheduler",
    "UniPCMultistepScheduler",
];

/// Settings that change the steps in a way that no sampler here follows, each with the value that it must
/// have.
const FIXED: [(&str, &str); 11] = [
    ("final_sigmas_type", "zero"),
    ("interpolation_type", "linear"),
    ("lambda_min_clipped", "-Infinity"),
    ("thresholding", "false"),
    ("timestep_type", "discrete"),
    ("trained_betas", "null"),
    ("use_beta_sigmas", "false"),
    ("use_dynamic_shifting", "false"),
    ("use_exponential_sigmas", "false"),
    ("use_flow_sigmas", "false"),
    ("use_lu_lambdas", "false"),
];

impl SchedulerConfig {
    /// Reads the text of a `scheduler_config.json`.
    ///
    /// # Errors
    /// [`Error::SchedulerConfig`] for an impossible value and for one that would need a sampler that is not
    /// here; [`Error::SchedulerConfigFile`] for text that is no JSON object.
    pub fn from_json(text: &str) -> Result<Self> {
        let keys = Keys::parse(text)?;
        let class: Option<String> = keys.one_of("_class_name", &CLASSES)?;
        for (key, value) in FIXED {
            keys.must_be(key, value)?;
        }
        let betas = Betas::read(&keys)?;
        let steps_offset = keys.number("steps_offset", 0..=betas.count as u64 - 1)?.unwrap_or(0);
        let karras = keys.get("use_karras_sigmas")?.unwrap_or(false);
        Ok(Self {
            sampler: class.map(|class| sampler(&class, karras, &keys)).transpose()?.flatten(),
            prediction: keys.get("prediction_type")?.unwrap_or(Prediction::Epsilon),
            betas,
            spacing: keys.get("timestep_spacing")?,
            steps_offset: steps_offset as usize,
            karras,
            alpha_ends_at_one: keys.get("set_alpha_to_one")?.unwrap_or(true),
        })
    }

    /// The model's own sampler, if it is one of those here.
    pub fn sampler(&self) -> Option<Sampler> {
        self.sampler
    }

    /// What the network predicts.
    pub fn prediction(&self) -> Prediction {
        self.prediction
    }

    /// The same settings as the pipelines of Stable Diffusion read them: whatever an old file says or leaves
    /// out, `steps_offset` is 1.
    ///
    /// Source: diffusers `pipelines/stable_diffusion/pipeline_stable_diffusion.py`, `__init__`.
    #[must_use]
    pub fn for_stable_diffusion(self) -> Self {
        let steps_offset = 1.min(self.betas.count - 1);
        Self { steps_offset, ..self }
    }

    /// Number of timesteps that the network was trained on: the most steps that a schedule can have.
    pub fn train_timesteps(&self) -> usize {
        self.betas.count
    }

    pub(crate) fn betas(&self) -> &Betas {
        &self.betas
    }

    /// How the steps lie, if the model says so.
    pub(crate) fn spacing(&self) -> Option<Spacing> {
        self.spacing
    }

    /// What leading spacing adds to every timestep. Below the number of training timesteps.
    pub(crate) fn steps_offset(&self) -> usize {
        self.steps_offset
    }

    /// Whether Euler's sampler uses Karras' noise levels. The DPM++ samplers say so in their names.
    pub(crate) fn karras(&self) -> bool {
        self.karras
    }

    /// Whether DDIM's last step removes all noise, or stops at the first training timestep's level.
    pub(crate) fn alpha_ends_at_one(&self) -> bool {
        self.alpha_ends_at_one
    }
}

/// The sampler of a model whose scheduler is `class`.
fn sampler(class: &str, karras: bool, keys: &Keys) -> Result<Option<Sampler>> {
    Ok(match class {
        "EulerDiscreteScheduler" => Some(Sampler::Euler),
        "EulerAncestralDiscreteScheduler" => Some(Sampler::EulerAncestral),
        "DDIMScheduler" => Some(Sampler::Ddim),
        "DPMSolverMultistepScheduler" => {
            let order: u64 = keys.get("solver_order")?.unwrap_or(2);
            let solver: Option<String> = keys.get("solver_type")?;
            let algorithm: Option<String> = keys.get("algorithm_type")?;
            match algorithm.as_deref().unwrap_or("dpmsolver++") {
                _ if order != 2 || solver.is_some_and(|solver| solver != "midpoint") => None,
                "dpmsolver++" => Some(if karras { Sampler::Dpmpp2mKarras } else { Sampler::Dpmpp2m }),
                "sde-dpmsolver++" => Some(if karras { Sampler::DpmppSdeKarras } else { Sampler::DpmppSde }),
                _ => None,
            }
        }
        _ => None,
    })
}

impl Betas {
    fn read(keys: &Keys) -> Result<Self> {
        let betas = Self {
            schedule: keys.get("beta_schedule")?.unwrap_or(BetaSchedule::Linear),
            start: keys.fraction("beta_start")?.unwrap_or(0.0001),
            end: keys.fraction("beta_end")?.unwrap_or(0.02),
            // Two make a range; the upper bound keeps a hostile file from allocating gigabytes.
            count: keys.number("num_train_timesteps", 2..=100_000)?.unwrap_or(1000) as usize,
            zero_terminal_snr: keys.get("rescale_betas_zero_snr")?.unwrap_or(false),
        };
        if NoiseLevels::new(&betas).with_finite_end().are_sound() {
            return Ok(betas);
        }
        let problem = "these betas over so many timesteps leave no signal or add no noise".to_owned();
        let value = format!("{} (beta_start {}, beta_end {})", betas.count, betas.start, betas.end);
        Err(Error::SchedulerConfig { key: "num_train_timesteps", value, problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings with one key as in `value`, which is JSON.
    fn with(key: &str, value: &str) -> Result<SchedulerConfig> {
        SchedulerConfig::from_json(&format!("{{\"{key}\": {value}}}"))
    }

    #[test]
    fn absent_keys_have_the_defaults_of_diffusers_classes() {
        let config = SchedulerConfig::from_json("{}").unwrap();
        assert_eq!(config.prediction(), Prediction::Epsilon);
        assert_eq!(
            (config.betas.schedule, config.betas.start, config.betas.end),
            (BetaSchedule::Linear, 1e-4, 0.02)
        );
        assert_eq!((config.train_timesteps(), config.steps_offset, config.spacing), (1000, 0, None));
        assert_eq!(config.clone().for_stable_diffusion().steps_offset, 1, "as its pipeline sets it");
        assert!(config.alpha_ends_at_one && !config.karras && config.sampler.is_none());
        assert_eq!(with("prediction_type", "null").unwrap(), config);
    }

    #[test]
    fn the_default_is_the_file_of_stable_diffusion_1() {
        let file = r#"{"_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_end": 0.012,
            "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000,
            "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1, "trained_betas": null,
            "clip_sample": false}"#;
        assert_eq!(SchedulerConfig::from_json(file).unwrap(), SchedulerConfig::default());
    }

    #[test]
    fn the_models_own_sampler_is_known_by_its_class_and_algorithm() {
        let own = |keys: &str| {
            SchedulerConfig::from_json(&format!("{{\"_class_name\": {keys}}}")).unwrap().sampler()
        };
        assert_eq!(own(r#""EulerDiscreteScheduler""#), Some(Sampler::Euler));
        assert_eq!(own(r#""EulerAncestralDiscreteScheduler""#), Some(Sampler::EulerAncestral));
        assert_eq!(own(r#""DDIMScheduler", "clip_sample": true"#), Some(Sampler::Ddim));
        assert_eq!(own(r#""PNDMScheduler""#), None);
        let dpm = |keys: &str| own(&format!(r#""DPMSolverMultistepScheduler", {keys}"#));
        assert_eq!(dpm(r#""use_karras_sigmas": false"#), Some(Sampler::Dpmpp2m));
        assert_eq!(dpm(r#""use_karras_sigmas": true"#), Some(Sampler::Dpmpp2mKarras));
        assert_eq!(dpm(r#""algorithm_type": "sde-dpmsolver++""#), Some(Sampler::DpmppSde));
        let both = r#""algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": true"#;
        assert_eq!(dpm(both), Some(Sampler::DpmppSdeKarras));
        assert_eq!(dpm(r#""algorithm_type": "dpmsolver""#), None);
        assert_eq!(dpm(r#""solver_order": 3"#), None);
        assert_eq!(dpm(r#""solver_type": "heun""#), None);
    }

    #[test]
    fn python_writes_infinities_that_json_does_not_know() {
        assert!(with("lambda_min_clipped", "-Infinity").is_ok());
        assert!(with("note", r#""\" -Infinity, NaN \\""#).is_ok());
        for value in ["NaN", "Infinity", "-Infinity"] {
            assert!(with("beta_start", value).unwrap_err().to_string().contains("`beta_start` is \"",));
        }
    }

    #[test]
    fn impossible_and_unsupported_values_are_errors_that_name_key_and_value() {
        let long = format!("\"{}\"", "x".repeat(1_000_000));
        for (key, value) in [
            ("_class_name", r#""FlowMatchEulerDiscreteScheduler""#),
            ("_class_name", "7"),
            ("beta_schedule", r#""sigmoid""#),
            ("beta_schedule", &long),
            ("beta_start", "0"),
            ("beta_start", "-0.1"),
            ("beta_end", "1"),
            ("beta_end", "\"a\""),
            ("final_sigmas_type", r#""sigma_min""#),
            ("interpolation_type", r#""log_linear""#),
            ("lambda_min_clipped", "-5.1"),
            ("num_train_timesteps", "0"),
            ("num_train_timesteps", "1"),
            ("num_train_timesteps", "-1000"),
            ("num_train_timesteps", "1000000000"),
            ("num_train_timesteps", "1000.5"),
            ("prediction_type", r#""flow_prediction""#),
            ("rescale_betas_zero_snr", "1"),
            ("set_alpha_to_one", "\"yes\""),
            ("steps_offset", "-1"),
            ("steps_offset", "1000"),
            ("steps_offset", "1000000000"),
            ("thresholding", "true"),
            ("timestep_spacing", r#""log""#),
            ("timestep_type", r#""continuous""#),
            ("trained_betas", "[0.1]"),
            ("use_exponential_sigmas", "true"),
            ("use_karras_sigmas", "[]"),
            ("use_lu_lambdas", "true"),
        ] {
            let message = with(key, value).unwrap_err().to_string();
            let shown: String = value.chars().take(30).collect();
            assert!(message.contains(&format!("`{key}` is {shown}")), "{message}");
            assert!(message.len() < 1000, "{} bytes", message.len());
        }
    }

    #[test]
    fn betas_that_leave_nothing_to_learn_are_errors() {
        for betas in [
            r#"{"beta_start": 0.99, "beta_end": 0.99}"#,
            r#"{"beta_start": 1e-12, "beta_end": 1e-12}"#,
            r#"{"num_train_timesteps": 100000}"#,
            r#"{"beta_start": 1e-300, "beta_end": 0.5, "rescale_betas_zero_snr": true}"#,
        ] {
            assert!(SchedulerConfig::from_json(betas).unwrap_err().to_string().contains("betas"), "{betas}");
        }
    }

    #[test]
    fn text_that_is_no_object_is_an_error() {
        for text in ["", "{", "[]", "null", "\"", "\"\\", "{\"beta_start\": 1e999}", &"[".repeat(100_000)] {
            let error = SchedulerConfig::from_json(text).unwrap_err();
            assert!(matches!(error, Error::SchedulerConfigFile(_)), "{error}");
        }
    }
}
