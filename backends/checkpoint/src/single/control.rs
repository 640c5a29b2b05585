// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A ControlNet in the spelling of its first release: a copy of the denoiser's first half, the hint's own
//! convolutions, and one convolution for each picture that the denoiser keeps on its way down.
//!
//! Source: lllyasviel `ControlNet/cldm/cldm.py` for the names, and diffusers `loaders/single_file_utils.py`
//! (`convert_controlnet_checkpoint`) for what they correspond to.

use super::{moves::Moves, unet::Walk};
use crate::{Error, catalog::Catalog};

/// The tensors of the ControlNet of `moves` under diffusers' names.
///
/// # Errors
/// [`Error::MissingTensor`], [`Error::UnknownFamily`] for another build and for parts that would be left out.
pub(crate) fn read(moves: Moves<'_>) -> Result<Catalog, Error> {
    let mut walk = Walk::new(moves);
    walk.first_half()?;
    let mut moves = walk.moves;
    hint(&mut moves)?;
    let mut kept = 0;
    while kept == 0 || moves.has(&format!("zero_convs.{kept}.0.weight")) {
        moves.layer(&format!("zero_convs.{kept}.0"), &format!("controlnet_down_blocks.{kept}"))?;
        kept += 1;
    }
    moves.layer("middle_block_out.0", "controlnet_mid_block")?;
    moves.finish(|_| false)
}

/// The hint's convolutions, which stand at every second place; the first and the last have names of their own.
fn hint(moves: &mut Moves<'_>) -> Result<(), Error> {
    moves.layer("input_hint_block.0", "controlnet_cond_embedding.conv_in")?;
    let there = |moves: &Moves<'_>, place: usize| moves.has(&format!("input_hint_block.{place}.weight"));
    let mut place = 2;
    while there(moves, place + 2) {
        let block = (place - 2) / 2;
        let to = format!("controlnet_cond_embedding.blocks.{block}");
        moves.layer(&format!("input_hint_block.{place}"), &to)?;
        place += 2;
    }
    moves.layer(&format!("input_hint_block.{place}"), "controlnet_cond_embedding.conv_out")
}
