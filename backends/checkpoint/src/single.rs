// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A model in one safetensors file, in the spelling of the original releases of Stable Diffusion: what its tensors
//! tell of its family and of the sizes of its networks, and which of them diffusers calls what.
//!
//! Source: CompVis `ldm` and Stability's `sgm` for the names, and diffusers `loaders/single_file_utils.py` and
//! `scripts/convert_*` for what they correspond to.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use self::moves::Moves;
use self::{
    text::{Conditioner, OPENAI, OPENCLIP, OPENCLIP_POOLED},
    unet::Denoiser,
};
use crate::{
    Error, Family, Listing,
    catalog::Catalog,
    diffusers::{Settings, TextEncoder},
    error::sentence,
};

pub(crate) mod control;
mod moves;
mod scheduler;
mod text;
mod unet;
pub(crate) mod vae;

const UNET: &str = "model.diffusion_model.";
/// What every denoiser of Stable Diffusion begins with, and those of later models do not.
const UNET_BLOCKS: &str = "model.diffusion_model.input_blocks.0.";
const VAE: &str = "first_stage_model.";

/// Parts of training that some files keep: averaged weights, losses, noise levels, and a placeholder for words.
const IGNORED: [&str; 4] = ["model_ema.", "loss.", "denoiser.", "embedding_manager."];
/// Marks of models that are trained on noise of another kind (EDM), which nothing here makes.
const EDM: [&str; 3] = ["edm_mean", "edm_std", "edm_vpred.sigma_max"];

const FIRST_ENCODER: TextEncoder =
    TextEncoder { component: "text_encoder", tokenizer: "tokenizer", projection: false };
const SECOND_ENCODER: TextEncoder =
    TextEncoder { component: "text_encoder_2", tokenizer: "tokenizer_2", projection: true };

/// A model in one file.
#[derive(Clone, Debug)]
pub(crate) struct SingleFile {
    path: PathBuf,
    family: Family,
    networks: BTreeMap<&'static str, Network>,
    scheduler: Value,
    /// It was distilled to a few steps.
    few_steps: bool,
}

/// One network in the words of diffusers.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// As its `config.json` would be.
    pub(crate) config: Value,
    pub(crate) catalog: Catalog,
}

impl Network {
    /// The configuration, worked out from the file at `path`.
    ///
    /// # Errors
    /// [`Error::Json`] when it does not say what `C` needs.
    pub(crate) fn config<C: DeserializeOwned>(&self, path: &Path) -> Result<C, Error> {
        let parsed = serde_json::from_value(self.config.clone());
        parsed.map_err(|cause| Error::Json { path: path.to_owned(), cause })
    }
}

impl SingleFile {
    /// The model in the file at `path`.
    ///
    /// # Errors
    /// [`Error::UnknownFamily`] for a file of anything else and for a model with parts that would be left out,
    /// [`Error::MissingTensor`] for one that lacks a part, and those of [`Listing::open`].
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let listing = Listing::open(path)?;
        let unknown = |seen: String| Error::UnknownFamily { path: path.to_owned(), seen: sentence(seen) };
        check_whole(&listing).map_err(unknown)?;
        let denoiser = Denoiser::read(Moves::new(&listing, UNET))?;
        let (family, conditioners) = recognise(&listing, &denoiser).map_err(unknown)?;
        let mut networks = BTreeMap::new();
        let mut pooled = 0;
        for (encoder, conditioner) in encoders(family).into_iter().zip(conditioners) {
            let network = conditioner.read(&listing)?;
            pooled = network.config["projection_dim"].as_u64().unwrap_or(0);
            networks.insert(encoder.component, network);
        }
        let few_steps = scheduler::takes_few_steps(&listing);
        let scheduler = scheduler::config(&listing, family, denoiser.input)?;
        networks.insert("unet", denoiser.network(family, pooled).map_err(unknown)?);
        let halves = ["encoder.", "decoder."].map(|half| format!("{VAE}{half}"));
        if listing.names().any(|name| halves.iter().any(|half| name.starts_with(half))) {
            networks.insert("vae", vae::read(Moves::new(&listing, VAE), family)?);
        }
        Ok(Self { path: path.to_owned(), family, networks, scheduler, few_steps })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn family(&self) -> Family {
        self.family
    }

    pub(crate) fn text_encoders(&self) -> Vec<TextEncoder> {
        encoders(self.family)
    }

    /// As the published models of the family have them.
    pub(crate) fn settings(&self) -> Settings {
        Settings { force_zeros_for_empty_prompt: self.family == Family::Sdxl, few_steps: self.few_steps }
    }

    /// The configuration of a network.
    ///
    /// # Errors
    /// As [`catalog`](Self::catalog); [`Error::Json`] when it does not say what `C` needs.
    pub(crate) fn config<C: DeserializeOwned>(&self, component: &str) -> Result<C, Error> {
        self.network(component)?.config(&self.path)
    }

