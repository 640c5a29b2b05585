// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Published configurations and hostile ones.

use alice_plugin::ErrorKind;
use serde_json::{Value, json};

use super::*;

/// What the text encoder of Stable Diffusion 1.5 was published with.
fn published() -> Value {
    json!({
        "architectures": ["CLIPTextModel"],
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "dropout": 0.0,
        "eos_token_id": 2,
        "hidden_act": "quick_gelu",
        "hidden_size": 768,
        "intermediate_size": 3072,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 77,
        "model_type": "clip_text_model",
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "pad_token_id": 1,
        "projection_dim": 768,
        "torch_dtype": "float32",
        "vocab_size": 49408
    })
}

fn plan(key: &str, value: Value) -> Result<ClipPlan> {
    let mut config = published();
    config[key] = value;
    let config =
        ClipConfig::deserialize(config).map_err(|error| alice_plugin::Error::bad_model(error.to_string()))?;
    config.plan(&ConfigFile::new("model/text_encoder/config.json"), Heard::Last, true)
}

#[test]
fn the_published_configuration_is_understood() {
    let plan = plan("dropout", json!(0.0)).unwrap();
    assert_eq!((plan.vocabulary, plan.context_length, plan.width, plan.inner), (49408, 77, 768, 3072));
    assert_eq!((plan.layers, plan.heads, plan.epsilon), (12, 12, 1e-5));
    assert_eq!(plan.activation, Activation::QuickGelu);
    assert_eq!(
        (plan.projection, plan.end, plan.most_skipped(), plan.layers_heard(1)),
        (Some(768), 2, 12, 11)
    );
}

#[test]
fn the_layer_before_the_last_counts_from_there() {
    let plan = ClipPlan { heard: Heard::BeforeLast, ..plan("dropout", json!(0.0)).unwrap() };
    assert_eq!((plan.most_skipped(), plan.layers_heard(0), plan.layers_heard(2)), (11, 11, 9));
}

#[test]
fn the_end_is_the_first_end_token_and_the_highest_id_where_the_file_says_2() {
    let of = |end: u32, ids: &[u32]| plan("eos_token_id", json!(end)).unwrap().end_of(ids);
    assert_eq!(of(9, &[8, 2, 9, 9]), 2);
    assert_eq!(of(9, &[8, 2, 9, 10]), 2);
    assert_eq!(of(9, &[8, 2, 3, 4]), 0);
    assert_eq!(of(2, &[8, 2, 9, 9]), 2);
    assert_eq!(of(2, &[8, 2, 9, 10]), 3);
}

#[test]
fn the_exact_gelu_is_another_activation() {
    assert_eq!(plan("hidden_act", json!("gelu")).unwrap().activation, Activation::Gelu);
    for other in ["gelu_new", "gelu_pytorch_tanh", "relu", ""] {
        let error = plan("hidden_act", json!(other)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
        assert!(error.message.contains("hidden_act"), "{error}");
    }
}

#[test]
fn nonsense_is_a_bad_model() {
    for (key, value) in [
        ("vocab_size", json!(0)),
        ("vocab_size", json!(u64::MAX)),
        ("hidden_size", json!(0)),
        ("hidden_size", json!(-768)),
        ("hidden_size", json!(u32::MAX)),
        ("intermediate_size", json!(0)),
        ("max_position_embeddings", json!(0)),
        ("max_position_embeddings", json!(1 << 20)),
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!(7)),
        ("num_hidden_layers", json!(0)),
        ("num_hidden_layers", json!(1_000_000)),
        ("layer_norm_eps", json!(0.0)),
        ("layer_norm_eps", json!(null)),
        ("projection_dim", json!(0)),
        ("eos_token_id", json!(-1)),
    ] {
        let error = plan(key, value.clone()).expect_err(&format!("{key} {value}"));
        assert_eq!(error.kind, ErrorKind::BadModel, "{key} {value}: {error}");
    }
}
