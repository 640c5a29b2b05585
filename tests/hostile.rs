// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Small changes to sound sidecars of models: what the fuzzer does, a few thousand times and always the same.

#[path = "../fuzz/bodies/mutations.rs"]
mod mutations;
#[path = "../fuzz/bodies/sidecar.rs"]
mod sidecar;

use mutations::{Chance, bytes};

const FILES: [&str; 3] = [
    "description: For trees\nfixed_size: true\nvae: vae/better.safetensors\nprediction_type: v_prediction\n\
     zero_snr: true\ntrigger: [oak, elm]\n\
     defaults:\n  steps: 8\n  guidance_scale: 1.5\n  scheduler: euler\n  width: 768\n  height: 512\n  clip_skip: 1\n",
    "model_type: qwen\nflags: [--flow-shift, '3']\nllm: x.gguf\ndefaults: {steps: 30, guidance_scale: 2.5}\n",
    "model:\n  base_learning_rate: 1.0e-04\n  params:\n    parameterization: \"v\"\n    linear_start: 0.00085\n\
    \x20   unet_config: &one {params: {channel_mult: [1, 2, 4, 4]}}\n    other: *one\n",
];

#[test]
fn sidecars_that_were_changed_are_refused_with_a_sentence_or_have_sound_values() {
    let mut chance = Chance::new(0x51de_ca12);
    for round in 0..6000_usize {
        let mut input = vec![(round & 1) as u8];
        input.extend(bytes(&mut chance, FILES[round % FILES.len()].as_bytes()));
        sidecar::check(&input);
    }
}
