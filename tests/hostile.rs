// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Small changes to sound sidecars of models and to forms with files: what the fuzzer does, a few thousand times and
//! always the same.

#[path = "../fuzz/bodies/form.rs"]
mod form;
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

/// A form with a text, a number, a list, JSON and two files.
const FORM: &str = "multipart/form-data; boundary=cut\n\
     --cut\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na fox\r\n\
     --cut\r\nContent-Disposition: form-data; name=\"size\"\r\n\r\n64\r\n\
     --cut\r\nContent-Disposition: form-data; name=\"controls\"\r\n\r\n[{\"model\": \"x\"}]\r\n\
     --cut\r\nContent-Disposition: form-data; name=\"input_images[]\"\r\n\r\naGk=\r\n\
     --cut\r\nContent-Disposition: form-data; name=\"input_images[]\"\r\n\r\naGk=\r\n\
     --cut\r\nContent-Disposition: form-data; name=\"image[]\"; filename=\"a.png\"\r\n\
     Content-Type: image/png\r\n\r\n\x7fPNG\r\n\0\r\n\
     --cut\r\nContent-Disposition: form-data; name=\"mask\"; filename*=UTF-8''%41.png\r\n\r\n--cu\r\n--cut--\r\n";

#[test]
fn forms_that_were_changed_are_refused_with_a_sentence_or_taken_apart_within_their_limits() {
    let mut chance = Chance::new(0xf0_54a7);
    form::check(FORM.as_bytes());
    for _ in 0..6000 {
        form::check(&bytes(&mut chance, FORM.as_bytes()));
    }
}
