// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Any text as the YAML file beside a model or a LoRA: refused with a sentence, or values within their ranges.

use alice::models::sidecar::{Subject, parse};

/// The first bit of the first byte says what the rest is about.
pub(crate) fn check(input: &[u8]) {
    let (first, rest) = input.split_first().unwrap_or((&0, &[]));
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let subject = if first & 1 == 0 { Subject::Model } else { Subject::Lora };
    match parse(text, subject) {
        Ok((sidecar, warnings)) => {
            let defaults = &sidecar.defaults;
            assert!(defaults.steps.is_none_or(|steps| (1..=150).contains(&steps)));
            assert!(defaults.guidance_scale.is_none_or(|scale| (0.0..=20.0).contains(&scale)));
            assert!(
                [defaults.width, defaults.height].iter().flatten().all(|side| (64..=2048).contains(side))
            );
            assert!(sidecar.trigger.len() <= 64);
            assert!(sidecar.description.is_none_or(|text| text.chars().count() <= 1000));
            warnings.iter().for_each(|warning| is_a_sentence(&warning.to_string()));
        }
        Err(problem) => is_a_sentence(&problem.to_string()),
    }
}

/// A refusal is for a log of one line each.
fn is_a_sentence(text: &str) {
    assert!(text.len() < 2048, "a refusal of {} bytes", text.len());
    assert!(!text.contains(char::is_control), "a control character in {text:?}");
}
