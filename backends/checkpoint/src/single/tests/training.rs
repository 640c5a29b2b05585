// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How a model was trained, by the marks in its file.

use std::io::{Seek as _, SeekFrom};

use half::f16;

use super::*;

/// The scheduler of a file with these tensors and notes.
fn scheduler(tensors: &Tensors, notes: &Value) -> Value {
    let checkpoint = Written::new(tensors, notes).open().unwrap();
    serde_json::from_slice(&checkpoint.scheduler_config().unwrap()).unwrap()
}

#[test]
fn without_marks_a_model_is_trained_as_the_published_one() {
    for (sizes, class) in [
        (SD1, "PNDMScheduler"),
        (SD2, "PNDMScheduler"),
        (SDXL, "EulerDiscreteScheduler"),
        (REFINER, "EulerDiscreteScheduler"),
    ] {
        let found = scheduler(&sizes.tensors(), &json!({}));
        assert_eq!((&found["_class_name"], &found["prediction_type"]), (&json!(class), &json!("epsilon")));
        assert_eq!((&found["beta_start"], &found["beta_end"]), (&json!(0.00085), &json!(0.012)));
        assert_eq!((&found["clip_sample"], &found["steps_offset"]), (&json!(false), &json!(1)));
        assert!(found.get("rescale_betas_zero_snr").is_none());
    }
}

#[test]
fn marks_and_notes_say_that_the_velocity_is_predicted() {
    let marked = and(SDXL.tensors(), "v_pred", &[0]);
    assert_eq!(scheduler(&marked, &json!({}))["prediction_type"], "v_prediction");
    let note = |said: &str| {
        let notes = json!({ "modelspec.prediction_type": said });
        scheduler(&SD1.tensors(), &notes)["prediction_type"].clone()
    };
    assert_eq!([note("v"), note("epsilon"), note("?")], ["v_prediction", "epsilon", "epsilon"]);
}

#[test]
fn a_mark_says_that_the_noise_ends_without_any_signal() {
    let marked = and(and(SDXL.tensors(), "v_pred", &[]), "ztsnr", &[]);
    let found = scheduler(&marked, &json!({}));
    assert_eq!(found["rescale_betas_zero_snr"], true);
    assert_eq!(found["timestep_spacing"], "trailing");
    let found = scheduler(&SD1.tensors(), &json!({ "ss_zero_terminal_snr": "True" }));
    assert_eq!(found["rescale_betas_zero_snr"], true);
}

#[test]
fn a_title_says_that_a_model_was_distilled_to_a_few_steps() {
    let few_steps = |title: &str| {
        let notes = json!({ "modelspec.title": title });
        let checkpoint = Written::new(&SDXL.tensors(), &notes).open().unwrap();
        let spacing = scheduler(&SDXL.tensors(), &notes)["timestep_spacing"].clone();
        let few_steps = checkpoint.settings().unwrap().few_steps;
        assert_eq!(spacing, if few_steps { "trailing" } else { "leading" }, "{title}");
        few_steps
    };
    for title in ["SDXL Turbo 1.0", "dream_lightning-4step", "Hyper SD", "lcm"] {
        assert!(few_steps(title), "{title}");
    }
    for title in ["", "Stable Diffusion XL 1.0 Base", "Hyperion", "Turbocharged"] {
        assert!(!few_steps(title), "{title}");
    }
}

/// A second-generation file whose telling bias alternates between these values.
fn biased(low: f32, high: f32, notes: &Value) -> Value {
    biased_of(SD2, low, high, notes)
}

fn biased_of(sizes: Sizes, low: f32, high: f32, notes: &Value) -> Value {
    let tensors = sizes.tensors();
    let written = Written::new(&tensors, notes);
    let mut file = write(&written.path(), &tensors, notes);
    let bias = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias";
    let before = tensors.iter().take_while(|(name, _)| name != bias);
    let start: i64 = before.map(|(_, shape)| 2 * shape.iter().product::<usize>() as i64).sum();
    file.seek(SeekFrom::Current(start)).unwrap();
    for index in 0..320 {
        let value = f16::from_f32(if index % 2 == 0 { low } else { high });
        file.write_all(&value.to_le_bytes()).unwrap();
    }
    serde_json::from_slice(&written.open().unwrap().scheduler_config().unwrap()).unwrap()
}

#[test]
fn a_bias_that_spreads_tells_the_second_generations_large_models() {
    let none = json!({});
    assert_eq!(biased(-0.2, 0.2, &none)["prediction_type"], "v_prediction");
    assert_eq!(biased(-0.2, 0.2, &none)["_class_name"], "DDIMScheduler");
    assert_eq!(biased(0.15, 0.25, &none)["prediction_type"], "epsilon", "far from zero is not far apart");
    let said = json!({ "modelspec.prediction_type": "epsilon" });
    assert_eq!(biased(-0.2, 0.2, &said)["prediction_type"], "epsilon", "the file's own word counts");
    let inpainting = Sizes { input: 9, ..SD2 };
    assert_eq!(biased_of(inpainting, -0.2, 0.2, &none)["prediction_type"], "epsilon");
    assert_eq!(biased_of(SD1, -0.2, 0.2, &none)["prediction_type"], "epsilon");
}
