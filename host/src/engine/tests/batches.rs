// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Who shares a pass with whom, and in which order.

use std::sync::Arc;

use alice_plugin::LatentShape;
use futures::future::{join, join_all};

use super::super::{Extra, Row};
use super::fake::{Asked, Plan, SHAPE, answer, row, text, waiting};

#[tokio::test]
async fn evaluations_that_wait_together_share_a_pass_and_get_their_own_rows() {
    let bench = Plan { max_rows: 3, gated: true, ..Plan::default() }.open();
    let (first, model) = bench.seat(0, 0, "m").await;
    let seats: Vec<_> = (1..4).map(|order| bench.engine.seat(0, order)).collect();
    let running = bench.running(first.denoise(&model, SHAPE, vec![row(1.0)])).await;
    let others = waiting(join_all([
        seats[0].denoise(&model, SHAPE, vec![row(1.0), row(2.0)]),
        seats[1].denoise(&model, SHAPE, vec![row(3.0)]),
        seats[2].denoise(&model, SHAPE, vec![row(2.0), row(3.0)]),
    ]));
    bench.allow(3);
    assert_eq!(running.await.unwrap(), answer(&[1.0]));
    let answers: Vec<_> = others.await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, [answer(&[1.0, 2.0]), answer(&[3.0]), answer(&[2.0, 3.0])]);
    assert_eq!(bench.passes(), [1, 3, 2], "two rows and one join, the last two wait");
}

#[tokio::test]
async fn one_evaluation_is_never_split_and_other_shapes_never_join() {
    let bench = Plan { max_rows: 1, ..Plan::default() }.open();
    let (one, model) = bench.seat(0, 0, "m").await;
    let other = bench.engine.seat(0, 1);
    let tall = LatentShape { height: 2, width: 1, ..SHAPE };
    let (both, other) = join(
        one.denoise(&model, SHAPE, vec![row(0.0), row(0.0)]),
        other.denoise(&model, tall, vec![row(0.0)]),
    )
    .await;
    assert_eq!((both.unwrap().len(), other.unwrap().len()), (4, 2));
    assert_eq!(bench.passes(), [2, 1]);
}

