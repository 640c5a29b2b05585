// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A LoRA file of every spelling, changed a little in a few thousand ways; the fuzz target of the same name tries
//! more.
#![expect(clippy::unwrap_used, reason = "the helpers of a test are part of it")]

#[path = "../../../fuzz/bodies/lora.rs"]
mod body;
#[path = "../../../fuzz/bodies/mutations.rs"]
mod mutations;

use mutations::Chance;
use serde_json::{Map, json};

const ROUNDS: usize = 2000;

/// Names and shapes of a file with something of each kind.
const TENSORS: [(&str, &[usize]); 16] = [
    ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight", &[2, 4]),
    ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight", &[4, 2]),
    ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.alpha", &[]),
    ("lora_unet_input_blocks_9_0_in_layers_2.lora_down.weight", &[2, 3, 1, 1]),
    ("lora_unet_input_blocks_9_0_in_layers_2.lora_mid.weight", &[2, 2, 3, 3]),
    ("lora_unet_input_blocks_9_0_in_layers_2.lora_up.weight", &[3, 2, 1, 1]),
    ("lora_unet_mid.lora_down.weight", &[1, 2, 3, 3]),
    ("lora_unet_mid.lora_up.weight", &[3, 1, 1, 1]),
    ("unet.up_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_out_lora.down.weight", &[1, 4]),
    ("unet.up_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_out_lora.up.weight", &[4, 1]),
    ("base_model.model.x.lora_A.default.weight", &[1, 2]),
    ("base_model.model.x.lora_B.default.weight", &[2, 1]),
    ("text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight", &[1, 4]),
    ("text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_B.weight", &[4, 1]),
    ("lora_unet_x.diff_b", &[3]),
    ("lora_te2_text_projection.alpha", &[1]),
];

/// The header of such a file, and its data.
fn file() -> (String, Vec<u8>) {
    let (mut header, mut values) = (Map::new(), Vec::new());
    for (name, shape) in TENSORS {
        let start = values.len() * 4;
        values.extend((0..shape.iter().product()).map(|index: usize| index as f32 / 8.0 - 0.25));
        let offsets = [start, values.len() * 4];
        header.insert(name.to_owned(), json!({"dtype": "F32", "shape": shape, "data_offsets": offsets}));
    }
    let settings =
        r#"{"text_encoder.lora_alpha": 4, "text_encoder.alpha_pattern": {"q_proj": 2}, "unet.r": 1}"#;
    header.insert(
        "__metadata__".to_owned(),
        json!({"lora_adapter_metadata": settings, "ss_base_model_version": "sd_v1"}),
    );
    let data = values.iter().flat_map(|value: &f32| value.to_le_bytes()).collect();
    (serde_json::to_string(&header).unwrap(), data)
}

fn whole(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

#[test]
fn changed_files_are_refused_or_told_about_completely() {
    let (mut chance, (header, data)) = (Chance::new(1), file());
    body::check(&whole(header.as_bytes(), &data));
    for _ in 0..ROUNDS {
        let changed = match chance.below(3) {
            0 => mutations::bytes(&mut chance, header.as_bytes()),
            _ => mutations::json(&mut chance, &header).into_bytes(),
        };
        body::check(&whole(&changed, &data));
    }
}

#[test]
fn changed_names_and_values_are_refused_or_told_about_completely() {
    let (mut chance, (header, data)) = (Chance::new(2), file());
    let endings = [
        ".lora_down.weight",
        ".lora_up.weight",
        ".lora_mid.weight",
        ".alpha",
        ".lora_A.weight",
        "_lora.up.weight",
    ];
    let places =
        ["lora_unet_", "lora_te_", "unet.", "text_encoder_2.", "base_model.model.", "processor.", "_", "."];
    for _ in 0..ROUNDS {
        let mut header = header.clone();
        for _ in 0..=chance.below(4) {
            let pieces = if chance.below(2) == 0 { &endings[..] } else { &places[..] };
            let (from, to) = (chance.pick(pieces), chance.pick(pieces));
            header = header.replacen(from, to, 1 + chance.below(3));
        }
        let mut data = data.clone();
        let at = chance.below(data.len());
        data[at] = chance.pick(&[0, 0x7f, 0x80, 0xff]);
        body::check(&whole(header.as_bytes(), &data));
    }
}
