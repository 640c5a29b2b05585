// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Arguments that do not fit: each is refused as invalid, and the instance goes on.

use alice_plugin::{
    Backend, DecodeOptions, DenoiseRow, EncodeOptions, ErrorKind, LatentShape, NamedTensor, Result,
    TextChunk, TextRequest, Uncontrolled,
};

use super::{Named, not_offered, refused};
use crate::conformance::bench::{Bench, Input, Row};
use crate::conformance::{Stop, Subject, Verdict};

pub(super) const CHECKS: &[Named] = &[
    ("prompts with wrong chunks, encoders, weights or tokens are invalid", prompts),
    ("denoising refuses slices and shapes that do not fit as invalid", denoising),
    ("a row without an input that the model demands, or with another shape, is invalid", further_inputs),
    ("decoding refuses slices and shapes that do not fit as invalid", decoding),
    ("encoding pictures refuses slices and shapes that do not fit as invalid", encoding_pictures),
];

const INVALID: &[ErrorKind] = &[ErrorKind::Invalid];

fn prompts(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let encoder = bench.info.text_encoders[0].clone();
    let encoders = bench.info.text_encoders.len() as u32;
    let length = encoder.context_length as usize;
    let mut encode = |what: &str, encoder, ids: &[u32], weights: &[f32]| {
        let request =
            TextRequest { chunks: &[TextChunk { encoder, ids, weights }], extra_rows: &[], clip_skip: 0 };
        refused(what, bench.backend.encode_text(bench.model, &request, &Uncontrolled), INVALID)
    };
    let (ids, weights) = (vec![0; length], vec![1.0; length]);
    let (long_ids, long_weights) = (vec![0; length + 1], vec![1.0; length + 1]);
    encode("a chunk that is too short", 0, &ids[1..], &weights[1..])?;
    encode("a chunk that is too long", 0, &long_ids, &long_weights)?;
    encode("an empty chunk", 0, &[], &[])?;
    encode("too few weights", 0, &ids, &weights[1..])?;
    encode("too many weights", 0, &ids, &long_weights)?;
    encode("an unknown encoder", encoders, &ids, &weights)?;
    encode("an unknown encoder", u32::MAX, &ids, &weights)?;
    for stranger in [encoder.vocab_size, u32::MAX] {
        let mut ids = ids.clone();
        ids[length - 1] = stranger;
        encode("a token outside the vocabulary", 0, &ids, &weights)?;
    }
    if encoders > 1 {
        encode("a chunk for one of several encoders", 0, &ids, &weights)?;
    }
    let nothing = TextRequest { chunks: &[], extra_rows: &[], clip_skip: 0 };
    let result = bench.backend.encode_text(bench.model, &nothing, &Uncontrolled);
    refused("a prompt without chunks", result, INVALID)?;
    bench.encode(1)?;
    Ok(())
}

/// Lengths of no row of `length` values.
fn misfits(length: usize) -> [usize; 3] {
    [length - 1, length + 1, 0]
}

/// Shapes that no latent of the model has.
fn impossible(shape: LatentShape) -> [LatentShape; 5] {
    [
        LatentShape { channels: shape.channels + 1, ..shape },
        LatentShape { height: 0, ..shape },
        LatentShape { width: 0, ..shape },
        LatentShape { height: shape.height * 2, ..shape },
        LatentShape { height: u32::MAX, width: u32::MAX, ..shape },
    ]
}

fn denoising(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let (conditioning, shape, answer) = (bench.encode(1)?, bench.shape(), bench.answer_len());
    let (good, inputs) = (bench.latent(1), bench.inputs());
    let extras = inputs.iter().map(Input::as_tensor).collect::<Vec<_>>();
    let mut denoise = |what: &str, shape, latents: &[&[f32]], room: usize| {
        let row = |latent| DenoiseRow { latent, timestep: 500.0, conditioning, extras: &extras, hints: &[] };
        let rows = latents.iter().copied().map(row).collect::<Vec<_>>();
        let mut out = vec![0.0; room];
        let result = bench.backend.denoise(bench.model, shape, &rows, &mut out, &Uncontrolled);
        refused(what, result, INVALID)
    };
    for length in misfits(good.len()) {
        let latent = vec![0.5; length];
        denoise("a latent's length", shape, &[&latent], answer)?;
        denoise("a second latent's length", shape, &[&good, &latent], 2 * answer)?;
    }
    for length in misfits(answer) {
        denoise("the room for the answer", shape, &[&good], length)?;
    }
    denoise("room for one answer to two rows", shape, &[&good, &good], answer)?;
    denoise("no rows", shape, &[], 0)?;
    denoise("no rows, but room for an answer", shape, &[], answer)?;
    for shape in impossible(shape) {
        denoise("a shape", shape, &[&good], answer)?;
    }
    bench.denoise(&[Row { latent: 1, timestep: 500.0, conditioning }])?;
    Ok(())
}

