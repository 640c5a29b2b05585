// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The `parameters` text of a picture, in the form that AUTOMATIC1111's program introduced and that image
//! tools read: the prompt, the negative prompt, then one line of `Name: value` pairs.

use alice_diffusion::Sampler;

use crate::draft::Parameters;

/// The text for a picture made with `parameters` by `sampler`.
pub fn write(parameters: &Parameters, sampler: Sampler) -> String {
    let mut text = parameters.prompt.clone();
    if let Some(negative) = parameters.negative_prompt.as_deref().filter(|text| !text.is_empty()) {
        text += "\nNegative prompt: ";
        text += negative;
    }
    let mut pairs = vec![
        ("Steps", parameters.steps.to_string()),
        ("Sampler", sampler.label().to_owned()),
        ("Schedule type", sampler.schedule_label().to_owned()),
        ("CFG scale", parameters.guidance_scale.to_string()),
        ("Seed", parameters.seed.to_string()),
        ("Size", format!("{}x{}", parameters.rendered_width, parameters.rendered_height)),
    ];
    if parameters.enlarged() {
        pairs.push(("Enlarged to", format!("{}x{}", parameters.width, parameters.height)));
    }
    pairs.push(("Model", parameters.model.clone()));
    pairs.push(("Version", format!("ALICE {}", env!("CARGO_PKG_VERSION"))));
    let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| format!("{name}: {}", quoted(value))).collect();
    text + "\n" + &pairs.join(", ")
}

/// A value that would end early at its own comma, colon or line break is written as a JSON string.
fn quoted(value: String) -> String {
    if value.contains([',', ':', '\n']) { serde_json::Value::from(value).to_string() } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Parameters {
        Parameters {
            prompt: "a red apple".into(),
            negative_prompt: None,
            steps: 20,
            guidance_scale: 2.5,
            seed: 7,
            model: "alice-emoji".into(),
            scheduler: "euler".into(),
            width: 128,
            height: 128,
            rendered_width: 128,
            rendered_height: 128,
        }
    }

    #[test]
    fn the_text_reads_as_image_tools_expect() {
        let expected = format!(
            "a red apple\nSteps: 20, Sampler: Euler, Schedule type: {}, CFG scale: 2.5, Seed: 7, Size: 128x128, \
             Model: alice-emoji, Version: ALICE {}",
            Sampler::Euler.schedule_label(),
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(write(&parameters(), Sampler::Euler), expected);
    }

    #[test]
    fn a_negative_prompt_and_an_enlargement_are_said() {
        let parameters = Parameters {
            negative_prompt: Some("blurry".into()),
            width: 512,
            height: 512,
            model: "one, two".into(),
            ..parameters()
        };
        let text = write(&parameters, Sampler::Euler);
        assert!(text.starts_with("a red apple\nNegative prompt: blurry\nSteps: 20, "), "{text}");
        assert!(text.contains(", Size: 128x128, Enlarged to: 512x512, Model: \"one, two\", "), "{text}");
    }
}
