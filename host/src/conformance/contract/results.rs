// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Answers that depend on the arguments of their own row and on nothing else.

use std::path::PathBuf;
use std::thread;

use alice_plugin::{Adapter, Backend, DecodeOptions, DenoiseRow, ErrorKind, Memory, Result, Uncontrolled};

use super::{Named, not_offered, refused};
use crate::conformance::bench::{Bench, Input, Row};
use crate::conformance::{Stop, Subject, Verdict, ensure};

pub(super) const CHECKS: &[Named] = &[
    ("the same call twice gives the same answer", repeats_itself),
    ("a row gives the same answer alone and beside rows with other timesteps and prompts", ignores_company),
    ("a latent gives the same picture alone and beside another", decodes_each_by_itself),
    ("latents that are not numbers do no harm", survives_what_is_no_number),
    ("an adapter that does not exist is refused and changes nothing", refuses_missing_adapters),
    ("encoding and releasing prompts does not use up memory", keeps_its_memory),
    ("unloading a model gives its memory back", gives_memory_back),
    ("two instances work at the same time, each on a thread of its own", two_instances_at_once),
];

/// Rows that differ in everything.
fn rows(bench: &mut Bench) -> Result<[Row; 3]> {
    let conditionings = [bench.encode(1)?, bench.encode(2)?, bench.encode(3)?];
    let [first, second, third] = conditionings;
    Ok([
        Row { latent: 1, timestep: 981.0, conditioning: first },
        Row { latent: 2, timestep: 20.5, conditioning: second },
        Row { latent: 3, timestep: 500.0, conditioning: third },
    ])
}

fn repeats_itself(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let rows = rows(&mut bench)?;
    let (one, other) = (bench.denoise(&rows)?, bench.denoise(&rows)?);
    bench.same("two equal calls of denoise", &one, &other)?;
    let again = Row { conditioning: bench.encode(1)?, ..rows[0] };
    let (one, other) = (bench.denoise(&rows[..1])?, bench.denoise(&[again])?);
    bench.same("two encodings of one prompt", &one, &other)?;
    let (one, other) = (bench.decode(&[1])?, bench.decode(&[1])?);
    bench.same_picture("two equal calls of decode", &one, &other)
}

fn ignores_company(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let rows = rows(&mut bench)?;
    let together = bench.denoise(&rows)?;
    for (index, (row, answer)) in rows.iter().zip(together.chunks(bench.answer_len())).enumerate() {
        let alone = bench.denoise(std::slice::from_ref(row))?;
        bench.same(&format!("row {index} alone and in company"), &alone, answer)?;
    }
    let answers = together.chunks(bench.answer_len()).collect::<Vec<_>>();
    ensure(answers[0] != answers[1] && answers[1] != answers[2], || "different rows got one answer".into())
}

fn decodes_each_by_itself(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let together = bench.decode(&[1, 2])?;
    for (number, picture) in [1, 2].into_iter().zip(together.chunks(bench.picture_len())) {
        let alone = bench.decode(&[number])?;
        bench.same_picture("a picture alone and beside another", &alone, picture)?;
    }
    Ok(())
}

fn survives_what_is_no_number(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let row = Row { latent: 1, timestep: 500.0, conditioning: bench.encode(1)? };
    let (answer, picture) = (bench.denoise(&[row])?, bench.decode(&[1])?);
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        let latent = vec![value; bench.shape().len()];
        let (shape, conditioning) = (bench.shape(), row.conditioning);
        let inputs = bench.inputs();
        let extras = inputs.iter().map(Input::as_tensor).collect::<Vec<_>>();
        let rows =
            [DenoiseRow { latent: &latent, timestep: 500.0, conditioning, extras: &extras, hints: &[] }];
        let (mut out, mut pixels) = (vec![0.0; bench.answer_len()], vec![0; bench.picture_len()]);
        // Either answer is right: an error, or values that are worth as little as the question.
        let errors = [
            bench.backend.denoise(bench.model, shape, &rows, &mut out, &Uncontrolled).err(),
            bench
                .backend
                .decode(bench.model, shape, &latent, &DecodeOptions::default(), &mut pixels, &Uncontrolled)
                .err(),
        ];
        let panicked = errors.iter().flatten().find(|error| error.kind == ErrorKind::Panic);
        ensure(panicked.is_none(), || format!("latents of {value}: {panicked:?}"))?;
    }
    let (answer_after, picture_after) = (bench.denoise(&[row])?, bench.decode(&[1])?);
    bench.same("before and after", &answer, &answer_after)?;
    bench.same_picture("before and after", &picture, &picture_after)
}

fn refuses_missing_adapters(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let row = Row { latent: 1, timestep: 500.0, conditioning: bench.encode(1)? };
    let before = bench.denoise(&[row])?;
    let missing = Adapter { path: PathBuf::from("/there/is/no/such.safetensors"), scale: 1.0 };
    let result = bench.backend.adapt(bench.model, &[missing], &Uncontrolled);
    refused("a missing adapter", result, &[ErrorKind::BadModel, ErrorKind::Unsupported])?;
    let none = bench.backend.adapt(bench.model, &[], &Uncontrolled);
    if !not_offered(&none) {
        none?;
    }
    let after = bench.denoise(&[row])?;
    bench.same("before and after", &before, &after)
}

fn keeps_its_memory(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let round = |bench: &mut Bench| -> Result<Memory> {
        let row = Row { latent: 1, timestep: 500.0, conditioning: bench.encode(1)? };
        bench.denoise(&[row])?;
        bench.backend.release(row.conditioning)?;
        bench.backend.memory()
    };
    // Buffers that are made once may be kept, so the first round sets the mark.
    let first = round(&mut bench)?;
    for _ in 0..20 {
        let now = round(&mut bench)?;
        let grown = now.working > first.working || now.weights > first.weights;
        ensure(!grown, || format!("{first:?} has become {now:?}"))?;
    }
    Ok(())
}

fn gives_memory_back(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    bench.encode(1)?;
    let loaded = bench.backend.memory()?;
    bench.backend.unload(bench.model)?;
    let unloaded = bench.backend.memory()?;
    let kept = unloaded.weights > 0 || unloaded.working > loaded.working;
    ensure(!kept, || format!("{loaded:?} with the model, {unloaded:?} without any"))
}

fn two_instances_at_once(subject: &Subject<'_>) -> Verdict {
    let work = |mut bench: Bench| -> Verdict<Vec<f32>> {
        let rows = rows(&mut bench)?;
        let answers = (0..3).map(|_| bench.denoise(&rows)).collect::<Result<Vec<_>>>()?;
        bench.same("rounds beside another instance", &answers[0], &answers[2])?;
        Ok(answers.concat())
    };
    let (one, other) = (Bench::new(subject)?, Bench::new(subject)?);
    let judge = Bench::new(subject)?;
    let (one, other) = thread::scope(|scope| {
        let there = scope.spawn(|| work(other));
        (work(one), there.join())
    });
    let other = other.map_err(|_| Stop::Failed("the second thread panicked".into()))??;
    judge.same("two instances", &one?, &other)
}
