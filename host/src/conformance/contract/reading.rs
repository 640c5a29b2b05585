// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Encoded prompts that are read back: an addition of version 1.1 that a plugin may leave out.

use alice_plugin::{
    Backend, ConditioningHandle, ErrorKind, Result, TextChunk, TextPart, TextRequest, Uncontrolled,
};

use super::{Named, not_offered, refused};
use crate::conformance::bench::Bench;
use crate::conformance::{Stop, Subject, Verdict, ensure};

pub(super) const CHECKS: &[Named] = &[
    ("an encoded prompt is read back in one way for all, or never", reads_back_or_never),
    ("the parts of an encoded prompt have the lengths of its chunks", has_the_lengths_of_its_chunks),
    ("reading a prompt back refuses stale handles, unknown parts and rooms that do not fit", refuses_misfits),
];

const UNSUPPORTED: &[ErrorKind] = &[ErrorKind::Unsupported];

/// A prompt and its tokens.
fn tokens(bench: &mut Bench) -> Verdict<(ConditioningHandle, Vec<f32>)> {
    let conditioning = bench.encode(1)?;
    match bench.backend.read_text(conditioning, TextPart::Tokens) {
        result if not_offered(&result) => Err(Stop::Skipped("it does not read prompts back".into())),
        result => Ok((conditioning, result?)),
    }
}

fn reads_back_or_never(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    match tokens(&mut bench) {
        Ok((conditioning, first)) => {
            let again = bench.encode(1)?;
            for other in [conditioning, again] {
                let values = bench.backend.read_text(other, TextPart::Tokens)?;
                bench.same("one prompt, read twice", &first, &values)?;
            }
            ensure(first.iter().all(|value| value.is_finite()), || "a token's encoding is not finite".into())
        }
        // What is not offered is not offered for any prompt, known or unknown.
        Err(Stop::Skipped(_)) => {
            let conditioning = bench.encode(1)?;
            for handle in [conditioning, ConditioningHandle(0), ConditioningHandle(u64::MAX)] {
                for part in [TextPart::Tokens, TextPart::Pooled] {
                    refused(
                        "a call that is not offered",
                        bench.backend.read_text(handle, part),
                        UNSUPPORTED,
                    )?;
                }
            }
            Ok(())
        }
        Err(stop) => Err(stop),
    }
}

/// A prompt of as many chunks for each of the model's encoders.
fn encode(bench: &mut Bench, chunks: usize) -> Result<ConditioningHandle> {
    let encoders = &bench.info.text_encoders;
    let longest = encoders.iter().map(|encoder| encoder.context_length as usize).max().unwrap_or(0);
    let (ids, weights) = (vec![0; longest], vec![1.0; longest]);
    let chunk = |(encoder, length): (usize, usize)| TextChunk {
        encoder: encoder as u32,
        ids: &ids[..length],
        weights: &weights[..length],
    };
    let lengths = encoders.iter().map(|encoder| encoder.context_length as usize).enumerate();
    let chunks = lengths.flat_map(|place| vec![chunk(place); chunks]).collect::<Vec<_>>();
    let request = TextRequest { chunks: &chunks, extra_rows: &[], clip_skip: 0 };
    bench.backend.encode_text(bench.model, &request, &Uncontrolled)
}

fn has_the_lengths_of_its_chunks(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    tokens(&mut bench)?;
    let context = bench.info.text_encoders[0].context_length as usize;
    let (one, two) = (encode(&mut bench, 1)?, encode(&mut bench, 2)?);
    let mut length = |handle, part| bench.backend.read_text(handle, part).map(|values| values.len());
    let (single, double) = (length(one, TextPart::Tokens)?, length(two, TextPart::Tokens)?);
    let whole = single > 0 && single.is_multiple_of(context) && double == 2 * single;
    ensure(whole, || format!("chunks of {context} tokens: one has {single} values, two have {double}"))?;
    match length(one, TextPart::Pooled) {
        pooled if not_offered(&pooled) => Ok(()),
        pooled => {
            let (single, double) = (pooled?, length(two, TextPart::Pooled)?);
            ensure(single > 0 && double == single, || {
                format!("one vector for the prompt: {single} values with one chunk, {double} with two")
            })
        }
    }
}

fn refuses_misfits(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let (conditioning, before) = tokens(&mut bench)?;
    ensure(!before.is_empty(), || "its prompts have no values".into())?;
    let mut room = vec![0.0; before.len() + 1];
    // No room at all is a question, not a misfit.
    for length in [before.len() - 1, before.len() + 1].into_iter().filter(|&length| length > 0) {
        let result = bench.backend.read_text_into(conditioning, "tokens", &mut room[..length]);
        refused("another room than the part needs", result, &[ErrorKind::Invalid])?;
    }
    for part in ["", "token", "Tokens", "tokens\0", "no such part"] {
        let result = bench.backend.read_text_into(conditioning, part, &mut []);
        refused("an unknown part", result, UNSUPPORTED)?;
    }
    let stale = bench.encode(2)?;
    bench.backend.release(stale)?;
    for stranger in [stale, ConditioningHandle(0), ConditioningHandle(u64::MAX)] {
        let result = bench.backend.read_text(stranger, TextPart::Tokens);
        refused("an unknown prompt", result, &[ErrorKind::StaleHandle])?;
    }
    let after = bench.backend.read_text(conditioning, TextPart::Tokens)?;
    bench.same("before and after", &before, &after)?;
    bench.backend.unload(bench.model)?;
    let result = bench.backend.read_text(conditioning, TextPart::Tokens);
    refused("a prompt of an unloaded model", result, &[ErrorKind::StaleHandle])
}
