// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a file of weights is, by the tensors in its header. Its name says nothing, nor does where it lies.

use std::path::Path;

use alice_checkpoint::embedding::Embedding;
use alice_checkpoint::lora::Lora;
use alice_checkpoint::{Error, Family, Listing, is_training};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole model, or nothing that is known: opening it tells.
    Model,
    /// A LoRA for models of this family.
    Lora(Option<Family>),
    /// A textual-inversion embedding.
    Embedding,
    /// An autoencoder alone, which `vae` may name.
    Autoencoder,
}

/// What stands somewhere in the names of an adapter's tensors. Whether it is one that can be applied,
/// [`Lora::open`] says.
const ADAPTERS: [&str; 9] =
    ["lora_", ".lora", "_lora.", ".hada_", ".lokr_", "oft_", ".dora_scale", ".on_input", ".ia3_l"];
/// How the names of an autoencoder's tensors begin, in all spellings.
const AUTOENCODERS: [&str; 6] =
    ["first_stage_model.", "vae.", "encoder.", "decoder.", "quant_conv.", "post_quant_conv."];
/// An embedding is one tensor, or one for each of SDXL's text encoders.
const TENSORS_OF_EMBEDDINGS: usize = 2;

/// What the file at `path` is.
///
/// # Errors
/// Why it is no sound safetensors file; why a LoRA or an embedding cannot be used.
pub(super) fn of(path: &Path) -> Result<Kind, Error> {
    let listing = Listing::open(path)?;
    if listing.names().any(|name| ADAPTERS.iter().any(|part| name.contains(part))) {
        return Ok(Kind::Lora(Lora::open(path)?.base()));
    }
    let is_flat = |name: &str| listing.shape(name).is_some_and(|shape| shape.len() <= 2);
    if listing.names().count() <= TENSORS_OF_EMBEDDINGS && listing.names().all(is_flat) {
        return Embedding::open(path).map(|_| Kind::Embedding);
    }
    let of_autoencoder =
        |name: &str| is_training(name) || AUTOENCODERS.iter().any(|beginning| name.starts_with(beginning));
    let decodes = listing.names().any(|name| name.ends_with("decoder.conv_out.weight"));
    Ok(if decodes && listing.names().all(of_autoencoder) { Kind::Autoencoder } else { Kind::Model })
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
            of(&path).unwrap()
        };
        let decoder = "decoder.conv_out.weight";
        assert_eq!(kind(&[decoder, "loss.logvar", "model_ema.decay"]), Kind::Autoencoder);
        assert_eq!(kind(&[decoder, "strange.weight"]), Kind::Model);
    }
}
