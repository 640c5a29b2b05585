// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The `parameters` text of a picture, in the form that AUTOMATIC1111's program introduced and that image
//! tools read: the prompt with the tags of its LoRAs, the negative prompt, then one line of `Name: value` pairs.

use alice_diffusion::Sampler;

use crate::draft::{Enlargement, Parameters};
use crate::inputs::{Control, Enlarger, Inputs, Preprocessor, ResizeMode};

pub mod carried;
mod head;
mod read;

pub use head::{Head, head};
pub use read::{Parsed, read};

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
    pairs.extend(of_inputs(&parameters.inputs));
    let controls = parameters.inputs.controls.iter().enumerate();
    let controls = controls.map(|(place, control)| (format!("ControlNet {place}"), of_control(control)));
    let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
    text + "\n" + &line(pairs.chain(controls).chain([("Version".to_owned(), version())]))
}

/// The text for a picture that was made larger: that of the picture itself, if it had one, and what was done to it.
pub fn write_enlarged(enlargement: &Enlargement) -> String {
    let Enlargement { input, scale, origin, .. } = enlargement;
    let done = [
        ("Postprocess upscale by".to_owned(), scale.to_string()),
        ("Postprocess upscaler".to_owned(), label_of_means(enlargement)),
    ];
    match origin {
        Some(origin) => format!("{}, {}", origin.text, line(done)),
        None => {
            let size = ("Size".to_owned(), format!("{}x{}", input.width, input.height));
            line([size].into_iter().chain(done).chain([("Version".to_owned(), version())]))
        }
    }
}

/// Upscalers by their ids, the filter as A1111 calls it.
fn label_of_means(enlargement: &Enlargement) -> String {
    enlargement.upscaler.clone().unwrap_or_else(|| label(&Enlarger::Lanczos))
}

fn line(pairs: impl IntoIterator<Item = (String, String)>) -> String {
    let pairs = pairs.into_iter().map(|(name, value)| format!("{name}: {}", quoted(value)));
    pairs.collect::<Vec<_>>().join(", ")
}

fn version() -> String {
    format!("ALICE {}", env!("CARGO_PKG_VERSION"))
}

/// The pairs about the pictures that came with the request, and about what enlarged the finished one.
fn of_inputs(inputs: &Inputs) -> Vec<(&'static str, String)> {
    let mut pairs = Vec::new();
    if let Some(start) = &inputs.start {
        match start.image_guidance_scale {
            Some(scale) => pairs.push(("Image CFG scale", scale.to_string())),
            None => pairs.push(("Denoising strength", start.strength.to_string())),
        }
        if let Some(mask) = &start.mask {
            pairs.push(("Mask blur", mask.blur.to_string()));
            if let Some(padding) = mask.only_masked {
                pairs.push(("Inpaint area", "Only masked".to_owned()));
                pairs.push(("Masked area padding", padding.to_string()));
            }
        }
    }
    if let Some(hires) = &inputs.hires {
        pairs.push(("Denoising strength", hires.strength.to_string()));
        pairs.push(("Hires resize", format!("{}x{}", hires.width, hires.height)));
        pairs.push(("Hires steps", hires.steps.to_string()));
        pairs.push(("Hires upscaler", label(&hires.enlarger)));
    }
    if let Some(upscaler) = &inputs.upscaler {
        pairs.push(("Postprocess upscaler", upscaler.clone()));
    }
    pairs
}

/// What A1111 calls it.
fn label(enlarger: &Enlarger) -> String {
    match enlarger {
        Enlarger::Latent => "Latent (nearest)".to_owned(),
        Enlarger::LatentBicubic => "Latent (bicubic)".to_owned(),
        Enlarger::Lanczos => "Lanczos".to_owned(),
        Enlarger::Model(id) => id.clone(),
    }
}