fn further_inputs(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    if bench.info.inputs.is_empty() {
        return Err(Stop::Skipped("the model demands no further inputs".into()));
    }
    let (conditioning, shape, latent) = (bench.encode(1)?, bench.shape(), bench.latent(1));
    let mut out = vec![0.0; bench.answer_len()];
    for left_out in bench.info.inputs.clone() {
        let mut inputs = bench.inputs();
        inputs.retain(|input| input.name != left_out.name);
        let mut denoise = |what: &str, extras: &[NamedTensor<'_>]| {
            let row = DenoiseRow { latent: &latent, timestep: 500.0, conditioning, extras, hints: &[] };
            refused(what, bench.backend.denoise(bench.model, shape, &[row], &mut out, &Uncontrolled), INVALID)
        };
        let mut extras = inputs.iter().map(Input::as_tensor).collect::<Vec<_>>();
        denoise(&format!("no `{}`", left_out.name), &extras)?;
        let longer = [left_out.shape_for(shape), vec![2]].concat();
        let values = vec![0.5; longer.iter().product::<u32>() as usize];
        extras.push(NamedTensor { name: &left_out.name, shape: &longer, data: &values });
        denoise(&format!("`{}` of another shape", left_out.name), &extras)?;
    }
    bench.denoise(&[Row { latent: 1, timestep: 500.0, conditioning }])?;
    Ok(())
}

fn decoding(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let (shape, picture, length) = (bench.shape(), bench.picture_len(), bench.shape().len());
    let mut decode = |what: &str, shape, length: usize, room: usize| {
        let (latents, mut out) = (vec![0.5; length], vec![0; room]);
        let options = DecodeOptions::default();
        let result = bench.backend.decode(bench.model, shape, &latents, &options, &mut out, &Uncontrolled);
        refused(what, result, INVALID)
    };
    for wrong in misfits(length) {
        decode("the latents' length", shape, wrong, picture)?;
    }
    for wrong in misfits(picture) {
        decode("the room for the picture", shape, length, wrong)?;
    }
    decode("room for one picture of two latents", shape, 2 * length, picture)?;
    decode("nothing", shape, 0, 0)?;
    for shape in impossible(shape) {
        decode("a shape", shape, length, picture)?;
    }
    bench.decode(&[1])?;
    Ok(())
}

fn encoding_pictures(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let (shape, picture, length) = (bench.shape(), bench.picture_len(), bench.shape().len());
    let mut encode = |shape, pixels: usize, mean: usize, deviation: usize| -> Result<()> {
        let (mut mean, mut deviation) = (vec![0.0; mean], vec![0.0; deviation]);
        let pixels = vec![100; pixels];
        bench.backend.encode_image(
            bench.model,
            shape,
            &pixels,
            &EncodeOptions::default(),
            &mut mean,
            &mut deviation,
            &Uncontrolled,
        )
    };
    let right = encode(shape, picture, length, length);
    if not_offered(&right) {
        return Err(Stop::Skipped("it does not encode pictures".into()));
    }
    right?;
    for wrong in misfits(picture) {
        refused("the picture's length", encode(shape, wrong, length, length), INVALID)?;
    }
    for wrong in misfits(length) {
        refused("the room for the mean", encode(shape, picture, wrong, length), INVALID)?;
        refused("the room for the deviation", encode(shape, picture, length, wrong), INVALID)?;
    }
    refused("nothing", encode(shape, 0, 0, 0), INVALID)?;
    for shape in impossible(shape) {
        refused("a shape", encode(shape, picture, length, length), INVALID)?;
    }
    encode(shape, picture, length, length).map_err(Stop::from)
}
