// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the keys of a `scheduler_config.json` mean, and how unusable values are refused.

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
    assert!(config.alpha_ends_at_one.is_none() && config.curve.is_none() && config.sampler.is_none());
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
    let own =
        |keys: &str| SchedulerConfig::from_json(&format!("{{\"_class_name\": {keys}}}")).unwrap().sampler();
    for method in Method::ALL {
        let Some(class) = method.about().class else { continue };
        assert_eq!(own(&format!("{class:?}")), Some(Sampler::from(*method)));
    }
    assert_eq!(own(r#""DDIMScheduler", "clip_sample": true"#), Some(Method::Ddim.into()));
    assert_eq!(own(r#""DPMSolverSinglestepScheduler""#), Some(Method::Dpmpp2m.into()));
    let dpm = |keys: &str| own(&format!(r#""DPMSolverMultistepScheduler", {keys}"#));
    assert_eq!(dpm(r#""use_karras_sigmas": false"#), Some(Method::Dpmpp2m.into()));
    assert_eq!(dpm(r#""use_karras_sigmas": true"#), Some(Sampler::DPMPP_2M_KARRAS));
    assert_eq!(dpm(r#""algorithm_type": "sde-dpmsolver++""#), Some(Method::Dpmpp2mSde.into()));
    let both = r#""algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": true"#;
    assert_eq!(dpm(both), Some(Sampler::DPMPP_SDE_KARRAS));
    assert_eq!(dpm(r#""algorithm_type": "dpmsolver""#), Some(Method::Dpmpp2m.into()), "the nearest");
    assert_eq!(dpm(r#""solver_order": 3"#), Some(Method::Dpmpp2m.into()), "the nearest");
    assert_eq!(dpm(r#""solver_type": "heun""#), Some(Method::Dpmpp2m.into()), "the nearest");
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
        ("_class_name", r#""EDMEulerScheduler""#),
        ("_class_name", "7"),
        ("beta_schedule", r#""sigmoid""#),
        ("beta_schedule", &long),
        ("beta_start", "0"),
        ("beta_start", "-0.1"),
        ("beta_end", "1"),
        ("beta_end", "\"a\""),
        ("final_sigmas_type", r#""sigma_max""#),
        ("invert_sigmas", "true"),
        ("original_inference_steps", "0"),
        ("solver_order", "4"),
        ("solver_type", r#""euler""#),
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
        ("timestep_scaling", "0"),
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
fn a_flow_takes_no_curve_and_predicts_the_flow() {
    let flow = r#""_class_name": "FlowMatchEulerDiscreteScheduler""#;
    for keys in [r#""use_karras_sigmas": true"#, r#""prediction_type": "epsilon""#] {
        assert!(SchedulerConfig::from_json(&format!("{{{flow}, {keys}}}")).is_err(), "{keys}");
    }
    let config = SchedulerConfig::from_json(&format!("{{{flow}}}")).unwrap();
    assert_eq!(
        (config.prediction(), config.sampler()),
        (Prediction::Flow, Some(Method::FlowMatchEuler.into()))
    );
    assert!(with("prediction_type", r#""flow_prediction""#).is_err());
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
