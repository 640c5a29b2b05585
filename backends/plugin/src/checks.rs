// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Whether a call's arguments fit the model: the checks that every backend owes its caller.
//!
//! The contract demands [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for all of this, before any work.
//! A backend calls one of these functions first and can then index its slices without a thought.

use crate::{
    DenoiseRow, EncodeOptions, Error, Hint, InputInfo, LatentShape, ModelInfo, NamedTensor, Result,
    TextChunk, TextRequest, UpscaleOptions,
};

/// Chunks of the right length for encoders that exist, with one weight per token, and token ids inside the
/// vocabulary or among the extra rows.
///
/// # Errors
/// `Invalid`, naming what does not fit.
pub fn text(info: &ModelInfo, request: &TextRequest<'_>) -> Result<()> {
    if request.chunks.is_empty() {
        return Err(Error::invalid("a prompt needs at least one chunk"));
    }
    for rows in request.extra_rows {
        extra_rows(info, rows)?;
    }
    request.chunks.iter().try_for_each(|chunk| text_chunk(info, request.extra_rows, chunk))
}

fn text_chunk(info: &ModelInfo, extra: &[NamedTensor<'_>], chunk: &TextChunk<'_>) -> Result<()> {
    let encoder = chunk.encoder;
    let Some(known) = info.text_encoders.get(encoder as usize) else {
        return Err(Error::invalid(format!("the model has no text encoder {encoder}")));
    };
    same("token ids in a chunk", chunk.ids.len(), Some(known.context_length as usize))?;
    same("weights in a chunk", chunk.weights.len(), Some(chunk.ids.len()))?;
    let name = format!("rows.{encoder}");
    let added =
        extra.iter().filter(|rows| rows.name == name).map(|rows| u64::from(rows.shape[0])).sum::<u64>();
    let limit = u64::from(known.vocab_size) + added;
    match chunk.ids.iter().find(|&&id| u64::from(id) >= limit) {
        Some(id) => Err(Error::invalid(format!("token {id} is outside the vocabulary of {limit}"))),
        None => Ok(()),
    }
}

fn extra_rows(info: &ModelInfo, rows: &NamedTensor<'_>) -> Result<()> {
    let encoder = rows.name.strip_prefix("rows.").and_then(|number| number.parse::<usize>().ok());
    let Some(known) = encoder.and_then(|encoder| info.text_encoders.get(encoder)) else {
        return Err(Error::invalid(format!("`{}` names no text encoder's rows", rows.name)));
    };
    if rows.shape.len() != 2 || rows.shape[1] != known.hidden_size {
        let (shape, width) = (rows.shape, known.hidden_size);
        return Err(Error::invalid(format!("{} have the shape {shape:?}, not [count, {width}]", rows.name)));
    }
    same("values in extra rows", rows.data.len(), product(rows.shape))
}

/// At least one row, latents of the model's channels and the stated shape, and room for every answer. Of hints, that
/// the rows name the same models in the same order, with finite scales; what stands behind the handles is the
/// backend's to look up.
///
/// # Errors
/// `Invalid`, naming what does not fit.
pub fn denoise(info: &ModelInfo, shape: LatentShape, rows: &[DenoiseRow<'_>], out: &[f32]) -> Result<()> {
    let latent = latent_len(info, shape)?;
    if rows.is_empty() {
        return Err(Error::invalid("a denoising call needs at least one row"));
    }
    for row in rows {
        same("values in a latent", row.latent.len(), Some(latent))?;
        for extra in row.extras {
            same("values in an extra tensor", extra.data.len(), product(extra.shape))?;
        }
        info.inputs.iter().try_for_each(|input| has_input(input, shape, row.extras))?;
        hints(rows[0].hints, row.hints)?;
    }
    let answer = product(&[info.output_channels, shape.height, shape.width]);
    same(
        "values of room for the answers",
        out.len(),
        answer.and_then(|answer| answer.checked_mul(rows.len())),
    )
}

/// Passes when `hints` are of the same models as those of the `first` row.
fn hints(first: &[Hint], hints: &[Hint]) -> Result<()> {
    if !first.iter().map(|hint| hint.model).eq(hints.iter().map(|hint| hint.model)) {
        return Err(Error::invalid("the rows' hints are of different models"));
    }
    match hints.iter().find(|hint| !hint.scale.is_finite()) {
        Some(hint) => Err(Error::invalid(format!("a hint has the scale {}", hint.scale))),
        None => Ok(()),
    }
}

/// Passes when the row carries the input that the model needs, in the right shape.
fn has_input(input: &InputInfo, latent: LatentShape, extras: &[NamedTensor<'_>]) -> Result<()> {
    let (name, expected) = (&input.name, input.shape_for(latent));
    let Some(extra) = extras.iter().find(|extra| extra.name == name) else {
        return Err(Error::invalid(format!("a row lacks the input `{name}`, which the model needs")));
    };
    match extra.shape == expected {
        true => Ok(()),
        false => {
            let found = extra.shape;
            Err(Error::invalid(format!("the input `{name}` has the shape {found:?}, {expected:?} expected")))
        }
    }
}

/// Whole latents and room for as many pictures; returns how many there are.
///
/// # Errors
/// `Invalid`, naming what does not fit.
pub fn decode(info: &ModelInfo, shape: LatentShape, latents: &[f32], out: &[u8]) -> Result<usize> {
    let rows = whole_rows("values in the latents", latents.len(), latent_len(info, shape)?)?;
    let picture = picture_len(info, shape);
    same("bytes of room for the pictures", out.len(), picture.and_then(|picture| picture.checked_mul(rows)))?;
    Ok(rows)
}

/// Whole pictures with as many bytes a pixel as the options say, a tile that is one, and room for as many latents'
/// means and deviations; returns how many there are.
///
/// # Errors
/// `Invalid`, naming what does not fit.
pub fn encode_image(
    info: &ModelInfo,
    shape: LatentShape,
    pixels: &[u8],
    options: &EncodeOptions,
    mean: &[f32],
    deviation: &[f32],
) -> Result<usize> {
    tile(options.tile)?;
    let rows = whole_rows("values of room for the means", mean.len(), latent_len(info, shape)?)?;
    same("values of room for the deviations", deviation.len(), Some(mean.len()))?;
    let picture = picture_len(info, shape).map(|bytes| bytes / 3);
    let picture = picture.and_then(|pixels| pixels.checked_mul(options.channels()));
    same("bytes in the pictures", pixels.len(), picture.and_then(|picture| picture.checked_mul(rows)))?;
    Ok(rows)
}

/// A picture of the size that belongs to latents of `shape`, which suit the model that encodes the hint.
///
/// # Errors
/// `Invalid`, naming what does not fit.
pub fn encode_hint(info: &ModelInfo, shape: LatentShape, pixels: &[u8]) -> Result<()> {
    latent_len(info, shape)?;
    same("bytes in the picture", pixels.len(), picture_len(info, shape))
}

/// A picture of the stated sides and room for the larger one, and a tile that is one.
///
/// # Errors
/// `Invalid`, naming what does not fit.
pub fn upscale(
    info: &ModelInfo,
    height: u32,
    width: u32,
    pixels: &[u8],
    options: &UpscaleOptions,
    out: &[u8],
) -> Result<()> {
    if height == 0 || width == 0 {
        return Err(Error::invalid(format!("a picture cannot have {width}x{height} pixels")));
    }
    tile(options.tile)?;
    same("bytes in the picture", pixels.len(), product(&[height, width, 3]))?;
    let shape = LatentShape { channels: 3, height, width };
    same("bytes of room for the larger picture", out.len(), picture_len(info, shape))
}

/// A tile, where there is one, with a side.
///
/// # Errors
/// `Invalid`.
pub fn tile(side: Option<u32>) -> Result<()> {
    match side {
        Some(0) => Err(Error::invalid("a tile has a side of at least one")),
        _ => Ok(()),
    }
}

/// Values in one latent of `shape`, which must suit the model.
fn latent_len(info: &ModelInfo, shape: LatentShape) -> Result<usize> {
    if shape.channels != info.latent_channels {
        let (found, expected) = (shape.channels, info.latent_channels);
        return Err(Error::invalid(format!("the latent has {found} channels, the model needs {expected}")));
    }
    product(&[shape.channels, shape.height, shape.width])
        .filter(|&length| length > 0)
        .ok_or_else(|| Error::invalid(format!("a latent cannot have the shape {shape:?}")))
}

fn picture_len(info: &ModelInfo, shape: LatentShape) -> Option<usize> {
    let height = shape.height.checked_mul(info.latent_scale)?;
    let width = shape.width.checked_mul(info.latent_scale)?;
    product(&[height, width, 3])
}

fn whole_rows(what: &str, length: usize, row: usize) -> Result<usize> {
    if length == 0 || !length.is_multiple_of(row) {
        return Err(Error::invalid(format!("{length} {what} are not a number of rows of {row}")));
    }
    Ok(length / row)
}

/// `None` when the product does not fit into memory.
fn product(sizes: &[u32]) -> Option<usize> {
    sizes.iter().try_fold(1_usize, |product, &size| product.checked_mul(size as usize))
}

fn same(what: &str, found: usize, expected: Option<usize>) -> Result<()> {
    match expected {
        Some(expected) if expected == found => Ok(()),
        Some(expected) => Err(Error::invalid(format!("{found} {what}, {expected} expected"))),
        None => Err(Error::invalid(format!("{found} {what}, more than fit into memory expected"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConditioningHandle, ErrorKind, ModelHandle, TextEncoderInfo};

    const SHAPE: LatentShape = LatentShape { channels: 4, height: 2, width: 3 };

    fn info() -> ModelInfo {
        ModelInfo {
            latent_channels: 4,
            output_channels: 8,
            latent_scale: 8,
            text_encoders: vec![TextEncoderInfo { context_length: 2, vocab_size: 10, hidden_size: 3 }],
            inputs: Vec::new(),
            dtype: "f32".into(),
            memory_bytes: 0,
        }
    }

    fn row(latent: &[f32]) -> DenoiseRow<'_> {
        DenoiseRow { latent, timestep: 1.0, conditioning: ConditioningHandle(1), extras: &[], hints: &[] }
    }

    fn assert_invalid<T: std::fmt::Debug>(result: Result<T>) {
        assert_eq!(result.unwrap_err().kind, ErrorKind::Invalid);
    }

    #[test]
    fn text_takes_extra_rows_as_further_tokens_and_nothing_beyond() {
        let extra = NamedTensor { name: "rows.0", shape: &[1, 3], data: &[0.0; 3] };
        let check = |encoder, ids: &[u32], weights: &[f32], extra_rows: &[NamedTensor<'_>]| {
            text(
                &info(),
                &TextRequest { chunks: &[TextChunk { encoder, ids, weights }], extra_rows, clip_skip: 0 },
            )
        };
        assert_eq!(check(0, &[0, 9], &[1.0; 2], &[]), Ok(()));
        assert_eq!(check(0, &[0, 10], &[1.0; 2], &[extra]), Ok(()));
        assert_invalid(check(0, &[0, 10], &[1.0; 2], &[]));
        assert_invalid(check(0, &[0, 11], &[1.0; 2], &[extra]));
        assert_invalid(check(1, &[0, 1], &[1.0; 2], &[]));
        assert_invalid(check(0, &[0], &[1.0], &[]));
        assert_invalid(check(0, &[0, 1], &[1.0], &[]));
        for (name, shape, data) in
            [("rows.1", [1, 3], 3), ("row", [1, 3], 3), ("rows.0", [1, 4], 4), ("rows.0", [2, 3], 3)]
        {
            let data = vec![0.0; data];
            assert_invalid(check(0, &[0, 1], &[1.0; 2], &[NamedTensor { name, shape: &shape, data: &data }]));
        }
        assert_invalid(text(&info(), &TextRequest { chunks: &[], extra_rows: &[], clip_skip: 0 }));
    }

    #[test]
    fn denoise_counts_the_answers_by_the_output_channels() {
        let latent = [0.0; 24];
        assert_eq!(denoise(&info(), SHAPE, &[row(&latent); 2], &[0.0; 96]), Ok(()));
        assert_invalid(denoise(&info(), SHAPE, &[row(&latent); 2], &[0.0; 48]));
        assert_invalid(denoise(&info(), SHAPE, &[row(&latent[1..])], &[0.0; 48]));
        assert_invalid(denoise(&info(), SHAPE, &[], &[]));
        assert_invalid(denoise(&info(), LatentShape { channels: 3, ..SHAPE }, &[row(&latent)], &[0.0; 48]));
        assert_invalid(denoise(&info(), LatentShape { width: 0, ..SHAPE }, &[row(&[])], &[]));
        let extras = [NamedTensor { name: "mask", shape: &[1, 2, 3], data: &[0.0; 5] }];
        let row = DenoiseRow { extras: &extras, ..row(&latent) };
        assert_invalid(denoise(&info(), SHAPE, &[row], &[0.0; 48]));
    }

    #[test]
    fn a_row_carries_every_input_that_the_model_needs_in_its_shape() {
        let input = InputInfo { name: "concat".into(), shape: vec![5, 0, 0] };
        let info = ModelInfo { inputs: vec![input], ..info() };
        let latent = [0.0; 24];
        let check = |extras: &[NamedTensor<'_>]| {
            denoise(&info, SHAPE, &[DenoiseRow { extras, ..row(&latent) }], &[0.0; 48])
        };
        let mask = NamedTensor { name: "concat", shape: &[5, 2, 3], data: &[0.0; 30] };
        assert_eq!(check(&[mask]), Ok(()));
        assert_invalid(check(&[]));
        assert_invalid(check(&[NamedTensor { name: "mask", ..mask }]));
        assert_invalid(check(&[NamedTensor { shape: &[5, 3, 2], ..mask }]));
        assert_invalid(check(&[NamedTensor { data: &[0.0; 29], ..mask }]));
    }

    #[test]
    fn sizes_beyond_memory_are_an_error_and_no_overflow() {
        let huge = LatentShape { channels: 4, height: u32::MAX, width: u32::MAX };
        assert_invalid(denoise(&info(), huge, &[row(&[0.0])], &[0.0]));
        assert_invalid(decode(&info(), huge, &[0.0], &[0]));
        assert_invalid(encode_image(&info(), huge, &[0], &EncodeOptions::default(), &[0.0], &[0.0]));
    }

    #[test]
    fn rows_have_hints_of_the_same_models_with_finite_scales() {
        let hint = |model, scale| Hint { model: ModelHandle(model), hint: ConditioningHandle(2), scale };
        let latent = [0.0; 24];
        let check = |one: &[Hint], other: &[Hint]| {
            let rows = [one, other].map(|hints| DenoiseRow { hints, ..row(&latent) });
            denoise(&info(), SHAPE, &rows, &[0.0; 96])
        };
        let both = [hint(1, 0.5), hint(2, -1.0)];
        assert_eq!(check(&both, &[hint(1, 0.0), hint(2, 3.0)]), Ok(()));
        assert_invalid(check(&both, &[hint(2, 0.5), hint(1, -1.0)]));
        assert_invalid(check(&both, &both[..1]));
        assert_invalid(check(&[], &both));
        assert_invalid(check(&both, &[both[0], hint(2, f32::NAN)]));
        assert_invalid(check(&[hint(1, f32::INFINITY)], &both[..1]));
    }

    #[test]
    fn a_hint_has_the_size_that_belongs_to_the_latent() {
        let pixels = [0; 16 * 24 * 3];
        assert_eq!(encode_hint(&info(), SHAPE, &pixels), Ok(()));
        assert_invalid(encode_hint(&info(), SHAPE, &pixels[1..]));
        assert_invalid(encode_hint(&info(), LatentShape { channels: 3, ..SHAPE }, &pixels));
        assert_invalid(encode_hint(&info(), LatentShape { width: 0, ..SHAPE }, &[]));
        assert_invalid(encode_hint(&info(), LatentShape { height: u32::MAX, ..SHAPE }, &pixels));
    }

    #[test]
    fn a_larger_picture_has_room_for_the_factor_on_both_sides() {
        let (pixels, out) = ([0; 2 * 3 * 3], [0; 16 * 24 * 3]);
        let check = |height, width, pixels: &[u8], tile, out: &[u8]| {
            upscale(&info(), height, width, pixels, &UpscaleOptions { tile }, out)
        };
        assert_eq!(check(2, 3, &pixels, None, &out), Ok(()));
        assert_eq!(check(3, 2, &pixels, Some(1), &out), Ok(()));
        assert_invalid(check(2, 3, &pixels, Some(0), &out));
        assert_invalid(check(2, 3, &pixels[1..], None, &out));
        assert_invalid(check(2, 3, &pixels, None, &out[1..]));
        assert_invalid(check(0, 3, &[], None, &[]));
        assert_invalid(check(u32::MAX, u32::MAX, &pixels, None, &out));
    }

    #[test]
    fn pictures_and_latents_go_together() {
        let (latents, pixels) = ([0.0; 48], [0; 2 * 16 * 24 * 4]);
        let (rgb, options) = (&pixels[..2 * 16 * 24 * 3], EncodeOptions::default());
        let seen = EncodeOptions { alpha: true, ..options };
        let encode = |pixels: &[u8], options: &EncodeOptions, deviation: &[f32]| {
            encode_image(&info(), SHAPE, pixels, options, &latents, deviation)
        };
        assert_eq!(decode(&info(), SHAPE, &latents, rgb), Ok(2));
        assert_eq!([encode(rgb, &options, &latents), encode(&pixels, &seen, &latents)], [Ok(2), Ok(2)]);
        assert_invalid(decode(&info(), SHAPE, &latents[1..], rgb));
        assert_invalid(decode(&info(), SHAPE, &latents, &rgb[1..]));
        assert_invalid(decode(&info(), SHAPE, &[], &[]));
        assert_invalid(encode(rgb, &options, &latents[1..]));
        assert_invalid(encode(&rgb[3..], &options, &latents));
        assert_invalid(encode(rgb, &seen, &latents));
        assert_invalid(encode(&pixels, &options, &latents));
        assert_invalid(encode(rgb, &EncodeOptions { tile: Some(0), ..options }, &latents));
    }
}
