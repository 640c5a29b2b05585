// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a file of weights is, by the tensors in its header. Its name says nothing, nor does where it lies.

use std::path::Path;

use alice_checkpoint::control::ControlFile;
use alice_checkpoint::embedding::Embedding;
use alice_checkpoint::lora::Lora;
use alice_checkpoint::upscaler::UpscalerFile;
use alice_checkpoint::{Error, Family, Listing, is_training};

use super::walk::{CONFIG, Place};

/// What a file is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A whole model, or nothing that is known: opening it tells.
    Model,
    /// A LoRA for models of this family.
    Lora(Option<Family>),
    /// A textual-inversion embedding.
    Embedding,
    /// An autoencoder alone, which `vae` may name.
    Autoencoder,
    /// A ControlNet or T2I-Adapter.
    Control(Box<ControlFile>),
    /// A network that makes pictures so many times larger.
    Upscaler(u32),
}

/// What stands somewhere in the names of an adapter's tensors. Whether it is one that can be applied,
/// [`Lora::open`] says.
const ADAPTERS: [&str; 9] =
    ["lora_", ".lora", "_lora.", ".hada_", ".lokr_", "oft_", ".dora_scale", ".on_input", ".ia3_l"];
/// What stands somewhere in the names of the tensors of ControlNets and T2I-Adapters, in all spellings. Which of them,
/// [`ControlFile::open`] says.
const CONTROLS: [&str; 5] = [
    "input_hint_block.",
    "controlnet_cond_embedding.",
    "adapter.body.",
    "body.0.block1.",
    "body.0.body.0.block1.",
];
/// The same of upscalers.
const UPSCALERS: [&str; 2] = [".rdb1.conv1.", ".RDB1.conv1."];
/// How the names of an autoencoder's tensors begin, in all spellings.
const AUTOENCODERS: [&str; 6] =
    ["first_stage_model.", "vae.", "encoder.", "decoder.", "quant_conv.", "post_quant_conv."];
/// An embedding is one tensor, or one for each of SDXL's text encoders.
const TENSORS_OF_EMBEDDINGS: usize = 2;

/// What the file at `path` is, which lies at `place`.
///
/// # Errors
/// Why it is no sound safetensors file; why what it is cannot be used.
pub(super) fn of(path: &Path, place: Place) -> Result<Kind, Error> {
    let listing = Listing::open(path)?;
    let names_any = |parts: &[&str]| listing.names().any(|name| parts.iter().any(|part| name.contains(part)));
    if names_any(&ADAPTERS) {
        return Ok(Kind::Lora(Lora::open(path)?.base()));
    }
    let is_flat = |name: &str| listing.shape(name).is_some_and(|shape| shape.len() <= 2);
    if listing.names().count() <= TENSORS_OF_EMBEDDINGS && listing.names().all(is_flat) {
        return Embedding::open(path).map(|_| Kind::Embedding);
    }
    let of_autoencoder =
        |name: &str| is_training(name) || AUTOENCODERS.iter().any(|beginning| name.starts_with(beginning));
    let decodes = listing.names().any(|name| name.ends_with("decoder.conv_out.weight"));
    if decodes && listing.names().all(of_autoencoder) {
        return Ok(Kind::Autoencoder);
    }
    // What is nothing that is known is told apart by where it lies: the reason why it is not offered depends on it.
    if names_any(&CONTROLS) || place == Place::Controlnets {
        return control(path);
    }
    if names_any(&UPSCALERS) || place == Place::Upscalers {
        let scale = UpscalerFile::open(path)?.scale();
        return Ok(Kind::Upscaler(u32::try_from(scale).unwrap_or(u32::MAX)));
    }
    Ok(Kind::Model)
}

/// What the file or directory at `path` is, which should be a ControlNet or T2I-Adapter.
///
/// # Errors
/// Why it cannot be used.
pub(super) fn control(path: &Path) -> Result<Kind, Error> {
    let control = ControlFile::open(path)?;
    // Weights beside a configuration are half a directory, wherever that lies: the other half says what their tensors
    // do not.
    let directory = path.parent().filter(|parent| path.is_file() && parent.join(CONFIG).is_file());
    let whole = directory.and_then(|directory| ControlFile::open(directory).ok());
    Ok(Kind::Control(Box::new(whole.unwrap_or(control))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_autoencoder_is_known_beside_what_its_training_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vae.safetensors");
        let kind = |names: &[&str]| {
            let tensors = names.iter().enumerate().map(|(index, name)| {
                let (begin, end) = (4 * index, 4 * index + 4);
                format!(r#""{name}":{{"dtype":"F32","shape":[1,1,1,1],"data_offsets":[{begin},{end}]}}"#)
            });
            let header = format!("{{{}}}", tensors.collect::<Vec<_>>().join(","));
            let data = vec![0; 4 * names.len()];
            let length = (header.len() as u64).to_le_bytes();
            std::fs::write(&path, [&length[..], header.as_bytes(), &data].concat()).unwrap();
            of(&path, Place::Models).unwrap()
        };
        let decoder = "decoder.conv_out.weight";
        assert!(matches!(kind(&[decoder, "loss.logvar", "model_ema.decay"]), Kind::Autoencoder));
        assert!(matches!(kind(&[decoder, "strange.weight"]), Kind::Model));
    }
}