    pub(crate) fn scheduler_config(&self) -> Vec<u8> {
        self.scheduler.to_string().into_bytes()
    }

    /// The tensors of a network.
    ///
    /// # Errors
    /// [`Error::NoAutoencoder`] for one that the file does not bring, [`Error::Missing`] for what no model has.
    pub(crate) fn catalog(&self, component: &str) -> Result<&Catalog, Error> {
        Ok(&self.network(component)?.catalog)
    }

    fn network(&self, component: &str) -> Result<&Network, Error> {
        let path = || self.path.clone();
        self.networks.get(component).ok_or_else(|| match component {
            "vae" => Error::NoAutoencoder { path: path() },
            other => Error::Missing { path: path(), what: format!("{other:?}") },
        })
    }
}

/// The text encoders of a family, in the order in which they are used.
fn encoders(family: Family) -> Vec<TextEncoder> {
    match family {
        Family::Sd1 | Family::Sd2 => vec![FIRST_ENCODER],
        Family::Sdxl => vec![FIRST_ENCODER, SECOND_ENCODER],
        Family::SdxlRefiner => vec![SECOND_ENCODER],
    }
}

/// Passes for a file that holds a denoiser and nothing that would be left out without a word; the networks
/// themselves are looked at later.
fn check_whole(listing: &Listing) -> Result<(), String> {
    let Some(denoiser) = listing.names().find(|name| name.starts_with(UNET)) else {
        return Err(what_instead(listing));
    };
    if !listing.names().any(|name| name.starts_with(UNET_BLOCKS)) {
        return Err(format!("its denoiser is of another build than Stable Diffusion's, with {denoiser:?}"));
    }
    if let Some(mark) = EDM.iter().find(|mark| listing.contains(mark)) {
        return Err(format!("it is trained on another kind of noise, as its tensor {mark:?} says"));
    }
    let known = |name: &str| {
        let parts = [UNET, VAE, text::PLAIN, text::XL_FIRST, text::XL_SECOND];
        // What has no module around it is a number or a table of training.
        !name.contains('.') || parts.iter().chain(&IGNORED).any(|part| name.starts_with(part))
    };
    match listing.names().find(|name| !known(name)) {
        Some(name) => Err(format!("it has a part that is not known here, {name:?}")),
        None => Ok(()),
    }
}

/// What a file without a denoiser seems to be.
fn what_instead(listing: &Listing) -> String {
    let any = |part: &str| listing.names().any(|name| name.contains(part));
    let what = if any("lora_") || any(".lora.") {
        ": it is a LoRA, which belongs into `loras`"
    } else if any("emb_params") || listing.contains("clip_g") || listing.contains("clip_l") {
        ": it is a textual inversion embedding, which belongs into `embeddings`"
    } else if any("controlnet_down_blocks.") || any("zero_convs.") {
        ": it is a ControlNet, which guides a model and is none"
    } else if any("adapter.body.") || listing.contains("body.0.block1.weight") {
        ": it is a T2I-Adapter, which guides a model and is none"
    } else if any("rdb1.conv1") || any("RDB1.conv1") {
        ": it is an upscaler"
    } else if any("decoder.conv_in.weight") {
        ": it is an autoencoder (VAE) on its own"
    } else {
        ""
    };
    format!("it has no denoiser under `{UNET}`{what}")
}

/// The family of a model with this denoiser, and where its text encoders are.
fn recognise(listing: &Listing, denoiser: &Denoiser) -> Result<(Family, Vec<Conditioner>), String> {
    let has = |part: &str| listing.names().any(|name| name.starts_with(part));
    let conditioner = |slot, kind| Conditioner { slot, kind };
    let (first, second) = (text::XL_FIRST, text::XL_SECOND);
    match (denoiser.added, has(text::PLAIN), has(first), has(second)) {
        (None, true, false, false) => {
            let family = Family::by_prompt(Some(denoiser.context), denoiser.linear_projections);
            let kind = if family == Family::Sd1 { OPENAI } else { OPENCLIP };
            Ok((family, vec![conditioner(text::PLAIN, kind)]))
        }
        (Some(_), false, true, true) => {
            let both = vec![conditioner(first, OPENAI), conditioner(second, OPENCLIP_POOLED)];
            Ok((Family::Sdxl, both))
        }
        (Some(_), false, true, false) => Ok((Family::SdxlRefiner, vec![conditioner(first, OPENCLIP_POOLED)])),
        (_, false, false, false) => Err("it has no text encoder".to_owned()),
        (Some(_), ..) => Err(
            "its UNet wants added conditioning (`label_emb`), and its text encoders are others than SDXL's"
                .to_owned(),
        ),
        (None, ..) => {
            Err("its text encoders are those of SDXL, and its UNet wants no added conditioning (`label_emb`)"
                .to_owned())
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
