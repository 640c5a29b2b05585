// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! When a model is given which LoRAs, and what becomes of the calls when that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use alice_plugin::{Adapter, Error, ErrorKind};
use futures::future::{join, join_all};

use super::super::{Row, Text, Versioned, canonical};
use super::fake::{Asked, Plan, SHAPE, answer, death, row, text, waiting};

fn adapters(scale: f32) -> Arc<[Versioned<Adapter>]> {
    canonical([Adapter { path: "l".into(), scale }])
}

/// A prompt with a LoRA of this scale.
fn with(scale: f32, token: u32) -> Text {
    Text { adapters: adapters(scale), ..text(token) }
}

/// A row whose prompt has a LoRA of this scale.
fn row_with(scale: f32, timestep: f32) -> Row {
    Row { text: Arc::new(with(scale, timestep as u32)), ..row(timestep) }
}

fn adapted(scale: f32) -> Asked {
    Asked::Adapt(adapters(scale).iter().map(|adapter| adapter.what.scale).collect())
}

#[tokio::test]
async fn another_version_of_a_lora_is_another_set_and_its_prompts_are_encoded_anew() {
    let bench = Plan::default().open();
    let (seat, model) = bench.seat(0, 0, "m").await;
    let of_version = |version| {
        let adapter = Adapter { path: "l".into(), scale: 1.0 };
        Text { adapters: canonical([Versioned { what: adapter, version }]), ..text(5) }
    };
    bench.notes();
    for version in [0, 0, 1, 1] {
        seat.encode(&model, of_version(version)).await.unwrap();
    }
    let once = [adapted(1.0), Asked::Encode(5)];
    assert_eq!(bench.notes(), [once.clone(), once].concat());
}

/// What was asked but for the prompts' end.
fn without_releases(notes: Vec<Asked>) -> Vec<Asked> {
    notes.into_iter().filter(|asked| *asked != Asked::Release).collect()
}

#[test]
fn equal_sets_are_equal_in_whatever_order_they_are_asked_for() {
    let adapter = |path: &str, scale| Adapter { path: path.into(), scale };
    let one = canonical([adapter("b", 1.0), adapter("a", 0.5), adapter("c", 0.0), adapter("d", 1.0)]);
    let two = canonical([adapter("a", 0.25), adapter("d", 1.0), adapter("b", 1.0), adapter("a", 0.25)]);
    assert_eq!(one, two);
    assert!(canonical([adapter("a", 1.0), adapter("a", -1.0)]).is_empty());
    let rewritten = Versioned { what: adapter("a", 1.0), version: 1 };
    assert_ne!(canonical([rewritten]), canonical([adapter("a", 1.0)]), "another version of the file");
}

#[tokio::test]
async fn a_model_has_the_loras_of_whatever_it_does_and_keeps_them_until_others_are_needed() {
    let bench = Plan::default().open();
    let (seat, model) = bench.seat(0, 0, "m").await;
    bench.notes();
    seat.encode(&model, with(1.0, 5)).await.unwrap();
    assert_eq!(seat.denoise(&model, SHAPE, vec![row_with(1.0, 5.0)]).await.unwrap(), answer(&[5.0]));
    seat.decode(&model, SHAPE, vec![0.0; 2]).await.unwrap();
    let expected = [adapted(1.0), Asked::Encode(5), Asked::Pass(vec![5.0]), Asked::Decode(None)];
    assert_eq!(bench.notes(), expected);
    seat.decode(&model, SHAPE, vec![0.0; 2]).await.unwrap();
    seat.denoise(&model, SHAPE, vec![row(5.0)]).await.unwrap();
    seat.denoise(&model, SHAPE, vec![row_with(1.0, 5.0)]).await.unwrap();
    let notes = without_releases(bench.notes());
    let expected = [
        Asked::Decode(None),
        adapted(0.0),
        Asked::Encode(5),
        Asked::Pass(vec![5.0]),
        adapted(1.0),
        Asked::Pass(vec![5.0]),
    ];
    assert_eq!(notes, expected, "a picture is decoded with any, and a prompt stays encoded beside its like");
}

