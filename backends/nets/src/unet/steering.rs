// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What joins the images of a UNet from outside, and where.
//!
//! Source: diffusers `models/unets/unet_2d_condition.py`: `down_block_additional_residuals`,
//! `mid_block_additional_residual` and `down_intrablock_additional_residuals`.

use alice_plugin::Result;

use super::config::TrunkPlan;
use crate::ops::Ops;

/// All that guides one evaluation beside the prompt; the effects of several add up.
pub(crate) struct Steering<T> {
    pub(crate) controls: Vec<Residuals<T>>,
    pub(crate) features: Vec<Features<T>>,
}

/// What one ControlNet adds when the UNet has reached the bottom.
pub(crate) struct Residuals<T> {
    /// One for each image that the UNet keeps on its way down, in that order.
    pub(crate) kept: Vec<T>,
    pub(crate) middle: T,
    /// The factor on all of them for each row.
    pub(crate) scales: Vec<f32>,
}

/// What one T2I-Adapter adds on the way down.
pub(crate) struct Features<T> {
    /// One for each level, and possibly one more for the middle.
    pub(crate) images: Vec<T>,
    /// The factor on all of them for each row.
    pub(crate) scales: Vec<f32>,
}

impl<T> Steering<T> {
    /// Nothing.
    pub(crate) fn none() -> Self {
        Self { controls: Vec::new(), features: Vec::new() }
    }
}

impl<T: Clone> Residuals<T> {
    /// The kept images and the one in the middle with what the ControlNets add to them.
    pub(super) fn join<O: Ops<Tensor = T>>(
        ops: &O,
        controls: &[Self],
        kept: &mut [T],
        mut middle: T,
    ) -> Result<T> {
        for control in controls {
            for (image, residual) in kept.iter_mut().zip(&control.kept) {
                *image = ops.add_scaled(image, residual, &control.scales)?;
            }
            middle = ops.add_scaled(&middle, &control.middle, &control.scales)?;
        }
        Ok(middle)
    }
}

impl<T> Features<T> {
    /// The image with what the adapters add to it in `place`: the number of a level, or behind them all the middle.
    pub(super) fn join<O: Ops<Tensor = T>>(
        ops: &O,
        features: &[Self],
        place: usize,
        mut image: T,
    ) -> Result<T> {
        for one in features {
            if let Some(feature) = one.images.get(place) {
                image = ops.add_scaled(&image, feature, &one.scales)?;
            }
        }
        Ok(image)
    }
}

impl TrunkPlan {
    /// `[channels, height, width]` of the images that features join, for latents of these sides: one for each level,
    /// and the middle.
    pub(crate) fn places(&self, [height, width]: [usize; 2]) -> Vec<[usize; 3]> {
        let (mut sides, last) = ([height, width], self.levels.len() - 1);
        let mut places = Vec::new();
        for (index, level) in self.levels.iter().enumerate() {
            let halved = if index < last { sides.map(|side| side.div_ceil(2)) } else { sides };
            let [height, width] = if level.attends() { sides } else { halved };
            places.push([level.channels, height, width]);
            sides = halved;
        }
        places.push([self.bottom(), sides[0], sides[1]]);
        places
    }
}

#[cfg(test)]
mod tests {
    use crate::{config::ConfigFile, unet::UnetConfig};

    /// The places of a UNet whose levels have these channels and attend or not.
    fn places(levels: &[(usize, bool)], sides: [usize; 2]) -> Vec<[usize; 3]> {
        let channels: Vec<_> = levels.iter().map(|(channels, _)| *channels).collect();
        let kind =
            |way: &str, attends: bool| format!("{}{way}Block2D", if attends { "CrossAttn" } else { "" });
        let down: Vec<_> = levels.iter().map(|(_, attends)| kind("Down", *attends)).collect();
        let up: Vec<_> = levels.iter().rev().map(|(_, attends)| kind("Up", *attends)).collect();
        let config: UnetConfig = serde_json::from_value(serde_json::json!({
            "in_channels": 4, "out_channels": 4, "block_out_channels": channels, "down_block_types": down,
            "up_block_types": up, "cross_attention_dim": 8,
        }))
        .unwrap();
        config.plan(&ConfigFile::new("unet/config.json")).unwrap().trunk.places(sides)
    }

    #[test]
    fn features_join_before_the_halving_where_a_level_attends_and_behind_it_elsewhere() {
        // Those of Stable Diffusion 1.5 and of SDXL, at 512 and 1024 pixels.
        let found = places(&[(320, true), (640, true), (1280, true), (1280, false)], [64, 64]);
        assert_eq!(found[..4], [[320, 64, 64], [640, 32, 32], [1280, 16, 16], [1280, 8, 8]]);
        let found = places(&[(320, false), (640, true), (1280, true)], [128, 128]);
        assert_eq!(found, [[320, 64, 64], [640, 64, 64], [1280, 32, 32], [1280, 32, 32]]);
        assert_eq!(places(&[(32, true), (64, true)], [9, 7]), [[32, 9, 7], [64, 5, 4], [64, 5, 4]]);
    }
}
