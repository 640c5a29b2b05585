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
mod solver;

use serde::Deserialize;

use self::json::Keys;
pub(crate) use self::solver::Solver;
use crate::schedule::{Curve, NoiseLevels, Spacing};
use crate::{Error, Method, Result, Sampler};

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
    /// The direction from picture to noise: Lipman et al. 2022, arXiv:2210.02747.
    #[serde(rename = "flow_prediction")]
    Flow,
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
    curve: Option<Curve>,
    ends_at_lowest_level: bool,
    alpha_ends_at_one: Option<bool>,
    solver: Solver,
    skips_runge_kutta: bool,
    has_large_variance: bool,
    distilled_steps: usize,
    timestep_scaling: f32,
    flow_shift: Option<f64>,
    tuned_levels: &'static [f64; 11],
}

/// The levels that Sabour et al. 2024, arXiv:2404.14507, found best for ten steps of Stable Diffusion 1.x, as
/// their authors publish them; the last one is that of plain k-diffusion schedules.
const TUNED_FOR_SD: [f64; 11] =
    [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029];
/// The same for Stable Diffusion XL.
const TUNED_FOR_SDXL: [f64; 11] =
    [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029];

impl Default for SchedulerConfig {
    /// Those of Stable Diffusion 1.x, for model files that bring none. Like its own file they name no
    /// spacing, so each sampler has its own.
    fn default() -> Self {
        let file = r#"{"_class_name": "PNDMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085,
            "beta_end": 0.012, "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1}"#;
        Self::from_json(file).expect("the settings of Stable Diffusion 1.x are known here")
    }
}

/// The schedulers whose settings describe a network that some sampler here can drive, beside those that are
/// samplers here. The networks of all others (EDM, cascades) are scaled differently.
const OTHER_CLASSES: [&str; 1] = ["DPMSolverSinglestepScheduler"];

/// Settings that change the steps in a way that no sampler here follows, each with the value that it must
/// have.
const FIXED: [(&str, &str); 15] = [
    ("disable_corrector", "[]"),
    ("interpolation_type", "linear"),
    ("invert_sigmas", "false"),
    ("lambda_min_clipped", "-Infinity"),
    ("thresholding", "false"),
    ("predict_x0", "true"),
    ("shift_terminal", "null"),
    ("sigma_max", "null"),
    ("sigma_min", "null"),
    ("stochastic_sampling", "false"),
    ("timestep_type", "discrete"),
    ("trained_betas", "null"),
    ("use_dynamic_shifting", "false"),
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
        let classes = Method::ALL.iter().filter_map(|method| method.about().class).chain(OTHER_CLASSES);
        let class: Option<String> = keys.one_of("_class_name", &classes.collect::<Vec<_>>())?;
        for (key, value) in FIXED {
            keys.must_be(key, value)?;
        }
        let is_flow = class.as_deref() == Method::FlowMatchEuler.about().class;
        let betas = Betas::read(&keys)?;
        let steps_offset = keys.number("steps_offset", 0..=betas.count as u64 - 1)?.unwrap_or(0);
        let curve = curve(&keys, is_flow)?;
        let distilled_steps = keys.number("original_inference_steps", 1..=betas.count as u64)?;
        Ok(Self {
            sampler: class.map(|class| sampler(&class, curve, &keys)).transpose()?,
            prediction: prediction(&keys, is_flow)?,
            spacing: keys.get("timestep_spacing")?,
            steps_offset: steps_offset as usize,
            curve,
            ends_at_lowest_level: keys.one_of("final_sigmas_type", &["zero", "sigma_min"])?.as_deref()
                == Some("sigma_min"),
            alpha_ends_at_one: keys.get("set_alpha_to_one")?,
            solver: Solver::read(&keys)?,
            skips_runge_kutta: keys.get("skip_prk_steps")?.unwrap_or(false),
            has_large_variance: keys.one_of("variance_type", &["fixed_small", "fixed_large"])?.as_deref()
                == Some("fixed_large"),
            distilled_steps: distilled_steps.unwrap_or(50.min(betas.count as u64)) as usize,
            timestep_scaling: keys.positive("timestep_scaling")?.unwrap_or(10.0) as f32,
            flow_shift: match is_flow {
                true => Some(keys.positive("shift")?.unwrap_or(1.0)),
                false => None,
            },
            tuned_levels: &TUNED_FOR_SD,
            betas,
        })
    }

    /// The model's own sampler, or the nearest of those here; `None` if the file names no scheduler.
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

    /// The same settings for a model of Stable Diffusion XL: what was found best for its kind.
    #[must_use]
    pub fn for_stable_diffusion_xl(self) -> Self {
        Self { tuned_levels: &TUNED_FOR_SDXL, ..self }
    }

    /// The same settings for a network that predicts something else than its file says.
    #[must_use]
    pub fn with_prediction(self, prediction: Prediction) -> Self {
        Self { prediction, ..self }
    }

    /// The same settings for a network that was trained, or was not, down to a last timestep without any signal.
    /// Such a network must begin there: where its file does not space the steps from their end, they are spaced so.
    ///
    /// Source: Lin et al. 2024, arXiv:2305.08891, sections 3.1 and 3.3.
    #[must_use]
    pub fn with_zero_terminal_snr(self, zero_terminal_snr: bool) -> Self {
        let spacing = if zero_terminal_snr { Some(Spacing::Trailing) } else { self.spacing };
        Self { spacing, betas: Betas { zero_terminal_snr, ..self.betas }, ..self }
    }

    /// How the model was trained, in words.
    pub(crate) fn kind(&self) -> &'static str {
        if self.flow_shift.is_some() { "flow matching" } else { "diffusion" }
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

    /// The curve that the model's settings ask for in place of its own levels.
    pub(crate) fn curve(&self) -> Option<Curve> {
        self.curve
    }

    /// Whether Euler and the multistep solvers end at the lowest level and not without any noise.
    pub(crate) fn ends_at_lowest_level(&self) -> bool {
        self.ends_at_lowest_level
    }

    /// Whether the last step of DDIM and its relatives removes all noise, or stops at the first training
    /// timestep's level. A sampler's own answer stands where the model says nothing.
    pub(crate) fn alpha_ends_at_one(&self, own: bool) -> bool {
        self.alpha_ends_at_one.unwrap_or(own)
    }

    /// How the multistep solvers join their estimates.
    pub(crate) fn solver(&self) -> &Solver {
        &self.solver
    }

    /// Whether PNDM begins with the multistep method at once.
    pub(crate) fn skips_runge_kutta(&self) -> bool {
        self.skips_runge_kutta
    }

    /// Whether DDPM adds the larger of the two noises that the chain allows.
    pub(crate) fn has_large_variance(&self) -> bool {
        self.has_large_variance
    }

    /// Number of timesteps that a consistency model was distilled on, out of those of training.
    pub(crate) fn distilled_steps(&self) -> usize {
        self.distilled_steps
    }

    /// What timesteps are multiplied by in the boundary condition of consistency models.
    pub(crate) fn timestep_scaling(&self) -> f32 {
        self.timestep_scaling
    }

    /// The shift of the noise levels of a model of flow matching; `None` for a model of diffusion.
    pub(crate) fn flow_shift(&self) -> Option<f64> {
        self.flow_shift
    }

    /// The levels that were found best for ten steps with this kind of model, noisiest first.
    pub(crate) fn tuned_levels(&self) -> &'static [f64] {
        self.tuned_levels
    }
}

