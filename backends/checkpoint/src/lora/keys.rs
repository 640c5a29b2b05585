// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The names of a LoRA file's tensors: which module each belongs to, and what of its change it is.

use std::collections::BTreeMap;

use crate::{Listing, error::sentence};

/// A part of a module's change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The matrix that comes first, `[rank, input]`.
    Down,
    /// The matrix that comes last, `[output, rank]`.
    Up,
    /// What LoCon puts between them for a convolution in Tucker's form, `[rank, rank, height, width]`.
    Mid,
    /// The number that is divided by the rank to become the change's factor.
    Alpha,
}

/// How the names of the parts end. PEFT's with an adapter's name in it is looked for apart from these.
const ENDINGS: [(&str, Part); 12] = [
    (".lora_down.weight", Part::Down),
    (".lora_up.weight", Part::Up),
    (".lora_mid.weight", Part::Mid),
    (".lora_A.weight", Part::Down),
    (".lora_B.weight", Part::Up),
    (".lora.down.weight", Part::Down),
    (".lora.up.weight", Part::Up),
    (".lora_linear_layer.down.weight", Part::Down),
    (".lora_linear_layer.up.weight", Part::Up),
    ("_lora.down.weight", Part::Down),
    ("_lora.up.weight", Part::Up),
    (".alpha", Part::Alpha),
];

/// What the names of adapters of other kinds hold.
const REFUSED: [(&str, &str); 13] = [
    (".hada_", "LoHa"),
    (".lokr_", "LoKr"),
    (".dora_scale", "DoRA"),
    (".lora_magnitude_vector", "DoRA"),
    (".oft_", "OFT"),
    (".boft_", "OFT"),
    (".a1.weight", "GLoRA"),
    (".a2.weight", "GLoRA"),
    (".b1.weight", "GLoRA"),
    (".b2.weight", "GLoRA"),
    (".on_input", "IA3"),
    (".ia3_l", "IA3"),
    (".vera_lambda", "VeRA"),
];

/// The names of the tensors of one module's change.
#[derive(Debug, Default)]
pub(super) struct Module {
    pub(super) down: Option<String>,
    pub(super) up: Option<String>,
    pub(super) mid: Option<String>,
    pub(super) alpha: Option<String>,
}

/// A file's tensors in order.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The modules with a change, by the file's name of them.
    pub(super) modules: BTreeMap<String, Module>,
    /// The tensors that belong to none.
    pub(super) others: Vec<String>,
}

/// Sorts the tensors of a file by module.
pub(super) fn sort(file: &Listing) -> Result<Keys, String> {
    let mut keys = Keys::default();
    for name in file.names() {
        if let Some((_, kind)) = REFUSED.iter().find(|(sign, _)| name.contains(sign)) {
            return Err(format!(
                "it is a {kind} ({}), a kind of adapter that is not applied here; LoRA and LoCon are",
                sentence(format_args!("{name:?}"))
            ));
        }
        let Some((module, part)) = part_of(name) else {
            keys.others.push(name.to_owned());
            continue;
        };
        let module_parts = keys.modules.entry(module.to_owned()).or_default();
        let place = match part {
            Part::Down => &mut module_parts.down,
            Part::Up => &mut module_parts.up,
            Part::Mid => &mut module_parts.mid,
            Part::Alpha => &mut module_parts.alpha,
        };
        if place.replace(name.to_owned()).is_some() {
            return Err(format!("it changes {} twice", sentence(format_args!("{module:?}"))));
        }
    }
    // The factor of something else, such as a whole new weight, which is not applied either.
    let lonely = |module: &Module| module.down.is_none() && module.up.is_none() && module.mid.is_none();
    for (_, module) in keys.modules.extract_if(.., |_, module| lonely(module)) {
        keys.others.extend(module.alpha);
    }
    match keys.modules.is_empty() {
        true => Err("it holds no LoRA of any layer".to_owned()),
        false => Ok(keys),
    }
}

/// The module that a tensor belongs to, and which part of its change it is.
fn part_of(name: &str) -> Option<(&str, Part)> {
    let plain = ENDINGS.iter().find_map(|(ending, part)| Some((name.strip_suffix(ending)?, *part)));
    plain.or_else(|| {
        let (module, _adapter) = name.strip_suffix(".weight")?.rsplit_once('.')?;
        let down = module.strip_suffix(".lora_A").map(|module| (module, Part::Down));
        down.or_else(|| module.strip_suffix(".lora_B").map(|module| (module, Part::Up)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_taken_apart() {
        for (name, module, part) in [
            (
                "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight",
                "lora_unet_mid_block_attentions_0_proj_in",
                Part::Down,
            ),
            ("lora_te_x.lora_up.weight", "lora_te_x", Part::Up),
            ("lora_unet_x.lora_mid.weight", "lora_unet_x", Part::Mid),
            ("lora_unet_x.alpha", "lora_unet_x", Part::Alpha),
            ("unet.a.to_out.0.lora_A.weight", "unet.a.to_out.0", Part::Down),
            ("base_model.model.a.lora_B.default.weight", "base_model.model.a", Part::Up),
            ("unet.a.to_q.lora.up.weight", "unet.a.to_q", Part::Up),
            ("text_encoder.a.q_proj.lora_linear_layer.down.weight", "text_encoder.a.q_proj", Part::Down),
            ("a.attn1.processor.to_q_lora.down.weight", "a.attn1.processor.to_q", Part::Down),
        ] {
            assert_eq!(part_of(name), Some((module, part)), "{name}");
        }
        for name in ["x.diff", "x.diff_b", "x.lora_up.bias", "x.weight", "lora_A.weight", "alpha", ""] {
            assert_eq!(part_of(name), None, "{name}");
        }
    }
}
