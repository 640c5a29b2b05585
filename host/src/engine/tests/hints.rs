// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Pictures that guide rows: what is encoded when, who shares a pass, and what comes back after a death.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use alice_plugin::{Adapter, ErrorKind};
use futures::future::join_all;

use super::super::{HintPicture, LoadedModel, Row, RowHint, Seat, Text, Unload, Versioned, canonical};
use super::fake::{Asked, Bench, Plan, SHAPE, answer, death, no_memory, request, row, text, waiting};

/// A picture for [`SHAPE`] whose bytes are all this one.
fn picture(byte: u8) -> Arc<HintPicture> {
    Arc::new(HintPicture::new(2, 1, vec![byte; 6]))
}

/// A row of this timestep, guided by these networks with these pictures and scales.
fn guided(timestep: f32, hints: &[(&Arc<LoadedModel>, &Arc<HintPicture>, f32)]) -> Row {
    let hint = |&(model, picture, scale): &(&Arc<LoadedModel>, &Arc<HintPicture>, f32)| RowHint {
        model: model.clone(),
        picture: picture.clone(),
        scale,
    };
    Row { hints: hints.iter().map(hint).collect(), ..row(timestep) }
}

/// A seat, a model, and two networks beside it.
async fn trio(bench: &Bench, caller: u64) -> (Seat, [Arc<LoadedModel>; 3]) {
    let seat = bench.engine.seat(caller, 0);
    let all = ["m", "edges", "depth"].map(|name| request(name).into()).to_vec();
    let models = seat.load_all(all).await.unwrap();
    (seat, models.try_into().unwrap())
}

fn encoded(network: &str, byte: u8) -> Asked {
    Asked::Hint(network.into(), byte)
}

/// What was asked but for prompts and loads.
fn about_hints(bench: &Bench) -> Vec<Asked> {
    let other = |asked: &Asked| matches!(asked, Asked::Encode(_) | Asked::Load(..) | Asked::Start);
    bench.notes().into_iter().filter(|asked| !other(asked)).collect()
}

#[test]
fn pictures_are_equal_when_their_pixels_are() {
    assert_eq!(picture(3), picture(3));
    assert_ne!(picture(3), picture(4));
    assert_ne!(picture(3), Arc::new(HintPicture::new(1, 2, vec![3; 6])), "another shape");
    assert_eq!(format!("{:?}", picture(3)), "HintPicture(2x1)");
}

#[tokio::test]
async fn a_row_is_guided_by_its_networks_and_each_picture_is_encoded_once() {
    let bench = Plan::default().open();
    let (seat, [model, edges, depth]) = trio(&bench, 0).await;
    bench.notes();
    for _ in 0..2 {
        // Of equal pictures it does not matter who holds them.
        let rows = vec![
            guided(1.0, &[(&edges, &picture(8), 0.5), (&depth, &picture(8), 0.25)]),
            guided(2.0, &[(&edges, &picture(8), 1.0), (&depth, &picture(4), 1.0)]),
        ];
        let expected = answer(&[1.0 + 4.0 + 2.0, 2.0 + 8.0 + 4.0]);
        assert_eq!(seat.denoise(&model, SHAPE, rows).await.unwrap(), expected);
    }
    let pass = Asked::Pass(vec![1.0, 2.0]);
    let expected = [encoded("edges", 8), encoded("depth", 8), encoded("depth", 4), pass.clone(), pass];
    assert_eq!(about_hints(&bench), expected);
}

#[tokio::test]
async fn only_rows_that_are_guided_by_the_same_networks_share_a_pass() {
    let bench = Plan { gated: true, ..Plan::default() }.open();
    let (first, [model, edges, depth]) = trio(&bench, 9).await;
    let running = bench.running(first.denoise(&model, SHAPE, vec![row(0.0)])).await;
    let seats: Vec<_> = (0..6).map(|caller| bench.engine.seat(caller, 0)).collect();
    let rows = [
        guided(1.0, &[(&edges, &picture(1), 1.0)]),
        row(2.0),
        guided(3.0, &[(&edges, &picture(2), 0.5)]),
        guided(4.0, &[(&depth, &picture(1), 1.0)]),
        guided(5.0, &[(&edges, &picture(1), 1.0), (&depth, &picture(1), 1.0)]),
        guided(6.0, &[(&depth, &picture(1), 1.0), (&edges, &picture(1), 1.0)]),
    ];
    let calls = seats.iter().zip(rows).map(|(seat, row)| seat.denoise(&model, SHAPE, vec![row]));
    let calls = waiting(join_all(calls));
    bench.allow(9);
    running.await.unwrap();
    let answers: Vec<_> = calls.await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, [2.0, 2.0, 4.0, 5.0, 7.0, 8.0].map(|timestep| answer(&[timestep])));
    let passes = bench.notes().into_iter().filter(|asked| matches!(asked, Asked::Pass(_)));
    let passes: Vec<_> = passes.skip(1).collect();
    let alone = |timestep| Asked::Pass(vec![timestep]);
    assert_eq!(passes, [Asked::Pass(vec![1.0, 3.0]), alone(2.0), alone(4.0), alone(5.0), alone(6.0)]);
}

