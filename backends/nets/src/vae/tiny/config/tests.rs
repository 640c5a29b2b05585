// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Published configurations and hostile ones.

use alice_plugin::ErrorKind;
use serde_json::{Value, json};

use super::*;

/// What TAESD was published with.
fn published() -> Value {
    json!({
        "_class_name": "AutoencoderTiny",
        "_diffusers_version": "0.20.0.dev0",
        "act_fn": "relu",
        "decoder_block_out_channels": [64, 64, 64, 64],
        "encoder_block_out_channels": [64, 64, 64, 64],
        "force_upcast": false,
        "in_channels": 3,
        "latent_channels": 4,
        "latent_magnitude": 3,
        "latent_shift": 0.5,
        "num_decoder_blocks": [3, 3, 3, 1],
        "num_encoder_blocks": [1, 3, 3, 3],
        "out_channels": 3,
        "scaling_factor": 1.0,
        "upsampling_scaling_factor": 2
    })
}

fn read(config: Value) -> Result<TinyPlan> {
    let config =
        TinyConfig::deserialize(config).map_err(|error| alice_plugin::Error::bad_model(error.to_string()))?;
    config.plan(&ConfigFile::new("model/vae/config.json"))
}

fn plan(key: &str, value: Value) -> Result<TinyPlan> {
    let mut config = published();
    config[key] = value;
    read(config)
}

#[test]
fn the_published_configuration_is_understood_and_is_the_default() {
    let plan = read(published()).unwrap();
    assert_eq!((&plan.encoder[..], &plan.decoder[..]), (&[1, 3, 3, 3][..], &[3, 3, 3, 1][..]));
    assert_eq!((plan.encoder_channels, plan.decoder_channels, plan.latent, plan.scale()), (64, 64, 4, 8));
    assert_eq!(plan.space, LatentSpace { scaling: 1.0, shift: 0.0 });
    assert_eq!(read(json!({"_class_name": "AutoencoderTiny"})).unwrap(), plan);
}

#[test]
fn nonsense_is_a_bad_model() {
    for (key, value) in [
        ("encoder_block_out_channels", json!([])),
        ("encoder_block_out_channels", json!([64, 64, 64])),
        ("encoder_block_out_channels", json!([64, 64, 64, 32])),
        ("decoder_block_out_channels", json!([0, 0, 0, 0])),
        ("decoder_block_out_channels", json!([1 << 20, 1 << 20, 1 << 20, 1 << 20])),
        ("num_encoder_blocks", json!([])),
        ("num_encoder_blocks", json!([1, 3, 3])),
        ("num_decoder_blocks", json!([3, 3, 3, 0])),
        ("num_decoder_blocks", json!([3, 3, 3, 1_000_000])),
        ("num_decoder_blocks", json!(vec![1; 9])),
        ("latent_channels", json!(0)),
        ("scaling_factor", json!(0)),
        ("shift_factor", json!(1e300)),
    ] {
        let error = plan(key, value.clone()).expect_err(&format!("{key} {value}"));
        assert_eq!(error.kind, ErrorKind::BadModel, "{key} {value}: {error}");
    }
}

#[test]
fn what_this_crate_does_not_do_is_unsupported() {
    for (key, value) in [
        ("act_fn", json!("silu")),
        ("in_channels", json!(4)),
        ("out_channels", json!(1)),
        ("upsample_fn", json!("bilinear")),
        ("upsampling_scaling_factor", json!(4)),
    ] {
        let error = plan(key, value.clone()).expect_err(&format!("{key} {value}"));
        assert_eq!(error.kind, ErrorKind::Unsupported, "{key} {value}: {error}");
        assert!(error.message.contains(key) && error.message.contains("model/vae/config.json"), "{error}");
    }
}
