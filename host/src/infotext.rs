// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The `parameters` text of a picture, in the form that AUTOMATIC1111's program introduced and that image
//! tools read: the prompt with the tags of its LoRAs, the negative prompt, then one line of `Name: value` pairs.

use alice_diffusion::Sampler;

use crate::draft::Parameters;

/// The text for a picture made with `parameters` by `sampler`.
pub fn write(parameters: &Parameters, sampler: Sampler) -> String {
    let mut text = parameters.prompt_with_loras();
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
    // These only where they are not as usual, as A1111 does, which counts the layers used from 1.
    if parameters.clip_skip > 0 {
        pairs.push(("Clip skip", (parameters.clip_skip + 1).to_string()));
    }
    if parameters.guidance_rescale > 0.0 {
        pairs.push(("CFG Rescale", parameters.guidance_rescale.to_string()));
    }
    if parameters.guidance_interval != [0.0, 1.0] {
        let [begin, end] = parameters.guidance_interval;
        pairs.push(("CFG interval", format!("{begin}-{end}")));
    }
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
    use alice_diffusion::Method;

    use super::*;
    use crate::adapters::Lora;
    use crate::inputs::Inputs;

    fn parameters() -> Parameters {
        Parameters {
            prompt: "a red apple".into(),
            negative_prompt: None,
            steps: 20,
            guidance_scale: 2.5,
            guidance_rescale: 0.0,
            guidance_interval: [0.0, 1.0],
            clip_skip: 0,
            seed: 7,
            model: "alice-emoji".into(),
            scheduler: "euler".into(),
            width: 128,
            height: 128,
            rendered_width: 128,
            rendered_height: 128,
            loras: Vec::new(),
            embeddings: Vec::new(),
            inputs: Inputs::default(),
        }
    }

    #[test]
    fn the_text_reads_as_image_tools_expect() {
        let expected = format!(
            "a red apple\nSteps: 20, Sampler: Euler, Schedule type: {}, CFG scale: 2.5, Seed: 7, Size: 128x128, \
             Model: alice-emoji, Version: ALICE {}",
            Sampler::from(Method::Euler).schedule_label(),
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(write(&parameters(), Method::Euler.into()), expected);
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
        let text = write(&parameters, Method::Euler.into());
        assert!(text.starts_with("a red apple\nNegative prompt: blurry\nSteps: 20, "), "{text}");
        assert!(text.contains(", Size: 128x128, Enlarged to: 512x512, Model: \"one, two\", "), "{text}");
    }

    #[test]
    fn loras_stand_behind_the_prompt_as_tags_that_can_be_asked_for_again() {
        let loras = [("lora/one two", 0.8), ("lora/x", -1.0)];
        let loras = loras.map(|(id, scale)| Lora { id: id.into(), scale }).to_vec();
        let text = write(&Parameters { loras, ..parameters() }, Method::Euler.into());
        assert!(text.starts_with("a red apple <lora:one two:0.8> <lora:x:-1>\nSteps: "), "{text}");
    }

    #[test]
    fn what_is_unusual_about_layers_and_guidance_is_said_in_a1111s_words() {
        let parameters =
            Parameters { clip_skip: 1, guidance_rescale: 0.7, guidance_interval: [0.2, 0.8], ..parameters() };
        let text = write(&parameters, Method::Euler.into());
        let unusual = ", Size: 128x128, Clip skip: 2, CFG Rescale: 0.7, CFG interval: 0.2-0.8, Model: ";
        assert!(text.contains(unusual), "{text}");
    }
}
