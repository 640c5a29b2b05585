// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Published configurations and hostile ones.

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
    config.plan(&ConfigFile::new("model/unet/config.json"))
}

fn with(key: &str, value: Value) -> Value {
    let mut config = published();
    config[key] = value;
    config
}

#[test]
fn the_published_configuration_is_understood() {
    let plan = plan(published()).unwrap();
    assert_eq!(
        (plan.trunk.input, plan.output, plan.trunk.context, plan.trunk.groups, plan.trunk.epsilon),
        (4, 4, 768, 32, 1e-5)
    );
    assert_eq!((plan.trunk.time, plan.trunk.projections), (1280, Pointwise::Kernel));
    assert_eq!(plan.trunk.sinusoid, SinusoidPlan { width: 320, flip: true, shift: 0.0 });
    let levels: Vec<_> = plan.trunk.levels.iter().map(|l| (l.channels, l.heads)).collect();
    assert_eq!(levels, [(320, 8), (640, 8), (1280, 8), (1280, 8)]);
    let depths: Vec<_> =
        plan.trunk.levels.iter().zip(&plan.up).map(|(l, up)| (&l.down[..], &up[..])).collect();
    let (with, without) = ((&[1, 1][..], &[1, 1, 1][..]), (&[0, 0][..], &[0, 0, 0][..]));
    assert_eq!(depths, [with, with, with, without]);
    assert_eq!((plan.trunk.middle[0], plan.trunk.added), (1, None));
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
    let levels: Vec<_> = plan.trunk.levels.iter().map(|l| (l.heads, &l.down[..])).collect();
    assert_eq!(levels, [(5, &[1][..]), (10, &[2, 2]), (20, &[4, 4, 4]), (40, &[0, 0, 0, 0])]);
    let up: Vec<_> = plan.up.iter().map(|up| up[0]).collect();
    assert_eq!(up, [0, 0, 0, 8], "the list for the way up begins at the smallest level");
    assert_eq!((plan.trunk.middle[0], plan.trunk.projections), (8, Pointwise::Matrix));
}

#[test]
fn the_configuration_of_stable_diffusion_2_is_understood() {
    let mut config = published();
    for (key, value) in [
        ("attention_head_dim", json!([5, 10, 20, 20])),
        ("cross_attention_dim", json!(1024)),
        ("dual_cross_attention", json!(false)),
        ("only_cross_attention", json!(false)),
        ("num_class_embeds", json!(null)),
        ("upcast_attention", json!(true)),
        ("use_linear_projection", json!(true)),
    ] {
        config[key] = value;
    }
    let plan = plan(config).unwrap();
    let heads: Vec<_> = plan.trunk.levels.iter().map(|l| l.heads).collect();
    assert_eq!(
        (heads, plan.trunk.context, plan.trunk.projections),
        (vec![5, 10, 20, 20], 1024, Pointwise::Matrix)
    );
}

/// What is particular about SDXL's.
fn published_xl() -> Value {
    let mut config = published();
    for (key, value) in [
        ("addition_embed_type", json!("text_time")),
        ("addition_time_embed_dim", json!(256)),
        ("attention_head_dim", json!([5, 10, 20])),
        ("block_out_channels", json!([320, 640, 1280])),
        ("cross_attention_dim", json!(2048)),
        ("down_block_types", json!(["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"])),
        ("projection_class_embeddings_input_dim", json!(2816)),
        ("transformer_layers_per_block", json!([1, 2, 10])),
        ("up_block_types", json!(["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"])),
        ("upcast_attention", json!(null)),
        ("use_linear_projection", json!(true)),
    ] {
        config[key] = value;
    }
    config
}

#[test]
fn the_configuration_of_sdxl_is_understood() {
    let plan = plan(published_xl()).unwrap();
    let levels: Vec<_> =
        plan.trunk.levels.iter().zip(&plan.up).map(|(l, up)| (l.heads, &l.down[..], &up[..])).collect();
    let expected =
        [(5, &[0, 0][..], &[0, 0, 0][..]), (10, &[2, 2], &[2, 2, 2]), (20, &[10, 10], &[10, 10, 10])];
    assert_eq!(levels, expected);
    assert_eq!((plan.trunk.middle[0], plan.trunk.context), (10, 2048));
    let sinusoid = SinusoidPlan { width: 256, flip: true, shift: 0.0 };
    assert_eq!(plan.trunk.added, Some(AddedPlan { sinusoid, input: 2816 }));
}

