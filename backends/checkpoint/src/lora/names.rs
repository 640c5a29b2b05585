// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Which layer of a model a LoRA file means by a name.
//!
//! In kohya's names all dots are underscores, which no rule can undo (`to_out_0`, `self_attn_q_proj`). So the names
//! are not taken apart: every name that each of the model's layers can have is made from its path, and what the file
//! says is looked up there.

use std::collections::{BTreeMap, HashMap};

use super::{ldm, pairs::Pair};
use crate::{Family, Layer};

/// What stands before a module's path, and the network that it means. A longer one comes before its own beginning.
const PREFIXES: [(&str, &str); 9] = [
    ("lora_unet_", "unet"),
    ("lora_te1_", "text_encoder"),
    ("lora_te2_", "text_encoder_2"),
    ("lora_te_", "text_encoder"),
    ("unet.", "unet"),
    ("text_encoder_2.", "text_encoder_2"),
    ("text_encoder.", "text_encoder"),
    ("model.diffusion_model.", "unet"),
    ("diffusion_model.", "unet"),
];
/// The networks that a path without such a prefix can be in; PEFT writes it so.
const NETWORKS: [&str; 3] = ["unet", "text_encoder", "text_encoder_2"];
/// What PEFT puts before a path.
const WRAPPER: &str = "base_model.model.";
/// The module that holds a whole text encoder in some versions of transformers, and is not there in others.
const TEXT_MODEL: &str = "text_model_";
/// What old diffusers called the projections of a text encoder's attention.
const OLD_TEXT: [(&str, &str); 4] = [
    ("_self_attn_q_proj", "_self_attn_to_q"),
    ("_self_attn_k_proj", "_self_attn_to_k"),
    ("_self_attn_v_proj", "_self_attn_to_v"),
    ("_self_attn_out_proj", "_self_attn_to_out"),
];

/// The names that a model's layers go by.
pub(super) struct Names {
    /// The layer's place by network and path, with underscores; none for a name that two layers could mean.
    layers: HashMap<(&'static str, String), Option<usize>>,
}

impl Names {
    pub(super) fn new(layers: &[Layer]) -> Self {
        let blocks = ldm::Blocks::of(layers);
        let mut names = Self { layers: HashMap::new() };
        for (index, layer) in layers.iter().enumerate() {
            let Some(network) = NETWORKS.into_iter().find(|network| *network == layer.component) else {
                continue;
            };
            let path = flat(&layer.module);
            match network {
                "unet" => {
                    let makers = blocks.name_of(&layer.module).map(|name| flat(&name));
                    for name in [Some(path), makers].into_iter().flatten() {
                        // Old attention processors know one layer behind the attention, without a number.
                        if let Some(name) = name.strip_suffix("_to_out_0") {
                            names.add(network, format!("{name}_to_out"), index);
                        }
                        names.add(network, name, index);
                    }
                }
                _ => {
                    for (of_today, old) in OLD_TEXT {
                        if let Some(rest) = path.strip_suffix(of_today) {
                            names.add(network, format!("{rest}{old}"), index);
                        }
                    }
                    names.add(network, path, index);
                }
            }
        }
        names
    }

    fn add(&mut self, network: &'static str, path: String, index: usize) {
        let entry = self.layers.entry((network, path)).or_insert(Some(index));
        if *entry != Some(index) {
            *entry = None;
        }
    }

    /// The place of the layer that the file calls `module`.
    pub(super) fn find(&self, module: &str) -> Option<usize> {
        let module = module.strip_prefix(WRAPPER).unwrap_or(module);
        let named =
            PREFIXES.iter().find_map(|(prefix, network)| Some((module.strip_prefix(prefix)?, *network)));
        let (path, networks) = match named {
            // A refiner has the second text encoder alone; a file made for it may call that the encoder.
            Some((path, "text_encoder")) => (path, &NETWORKS[1..]),
            Some((path, "text_encoder_2")) => (path, &NETWORKS[2..]),
            Some((path, _)) => (path, &NETWORKS[..1]),
            None => (module, &NETWORKS[..]),
        };
        let path = flat(path.strip_prefix(WRAPPER).unwrap_or(path));
        networks.iter().find_map(|network| self.layers.get(&(network, path.clone())).copied().flatten())
    }
}

/// A path as it stands in the table: with underscores, without what files disagree about.
fn flat(path: &str) -> String {
    let path = path.replace(".processor.", ".").replace('.', "_");
    path.strip_prefix(TEXT_MODEL).map(str::to_owned).unwrap_or(path)
}

/// Whether a layer of the denoiser reads the encoded prompt, whose width tells families apart.
pub(super) fn reads_the_prompt(module: &str) -> bool {
    module.ends_with(".attn2.to_k") || module.ends_with(".attn2.to_v")
}

/// The family that a file was made for, by the width of the prompts that it attends to, else by its text encoders.
pub(super) fn base(pairs: &BTreeMap<String, Pair>) -> Option<Family> {
    let inputs = |signs: &'static [&str]| {
        let found = pairs.iter().find(|(name, _)| signs.iter().any(|sign| flat(name).ends_with(sign)));
        found.map(|(_, pair)| pair.input)
    };
    match inputs(&["attn2_to_k", "attn2_to_v"]) {
        Some(768) => return Some(Family::Sd1),
        Some(1024) => return Some(Family::Sd2),
        Some(2048) => return Some(Family::Sdxl),
        Some(1280) => return Some(Family::SdxlRefiner),
        _ => {}
    }
    let second = |name: &String| name.starts_with("lora_te2_") || name.starts_with("text_encoder_2.");
    if pairs.keys().any(second) {
        return Some(Family::Sdxl);
    }
    match inputs(&["self_attn_q_proj", "self_attn_to_q", "self_attn_v_proj", "self_attn_to_v", "mlp_fc1"]) {
        Some(768) => Some(Family::Sd1),
        Some(1024) => Some(Family::Sd2),
        _ => None,
    }
}
