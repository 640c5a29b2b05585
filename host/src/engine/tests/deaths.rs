// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What becomes of the calls when the backend fails, dies or does not come back.

use std::sync::atomic::{AtomicUsize, Ordering};

use alice_plugin::{Error, ErrorKind};
use futures::future::join_all;

use super::super::{Pixels, Unload};
use super::fake::{Asked, Plan, Rule, SHAPE, answer, death, request, row, text, waiting};

/// A rule by which a pass that has a row of this timestep fails so.
fn fatal(timestep: f32, error: Error) -> Box<Rule> {
    Box::new(move |asked| match asked {
        Asked::Pass(rows) if rows.contains(&timestep) => Err(error.clone()),
        _ => Ok(()),
    })
}

/// Four evaluations that run in one pass, of which the third is `13`: their answers, and what the backend was asked
/// from the pass before that one on.
async fn four_with_a_fatal_one(error: Error) -> (Vec<alice_plugin::Result<Vec<f32>>>, Vec<Asked>) {
    let bench = Plan { gated: true, rule: fatal(13.0, error), ..Plan::default() }.open();
    let (holder, model) = bench.seat(9, 0, "m").await;
    let running = bench.running(holder.denoise(&model, SHAPE, vec![row(0.0)])).await;
    let seats = [11.0, 12.0, 13.0, 14.0].map(|name| (bench.engine.seat(0, name as u64), name));
    let calls = seats.iter().map(|(seat, name)| seat.denoise(&model, SHAPE, vec![row(*name)]));
    let calls = waiting(join_all(calls));
    bench.notes();
    bench.allow(20);
    running.await.unwrap();
    let answers = calls.await;
    (answers, bench.notes())
}

#[tokio::test]
async fn of_a_batch_that_kills_the_backend_only_the_guilty_one_fails_and_after_two_strikes() {
    let (answers, notes) = four_with_a_fatal_one(death()).await;
    for (index, name) in [(0, 11.0), (1, 12.0), (3, 14.0)] {
        assert_eq!(answers[index].as_ref().unwrap(), &answer(&[name]));
    }
    let error = answers[2].as_ref().unwrap_err();
    assert_eq!(error.kind, ErrorKind::DeviceLost);
    assert!(error.message.contains("died 2 times of this request alone"), "{error}");
    let count = |wanted: fn(&Asked) -> bool| notes.iter().filter(|asked| wanted(asked)).count();
    assert_eq!(count(|asked| matches!(asked, Asked::Pass(rows) if rows.len() == 4)), 1);
    assert_eq!(count(|asked| matches!(asked, Asked::Pass(rows) if *rows == [13.0])), 2);
    assert_eq!(count(|asked| *asked == Asked::Start), 3, "of the batch, and twice of the guilty one");
}

#[tokio::test]
async fn of_a_batch_that_fails_only_the_guilty_one_does() {
    let (answers, notes) = four_with_a_fatal_one(Error::internal("odd")).await;
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true]);
    assert_eq!(answers[2].as_ref().unwrap_err().message, "odd");
    assert!(!notes.contains(&Asked::Start));
}

#[tokio::test]
async fn whoever_finished_a_step_alone_shares_passes_again() {
    let once = AtomicUsize::new(0);
    let rule = move |asked: &Asked| match asked {
        Asked::Pass(rows) if rows.len() == 2 && once.fetch_add(1, Ordering::Relaxed) == 0 => Err(death()),
        _ => Ok(()),
    };
    let bench = Plan { gated: true, rule: Box::new(rule), ..Plan::default() }.open();
    let (holder, model) = bench.seat(9, 0, "m").await;
    let seats = [bench.engine.seat(0, 0), bench.engine.seat(0, 1)];
    for expected in [vec![1, 2, 1, 1], vec![1, 2]] {
        let running = bench.running(holder.denoise(&model, SHAPE, vec![row(0.0)])).await;
        let calls = seats.iter().map(|seat| seat.denoise(&model, SHAPE, vec![row(1.0)]));
        let calls = waiting(join_all(calls));
        bench.allow(expected.len());
        running.await.unwrap();
        assert!(calls.await.iter().all(Result::is_ok));
        assert_eq!(bench.begun.try_iter().count(), expected.len() - 1);
        assert_eq!(bench.passes(), expected);
    }
}

