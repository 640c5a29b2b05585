// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The ways in which people's files spell the same networks, and what they leave out or keep.

use super::*;

/// The names and shapes of a network.
fn shapes(checkpoint: &Checkpoint, component: &str) -> Vec<(String, Vec<usize>)> {
    let entries = checkpoint.catalog(component).unwrap().entries;
    entries.into_iter().map(|(name, entry)| (name, entry.shape)).collect()
}

/// `tensors` with one beginning of their names replaced by another.
fn renamed(tensors: Tensors, from: &str, to: &str) -> Tensors {
    let rename = |name: String| name.strip_prefix(from).map(|rest| format!("{to}{rest}")).unwrap_or(name);
    tensors.into_iter().map(|(name, shape)| (rename(name), shape)).collect()
}

#[test]
fn a_text_encoder_may_come_without_the_module_around_it() {
    let usual = open(&SD1.tensors());
    let bare =
        renamed(SD1.tensors(), "cond_stage_model.transformer.text_model.", "cond_stage_model.transformer.");
    assert_eq!(shapes(&open(&bare), "text_encoder"), shapes(&usual, "text_encoder"));
}

#[test]
fn openclips_text_encoder_may_come_in_the_spelling_of_transformers() {
    let usual = open(&SD2.tensors());
    let entries = shapes(&usual, "text_encoder");
    let spelt =
        entries.into_iter().map(|(name, shape)| (format!("cond_stage_model.transformer.{name}"), shape));
    let mut tensors = without(SD2.tensors(), "cond_stage_model.");
    tensors.extend(spelt);
    let other = open(&tensors);
    assert_eq!(other.family(), Family::Sd2);
    assert_eq!(shapes(&other, "text_encoder"), shapes(&usual, "text_encoder"));
    assert_eq!(other.config::<Value>("text_encoder").unwrap()["hidden_act"], "gelu");

    let usual = open(&SDXL.tensors());
    let entries = shapes(&usual, "text_encoder_2");
    let slot = "conditioner.embedders.1.";
    let spelt = entries.into_iter().map(|(name, shape)| (format!("{slot}transformer.{name}"), shape));
    let mut tensors = without(SDXL.tensors(), slot);
    tensors.extend(spelt);
    assert_eq!(shapes(&open(&tensors), "text_encoder_2"), shapes(&usual, "text_encoder_2"));
}

#[test]
fn the_last_layer_that_stable_diffusion_2_does_not_hear_may_be_missing() {
    let cut = without(SD2.tensors(), "cond_stage_model.model.transformer.resblocks.23.");
    assert_eq!(shapes(&open(&cut), "text_encoder"), shapes(&open(&SD2.tensors()), "text_encoder"));
}

#[test]
fn a_projection_that_is_kept_as_a_layer_is_not_turned() {
    let name = "conditioner.embedders.1.model.text_projection";
    let layer = and(without(SDXL.tensors(), name), &format!("{name}.weight"), &[1280, 1280]);
    let entry = |tensors: &Tensors| {
        open(tensors).catalog("text_encoder_2").unwrap().entries["text_projection.weight"].change
    };
    assert_eq!(entry(&layer), crate::catalog::Change::None);
    assert_eq!(entry(&SDXL.tensors()), crate::catalog::Change::Transpose);
}

#[test]
fn what_training_leaves_behind_is_passed_over() {
    let mut tensors = SD1.tensors();
    for name in [
        "model_ema.diffusion_modelinput_blocks00weight",
        "model_ema.decay",
        "alphas_cumprod",
        "sqrt_one_minus_alphas_cumprod",
        "logvar",
        "global_step",
        "first_stage_model.loss.logvar",
        "cond_stage_model.transformer.logit_scale",
        "cond_stage_model.transformer.text_projection.weight",
        "denoiser.sigmas",
        "embedding_manager.string_to_param_dict.*",
    ] {
        tensors = and(tensors, name, &[2]);
    }
    let (with, usual) = (open(&tensors), open(&SD1.tensors()));
    for component in ["unet", "vae", "text_encoder"] {
        assert_eq!(shapes(&with, component), shapes(&usual, component));
    }
}

#[test]
fn a_file_without_an_autoencoder_is_a_model_that_wants_one() {
    let written = Written::new(&without(SD1.tensors(), "first_stage_model."), &json!({}));
    let checkpoint = written.open().unwrap();
    let message = checkpoint.config::<Value>("vae").unwrap_err().to_string();
    assert!(message.contains("no autoencoder") && message.contains("`vae`"), "{message}");
    assert!(matches!(checkpoint.layers("vae"), Err(Error::NoAutoencoder { .. })));
}

#[test]
fn another_autoencoder_takes_the_place_of_the_models_own_in_every_spelling() {
    let usual = open(&SDXL.tensors());
    let (want, own) = (shapes(&usual, "vae"), SDXL.autoencoder());
    let old = [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")];
    let old_spelling = want.iter().map(|(name, shape)| {
        let rename = |name: String, (now, then): &(&str, &str)| {
            name.replace(&format!(".{now}."), &format!(".{then}."))
        };
        (old.iter().fold(name.clone(), rename), shape.clone())
    });
    let in_a_model = published::prefixed("first_stage_model.", own.clone());
    for tensors in [own, in_a_model, SDXL.tensors(), want.clone(), old_spelling.collect()] {
        let vae = Written::new(&tensors, &json!({}));
        let checkpoint = open(&without(SDXL.tensors(), "first_stage_model."));
        let checkpoint = checkpoint.with_vae(vae.path()).unwrap();
        assert_eq!(shapes(&checkpoint, "vae"), want);
        assert_eq!(checkpoint.config::<Value>("vae").unwrap()["scaling_factor"], 0.13025);
        assert_eq!(checkpoint.config_path("vae"), vae.path());
        assert_eq!(checkpoint.components().unwrap().len(), 4);
    }
}

#[test]
fn another_autoencoder_may_be_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let with = || open(&SD1.tensors()).with_vae(directory.path());
    assert!(matches!(with(), Err(Error::Missing { .. })), "nothing is in it");
    std::fs::write(directory.path().join("config.json"), r#"{"scaling_factor": 2.5}"#).unwrap();
    assert!(matches!(with(), Err(Error::Missing { .. })), "no weights are in it");
    write(&directory.path().join("diffusion_pytorch_model.safetensors"), &SD1.autoencoder(), &json!({}));
    let checkpoint = with().unwrap();
    assert_eq!(checkpoint.config::<Value>("vae").unwrap()["scaling_factor"], 2.5);
    assert_eq!(checkpoint.catalog("vae").unwrap().entries.len(), 248);
}

#[test]
fn what_is_no_autoencoder_cannot_be_one() {
    let model = || open(&SD1.tensors());
    let text = Written::new(&without(SD1.tensors(), "first_stage_model."), &json!({}));
    assert!(matches!(model().with_vae(text.path()), Err(Error::UnknownFamily { .. })));
    assert!(matches!(model().with_vae("/nowhere"), Err(Error::Io { .. })));
    let half = Written::new(&without(SD1.autoencoder(), "decoder.up.0."), &json!({}));
    let message = model().with_vae(half.path()).unwrap_err().to_string();
    assert!(message.contains("decoder.up.0.block.0.norm1.weight"), "{message}");
}