/// A ControlNet in the words of A1111's extension of that name.
fn of_control(control: &Control) -> String {
    let module = match control.preprocessor {
        None => "none",
        Some(Preprocessor::Canny) => "canny",
    };
    let resize = match control.resize_mode {
        ResizeMode::Crop => "Crop and Resize",
        ResizeMode::Fit => "Resize and Fill",
        ResizeMode::Stretch => "Just Resize",
    };
    let [start, end] = control.interval;
    format!(
        "Module: {module}, Model: {}, Weight: {}, Resize Mode: {resize}, Guidance Start: {start}, Guidance End: {end}",
        control.model, control.strength
    )
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
    use crate::draft::Origin;
    use crate::inputs::{Hires, Input, Mask, MaskPolarity, Start};

    pub(super) fn parameters() -> Parameters {
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

    fn input() -> Input {
        Input { name: "x".into(), width: 64, height: 64, ..Input::default() }
    }

    #[test]
    fn what_a_picture_began_with_is_said_in_a1111s_words() {
        let mask = Mask { input: input(), polarity: MaskPolarity::White, blur: 4.0, only_masked: Some(32) };
        let start = Start {
            input: input(),
            strength: 0.6,
            resize_mode: ResizeMode::Crop,
            mask: Some(mask),
            image_guidance_scale: None,
        };
        let inputs = Inputs { start: Some(start.clone()), ..Inputs::default() };
        let text = write(&Parameters { inputs, ..parameters() }, Method::Euler.into());
        let said = ", Denoising strength: 0.6, Mask blur: 4, Inpaint area: Only masked, Masked area padding: 32, \
                    Version: ";
        assert!(text.contains(said), "{text}");
        let told = Start { strength: 1.0, mask: None, image_guidance_scale: Some(1.5), ..start };
        let inputs = Inputs { start: Some(told), ..Inputs::default() };
        let text = write(&Parameters { inputs, ..parameters() }, Method::Euler.into());
        assert!(text.contains(", Image CFG scale: 1.5, Version: "), "{text}");
    }

    #[test]
    fn a_larger_picture_says_what_was_done_to_it_behind_what_it_said_before() {
        let plain = Enlargement {
            input: input(),
            upscaler: Some("upscaler/x4".into()),
            factor: 4,
            scale: 1.5,
            width: 96,
            height: 96,
            origin: None,
        };
        let text = write_enlarged(&plain);
        let version = version();
        let done = "Postprocess upscale by: 1.5, Postprocess upscaler: ";
        assert_eq!(text, format!("Size: 64x64, {done}upscaler/x4, Version: {version}"));
        let before = write(&parameters(), Method::Euler.into());
        let origin = Some(Origin { text: before.clone(), painted: None });
        let again = write_enlarged(&Enlargement { origin, upscaler: None, ..plain });
        assert_eq!(again, format!("{before}, {done}Lanczos"));
    }

    #[test]
    fn second_runs_and_controls_are_said_in_a1111s_words() {
        let (width, height) = (256, 192);
        let hires = Hires { width, height, enlarger: Enlarger::Latent, strength: 0.7, steps: 20 };
        let control = Control {
            model: "control/canny".into(),
            input: input(),
            preprocessor: Some(Preprocessor::Canny),
            resize_mode: ResizeMode::Fit,
            strength: 0.8,
            interval: [0.0, 0.5],
        };
        let inputs = Inputs { hires: Some(hires), controls: vec![control], ..Inputs::default() };
        let text = write(&Parameters { inputs, ..parameters() }, Method::Euler.into());
        let said = ", Denoising strength: 0.7, Hires resize: 256x192, Hires steps: 20, \
                    Hires upscaler: Latent (nearest), ControlNet 0: \"Module: canny, Model: control/canny, \
                    Weight: 0.8, Resize Mode: Resize and Fill, Guidance Start: 0, Guidance End: 0.5\", Version: ";
        assert!(text.contains(said), "{text}");
    }
}
