// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Published configurations and hostile ones.

use std::path::Path;

use alice_plugin::ErrorKind;
use serde_json::{Value, json};

use super::*;

/// What Stable Diffusion 1.5 was published with, years before most of today's keys.
fn published() -> Value {
    json!({
        "_class_name": "UNet2DConditionModel",
        "_diffusers_version": "0.6.0",
        "act_fn": "silu",
        "attention_head_dim": 8,
        "block_out_channels": [320, 640, 1280, 1280],
        "center_input_sample": false,
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
        "out_channels": 4,
        "sample_size": 64,
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]
    })
}

fn plan(config: Value) -> Result<UnetPlan> {
    let config =
        UnetConfig::deserialize(config).map_err(|error| alice_plugin::Error::bad_model(error.to_string()))?;
    config.plan(&ConfigFile::new(Path::new("model"), "unet"))
}

fn with(key: &str, value: Value) -> Value {
    let mut config = published();
    config[key] = value;
    config
}

#[test]
fn the_published_configuration_is_understood() {
    let plan = plan(published()).unwrap();
    assert_eq!((plan.input, plan.output, plan.context, plan.groups, plan.epsilon), (4, 4, 768, 32, 1e-5));
    assert_eq!((plan.time, plan.projections), (1280, Pointwise::Kernel));
    assert_eq!(plan.sinusoid, SinusoidPlan { width: 320, flip: true, shift: 0.0 });
    let levels: Vec<_> = plan.levels.iter().map(|l| (l.channels, l.layers, l.heads, l.depth)).collect();
    assert_eq!(levels, [(320, 2, 8, 1), (640, 2, 8, 1), (1280, 2, 8, 1), (1280, 2, 8, 1)]);
    let attention: Vec<_> = plan.levels.iter().map(|l| (l.attention_down, l.attention_up)).collect();
    assert_eq!(attention, [(true, true), (true, true), (true, true), (false, false)]);
    assert_eq!(plan.blocks(), 4 * 2 + 2 + 4 * 3);
}

#[test]
fn a_lists_entries_belong_to_their_levels() {
    let mut config = with("layers_per_block", json!([1, 2, 3, 4]));
    config["attention_head_dim"] = json!([5, 10, 20, 40]);
    config["transformer_layers_per_block"] = json!([1, 2, 4, 8]);
    config["up_block_types"] = json!(["CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"]);
    config["use_linear_projection"] = json!(true);
    let plan = plan(config).unwrap();
    let levels: Vec<_> = plan.levels.iter().map(|l| (l.layers, l.heads, l.depth)).collect();
    assert_eq!(levels, [(1, 5, 1), (2, 10, 2), (3, 20, 4), (4, 40, 8)]);
    let up: Vec<_> = plan.levels.iter().map(|l| l.attention_up).collect();
    assert_eq!(up, [false, false, false, true], "the list for the way up begins at the smallest level");
    assert_eq!(plan.projections, Pointwise::Matrix);
}

#[test]
fn nonsense_is_a_bad_model() {
    let huge = json!(u64::MAX);
    for (key, value) in [
        ("in_channels", json!(0)),
        ("in_channels", json!(-4)),
        ("in_channels", json!("4")),
        ("out_channels", huge.clone()),
        ("block_out_channels", json!([])),
        ("block_out_channels", json!([320, 640])),
        ("block_out_channels", json!([320, 640, 0, 1280])),
        ("block_out_channels", json!([320, 640, huge, 1280])),
        ("block_out_channels", json!([320, 640, 1250, 1280])),
        ("down_block_types", json!(["DownBlock2D"])),
        ("up_block_types", json!([])),
        ("attention_head_dim", json!(0)),
        ("attention_head_dim", json!(7)),
        ("attention_head_dim", json!([8, 8])),
        ("layers_per_block", json!(0)),
        ("layers_per_block", json!(1_000_000)),
        ("layers_per_block", json!([2, 2, 2])),
        ("transformer_layers_per_block", json!(1_000_000)),
        ("norm_num_groups", json!(0)),
        ("norm_num_groups", json!(33)),
        ("norm_num_groups", json!(null)),
        ("norm_eps", json!(0.0)),
        ("norm_eps", json!(-1.0)),
        ("cross_attention_dim", json!(0)),
        ("cross_attention_dim", huge.clone()),
        ("freq_shift", json!(160)),
        ("freq_shift", json!(1e300)),
        ("time_embedding_dim", json!(0)),
        ("time_embedding_dim", huge.clone()),
    ] {
        let error = plan(with(key, value.clone())).expect_err(&format!("{key} {value}"));
        assert_eq!(error.kind, ErrorKind::BadModel, "{key} {value}: {error}");
    }
    let levels = 9;
    let mut config = with("block_out_channels", json!(vec![32; levels]));
    config["down_block_types"] = json!(vec!["DownBlock2D"; levels]);
    config["up_block_types"] = json!(vec!["UpBlock2D"; levels]);
    assert!(plan(config).is_err(), "too many levels");
}

#[test]
fn heads_need_not_divide_where_nothing_attends() {
    assert!(plan(with("attention_head_dim", json!([7, 8, 8, 8]))).is_err());
    assert!(plan(with("attention_head_dim", json!([8, 8, 8, 7]))).is_err(), "the bottom has a transformer");
    let mut config = with("attention_head_dim", json!([7, 8, 8, 8]));
    config["down_block_types"][0] = json!("DownBlock2D");
    config["up_block_types"][3] = json!("UpBlock2D");
    plan(config).unwrap();
}

#[test]
fn what_this_crate_does_not_do_is_unsupported() {
    for (key, value) in [
        ("down_block_types", json!(["AttnDownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D"])),
        ("down_block_types", json!(["UpBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D"])),
        ("up_block_types", json!(["UpBlock2D", "UpBlock2D", "UpBlock2D", "SimpleCrossAttnUpBlock2D"])),
        ("act_fn", json!("gelu")),
        ("addition_embed_type", json!("text_time")),
        ("class_embed_type", json!("projection")),
        ("conv_in_kernel", json!(5)),
        ("downsample_padding", json!(0)),
        ("dual_cross_attention", json!(true)),
        ("encoder_hid_dim_type", json!("text_proj")),
        ("mid_block_scale_factor", json!(1.5)),
        ("mid_block_type", json!(null)),
        ("num_class_embeds", json!(10)),
        ("only_cross_attention", json!([true, false, false, false])),
        ("resnet_time_scale_shift", json!("scale_shift")),
        ("time_embedding_type", json!("fourier")),
        ("upcast_attention", json!(true)),
    ] {
        let error = plan(with(key, value.clone())).expect_err(&format!("{key} {value}"));
        assert_eq!(error.kind, ErrorKind::Unsupported, "{key} {value}: {error}");
        assert!(error.message.contains(key) && error.message.contains("model/unet/config.json"), "{error}");
    }
}
