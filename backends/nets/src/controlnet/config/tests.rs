// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Published configurations and hostile ones.

use alice_plugin::ErrorKind;
use serde_json::{Value, json};

use super::*;

/// What the first ControlNets for Stable Diffusion 1.5 were published with.
fn published() -> Value {
    json!({
        "_class_name": "ControlNetModel",
        "_diffusers_version": "0.14.0.dev0",
        "act_fn": "silu",
        "attention_head_dim": 8,
        "block_out_channels": [320, 640, 1280, 1280],
        "class_embed_type": null,
        "conditioning_embedding_out_channels": [16, 32, 96, 256],
        "controlnet_conditioning_channel_order": "rgb",
        "cross_attention_dim": 768,
        "down_block_types": [
            "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"
        ],
        "downsample_padding": 1,
        "flip_sin_to_cos": true,
        "freq_shift": 0,
        "in_channels": 4,
        "layers_per_block": 2,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-05,
        "norm_num_groups": 32,
        "num_class_embeds": null,
        "only_cross_attention": false,
        "projection_class_embeddings_input_dim": null,
        "resnet_time_scale_shift": "default",
        "upcast_attention": false,
        "use_linear_projection": false
    })
}

fn plan(config: Value) -> Result<ControlNetPlan> {
    let config = ControlNetConfig::deserialize(config)
        .map_err(|error| alice_plugin::Error::bad_model(error.to_string()))?;
    config.plan(&ConfigFile::new("control/config.json"))
}

fn with(key: &str, value: Value) -> Value {
    let mut config = published();
    config[key] = value;
    config
}

#[test]
fn the_published_configuration_is_understood() {
    let plan = plan(published()).unwrap();
    assert_eq!((plan.scale(), plan.order, plan.trunk.input, plan.trunk.context), (8, [0, 1, 2], 4, 768));
    let kept = [320, 320, 320, 320, 640, 640, 640, 1280, 1280, 1280, 1280, 1280];
    assert_eq!((plan.trunk.kept(), plan.trunk.bottom()), (kept.to_vec(), 1280));
    assert_eq!((plan.trunk.middle.as_slice(), plan.trunk.blocks()), (&[1, 0][..], 4 * 2 + 2));
}

#[test]
fn the_small_ones_for_sdxl_have_no_transformer_anywhere() {
    let mut config = with("down_block_types", json!(["DownBlock2D", "DownBlock2D", "DownBlock2D"]));
    for (key, value) in [
        ("addition_embed_type", json!("text_time")),
        ("addition_time_embed_dim", json!(256)),
        ("attention_head_dim", json!([5, 10, 20])),
        ("block_out_channels", json!([320, 640, 1280])),
        ("cross_attention_dim", json!(2048)),
        ("mid_block_type", json!("UNetMidBlock2D")),
        ("projection_class_embeddings_input_dim", json!(2816)),
        ("transformer_layers_per_block", json!([0, 0, 0])),
        ("use_linear_projection", json!(true)),
    ] {
        config[key] = value;
    }
    let plan = plan(config).unwrap();
    assert_eq!((plan.trunk.middle.as_slice(), plan.trunk.added.unwrap().input), (&[0][..], 2816));
    assert!(plan.trunk.levels.iter().all(|level| !level.attends()));
}

#[test]
fn nonsense_is_a_bad_model() {
    for (key, value) in [
        ("conditioning_embedding_out_channels", json!([])),
        ("conditioning_embedding_out_channels", json!([16, 0])),
        ("conditioning_embedding_out_channels", json!([1, 1, 1, 1, 1, 1, 1, 1, 1])),
        ("conditioning_embedding_out_channels", json!(u64::MAX)),
        ("block_out_channels", json!([320, 640])),
        ("in_channels", json!(0)),
        ("controlnet_conditioning_channel_order", json!(7)),
        ("cross_attention_dim", json!(null)),
    ] {
        let error = plan(with(key, value.clone())).expect_err(&format!("{key} {value}"));
        assert_eq!(error.kind, ErrorKind::BadModel, "{key} {value}: {error}");
    }
}

#[test]
fn what_this_crate_does_not_do_is_unsupported() {
    for (key, value) in [
        ("_class_name", json!("ControlNetUnionModel")),
        ("conditioning_channels", json!(4)),
        ("controlnet_conditioning_channel_order", json!("grb")),
        ("global_pool_conditions", json!(true)),
        ("mid_block_type", json!("UNetMidBlock2DSimpleCrossAttn")),
        ("num_attention_heads", json!(8)),
        ("act_fn", json!("gelu")),
    ] {
        let error = plan(with(key, value.clone())).expect_err(&format!("{key} {value}"));
        assert_eq!(error.kind, ErrorKind::Unsupported, "{key} {value}: {error}");
        assert!(error.message.contains(key) && error.message.contains("control/config.json"), "{error}");
    }
}