#[tokio::test]
async fn evaluations_share_a_pass_with_those_of_the_same_loras_alone() {
    let bench = Plan { gated: true, ..Plan::default() }.open();
    let (first, model) = bench.seat(9, 0, "m").await;
    let running = bench.running(first.denoise(&model, SHAPE, vec![row(0.0)])).await;
    let seats: Vec<_> = (0..4).map(|caller| bench.engine.seat(caller, 0)).collect();
    let rows = [row_with(1.0, 1.0), row_with(0.5, 2.0), row_with(1.0, 3.0), row(4.0)];
    let calls = seats.iter().zip(rows).map(|(seat, row)| seat.denoise(&model, SHAPE, vec![row]));
    let calls = waiting(join_all(calls));
    bench.allow(9);
    running.await.unwrap();
    assert!(calls.await.iter().all(Result::is_ok));
    let passes = bench.notes().into_iter().filter(|asked| matches!(asked, Asked::Pass(_)));
    let mut passes: Vec<_> = passes.skip(1).collect();
    passes.sort_by_key(|pass| format!("{pass:?}"));
    assert_eq!(passes, [Asked::Pass(vec![1.0, 3.0]), Asked::Pass(vec![2.0]), Asked::Pass(vec![4.0])]);
}

#[tokio::test]
async fn loras_come_back_with_the_model_after_the_backends_death() {
    let once = AtomicUsize::new(0);
    let rule = move |asked: &Asked| match asked {
        Asked::Pass(_) if once.fetch_add(1, Ordering::Relaxed) == 0 => Err(death()),
        _ => Ok(()),
    };
    let bench = Plan { rule: Box::new(rule), ..Plan::default() }.open();
    let (seat, model) = bench.seat(0, 0, "m").await;
    bench.notes();
    assert_eq!(seat.denoise(&model, SHAPE, vec![row_with(1.0, 5.0)]).await.unwrap(), answer(&[5.0]));
    let step = [adapted(1.0), Asked::Encode(5), Asked::Pass(vec![5.0])];
    let again = [Asked::Start, Asked::Load("m".into(), vec![])];
    assert_eq!(bench.notes(), [&step[..], &again, &step].concat());
}

#[tokio::test]
async fn a_lora_that_cannot_be_used_fails_its_own_calls_with_the_reason() {
    let rule = |asked: &Asked| match asked {
        Asked::Adapt(scales) if *scales == [13.0] => Err(Error::new(ErrorKind::BadModel, "it is damaged")),
        _ => Ok(()),
    };
    let bench = Plan { rule: Box::new(rule), ..Plan::default() }.open();
    let (bad, model) = bench.seat(0, 0, "m").await;
    let good = bench.engine.seat(1, 0);
    for _ in 0..2 {
        let (refused, painted) = join(
            bad.denoise(&model, SHAPE, vec![row_with(13.0, 1.0)]),
            good.denoise(&model, SHAPE, vec![row_with(1.0, 2.0)]),
        )
        .await;
        assert_eq!(refused.unwrap_err().message, "it is damaged");
        assert_eq!(painted.unwrap(), answer(&[2.0]));
        assert!(bad.encode(&model, with(13.0, 1)).await.is_err());
    }
    let adapted = |asked: &&Asked| **asked == adapted(1.0);
    assert_eq!(bench.notes().iter().filter(adapted).count(), 1, "the model is as it was before");
}

#[tokio::test]
async fn after_a_change_that_was_broken_off_nobody_relies_on_what_the_model_has() {
    let once = AtomicUsize::new(0);
    let rule = move |asked: &Asked| match asked {
        Asked::Adapt(_) if once.fetch_add(1, Ordering::Relaxed) == 0 => Err(Error::internal("odd")),
        _ => Ok(()),
    };
    let bench = Plan { rule: Box::new(rule), ..Plan::default() }.open();
    let (seat, model) = bench.seat(0, 0, "m").await;
    assert!(seat.denoise(&model, SHAPE, vec![row_with(1.0, 1.0)]).await.is_err());
    bench.notes();
    seat.denoise(&model, SHAPE, vec![row(1.0)]).await.unwrap();
    assert_eq!(bench.notes()[0], adapted(0.0), "also when it should have none");
}
