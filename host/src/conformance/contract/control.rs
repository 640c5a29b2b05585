// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Calls that show signs of life, and stop when they are told to.

use alice_plugin::{Backend, Control, ErrorKind, Result};

use super::{Named, refused};
use crate::conformance::bench::{Bench, Counting, Row, request, start};
use crate::conformance::{Stop, Subject, Verdict, ensure};

pub(super) const CHECKS: &[Named] = &[
    ("loading shows progress and can be cancelled", loading_can_be_cancelled),
    ("denoising shows progress and can be cancelled", denoising_can_be_cancelled),
    ("decoding shows progress and can be cancelled", decoding_can_be_cancelled),
];

/// Runs `call` to its end, stops it at its first and at its last sign of life, and runs it again.
pub(super) fn can_be_cancelled(mut call: impl FnMut(&dyn Control) -> Result<()>) -> Verdict {
    let whole = Counting::new(None);
    call(&whole)?;
    let signs = whole.calls();
    ensure(signs > 0, || "it never calls its control".into())?;
    for stop_at in [1, signs] {
        let control = Counting::new(Some(stop_at));
        let what = format!("stopped at sign {stop_at} of {signs}");
        refused(&what, call(&control), &[ErrorKind::Cancelled])?;
        let after = control.calls() - stop_at;
        ensure(after == 0, || format!("{what}: it went on for {after} more signs"))?;
    }
    call(&Counting::new(None)).map_err(Stop::from)
}

fn loading_can_be_cancelled(subject: &Subject<'_>) -> Verdict {
    let (mut backend, description) = start(subject)?;
    let request = request(subject, &description)?;
    can_be_cancelled(|control| backend.load(&request, control).and_then(|(model, _)| backend.unload(model)))
}

fn denoising_can_be_cancelled(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let row = Row { latent: 1, timestep: 500.0, conditioning: bench.encode(1)? };
    let before = bench.denoise(&[row])?;
    can_be_cancelled(|control| bench.denoise_with(&[row], control).map(drop))?;
    let after = bench.denoise(&[row])?;
    bench.same("before and after cancelled calls", &before, &after)
}

fn decoding_can_be_cancelled(subject: &Subject<'_>) -> Verdict {
    let mut bench = Bench::new(subject)?;
    let before = bench.decode(&[1])?;
    can_be_cancelled(|control| bench.decode_over(0, &[1], control).map(drop))?;
    let after = bench.decode(&[1])?;
    bench.same_picture("before and after cancelled calls", &before, &after)
}
