// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a LoRA file says about itself beside its tensors: PEFT's settings, which diffusers keeps in the header,
//! and the trainer's word for the model that it was made for.
//!
//! Source: diffusers `loaders/lora_base.py` (`lora_adapter_metadata`); PEFT `tuners/lora/config.py`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Family, Listing, error::sentence, header::notes::SETTINGS};

/// The longest settings accepted; those of a file that changes every layer of SDXL have some 100 KiB.
const MAX_SETTINGS_BYTES: usize = 1 << 20;

/// The settings of a file's networks.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// PEFT's, each with the network's name in front: `unet.lora_alpha`.
    peft: BTreeMap<String, Value>,
    /// The family that the trainer names.
    pub(super) base: Option<Family>,
}

impl Settings {
    /// Reads the settings of a file.
    pub(super) fn read(file: &Listing) -> Result<Self, String> {
        let base = ["ss_base_model_version", "modelspec.architecture"]
            .into_iter()
            .filter_map(|name| file.note(name));
        Self::parse(file.note(SETTINGS), base)
    }

    fn parse<'a>(settings: Option<&str>, words: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let peft = match settings {
            None => BTreeMap::new(),
            Some(text) if text.len() > MAX_SETTINGS_BYTES => {
                return Err(format!(
                    "its settings have {} bytes, more than {MAX_SETTINGS_BYTES}",
                    text.len()
                ));
            }
            Some(text) => serde_json::from_str(text)
                .map_err(|error| format!("its settings cannot be understood: {}", sentence(error)))?,
        };
        let dora = |(key, value): (&String, &Value)| key.ends_with("use_dora") && value == &Value::Bool(true);
        if peft.iter().any(dora) {
            return Err("it is a DoRA, a kind of adapter that is not applied here".to_owned());
        }
        Ok(Self { peft, base: words.into_iter().find_map(base) })
    }

    /// The factor of a change of this rank that has no alpha of its own: `alpha / rank` by the settings, 1 without
    /// any.
    pub(super) fn factor(&self, module: &str, rank: usize) -> Result<f32, String> {
        let (network, path) = split(module);
        let setting = |key: &str| match network {
            "" => self.peft.get(key),
            _ => self.peft.get(&format!("{network}.{key}")),
        };
        let special = setting("alpha_pattern").and_then(Value::as_object).and_then(|patterns| {
            patterns.iter().find_map(|(pattern, alpha)| is_of(path, pattern).then_some(alpha))
        });
        let Some(alpha) = special.or_else(|| setting("lora_alpha")) else {
            return Ok(1.0);
        };
        let alpha = alpha.as_f64().filter(|alpha| (*alpha as f32).is_finite());
        let alpha = alpha.ok_or("its settings have an alpha that is no finite number")? as f32;
        Ok(match setting("use_rslora") == Some(&Value::Bool(true)) {
            true => alpha / (rank as f32).sqrt(),
            false => alpha / rank as f32,
        })
    }
}

/// The network in front of a module's name, and the rest.
fn split(module: &str) -> (&str, &str) {
    let module = module.strip_prefix("base_model.model.").unwrap_or(module);
    ["text_encoder_2", "text_encoder", "unet"]
        .into_iter()
        .find_map(|network| Some((network, module.strip_prefix(network)?.strip_prefix('.')?)))
        .unwrap_or(("", module))
}

/// Whether PEFT would take `path` for one of `pattern`: the whole of it, or its end after a dot. Patterns are
/// regular expressions there; those in files are plain names.
fn is_of(path: &str, pattern: &str) -> bool {
    let pattern = pattern.trim_start_matches('^').trim_end_matches('$');
    path.strip_suffix(pattern).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The family by the words of kohya's and Stability's notes.
fn base(word: &str) -> Option<Family> {
    let word = word.to_ascii_lowercase();
    match word {
        word if word.contains("refiner") => Some(Family::SdxlRefiner),
        word if word.contains("xl") => Some(Family::Sdxl),
        word if word.starts_with("sd_v1") || word.starts_with("stable-diffusion-v1") => Some(Family::Sd1),
        word if word.starts_with("sd_v2") || word.starts_with("stable-diffusion-v2") => Some(Family::Sd2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peft(settings: &str) -> Result<Settings, String> {
        Settings::parse(Some(settings), [].into_iter())
    }

    #[test]
    fn a_change_without_alpha_or_settings_has_the_factor_one() {
        assert_eq!(Settings::default().factor("unet.a.to_q", 7), Ok(1.0));
    }

    #[test]
    fn settings_of_peft_give_the_factor_by_network_and_module() {
        let settings = peft(
            r#"{"unet.lora_alpha": 8, "unet.alpha_pattern": {"^mid.to_q": 2, "k": 4}, "text_encoder.lora_alpha": 3,
                "text_encoder.use_rslora": true}"#,
        )
        .unwrap();
        assert_eq!(settings.factor("unet.down.to_q", 4), Ok(2.0));
        assert_eq!(settings.factor("unet.mid.to_q", 4), Ok(0.5));
        assert_eq!(settings.factor("unet.mid.k", 4), Ok(1.0));
        assert_eq!(settings.factor("unet.mid.to_k", 4), Ok(2.0));
        assert_eq!(settings.factor("text_encoder.q_proj", 9), Ok(1.0));
        assert_eq!(settings.factor("text_encoder_2.q_proj", 9), Ok(1.0));
    }

    #[test]
    fn settings_that_mean_something_else_are_refused() {
        assert!(peft(r#"{"unet.use_dora": true}"#).unwrap_err().contains("DoRA"));
        assert!(peft("{").unwrap_err().contains("cannot be understood"));
        assert!(peft(&" ".repeat(MAX_SETTINGS_BYTES + 1)).unwrap_err().contains("bytes"));
        let alpha = peft(r#"{"unet.lora_alpha": 1e300}"#).unwrap();
        assert!(alpha.factor("unet.a", 1).unwrap_err().contains("alpha"));
    }

    #[test]
    fn the_trainers_word_tells_the_family() {
        let of = |word| Settings::parse(None, [word].into_iter()).unwrap().base;
        assert_eq!(of("sd_v1"), Some(Family::Sd1));
        assert_eq!(of("sd_v2_v"), Some(Family::Sd2));
        assert_eq!(of("sdxl_base_v1-0"), Some(Family::Sdxl));
        assert_eq!(of("stable-diffusion-xl-v1-base/lora"), Some(Family::Sdxl));
        assert_eq!(of("flux1"), None);
    }
}
