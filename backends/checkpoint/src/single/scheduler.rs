// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How a model without a `scheduler_config.json` was trained: as the published one of its family, unless marks in
//! the file say otherwise.

use serde_json::{Value, json};

use crate::{Error, Family, Listing};

/// Tensors without meaning but for their names, that say that the network predicts the velocity and that it was
/// trained down to no signal at all. Several trainers and interfaces write and read them.
const VELOCITY_MARK: &str = "v_pred";
const ZERO_SNR_MARK: &str = "ztsnr";
/// The same in the notes: of the model metadata standard (`modelspec`), and of the trainer that writes `ss_`.
const PREDICTION_NOTE: &str = "modelspec.prediction_type";
const ZERO_SNR_NOTE: &str = "ss_zero_terminal_snr";

/// A bias of Stable Diffusion 2 that tells its two kinds apart: in models that predict the velocity it spreads
/// wider.
///
/// Source: ComfyUI `comfy/supported_models.py`, `SD20.model_type`, for tensor and limit.
const TELLING_BIAS: &str = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias";
const TELLING_DEVIATION: f64 = 0.09;
/// It has 320 values of at most eight bytes.
const MAX_BIAS_BYTES: usize = 1 << 16;

/// The title that the file's maker gave the model, of the same standard.
const TITLE_NOTE: &str = "modelspec.title";
/// Words in the titles of models that were distilled to a few steps.
const DISTILLED: [&str; 4] = ["turbo", "lightning", "hyper", "lcm"];

/// Whether the file says of itself that its model was distilled to a few steps without guidance.
pub(super) fn takes_few_steps(listing: &Listing) -> bool {
    let title = listing.note(TITLE_NOTE).unwrap_or_default().to_ascii_lowercase();
    let mut words = title.split(|sign: char| !sign.is_ascii_alphabetic());
    words.any(|word| DISTILLED.contains(&word))
}

/// The scheduler of a model of `family` whose denoiser takes `input` channels, in the words of diffusers'
/// `scheduler_config.json`.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn config(listing: &Listing, family: Family, input: usize) -> Result<Value, Error> {
    let velocity = match listing.note(PREDICTION_NOTE) {
        _ if listing.contains(VELOCITY_MARK) => true,
        Some("v" | "v_prediction" | "v-prediction") => true,
        Some("epsilon") => false,
        // Those that take a picture beside the latent all predict the noise.
        _ => family == Family::Sd2 && input == 4 && spreads(listing)?,
    };
    let zero_snr = listing.contains(ZERO_SNR_MARK)
        || listing.note(ZERO_SNR_NOTE).is_some_and(|said| said.eq_ignore_ascii_case("true"));
    let is_xl = matches!(family, Family::Sdxl | Family::SdxlRefiner);
    let class = match (is_xl, velocity || zero_snr) {
        (true, _) => "EulerDiscreteScheduler",
        (false, true) => "DDIMScheduler",
        (false, false) => "PNDMScheduler",
    };
    let mut config = json!({
        "_class_name": class,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "clip_sample": false,
        "set_alpha_to_one": false,
        "skip_prk_steps": true,
        "steps_offset": 1,
        "prediction_type": if velocity { "v_prediction" } else { "epsilon" },
    });
    if is_xl {
        config["timestep_spacing"] = "leading".into();
    }
    if takes_few_steps(listing) {
        // As the published ones: with a handful of steps the first must begin where all is noise.
        config["timestep_spacing"] = "trailing".into();
    }
    if zero_snr {
        // The last timestep is the one that makes the difference, so it must be among the steps.
        config["rescale_betas_zero_snr"] = true.into();
        config["timestep_spacing"] = "trailing".into();
    }
    Ok(config)
}

/// Whether the bias that tells spreads as wide as in models that predict the velocity.
fn spreads(listing: &Listing) -> Result<bool, Error> {
    let Some(values) = listing.small(TELLING_BIAS, MAX_BIAS_BYTES)?.filter(|values| !values.is_empty())
    else {
        return Ok(false);
    };
    let mean_of = |values: &mut dyn Iterator<Item = f64>, count: f64| values.sum::<f64>() / count;
    let count = values.len() as f64;
    let mean = mean_of(&mut values.iter().map(|value| f64::from(*value)), count);
    let variance = mean_of(&mut values.iter().map(|value| (f64::from(*value) - mean).powi(2)), count);
    Ok(variance.sqrt() > TELLING_DEVIATION)
}
