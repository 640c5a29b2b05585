// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The pictures that steer a job's runs, as their networks see them.

use std::sync::Arc;

use alice_diffusion::LatentShape;

use super::work::pixels;
use crate::denoiser::Steering;
use crate::engine::{HintPicture, LoadedModel, RowHint};
use crate::error::Result;
use crate::inputs::{Control, Part, Preprocessor, Store, Want};

/// The slopes between which Canny's edges go on and begin.
const CANNY: (u32, u32) = (100, 200);

/// The pictures of `controls` for runs on latents of this shape; each has its network in the same place of `networks`.
/// Where only a `part` of the picture to begin with is painted, they are those of the whole one, cut like it, as in
/// A1111's extension.
///
/// Source: `try_crop_image_with_a1111_mask` in sd-webui-controlnet's `scripts/controlnet.py`.
///
/// # Errors
/// [`Error::InputGone`](crate::error::Error::InputGone).
pub(super) async fn steering(
    inputs: &Store,
    controls: &[Control],
    networks: &[Arc<LoadedModel>],
    shape: LatentShape,
    part: Option<Part>,
) -> Result<Vec<Steering>> {
    let mut steering = Vec::new();
    for (control, network) in controls.iter().zip(networks) {
        // A network may see more or fewer pixels in a cell than the autoencoder.
        let (width, height) = pixels(network, shape);
        let mode = control.resize_mode;
        let want = match control.preprocessor {
            None => Want::Rgb { width, height, mode, part },
            Some(Preprocessor::Canny) => {
                Want::Canny { width, height, mode, part, low: CANNY.0, high: CANNY.1 }
            }
        };
        let rgb = inputs.pixels(&control.input, &want).await?;
        let picture = Arc::new(HintPicture::new(width, height, rgb));
        let hint = RowHint { model: Arc::clone(network), picture, scale: control.strength };
        let [begin, end] = control.interval;
        steering.push(Steering { hint, interval: (begin, end) });
    }
    Ok(steering)
}
