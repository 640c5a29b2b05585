// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a file of weights is, by the tensors in its header. Its name says nothing, nor does where it lies.

use std::path::Path;

use alice_checkpoint::{Error, Family, Listing};

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

/// What an adapter's tensors are called, in some part of their names.
const ADAPTERS: [&str; 12] = [
    ".lora_down.",
    ".lora_up.",
    ".lora_A.",
    ".lora_B.",
    ".lora.down.",
    ".lora.up.",
    "_lora.down.",
    "_lora.up.",
    ".lora_linear_layer.",
    ".hada_w1_a",
    ".lokr_w1",
    ".oft_blocks",
];
/// How the names of an autoencoder's tensors begin, in all spellings.
const AUTOENCODERS: [&str; 6] =
    ["first_stage_model.", "vae.", "encoder.", "decoder.", "quant_conv.", "post_quant_conv."];
/// An embedding is one tensor, or one for each of SDXL's text encoders.
const TENSORS_OF_EMBEDDINGS: usize = 2;

/// What the file at `path` is.
///
/// # Errors
/// Those of a file that is none of these and no sound safetensors file either.
pub(super) fn of(path: &Path) -> Result<Kind, Error> {
    let listing = Listing::open(path)?;
    if listing.names().any(|name| ADAPTERS.iter().any(|part| name.contains(part))) {
        return Ok(Kind::Lora(None));
    }
    let is_flat = |name: &str| listing.shape(name).is_some_and(|shape| shape.len() <= 2);
    if listing.names().count() <= TENSORS_OF_EMBEDDINGS && listing.names().all(is_flat) {
        return Ok(Kind::Embedding);
    }
    let of_autoencoder = |name: &str| AUTOENCODERS.iter().any(|beginning| name.starts_with(beginning));
    let decodes = listing.names().any(|name| name.ends_with("decoder.conv_out.weight"));
    Ok(if decodes && listing.names().all(of_autoencoder) { Kind::Autoencoder } else { Kind::Model })
}