/// The curve that the settings ask for; diffusers refuses two, and no sampler of flows here takes one.
fn curve(keys: &Keys, is_flow: bool) -> Result<Option<Curve>> {
    let mut found = None;
    for (key, curve) in [
        ("use_karras_sigmas", Curve::Karras),
        ("use_exponential_sigmas", Curve::Exponential),
        ("use_beta_sigmas", Curve::Beta),
    ] {
        if keys.get(key)?.unwrap_or(false) && (found.replace(curve).is_some() || is_flow) {
            let most =
                if is_flow { "no curve can be used for flow matching" } else { "only one curve can be used" };
            let problem = most.to_owned();
            return Err(Error::SchedulerConfig { key, value: "true".to_owned(), problem });
        }
    }
    Ok(found)
}

fn prediction(keys: &Keys, is_flow: bool) -> Result<Prediction> {
    let key = "prediction_type";
    let stated = keys.get(key)?;
    let wrong = |value: &str, problem: &str| {
        Err(Error::SchedulerConfig { key, value: value.to_owned(), problem: problem.to_owned() })
    };
    match stated {
        Some(Prediction::Flow) if !is_flow => {
            wrong("\"flow_prediction\"", "needs a scheduler of flow matching")
        }
        Some(prediction) if is_flow && prediction != Prediction::Flow => {
            wrong(&format!("{prediction:?}"), "flow matching predicts the flow")
        }
        _ if is_flow => Ok(Prediction::Flow),
        stated => Ok(stated.unwrap_or(Prediction::Epsilon)),
    }
}

/// The sampler of a model whose scheduler is `class`, or the nearest of those here: DPM-Solver of another order
/// or type is one of second order.
fn sampler(class: &str, curve: Option<Curve>, keys: &Keys) -> Result<Sampler> {
    let method = Method::of_class(class).unwrap_or(Method::Dpmpp2m);
    if method != Method::Dpmpp2m {
        return Ok(method.into());
    }
    let algorithm: Option<String> = keys.get("algorithm_type")?;
    let is_stochastic = algorithm.is_some_and(|algorithm| algorithm.starts_with("sde-"));
    Ok(match (is_stochastic, curve == Some(Curve::Karras)) {
        (false, true) => Sampler::DPMPP_2M_KARRAS,
        (false, false) => Method::Dpmpp2m.into(),
        (true, true) => Sampler::DPMPP_SDE_KARRAS,
        (true, false) => Method::Dpmpp2mSde.into(),
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
mod tests;
