// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Published configurations and hostile ones.

use alice_plugin::ErrorKind;
use serde_json::{Value, json};

use super::*;

/// What Stable Diffusion 1.5 was published with.
fn published() -> Value {
    json!({
        "_class_name": "AutoencoderKL",
        "_diffusers_version": "0.6.0",
        "act_fn": "silu",
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": [
            "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"
        ],
        "in_channels": 3,
        "latent_channels": 4,
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "out_channels": 3,
        "sample_size": 512,
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"]
    })
}

fn plan(key: &str, value: Value) -> Result<KlPlan> {
    let mut config = published();
    config[key] = value;
    let config =
        KlConfig::deserialize(config).map_err(|error| alice_plugin::Error::bad_model(error.to_string()))?;
    config.plan(&ConfigFile::new("model/vae/config.json"))
}

#[test]
fn the_published_configuration_is_understood() {
    let plan = plan("sample_size", json!(512)).unwrap();
    assert_eq!((plan.channels.as_slice(), plan.layers), (&[128, 256, 512, 512][..], 2));
    assert_eq!((plan.latent, plan.groups, plan.scale(), plan.bottom()), (4, 32, 8, 512));
    assert!(plan.attention && plan.quant && plan.post_quant);
    assert_eq!(plan.space, LatentSpace { scaling: 0.18215, shift: 0.0 });
    assert_eq!((plan.encoder_blocks(), plan.decoder_blocks()), (10, 14));
}

#[test]
fn later_keys_are_read() {
    assert_eq!(plan("scaling_factor", json!(0.3611)).unwrap().space.scaling, 0.3611);
    assert_eq!(plan("shift_factor", json!(0.1159)).unwrap().space.shift, 0.1159);
    assert_eq!(plan("shift_factor", json!(null)).unwrap().space.shift, 0.0);
    assert!(!plan("use_quant_conv", json!(false)).unwrap().quant);
    assert!(!plan("use_post_quant_conv", json!(false)).unwrap().post_quant);
    assert!(!plan("mid_block_add_attention", json!(false)).unwrap().attention);
}

#[test]
fn nonsense_is_a_bad_model() {
    for (key, value) in [
        ("block_out_channels", json!([])),
        ("block_out_channels", json!([128, 256])),
        ("block_out_channels", json!([128, 256, 0, 512])),
        ("block_out_channels", json!([128, 256, 500, 512])),
        ("block_out_channels", json!([128, 256, u64::MAX, 512])),
        ("down_block_types", json!([])),
        ("up_block_types", json!(["UpDecoderBlock2D"])),
        ("latent_channels", json!(0)),
        ("latent_channels", json!(-1)),
        ("layers_per_block", json!(0)),
        ("layers_per_block", json!(1_000_000)),
        ("norm_num_groups", json!(0)),
        ("scaling_factor", json!(0)),
        ("scaling_factor", json!(-1)),
        ("scaling_factor", json!(1e300)),
        ("scaling_factor", json!(1e-300)),
        ("scaling_factor", json!(null)),
        ("shift_factor", json!(1e300)),
    ] {
        let error = plan(key, value.clone()).expect_err(&format!("{key} {value}"));
        assert_eq!(error.kind, ErrorKind::BadModel, "{key} {value}: {error}");
    }
}

#[test]
fn what_this_crate_does_not_do_is_unsupported() {
    for (key, value) in [
        ("_class_name", json!("AsymmetricAutoencoderKL")),
        ("act_fn", json!("relu")),
        ("in_channels", json!(4)),
        ("out_channels", json!(1)),
        ("latents_mean", json!([0.0, 0.0, 0.0, 0.0])),
        ("latents_std", json!([1.0, 1.0, 1.0, 1.0])),
        (
            "down_block_types",
            json!(["DownEncoderBlock2D", "AttnDownEncoderBlock2D", "DownEncoderBlock2D", "x"]),
        ),
        ("up_block_types", json!(["UpDecoderBlock2D", "AttnUpDecoderBlock2D", "UpDecoderBlock2D", "x"])),
    ] {
        let error = plan(key, value.clone()).expect_err(&format!("{key} {value}"));
        assert_eq!(error.kind, ErrorKind::Unsupported, "{key} {value}: {error}");
        assert!(error.message.contains(key) && error.message.contains("model/vae/config.json"), "{error}");
    }
}
