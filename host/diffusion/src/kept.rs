// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Inpainting with a network that knows nothing of it: what is not painted anew is put back after each evaluation.

use crate::Latent;

/// The part of a picture that stays as it is while the rest is painted anew.
///
/// Source: diffusers `pipelines/stable_diffusion/pipeline_stable_diffusion_inpaint.py`, for networks of as many input
/// channels as a latent has.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The picture's latent.
    pub picture: Latent,
    /// The noise with which the run began: the kept part has the same noise, less of it after each step. Of the shape
    /// of `picture`.
    pub noise: Latent,
    /// For each of the latent's cells, row-major, whether it is painted anew: 1, or kept: 0. Shares are allowed.
    pub mask: Vec<f32>,
}

impl Kept {
    /// `painted` where the picture is painted anew, `kept` elsewhere.
    pub(crate) fn put_into(&self, painted: &Latent, kept: &Latent) -> Latent {
        let pairs = painted.values.iter().zip(&kept.values);
        let masks = self.mask.iter().cycle();
        let values = pairs.zip(masks).map(|((painted, kept), mask)| (1.0 - mask) * kept + mask * painted);
        Latent { shape: painted.shape, values: values.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LatentShape;

    #[test]
    fn the_mask_is_that_of_every_channel() {
        let shape = LatentShape { channels: 2, height: 1, width: 2 };
        let latent = |values: [f32; 4]| Latent { shape, values: values.into() };
        let kept = Kept { picture: latent([0.0; 4]), noise: latent([0.0; 4]), mask: vec![1.0, 0.25] };
        let both = kept.put_into(&latent([1.0, 2.0, 3.0, 4.0]), &latent([10.0, 20.0, 30.0, 40.0]));
        assert_eq!(both.values, [1.0, 0.25 * 2.0 + 0.75 * 20.0, 3.0, 0.25 * 4.0 + 0.75 * 40.0]);
    }
}
