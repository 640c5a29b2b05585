// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What callers may ask for, beyond what [`checks`] demands of every backend: limits of size, and what this
//! one does not offer. Everything that passes here can be computed with shapes that fit each other, and with
//! sizes whose products cannot overflow.

use alice_plugin::{
    DenoiseRow, Description, Error, LatentShape, LoadRequest, ModelInfo, Result, TextChunk, TextRequest,
    checks,
};

use crate::clip::ClipPlan;

/// The largest side of a latent in cells: 16384 pixels with Stable Diffusion's 8 pixels per cell.
const MAX_SIDE: u32 = 2048;
/// The most rows of one call; no device gains by more than some dozens.
const MAX_ROWS: usize = 1024;
/// The most hints of one row; every one costs about half of an evaluation more.
const MAX_HINTS: usize = 16;
/// The most chunks of one prompt; 75 words each.
const MAX_CHUNKS: usize = 1024;

/// The number format to load in, when format and device are among those described.
pub(super) fn dtype_and_device(request: &LoadRequest, description: &Description) -> Result<String> {
    if !description.devices.iter().any(|device| device.index == request.device) {
        return Err(Error::invalid(format!("there is no device {}", request.device)));
    }
    let mut formats = description.dtypes.iter();
    let format = match request.dtype.as_str() {
        "auto" => formats.next(),
        name => formats.find(|known| *known == name),
    };
    let unknown =
        || format!("the number format {:?} is none of {}", request.dtype, description.dtypes.join(", "));
    format.cloned().ok_or_else(|| Error::unsupported(unknown()))
}

/// Whether no token of the chunk has a weight of its own.
pub(super) fn unweighted(chunk: &TextChunk<'_>) -> bool {
    chunk.weights.iter().all(|weight| *weight == 1.0)
}

/// Whether the chunk stands for zeros instead of a prompt.
pub(super) fn stands_for_zeros(chunk: &TextChunk<'_>) -> bool {
    chunk.weights.iter().all(|weight| *weight == 0.0)
}

/// Passes for a prompt that the model's text encoders, whose plans these are, can read.
pub(super) fn check_text<'a>(
    request: &TextRequest<'_>,
    info: &ModelInfo,
    encoders: impl Iterator<Item = &'a ClipPlan>,
) -> Result<()> {
    if !(1..=MAX_CHUNKS).contains(&request.chunks.len()) {
        let message = format!("a prompt has 1 to {MAX_CHUNKS} chunks, not {}", request.chunks.len());
        return Err(Error::invalid(message));
    }
    checks::text(info, request)?;
    let chunks = request.chunks;
    if chunks.iter().flat_map(|chunk| chunk.weights).any(|weight| !weight.is_finite()) {
        return Err(Error::invalid("a token's weight is not a finite number"));
    }
    if request.extra_rows.iter().flat_map(|rows| rows.data).any(|value| !value.is_finite()) {
        return Err(Error::invalid("an extra embedding row holds a value that is not finite"));
    }
    let of_encoder = |encoder: u32| chunks.iter().filter(|chunk| chunk.encoder == encoder).count();
    for (encoder, plan) in (0u32..).zip(encoders) {
        let (found, first) = (of_encoder(encoder), of_encoder(0));
        if found != first || found == 0 {
            return Err(Error::invalid(format!(
                "text encoder {encoder} has {found} chunks, text encoder 0 has {first}: it must be the same number"
            )));
        }
        let (skip, most) = (request.clip_skip, plan.most_skipped());
        if skip as usize > most {
            return Err(Error::invalid(format!(
                "clip_skip is {skip}, text encoder {encoder} can skip {most}"
            )));
        }
    }
    Ok(())
}

/// Passes when the rows fit the model, the latents' shape and the room for the answers.
pub(super) fn check_denoise(
    shape: LatentShape,
    rows: &[DenoiseRow<'_>],
    out: &[f32],
    info: &ModelInfo,
) -> Result<()> {
    check_sides(shape)?;
    check_rows(rows.len())?;
    let known = |name: &str| info.inputs.iter().any(|input| input.name == name);
    if let Some(other) = rows.iter().flat_map(|row| row.extras).find(|extra| !known(extra.name)) {
        return Err(Error::unsupported(format!("this model takes no extra input {:?}", other.name)));
    }
    checks::denoise(info, shape, rows, out)?;
    match rows.iter().all(|row| row.timestep.is_finite()) {
        true => Ok(()),
        false => Err(Error::invalid("a row's timestep is not a finite number")),
    }
}

/// Passes for a shape with which sizes can be calculated: a model has at most 2^16 channels.
pub(super) fn check_sides(shape: LatentShape) -> Result<()> {
    match [shape.height, shape.width].into_iter().find(|side| !(1..=MAX_SIDE).contains(side)) {
        None => Ok(()),
        Some(side) => {
            Err(Error::invalid(format!("a latent's side must be 1 to {MAX_SIDE} cells, not {side}")))
        }
    }
}

/// Passes when all rows name the same networks for their hints, and not too many.
pub(super) fn check_hints(rows: &[DenoiseRow<'_>]) -> Result<()> {
    let models = |row: &DenoiseRow<'_>| row.hints.iter().map(|hint| hint.model).collect::<Vec<_>>();
    let Some(first) = rows.first().map(models) else { return Ok(()) };
    if first.len() > MAX_HINTS {
        return Err(Error::invalid(format!("a row has {} hints, {MAX_HINTS} are the most", first.len())));
    }
    match rows.iter().all(|row| models(row) == first) {
        true => Ok(()),
        false => Err(Error::invalid("the rows' hints are not of the same networks in the same order")),
    }
}

/// Passes for a number of rows that one call can have.
pub(super) fn check_rows(rows: usize) -> Result<()> {
    match (1..=MAX_ROWS).contains(&rows) {
        true => Ok(()),
        false => Err(Error::invalid(format!("a call has 1 to {MAX_ROWS} rows, not {rows}"))),
    }
}