#[tokio::test]
async fn one_death_costs_a_call_nothing_and_its_recipes_bring_everything_back() {
    for fatal in ["load", "look", "encode", "pass", "decode", "enlarge"] {
        let once = AtomicUsize::new(0);
        let rule = move |asked: &Asked| {
            let name = match asked {
                Asked::Load(..) => "load",
                Asked::EncodeImage(..) => "look",
                Asked::Upscale(_) => "enlarge",
                Asked::Encode(_) => "encode",
                Asked::Pass(_) => "pass",
                Asked::Decode(_) => "decode",
                _ => return Ok(()),
            };
            if name == fatal && once.fetch_add(1, Ordering::Relaxed) == 0 { Err(death()) } else { Ok(()) }
        };
        let bench = Plan { rule: Box::new(rule), ..Plan::default() }.open();
        let (seat, model) = bench.seat(0, 0, "m").await;
        assert_eq!(
            seat.encode_image(&model, SHAPE, Pixels::Rgb(vec![9; 6])).await.unwrap().0,
            [9.0; 2],
            "{fatal}"
        );
        let prompt = seat.encode(&model, text(5)).await.unwrap();
        let asked = super::super::Row { text: prompt, ..row(5.0) };
        assert_eq!(seat.denoise(&model, SHAPE, vec![asked]).await.unwrap(), answer(&[5.0]), "{fatal}");
        assert_eq!(seat.decode(&model, SHAPE, vec![0.0; 2]).await.unwrap(), [7; 6], "{fatal}");
        assert_eq!(seat.upscale(&model, 2, 1, vec![9; 6]).await.unwrap(), [10; 6], "{fatal}");
        let starts = bench.notes().iter().filter(|asked| **asked == Asked::Start).count();
        assert_eq!(starts, 2, "{fatal}");
        assert_eq!(bench.loaded(), ["m"], "{fatal}");
    }
}

#[tokio::test]
async fn of_a_death_while_nobody_asks_no_call_is_blamed() {
    let bench = Plan { rule: fatal(13.0, death()), ..Plan::default() }.open();
    let (seat, model) = bench.seat(0, 0, "m").await;
    let deaths = bench.engine.deaths();
    bench.die();
    assert_eq!(seat.denoise(&model, SHAPE, vec![row(1.0)]).await.unwrap(), answer(&[1.0]));
    assert_eq!(*deaths.borrow(), 1);
    bench.notes();
    let error = seat.denoise(&model, SHAPE, vec![row(13.0)]).await.unwrap_err();
    assert!(error.message.contains("died 2 times"), "the death before was none of these: {error}");
}

#[tokio::test]
async fn a_death_while_nobody_asks_is_noticed_without_a_call() {
    let bench = Plan::default().open();
    bench.engine.load(request("m"), true).await.unwrap();
    let mut deaths = bench.engine.deaths();
    // The mail has been read: nobody uses the model any more, which would keep its place otherwise.
    assert_eq!(bench.engine.unload(request("none")).await.unwrap(), Unload::NotLoaded);
    bench.die();
    deaths.changed().await.unwrap();
    assert!(bench.loaded().is_empty());
    bench.engine.load(request("m"), true).await.unwrap();
    assert_eq!(bench.loaded(), ["m"]);
}

#[tokio::test]
async fn a_load_that_always_kills_the_backend_fails_and_others_are_served() {
    let rule = |asked: &Asked| match asked {
        Asked::Load(name, _) if name == "bad" => Err(Error::new(ErrorKind::Panic, "boom")),
        _ => Ok(()),
    };
    let bench = Plan { rule: Box::new(rule), ..Plan::default() }.open();
    let (seat, model) = bench.seat(0, 0, "m").await;
    let error = bench.engine.load(request("bad"), false).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Panic);
    assert!(error.message.contains("died 2 times"), "{error}");
    assert!(seat.denoise(&model, SHAPE, vec![row(1.0)]).await.is_ok(), "what was in use comes back");
    assert_eq!(bench.loaded(), ["m"]);
}

#[tokio::test]
async fn a_backend_that_does_not_start_again_is_said_so_and_tried_again_with_the_next_call() {
    let starts = AtomicUsize::new(0);
    let rule = move |asked: &Asked| match asked {
        Asked::Start if (1..5).contains(&starts.fetch_add(1, Ordering::Relaxed)) => {
            Err(Error::internal("no driver"))
        }
        Asked::Pass(rows) if *rows == [13.0] => Err(death()),
        _ => Ok(()),
    };
    let bench = Plan { rule: Box::new(rule), ..Plan::default() }.open();
    let (seat, model) = bench.seat(0, 0, "m").await;
    let error = seat.denoise(&model, SHAPE, vec![row(13.0)]).await.unwrap_err();
    assert!(error.message.contains("does not start again: no driver"), "{error}");
    assert!(seat.denoise(&model, SHAPE, vec![row(1.0)]).await.is_ok());
}
