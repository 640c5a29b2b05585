// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What is to be known about one model: its kind, its sizes, and what a request may leave open.

use alice_checkpoint::Family;
use alice_diffusion::Prediction;
use serde::Serialize;

use super::mebibytes;
use crate::draft;
use crate::models::{Defaults, Model};

/// One model, for people who choose.
#[derive(Debug, Serialize)]
pub(crate) struct Info {
    id: String,
    object: &'static str,
    name: String,
    /// The Python ALICE's word for the family.
    model_type: &'static str,
    family: &'static str,
    /// What the network predicts: `epsilon`, `v_prediction`, `sample` or `flow_prediction`.
    pub(crate) prediction: &'static str,
    /// Side in pixels of the pictures that it was trained on.
    pub(crate) native_resolution: u32,
    pub(crate) recommended_resolutions: Vec<Resolution>,
    /// It renders in its native size only, and the picture is enlarged.
    pub(crate) fixed_size: bool,
    /// It paints over a picture, and cannot paint from text alone.
    pub(crate) needs_picture: bool,
    /// It uses another autoencoder than its own.
    pub(crate) separate_vae: bool,
    /// Most layers that can be left out at the end of its text encoders.
    most_clip_skip: u32,
    /// What a request that leaves it open gets, before the configuration's word.
    defaults: Defaults,
    /// MiB of its files.
    size_mb: f64,
    created: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    /// Words that a prompt should have for it to be seen.
    pub(crate) trigger: Vec<String>,
}

/// A size that the model paints well.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Resolution {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) label: String,
}

impl Info {
    /// Of this model.
    pub(crate) fn new(model: &Model) -> Self {
        let native = model.native_size;
        let own = Defaults {
            scheduler: Some(draft::default_sampler(model, None).name()),
            width: Some(model.defaults.width.unwrap_or(native)),
            height: Some(model.defaults.height.unwrap_or(native)),
            clip_skip: Some(model.defaults.clip_skip.unwrap_or(0)),
            ..model.defaults.clone()
        };
        Self {
            id: model.id.clone(),
            object: "model",
            name: model.name.clone(),
            model_type: model_type(model.family),
            family: model.family.as_str(),
            prediction: match model.scheduler.prediction() {
                Prediction::Epsilon => "epsilon",
                Prediction::V => "v_prediction",
                Prediction::Sample => "sample",
                Prediction::Flow => "flow_prediction",
            },
            native_resolution: native,
            recommended_resolutions: recommended(model.family, native, model.sidecar.fixed_size),
            fixed_size: model.sidecar.fixed_size,
            needs_picture: model.needs_picture,
            separate_vae: model.vae.is_some(),
            most_clip_skip: model.most_clip_skip,
            defaults: own,
            size_mb: mebibytes(model.size_bytes),
            created: model.created,
            description: model.sidecar.description.clone(),
            trigger: model.sidecar.trigger.clone(),
        }
    }
}

/// The Python ALICE's word for a family.
pub(crate) fn model_type(family: Family) -> &'static str {
    match family {
        Family::Sd1 => "sd15",
        Family::Sd2 => "sd21",
        Family::Sdxl | Family::SdxlRefiner => "sdxl",
    }
}

/// Sizes of pictures of models that were trained on 512, 768 and (at many sizes: Podell et al. 2023,
/// arXiv:2307.01952, appendix I) 1024 pixels.
const OF_512: &[(u32, u32)] = &[(512, 512), (512, 768), (768, 512), (640, 640), (768, 768)];
const OF_768: &[(u32, u32)] = &[(768, 768), (512, 768), (768, 512), (640, 960), (960, 640)];
const OF_1024: &[(u32, u32)] = &[
    (640, 1536),
    (768, 1344),
    (832, 1216),
    (896, 1152),
    (1024, 1024),
    (1152, 896),
    (1216, 832),
    (1344, 768),
    (1536, 640),
];

/// Width, height and shape of the sizes that a model paints well.
pub(crate) fn sizes(model: &Model) -> Vec<(u32, u32, &'static str)> {
    let sizes = recommended(model.family, model.native_size, model.sidecar.fixed_size);
    sizes.into_iter().map(|size| (size.width, size.height, shape(size.width, size.height))).collect()
}

fn shape(width: u32, height: u32) -> &'static str {
    match width.cmp(&height) {
        std::cmp::Ordering::Less => "Portrait",
        std::cmp::Ordering::Equal => "Square",
        std::cmp::Ordering::Greater => "Landscape",
    }
}

/// The sizes that the Python ALICE recommends for a model of this side; the square alone for one of another.
fn recommended(family: Family, native: u32, is_fixed: bool) -> Vec<Resolution> {
    let sizes: &[(u32, u32)] = match (family, native) {
        (Family::Sdxl | Family::SdxlRefiner, 1024) => OF_1024,
        (Family::Sd1 | Family::Sd2, 768) => OF_768,
        (Family::Sd1 | Family::Sd2, 512) => OF_512,
        _ => &[],
    };
    let square = [(native, native)];
    let sizes = if is_fixed || sizes.is_empty() { &square[..] } else { sizes };
    let resolution = |&(width, height): &(u32, u32)| {
        let label = format!("{} ({width}×{height})", shape(width, height));
        Resolution { width, height, label }
    };
    sizes.iter().map(resolution).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_python_alice_where_the_model_is_of_its_kind() {
        assert_eq!(recommended(Family::Sdxl, 1024, false).len(), 9);
        assert_eq!(recommended(Family::Sd2, 768, false)[3].label, "Portrait (640×960)");
        assert_eq!(recommended(Family::Sd1, 512, false)[0].label, "Square (512×512)");
        for (native, is_fixed) in [(128, false), (512, true)] {
            let square =
                Resolution { width: native, height: native, label: format!("Square ({native}×{native})") };
            assert_eq!(recommended(Family::Sd1, native, is_fixed), [square]);
        }
    }
}
