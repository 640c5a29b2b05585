// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What callers may ask for. Everything that passes here can be computed with shapes that fit each other,
//! and with sizes whose products cannot overflow.

use alice_plugin::{
    DenoiseRow, Description, Error, LatentShape, LoadRequest, ModelInfo, Result, TextChunk, TextRequest,
};

use crate::clip::ClipPlan;

/// The largest side of a latent in cells: 16384 pixels with Stable Diffusion's 8 pixels per cell.
const MAX_SIDE: u32 = 2048;
/// The most rows of one call; no device gains by more than some dozens.
const MAX_ROWS: usize = 1024;
/// The most chunks of one prompt; 75 words each.
const MAX_CHUNKS: usize = 1024;

/// Numbers of values in one latent and one picture, and the picture's sides in pixels.
pub(super) struct PictureSizes {
    pub(super) latent: usize,
    pub(super) picture: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

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

/// Passes for a prompt that the text encoder can read.
pub(super) fn check_text(request: &TextRequest<'_>, plan: &ClipPlan) -> Result<()> {
    if !request.extra_rows.is_empty() {
        return Err(Error::unsupported("this backend does not read textual inversion embeddings yet"));
    }
    if !(1..=MAX_CHUNKS).contains(&request.chunks.len()) {
        let message = format!("a prompt has 1 to {MAX_CHUNKS} chunks, not {}", request.chunks.len());
        return Err(Error::invalid(message));
    }
    if request.clip_skip as usize > plan.layers {
        let (skip, layers) = (request.clip_skip, plan.layers);
        return Err(Error::invalid(format!("clip_skip is {skip}, the text encoder has {layers} layers")));
    }
    request.chunks.iter().try_for_each(|chunk| check_chunk(chunk, plan))
}

fn check_chunk(chunk: &TextChunk<'_>, plan: &ClipPlan) -> Result<()> {
    if chunk.encoder != 0 {
        return Err(Error::invalid(format!("there is no text encoder {}, only 0", chunk.encoder)));
    }
    let length = plan.context_length;
    for (what, found) in [("ids", chunk.ids.len()), ("weights", chunk.weights.len())] {
        if found != length {
            return Err(Error::invalid(format!(
                "a chunk has {found} {what}, the text encoder wants {length}"
            )));
        }
    }
    if let Some(id) = chunk.ids.iter().find(|id| **id as usize >= plan.vocabulary) {
        return Err(Error::invalid(format!("token {id} is outside the vocabulary of {}", plan.vocabulary)));
    }
    match chunk.weights.iter().all(|weight| weight.is_finite()) {
        true => Ok(()),
        false => Err(Error::invalid("a token's weight is not a finite number")),
    }
}

/// Passes when the rows fit the model, the latents' shape and the room for the answers.
pub(super) fn check_denoise(
    shape: LatentShape,
    rows: &[DenoiseRow<'_>],
    out: usize,
    model: &ModelInfo,
) -> Result<()> {
    let latent = latent_values(shape, model)?;
    if !(1..=MAX_ROWS).contains(&rows.len()) {
        return Err(Error::invalid(format!("a call has 1 to {MAX_ROWS} rows, not {}", rows.len())));
    }
    for row in rows {
        if !row.extras.is_empty() {
            return Err(Error::unsupported("this backend takes no extra inputs for the denoiser yet"));
        }
        if !row.timestep.is_finite() {
            return Err(Error::invalid("a row's timestep is not a finite number"));
        }
        expect_values("a row's latent", row.latent.len(), latent)?;
    }
    let answer = LatentShape { channels: model.output_channels, ..shape };
    expect_values("out", out, (rows.len() as u64) * values(answer))
}

/// The sizes of one latent of `shape` and of the picture it stands for.
pub(super) fn picture_sizes(shape: LatentShape, model: &ModelInfo) -> Result<PictureSizes> {
    let latent = latent_values(shape, model)? as usize;
    let side = |cells: u32| cells as usize * model.latent_scale as usize;
    let (height, width) = (side(shape.height), side(shape.width));
    Ok(PictureSizes { latent, picture: height * width * 3, height, width })
}

impl PictureSizes {
    /// The number of rows that all the slices agree on: of each its name, its length, and how many values
    /// make one row.
    pub(super) fn rows(&self, slices: &[(&str, usize, usize)]) -> Result<usize> {
        let (_, length, row) = slices[0];
        let rows = length / row;
        if !(1..=MAX_ROWS).contains(&rows) {
            return Err(Error::invalid(format!("a call has 1 to {MAX_ROWS} rows, not {rows}")));
        }
        for (name, length, row) in slices {
            expect_values(name, *length, rows as u64 * *row as u64)?;
        }
        Ok(rows)
    }
}

/// The number of values in one latent, if the shape is one of the model's.
fn latent_values(shape: LatentShape, model: &ModelInfo) -> Result<u64> {
    if shape.channels != model.latent_channels {
        let (found, wanted) = (shape.channels, model.latent_channels);
        return Err(Error::invalid(format!("a latent of {found} channels for a model of {wanted}")));
    }
    for side in [shape.height, shape.width] {
        if !(1..=MAX_SIDE).contains(&side) {
            return Err(Error::invalid(format!("a latent's side must be 1 to {MAX_SIDE} cells, not {side}")));
        }
    }
    Ok(values(shape))
}

/// Cannot overflow: a model has at most 2^16 channels, a side at most 2^11 cells.
fn values(shape: LatentShape) -> u64 {
    u64::from(shape.channels) * u64::from(shape.height) * u64::from(shape.width)
}

fn expect_values(name: &str, found: usize, expected: u64) -> Result<()> {
    match found as u64 == expected {
        true => Ok(()),
        false => Err(Error::invalid(format!("{name} has {found} values, expected {expected}"))),
    }
}
