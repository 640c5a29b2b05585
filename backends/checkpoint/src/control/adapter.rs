// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! T2I-Adapters: from the names of their first release to diffusers', and what their tensors tell.
//!
//! Source: TencentARC `T2I-Adapter/ldm/modules/encoders/adapter.py` and diffusers `models/adapter.py`,
//! `scripts/convert_original_t2i_adapter.py`.

use serde_json::{Value, json};

use super::{Wrong, count, number, sides};
use crate::{Error, Family, catalog::Catalog, single::Moves};

/// Pixels along a side that become channels of one cell, in adapters for SDXL.
const XL_SCALE: usize = 16;
/// The same in all others.
const SCALE: usize = 8;
/// The build of adapters for SDXL.
pub(super) const XL: &str = "full_adapter_xl";
/// The build whose last level is as wide as the one before it.
pub(super) const LIGHT: &str = "light_adapter";
/// The build of all others.
pub(super) const FULL: &str = "full_adapter";

/// The tensors of the adapter of `moves`, in the first release's spelling, under diffusers' names.
///
/// # Errors
/// [`Error::MissingTensor`], [`Error::UnknownFamily`] for another build and for parts that would be left out.
pub(super) fn read(mut moves: Moves<'_>) -> Result<Catalog, Error> {
    if moves.has("body.0.out_conv.weight") {
        light(&mut moves)?
    } else {
        full(&mut moves)?
    }
    moves.finish(|_| false)
}

/// The blocks of a light adapter, which nest as diffusers' do.
fn light(moves: &mut Moves<'_>) -> Result<(), Error> {
    let mut block = 0;
    while block == 0 || moves.has(&format!("body.{block}.in_conv.weight")) {
        let (from, to) = (format!("body.{block}"), format!("adapter.body.{block}"));
        moves.layer(&format!("{from}.in_conv"), &format!("{to}.in_conv"))?;
        moves.layer(&format!("{from}.out_conv"), &format!("{to}.out_conv"))?;
        let mut layer = 0;
        while layer == 0 || moves.has(&format!("{from}.body.{layer}.block1.weight")) {
            for part in ["block1", "block2"] {
                let to = format!("{to}.resnets.{layer}.{part}");
                moves.layer(&format!("{from}.body.{layer}.{part}"), &to)?;
            }
            layer += 1;
        }
        block += 1;
    }
    Ok(())
}

/// The blocks of a full adapter, which are counted through all levels. A level's first one has a convolution in
/// front when it changes the number of channels, which the second level's always does.
fn full(moves: &mut Moves<'_>) -> Result<(), Error> {
    moves.layer("conv_in", "adapter.conv_in")?;
    let there = |place: &usize| moves.has(&format!("body.{place}.block1.weight"));
    let total = (0..).take_while(there).count();
    let enters = |place: &usize| moves.has(&format!("body.{place}.in_conv.weight"));
    let layers = (1..total).find(enters).unwrap_or(total);
    if layers == 0 || total % layers != 0 {
        return Err(moves.unknown(format!("its {total} blocks are not levels of {layers}")));
    }
    for place in 0..total {
        let (block, layer) = (place / layers, place % layers);
        if layer == 0 && moves.has(&format!("body.{place}.in_conv.weight")) {
            moves.layer(&format!("body.{place}.in_conv"), &format!("adapter.body.{block}.in_conv"))?;
        }
        for part in ["block1", "block2"] {
            let to = format!("adapter.body.{block}.resnets.{layer}.{part}");
            moves.layer(&format!("body.{place}.{part}"), &to)?;
        }
    }
    Ok(())
}

/// The configuration of the adapter with the tensors of `catalog`, which go by diffusers' names.
pub(super) fn config(catalog: &Catalog) -> Result<Value, Wrong> {
    let layers = count(catalog, |layer| format!("adapter.body.0.resnets.{layer}.block1.weight"));
    let light = catalog.entries.contains_key("adapter.body.0.out_conv.weight");
    let (entry, width) = match light {
        true => ("adapter.body.0.in_conv.weight", "out_conv"),
        false => ("adapter.conv_in.weight", "resnets.0.block1"),
    };
    let [_, cell, ..]: [usize; 4] = sides(catalog, entry)?;
    let (input, scale) = scale(cell)?;
    let width = |block: usize| format!("adapter.body.{block}.{width}.weight");
    let mut channels = (0..count(catalog, width))
        .map(|block| sides::<4>(catalog, &width(block)).map(|[output, ..]| output))
        .collect::<Result<Vec<_>, _>>()?;
    if light {
        // The last level is as wide as the one before it, and diffusers does not list it.
        channels.pop();
    }
    let kind = match (light, scale) {
        (true, _) => LIGHT,
        (false, XL_SCALE) => XL,
        (false, _) => FULL,
    };
    Ok(json!({
        "_class_name": "T2IAdapter",
        "adapter_type": kind,
        "in_channels": input,
        "channels": channels,
        "num_res_blocks": layers,
        "downscale_factor": scale,
    }))
}

/// The picture's channels, and how many of its pixels along a side become one cell of so many channels.
fn scale(cell: usize) -> Result<(usize, usize), Wrong> {
    let known = [SCALE, XL_SCALE].into_iter().flat_map(|scale| [1, 3].map(|input| (input, scale)));
    let mut fits = known.filter(|(input, scale)| input * scale * scale == cell);
    fits.next().ok_or_else(|| Wrong::Seen(format!("its pictures have {cell} values a cell")))
}

/// The family of the models that an adapter of this configuration guides: SDXL's halve the sides where SDXL's
/// denoiser does.
pub(super) fn base(config: &Value) -> Family {
    let kind = config.get("adapter_type").and_then(Value::as_str);
    match (kind, number(config, "downscale_factor")) {
        (Some(XL), _) | (_, Some(XL_SCALE)) => Family::Sdxl,
        _ => Family::Sd1,
    }
}
