// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The form as a picture's own text fills it in, and what of that text cannot be had here.

use alice_diffusion::Sampler;
use alice_diffusion::prompt::without_loras;

use super::fields::Fields;
use crate::app::App;
use crate::infotext::Parsed;

impl Fields {
    /// What the text of a picture says, and what is missing here of what it asks for.
    pub(in crate::pages) fn restored(parsed: &Parsed, app: &App) -> (Self, Vec<String>) {
        let mut missing = Vec::new();
        let model = parsed.model.as_deref().and_then(|name| {
            let found = app.models.find(Some(name)).ok();
            if found.is_none() {
                missing.push(format!("The model {name} is not here: another one is chosen."));
            }
            found
        });
        if let Some(sampler) = &parsed.unknown_sampler {
            missing.push(format!("The sampler {sampler} is not known here: the model's own is chosen."));
        }
        missing.extend(missing_loras(parsed, app));
        missing.extend(left_out(parsed));
        let text = |number: Option<String>| number.unwrap_or_default();
        let enlarged = parsed.value("Enlarged to").map(str::to_owned);
        let fields = Self {
            prompt: parsed.prompt.clone(),
            negative_prompt: parsed.negative_prompt.clone().unwrap_or_default(),
            model: model.map(|model| model.id.clone()).unwrap_or_default(),
            size: text(enlarged.or_else(|| parsed.size.map(|(width, height)| format!("{width}x{height}")))),
            steps: text(parsed.steps.map(|steps| steps.to_string())),
            guidance_scale: text(parsed.guidance_scale.map(|scale| scale.to_string())),
            scheduler: text(parsed.sampler.map(Sampler::name)),
            seed: text(parsed.seed.map(|seed| seed.to_string())),
            larger: text(parsed.hires_scale.map(|scale| ((scale * 10.0).round() / 10.0).to_string())),
            strength: text(parsed.strength.map(|strength| strength.to_string())),
            ..Self::default()
        };
        (fields, missing)
    }
}

/// What else it was made with that the form has no field for.
fn left_out(parsed: &Parsed) -> Option<String> {
    let unknown = [
        "Clip skip",
        "CFG Rescale",
        "CFG interval",
        "ControlNet",
        "Hires upscaler",
        "Mask blur",
        "VAE",
        "Postprocess",
    ];
    let is_left_out = |name: &&str| unknown.iter().any(|word| name.starts_with(word));
    let names: Vec<_> = parsed.pairs.iter().map(|(name, _)| name.as_str()).filter(is_left_out).collect();
    (!names.is_empty()).then(|| format!("The form has no field for: {}.", names.join(", ")))
}

/// The LoRAs of the prompt that are not here.
fn missing_loras(parsed: &Parsed, app: &App) -> Vec<String> {
    // A tag that cannot be read stays in the prompt, and is named when the form is sent.
    let Ok((_, tags)) = without_loras(&parsed.prompt) else { return Vec::new() };
    let gone = tags.into_iter().filter(|tag| app.models.lora(&tag.name).is_err());
    gone.map(|tag| format!("The LoRA {} is not here: take its tag out of the prompt.", tag.name)).collect()
}