#[tokio::test]
async fn rows_with_other_further_inputs_or_longer_prompts_never_join() {
    let bench = Plan { gated: true, ..Plan::default() }.open();
    let (first, model) = bench.seat(0, 0, "m").await;
    let seats: Vec<_> = (1..6).map(|order| bench.engine.seat(0, order)).collect();
    let with = |name: &str, count: u32| {
        let extra = Extra { name: name.into(), shape: vec![count], data: vec![0.0; count as usize] };
        Row { extras: Arc::new([extra]), ..row(0.0) }
    };
    let mut long = text(0);
    long.chunks.push(long.chunks[0].clone());
    let long = Row { text: Arc::new(long), ..row(0.0) };
    let rows = [with("time_ids", 6), with("time_ids", 5), with("concat", 6), with("time_ids", 6), long];
    let running = bench.running(first.denoise(&model, SHAPE, vec![row(0.0)])).await;
    let others = seats.iter().zip(rows).map(|(seat, row)| seat.denoise(&model, SHAPE, vec![row]));
    let others = waiting(join_all(others));
    bench.allow(5);
    running.await.unwrap();
    assert!(others.await.iter().all(Result::is_ok));
    assert_eq!(bench.passes(), [1, 2, 1, 1, 1], "the first and the last of the same kind joined");
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_skipped() {
    let bench = Plan { max_rows: 1, gated: true, ..Plan::default() }.open();
    let (seat, model) = bench.seat(0, 0, "m").await;
    let other = bench.engine.seat(0, 1);
    let running = bench.running(seat.denoise(&model, SHAPE, vec![row(0.0)])).await;
    drop(waiting(other.denoise(&model, SHAPE, vec![row(0.0), row(0.0)])));
    bench.allow(2);
    running.await.unwrap();
    seat.denoise(&model, SHAPE, vec![row(0.0)]).await.unwrap();
    assert_eq!(bench.passes(), [1, 1], "the pass of two rows never ran");
}

#[tokio::test]
async fn one_who_goes_away_takes_nobody_along() {
    let bench = Plan { gated: true, ..Plan::default() }.open();
    let (seat, model) = bench.seat(0, 0, "m").await;
    let (one, two) = (bench.engine.seat(0, 1), bench.engine.seat(0, 2));
    let running = bench.running(seat.denoise(&model, SHAPE, vec![row(0.0)])).await;
    let stays = waiting(one.denoise(&model, SHAPE, vec![row(1.0)]));
    let goes = waiting(two.denoise(&model, SHAPE, vec![row(2.0)]));
    bench.allow(1);
    running.await.unwrap();
    assert_eq!(bench.begun.recv().unwrap(), 2);
    drop(goes);
    bench.allow(1);
    assert_eq!(stays.await.unwrap(), answer(&[1.0]));
}

#[tokio::test]
async fn callers_take_turns_and_of_one_callers_pictures_the_first_goes_first() {
    let bench = Plan { max_rows: 1, gated: true, ..Plan::default() }.open();
    let (holder, model) = bench.seat(9, 0, "m").await;
    let running = bench.running(holder.denoise(&model, SHAPE, vec![row(0.0)])).await;
    // Caller 1 comes with four, in a wrong order, before caller 2 with two.
    let seats = [(1, 3), (1, 1), (1, 2), (1, 0), (2, 1), (2, 0)];
    let seats = seats.map(|(caller, order)| (bench.engine.seat(caller, order), (10 * caller + order) as f32));
    let calls = seats.iter().map(|(seat, name)| seat.denoise(&model, SHAPE, vec![row(*name)]));
    let calls = waiting(join_all(calls));
    bench.allow(7);
    running.await.unwrap();
    assert!(calls.await.iter().all(Result::is_ok));
    let passes: Vec<_> =
        bench.notes().into_iter().filter(|asked| matches!(asked, Asked::Pass(_))).skip(1).collect();
    assert_eq!(passes, [10.0, 20.0, 11.0, 21.0, 12.0, 13.0].map(|name| Asked::Pass(vec![name])));
}

#[tokio::test]
async fn a_batch_is_filled_by_turns_of_the_callers() {
    let bench = Plan { max_rows: 3, gated: true, ..Plan::default() }.open();
    let (holder, model) = bench.seat(9, 0, "m").await;
    let running = bench.running(holder.denoise(&model, SHAPE, vec![row(0.0)])).await;
    let seats = [(1, 0), (1, 1), (1, 2), (2, 0)];
    let seats = seats.map(|(caller, order)| (bench.engine.seat(caller, order), (10 * caller + order) as f32));
    let calls =
        waiting(join_all(seats.iter().map(|(seat, name)| seat.denoise(&model, SHAPE, vec![row(*name)]))));
    bench.allow(3);
    running.await.unwrap();
    assert!(calls.await.iter().all(Result::is_ok));
    let notes = bench.notes();
    assert!(notes.contains(&Asked::Pass(vec![10.0, 20.0, 11.0])), "{notes:?}");
}

#[tokio::test]
async fn equal_prompts_are_encoded_once_and_a_few_are_kept() {
    let bench = Plan::default().open();
    let (seat, model) = bench.seat(0, 0, "m").await;
    for token in [1, 2, 1, 2] {
        seat.encode(&model, text(token)).await.unwrap();
    }
    let encoded = |notes: &[Asked]| notes.iter().filter(|asked| matches!(asked, Asked::Encode(_))).count();
    assert_eq!(encoded(&bench.notes()), 2);
    let held = seat.encode(&model, text(1)).await.unwrap();
    for token in 3..20 {
        seat.encode(&model, text(token)).await.unwrap();
    }
    let notes = bench.notes();
    let released = notes.iter().filter(|asked| **asked == Asked::Release).count();
    assert_eq!(
        (encoded(&notes), released),
        (17, 9),
        "left are the held one, the last one and eight recent ones"
    );
    assert!(Arc::ptr_eq(&held, &seat.encode(&model, text(1)).await.unwrap()), "what is held stays");
}

#[tokio::test]
async fn what_passes_took_can_be_seen() {
    let bench = Plan { max_rows: 2, ..Plan::default() }.open();
    let (seat, model) = bench.seat(0, 0, "m").await;
    assert_eq!(bench.engine.seconds_per_row(&model.request, SHAPE), None);
    for _ in 0..3 {
        seat.denoise(&model, SHAPE, vec![row(1.0), row(2.0)]).await.unwrap();
    }
    let seen = bench.engine.measurements();
    assert_eq!((seen.len(), seen[0].rows, seen[0].passes), (1, 2, 3));
    assert_eq!(bench.engine.seconds_per_row(&model.request, SHAPE), Some(seen[0].seconds / 2.0));
    assert_eq!(bench.engine.seats_taken(), 1);
}