#[tokio::test]
async fn pictures_that_are_held_stay_encoded_and_a_few_others() {
    let bench = Plan::default().open();
    let (seat, [model, edges, _]) = trio(&bench, 0).await;
    let held = picture(100);
    let ask = async |picture: &Arc<HintPicture>| {
        seat.denoise(&model, SHAPE, vec![guided(1.0, &[(&edges, picture, 1.0)])]).await.unwrap()
    };
    ask(&held).await;
    for byte in 1..=7 {
        ask(&picture(byte)).await;
    }
    let released = about_hints(&bench).iter().filter(|asked| **asked == Asked::Release).count();
    assert_eq!(released, 2, "left are the held one, the last one and four recent ones");
    ask(&held).await;
    ask(&picture(7)).await;
    let notes = about_hints(&bench);
    assert!(!notes.iter().any(|asked| matches!(asked, Asked::Hint(..))), "{notes:?}");
    ask(&picture(1)).await;
    assert!(about_hints(&bench).contains(&encoded("edges", 1)), "it was released");
}

#[tokio::test]
async fn hints_go_with_their_network_and_are_encoded_anew_when_it_comes_back() {
    let bench = Plan::default().open();
    let kept = picture(5);
    for _ in 0..2 {
        let (seat, [model, edges, _]) = trio(&bench, 0).await;
        bench.notes();
        seat.denoise(&model, SHAPE, vec![guided(1.0, &[(&edges, &kept, 1.0)])]).await.unwrap();
        assert_eq!(about_hints(&bench), [encoded("edges", 5), Asked::Pass(vec![1.0])]);
        drop((seat, model, edges));
        // The engine gives up the rows of a pass after it has answered.
        while bench.engine.unload(request("edges")).await.unwrap() != Unload::Done {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn networks_and_their_hints_come_back_after_the_backends_death() {
    for fatal in ["hint", "pass"] {
        let once = AtomicUsize::new(0);
        let rule = move |asked: &Asked| {
            let name = match asked {
                Asked::Hint(..) => "hint",
                Asked::Pass(_) => "pass",
                _ => return Ok(()),
            };
            if name == fatal && once.fetch_add(1, Ordering::Relaxed) == 0 { Err(death()) } else { Ok(()) }
        };
        let bench = Plan { rule: Box::new(rule), ..Plan::default() }.open();
        let (seat, [model, edges, depth]) = trio(&bench, 0).await;
        let adapters: Arc<[Versioned<Adapter>]> = canonical([Adapter { path: "l".into(), scale: 1.0 }]);
        let with_loras = Arc::new(Text { adapters, ..text(3) });
        bench.notes();
        let rows = || {
            let hints = [(&edges, &picture(8), 1.0), (&depth, &picture(4), 0.5)];
            vec![Row { text: with_loras.clone(), ..guided(3.0, &hints) }]
        };
        assert_eq!(seat.denoise(&model, SHAPE, rows()).await.unwrap(), answer(&[13.0]), "{fatal}");
        let notes = bench.notes();
        let after = notes.iter().skip_while(|asked| **asked != Asked::Start);
        let there = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let expected = [
            Asked::Start,
            Asked::Load("m".into(), there(&[])),
            Asked::Adapt(vec![1.0]),
            Asked::Load("edges".into(), there(&["m"])),
            encoded("edges", 8),
            Asked::Load("depth".into(), there(&["m", "edges"])),
            encoded("depth", 4),
            Asked::Encode(3),
            Asked::Pass(vec![3.0]),
        ];
        assert_eq!(after.cloned().collect::<Vec<_>>(), expected, "{fatal}");
        bench.die();
        assert_eq!(seat.denoise(&model, SHAPE, rows()).await.unwrap(), answer(&[13.0]), "{fatal}");
    }
}

#[tokio::test]
async fn a_picture_that_cannot_be_encoded_fails_its_own_call_alone() {
    let rule = |asked: &Asked| match asked {
        Asked::Hint(_, 13) => Err(no_memory()),
        _ => Ok(()),
    };
    let bench = Plan { gated: true, rule: Box::new(rule), ..Plan::default() }.open();
    let (first, [model, edges, _]) = trio(&bench, 9).await;
    let running = bench.running(first.denoise(&model, SHAPE, vec![row(0.0)])).await;
    let seats: Vec<_> = (0..3).map(|caller| bench.engine.seat(caller, 0)).collect();
    let other_size = Arc::new(HintPicture::new(1, 1, vec![0; 3]));
    let pictures = [picture(1), picture(13), other_size];
    let calls = seats
        .iter()
        .zip(&pictures)
        .map(|(seat, picture)| seat.denoise(&model, SHAPE, vec![guided(1.0, &[(&edges, picture, 1.0)])]));
    let calls = waiting(join_all(calls));
    bench.allow(9);
    running.await.unwrap();
    let answers = calls.await;
    assert_eq!(answers[0].as_ref().unwrap(), &answer(&[2.0]));
    let kinds: Vec<_> = answers[1..].iter().map(|answer| answer.as_ref().unwrap_err().kind).collect();
    assert_eq!(kinds, [ErrorKind::OutOfMemory, ErrorKind::Invalid]);
}