#[test]
fn the_configuration_of_sdxls_refiner_is_understood() {
    let mut config = published_xl();
    for (key, value) in [
        ("attention_head_dim", json!([6, 12, 24, 24])),
        ("block_out_channels", json!([384, 768, 1536, 1536])),
        ("cross_attention_dim", json!(1280)),
        (
            "down_block_types",
            json!(["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"]),
        ),
        ("projection_class_embeddings_input_dim", json!(2560)),
        ("transformer_layers_per_block", json!(4)),
        ("up_block_types", json!(["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"])),
    ] {
        config[key] = value;
    }
    let plan = plan(config).unwrap();
    let depths: Vec<_> =
        plan.trunk.levels.iter().zip(&plan.up).map(|(l, up)| (l.heads, l.down[0], up[2])).collect();
    assert_eq!(depths, [(6, 0, 0), (12, 4, 4), (24, 4, 4), (24, 0, 0)]);
    assert_eq!((plan.trunk.middle[0], plan.trunk.context, plan.trunk.added.unwrap().input), (4, 1280, 2560));
}

#[test]
fn each_transformer_of_a_level_may_have_its_own_depth() {
    let mut config = published_xl();
    config["transformer_layers_per_block"] = json!([0, [2, 3], [4, 5]]);
    config["reverse_transformer_layers_per_block"] = json!([[4, 4, 10], [2, 1, 1], 1]);
    let plan = plan(config).unwrap();
    let levels: Vec<_> =
        plan.trunk.levels.iter().zip(&plan.up).map(|(l, up)| (&l.down[..], &up[..])).collect();
    let expected = [(&[0, 0][..], &[0, 0, 0][..]), (&[2, 3], &[2, 1, 1]), (&[4, 5], &[4, 4, 10])];
    assert_eq!(levels, expected);
    assert_eq!(plan.trunk.middle[0], 4);
}

#[test]
fn one_width_of_the_prompt_may_be_given_for_each_level() {
    let mut config = published_xl();
    config["cross_attention_dim"] = json!([2048, 2048, 2048]);
    assert_eq!(plan(config.clone()).unwrap().trunk.context, 2048);
    config["cross_attention_dim"] = json!([2048, 2048, 1280]);
    let error = plan(config).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.message.contains("cross_attention_dim") && error.message.contains("1280"), "{error}");
}

#[test]
fn nonsense_about_what_joins_the_time_is_a_bad_model() {
    for (key, value) in [
        ("addition_time_embed_dim", json!(null)),
        ("addition_time_embed_dim", json!(0)),
        ("addition_time_embed_dim", json!(1)),
        ("addition_time_embed_dim", json!(u64::MAX)),
        ("projection_class_embeddings_input_dim", json!(null)),
        ("projection_class_embeddings_input_dim", json!(u64::MAX)),
        ("transformer_layers_per_block", json!([1, [2], 10])),
        ("transformer_layers_per_block", json!([1, 2, 0])),
        ("transformer_layers_per_block", json!([1, 2])),
        ("transformer_layers_per_block", json!([1, [2, 2], 10])),
        ("reverse_transformer_layers_per_block", json!([10, [2, 2], 1])),
        ("reverse_transformer_layers_per_block", json!([10, 2])),
    ] {
        let mut config = published_xl();
        config[key] = value.clone();
        let error = plan(config).expect_err(&format!("{key} {value}"));
        assert_eq!(error.kind, ErrorKind::BadModel, "{key} {value}: {error}");
    }
}

#[test]
fn the_width_of_attention_in_full_precision_is_no_question() {
    for value in [true, false] {
        plan(with("upcast_attention", json!(value))).unwrap();
    }
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
        ("addition_embed_type", json!("image")),
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
        ("num_attention_heads", json!([5, 10, 20, 20])),
    ] {
        let error = plan(with(key, value.clone())).expect_err(&format!("{key} {value}"));
        assert_eq!(error.kind, ErrorKind::Unsupported, "{key} {value}: {error}");
        assert!(error.message.contains(key) && error.message.contains("model/unet/config.json"), "{error}");
    }
}
