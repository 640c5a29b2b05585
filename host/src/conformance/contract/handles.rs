// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Handles that mean nothing any more, or never did.

use alice_plugin::{
    Backend, ConditioningHandle, DecodeOptions, EncodeOptions, ErrorKind, ModelHandle, Result, Uncontrolled,
};

use super::{Named, not_offered, refused};
use crate::conformance::bench::{Bench, Row, request};
use crate::conformance::{Subject, Verdict, ensure};

pub(super) const CHECKS: &[Named] = &[
    ("a model handle that was never given out is stale in every call", unknown_models_are_stale),
    (
        "a conditioning handle that was never given out is stale in every call",
        unknown_conditionings_are_stale,
    ),
    ("a released conditioning is stale, and its handle does not come back", released_conditionings_are_stale),
    (
        "an unloaded model is stale with all its conditionings, and no handle comes back",
        unloaded_models_are_stale,
    ),
    ("a conditioning of one model is refused with another", conditionings_belong_to_their_model),
];

const STALE: &[ErrorKind] = &[ErrorKind::StaleHandle];

/// Handles that cannot have been given out beside `known`.
fn strangers(known: u64) -> impl Iterator<Item = u64> {
    [0, u64::MAX, known.wrapping_add(1), known ^ (1 << 63)].into_iter().filter(move |&handle| handle != known)
}

fn row(conditioning: ConditioningHandle) -> Row {
    Row { latent: 1, timestep: 500.0, conditioning }
}

/// Every call that takes a model must find `model` stale.
fn stale_everywhere(bench: &mut Bench, model: ModelHandle, conditioning: ConditioningHandle) -> Verdict {
    let real = std::mem::replace(&mut bench.model, model);
    refused("encode_text", bench.encode(1), STALE)?;
    refused("denoise", bench.denoise(&[row(conditioning)]), STALE)?;
    refused("decode", bench.decode(&[1]), STALE)?;
    let adapted = bench.backend.adapt(model, &[], &Uncontrolled);
    if !not_offered(&adapted) {
        refused("adapt", adapted, STALE)?;
    }
    let encoded = encode_image(bench, model);
    if !not_offered(&encoded) {
        refused("encode_image", encoded, STALE)?;
    }
    refused("unload", bench.backend.unload(model), STALE)?;
    bench.model = real;
    Ok(())
}

fn encode_image(bench: &mut Bench, model: ModelHandle) -> Result<()> {
    let (shape, pixels) = (bench.shape(), vec![100; bench.picture_len()]);
    let (mut mean, mut deviation) = (vec![0.0; shape.len()], vec![0.0; shape.len()]);
    bench.backend.encode_image(
        model,
        shape,
        &pixels,
        &EncodeOptions::default(),
        &mut mean,
        &mut deviation,
        &Uncontrolled,
    )
}

fn unknown_models_are_stale(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let conditioning = bench.encode(1)?;
    for stranger in strangers(bench.model.0) {
        stale_everywhere(&mut bench, ModelHandle(stranger), conditioning)?;
    }
    bench.denoise(&[row(conditioning)])?;
    Ok(())
}

fn unknown_conditionings_are_stale(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let conditioning = bench.encode(1)?;
    for stranger in strangers(conditioning.0).map(ConditioningHandle) {
        refused("denoise", bench.denoise(&[row(stranger)]), STALE)?;
        refused(
            "denoise with a good row before it",
            bench.denoise(&[row(conditioning), row(stranger)]),
            STALE,
        )?;
        refused("release", bench.backend.release(stranger), STALE)?;
    }
    bench.denoise(&[row(conditioning)])?;
    Ok(())
}

fn released_conditionings_are_stale(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let (first, kept) = (bench.encode(1)?, bench.encode(2)?);
    bench.backend.release(first)?;
    refused("denoise after release", bench.denoise(&[row(first)]), STALE)?;
    refused("a second release", bench.backend.release(first), STALE)?;
    let next = bench.encode(3)?;
    ensure(next != first, || format!("the handle {:#x} was given out again", first.0))?;
    refused("denoise with the old handle", bench.denoise(&[row(first)]), STALE)?;
    refused("a third release", bench.backend.release(first), STALE)?;
    bench.denoise(&[row(kept), row(next)])?;
    Ok(())
}

fn unloaded_models_are_stale(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let (old, conditioning) = (bench.model, bench.encode(1)?);
    bench.backend.unload(old)?;
    stale_everywhere(&mut bench, old, conditioning)?;
    refused("release after its model's unload", bench.backend.release(conditioning), STALE)?;

    let (model, _) = bench.backend.load(&request(subject, &bench.description)?, &Uncontrolled)?;
    ensure(model != old, || format!("the handle {:#x} was given out again", old.0))?;
    bench.model = model;
    let new = bench.encode(1)?;
    refused("the old conditioning with a new model", bench.denoise(&[row(conditioning)]), STALE)?;
    stale_everywhere(&mut bench, old, new)?;
    bench.denoise(&[row(new)])?;
    Ok(())
}

fn conditionings_belong_to_their_model(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let conditioning = bench.encode(1)?;
    let (other, _) = bench.backend.load(&request(subject, &bench.description)?, &Uncontrolled)?;
    ensure(other != bench.model, || "two models have the same handle".into())?;
    let first = std::mem::replace(&mut bench.model, other);
    let kinds = &[ErrorKind::Invalid, ErrorKind::StaleHandle];
    refused("another model's conditioning", bench.denoise(&[row(conditioning)]), kinds)?;
    bench.backend.unload(other)?;
    bench.model = first;
    bench.denoise(&[row(conditioning)])?;
    let latents = bench.latent(1);
    let mut out = vec![0; bench.picture_len()];
    let (shape, options) = (bench.shape(), DecodeOptions::default());
    bench.backend.decode(first, shape, &latents, &options, &mut out, &Uncontrolled)?;
    Ok(())
}
