// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Models in memory, and what happens when it runs out.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use alice_plugin::{Error, ErrorKind, LatentShape};
use futures::FutureExt;
use futures::future::{join, join_all};

use super::super::{Engine, Engines, ModelState, Pixels, Settings, Unload, Versioned};
use super::fake::{Asked, Bench, Plan, SHAPE, answer, no_memory, request, row, waiting};

/// A bench whose device has so many bytes for weights.
pub(super) fn bench(budget: u64) -> Bench {
    Plan { settings: Settings { memory_bytes: Some(budget), ..Settings::default() }, ..Plan::default() }
        .open()
}

/// A bench whose device runs out of memory with more than so many rows in a pass.
fn narrow(most: usize) -> Bench {
    let rule = move |asked: &Asked| match asked {
        Asked::Pass(rows) if rows.len() > most => Err(no_memory()),
        _ => Ok(()),
    };
    Plan { gated: true, rule: Box::new(rule), ..Plan::default() }.open()
}

/// Four guided evaluations that wait while a pass runs: their answers, and the rows of the `passes` after that one.
async fn four_guided(bench: &Bench, passes: usize) -> (Vec<alice_plugin::Result<Vec<f32>>>, Vec<usize>) {
    let (holder, model) = bench.seat(9, 0, "m").await;
    let running = bench.running(holder.denoise(&model, SHAPE, vec![row(0.0)])).await;
    let seats = [1.0, 3.0, 5.0, 7.0].map(|name| (bench.engine.seat(0, name as u64), name));
    let calls = waiting(join_all(
        seats.iter().map(|(seat, name)| seat.denoise(&model, SHAPE, vec![row(*name), row(name + 1.0)])),
    ));
    bench.allow(1);
    drop(running.await);
    bench.notes();
    bench.allow(passes);
    let answers = calls.await;
    bench.begun.try_iter().count();
    (answers, bench.passes())
}

#[tokio::test]
async fn a_batch_that_does_not_fit_is_halved_and_the_lower_limit_remembered() {
    let right = |answers: Vec<alice_plugin::Result<Vec<f32>>>| {
        for (index, answer_) in answers.into_iter().enumerate() {
            let first = 1.0 + 2.0 * index as f32;
            assert_eq!(answer_.unwrap(), answer(&[first, first + 1.0]));
        }
    };
    for (most, first, then) in [
        (4, vec![8, 4, 4], vec![4, 4]),
        (2, vec![8, 4, 2, 2, 2, 2], vec![2, 2, 2, 2]),
        (1, vec![8, 4, 2, 1, 1, 1, 1, 1, 1, 1, 1], vec![1, 1, 1, 1, 1, 1, 1, 1]),
    ] {
        let bench = narrow(most);
        for expected in [first, then] {
            let (answers, passes) = four_guided(&bench, expected.len()).await;
            right(answers);
            assert_eq!(passes, expected, "a device for {most} rows");
        }
    }
}

#[tokio::test]
async fn a_single_row_that_does_not_fit_fails_and_names_the_sizes() {
    let bench = narrow(0);
    let (answers, _) = four_guided(&bench, 100).await;
    for answer in answers {
        let error = answer.unwrap_err();
        assert_eq!(error.kind, ErrorKind::OutOfMemory);
        assert!(error.message.contains("2x1 pixels") && error.message.contains("1 tokens"), "{error}");
    }
}

#[tokio::test]
async fn a_picture_that_does_not_fit_is_decoded_in_tiles() {
    let large = LatentShape { channels: 1, height: 96, width: 128 };
    let latent = || vec![0.0; large.len()];
    for (fits, tried) in
        [(64, vec![None, Some(64), Some(64)]), (32, vec![None, Some(64), Some(32), Some(32)])]
    {
        let rule = move |asked: &Asked| match asked {
            Asked::Decode(tile) if tile.is_none_or(|tile| tile > fits) => Err(no_memory()),
            _ => Ok(()),
        };
        let bench = Plan { rule: Box::new(rule), ..Plan::default() }.open();
        let (seat, model) = bench.seat(0, 0, "m").await;
        bench.notes();
        seat.decode(&model, large, latent()).await.unwrap();
        seat.preview(&model, large, latent()).await.unwrap();
        assert_eq!(bench.notes(), tried.into_iter().map(Asked::Decode).collect::<Vec<_>>());
    }
    let rule = |asked: &Asked| if let Asked::Decode(_) = asked { Err(no_memory()) } else { Ok(()) };
    let bench = Plan { rule: Box::new(rule), ..Plan::default() }.open();
    let (seat, model) = bench.seat(0, 0, "m").await;
    let error = seat.decode(&model, large, latent()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutOfMemory);
    assert!(error.message.contains("128x96 pixels") && error.message.contains("tiles of 32"), "{error}");
}

#[tokio::test]
async fn a_picture_that_does_not_fit_is_encoded_in_tiles() {
    let large = LatentShape { channels: 1, height: 96, width: 128 };
    let rgb = || Pixels::Rgb(vec![9; large.len() * 3]);
    for (fits, tried) in [(128, vec![None]), (64, vec![None, Some(64)]), (32, vec![None, Some(64), Some(32)])]
    {
        let rule = move |asked: &Asked| match asked {
            Asked::EncodeImage(_, tile) if tile.unwrap_or(128) > fits => Err(no_memory()),
            _ => Ok(()),
        };
        let bench = Plan { rule: Box::new(rule), ..Plan::default() }.open();
        let (seat, model) = bench.seat(0, 0, "m").await;
        bench.notes();
        let encoded = seat.encode_image(&model, large, rgb()).await.unwrap();
        assert_eq!(encoded, (vec![9.0; large.len()], vec![0.5; large.len()]));
        let asked = |tile: &Option<u32>| Asked::EncodeImage(9, *tile);
        assert_eq!(bench.notes(), tried.iter().map(asked).collect::<Vec<_>>());
        // What was learned is remembered, and is of no other call.
        seat.encode_image(&model, large, rgb()).await.unwrap();
        seat.decode(&model, large, vec![0.0; large.len()]).await.unwrap();
        let last = asked(tried.last().unwrap());
        assert_eq!(bench.notes(), [last, Asked::Decode(None)]);
    }
    let rule = |asked: &Asked| if let Asked::EncodeImage(..) = asked { Err(no_memory()) } else { Ok(()) };
    let bench = Plan { rule: Box::new(rule), ..Plan::default() }.open();
    let (seat, model) = bench.seat(0, 0, "m").await;
    let error = seat.encode_image(&model, large, rgb()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutOfMemory);
    let expected = "encode a picture of 128x96 pixels (128x96 cells), not even in tiles of 32 cells";
    assert!(error.message.contains(expected), "{error}");
}

#[tokio::test]
async fn a_backend_that_knows_no_tiles_says_what_it_said_of_the_whole() {
    let rule = |asked: &Asked| match asked {
        Asked::EncodeImage(_, None) => Err(no_memory()),
        Asked::EncodeImage(_, Some(_)) => Err(Error::unsupported("whole pictures only")),
        _ => Ok(()),
    };
    let bench = Plan { rule: Box::new(rule), ..Plan::default() }.open();
    let (seat, model) = bench.seat(0, 0, "m").await;
    let large = LatentShape { channels: 1, height: 96, width: 128 };
    for _ in 0..2 {
        let error =
            seat.encode_image(&model, large, Pixels::Rgb(vec![9; large.len() * 3])).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::OutOfMemory);
        assert!(error.message.contains("128x96 cells): full"), "{error}");
    }
}

#[tokio::test]
async fn a_picture_is_made_larger_whole_or_in_tiles_of_its_own_pixels() {
    let (width, height) = (256, 200);
    let rgb = || vec![9; 256 * 200 * 3];
    let tiles = [None, Some(128), Some(64)];
    for (kind, fits, tried) in [
        ("cuda", 256, &tiles[..1]),
        ("cpu", 256, &tiles[..1]),
        ("cuda", 128, &tiles[..2]),
        ("cpu", 64, &tiles[..]),
    ] {
        let rule = move |asked: &Asked| match asked {
            Asked::Upscale(tile) if tile.unwrap_or(256) > fits => Err(no_memory()),
            _ => Ok(()),
        };
        let bench = Plan { kind, rule: Box::new(rule), ..Plan::default() }.open();
        let (seat, model) = bench.seat(0, 0, "m").await;
        bench.notes();
        assert_eq!(seat.upscale(&model, width, height, rgb()).await.unwrap(), vec![10; 256 * 200 * 3]);
        seat.upscale(&model, width, height, rgb()).await.unwrap();
        let tried = tried.iter().chain(tried.last()).copied();
        assert_eq!(bench.notes(), tried.map(Asked::Upscale).collect::<Vec<_>>(), "{kind} {fits}");
    }
    let rule = |asked: &Asked| if let Asked::Upscale(_) = asked { Err(no_memory()) } else { Ok(()) };
    let bench = Plan { rule: Box::new(rule), ..Plan::default() }.open();
    let (seat, model) = bench.seat(0, 0, "m").await;
    let error = seat.upscale(&model, width, height, rgb()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutOfMemory);
    let expected = "a picture of 256x200 pixels 1 times larger, not even in tiles of 64 pixels";
    assert!(error.message.contains(expected), "{error}");
}

#[tokio::test]
async fn an_unused_model_goes_before_anything_is_made_smaller() {
    let bench = narrow(1);
    bench.engine.load(request("idle"), false).await.unwrap();
    let (seat, model) = bench.seat(0, 0, "m").await;
    bench.notes();
    bench.allow(4);
    seat.denoise(&model, SHAPE, vec![row(1.0), row(2.0)]).await.unwrap();
    let notes = bench.notes();
    let tried: Vec<_> = notes.iter().filter(|asked| !matches!(asked, Asked::Encode(_))).collect();
    let pass = |rows: &[f32]| Asked::Pass(rows.to_vec());
    let expected =
        [pass(&[1.0, 2.0]), Asked::Unload("idle".into()), pass(&[1.0, 2.0]), pass(&[1.0]), pass(&[2.0])];
    assert_eq!(tried, expected.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_model_is_loaded_once_and_shown_with_its_users() {
    let bench = bench(100);
    let (one, two) = (bench.seat(0, 0, "60").await, bench.seat(0, 1, "60").await);
    let status = &bench.engine.models()[0];
    assert_eq!((status.state, status.users, status.memory_bytes), (ModelState::Loaded, 2, 60));
    assert_eq!(status.idle, Duration::ZERO);
    let loads = bench.notes().iter().filter(|asked| matches!(asked, Asked::Load(..))).count();
    assert_eq!(loads, 1);
    assert_eq!(bench.engine.unload(request("60")).await.unwrap(), Unload::InUse);
    drop((one, two));
    assert_eq!(bench.engine.unload(request("60")).await.unwrap(), Unload::Done);
    assert_eq!(bench.engine.unload(request("60")).await.unwrap(), Unload::NotLoaded);
    assert!(bench.engine.models().is_empty());
}

#[tokio::test]
async fn another_version_of_a_model_is_another_model_and_the_old_one_goes_when_nobody_uses_it() {
    let bench = bench(100);
    let version = |version| Versioned { what: request("30"), version };
    let versions = || bench.engine.models().iter().map(|model| model.version).collect::<Vec<_>>();
    bench.engine.load(version(0), true).await.unwrap();
    bench.engine.offer([version(1)]);
    // What is asked afterwards is answered afterwards.
    assert_eq!(bench.engine.unload(request("none")).await.unwrap(), Unload::NotLoaded);
    let seat = bench.engine.seat(0, 0);
    let new = seat.load(version(1)).await.unwrap();
    assert_eq!(versions(), [1], "it was pinned, but its files are gone");
    let old = seat.load(version(0)).await.unwrap();
    assert_eq!(versions(), [0, 1], "who has begun with it may have it");
    assert_eq!(bench.engine.unload(request("30")).await.unwrap(), Unload::InUse);
    seat.denoise(&old, SHAPE, vec![row(1.0)]).await.unwrap();
    drop(old);
    bench.engine.unload(request("none")).await.unwrap();
    seat.denoise(&new, SHAPE, vec![row(1.0)]).await.unwrap();
    assert_eq!(versions(), [1]);
    bench.engine.offer([version(0), version(1)]);
    drop(new);
    bench.engine.load(version(0), false).await.unwrap();
    assert_eq!(versions(), [0, 1], "its files are back");
    assert_eq!(bench.engine.unload(request("30")).await.unwrap(), Unload::Done);
    assert_eq!(versions(), [] as [u64; 0]);
}

#[tokio::test]
async fn the_model_that_was_used_longest_ago_goes_first_and_pinned_ones_stay() {
    let bench = bench(100);
    let load = |name: &'static str, pinned| bench.engine.load(request(name), pinned);
    load("40", true).await.unwrap();
    load("20a", false).await.unwrap();
    load("20b", false).await.unwrap();
    load("20c", false).await.unwrap();
    load("20a", false).await.unwrap();
    assert_eq!(bench.loaded(), ["40", "20a", "20b", "20c"]);
    // What it needs is learned when it is loaded, so it comes, goes, and is known the next time.
    load("30", false).await.unwrap();
    bench.engine.unload(request("30")).await.unwrap();
    load("30", false).await.unwrap();
    assert_eq!(bench.loaded(), ["40", "20a", "30"], "b and c were used before a");
    assert_eq!(bench.engine.unload(request("40")).await.unwrap(), Unload::Done, "on request pinned ones go");
}

#[tokio::test]
async fn a_model_that_does_not_fit_beside_those_in_use_waits_for_them() {
    let bench = bench(100);
    bench.engine.load(request("60b"), false).await.unwrap();
    bench.engine.unload(request("60b")).await.unwrap();
    let (seat, model) = bench.seat(0, 0, "60a").await;
    let other = bench.engine.seat(1, 0);
    let load = waiting(other.load(request("60b")));
    assert!(seat.denoise(&model, SHAPE, vec![row(1.0)]).await.is_ok(), "whoever uses it goes on");
    assert_eq!(bench.loaded(), ["60a"]);
    drop(model);
    load.await.unwrap();
    assert_eq!(bench.loaded(), ["60b"]);
}

#[tokio::test]
async fn whoever_stops_waiting_for_memory_holds_nobody_up() {
    let bench = bench(100);
    bench.engine.load(request("60b"), false).await.unwrap();
    bench.engine.unload(request("60b")).await.unwrap();
    let (_seat, _model) = bench.seat(0, 0, "60a").await;
    let (other, third) = (bench.engine.seat(1, 0), bench.engine.seat(2, 0));
    let load = waiting(other.load(request("60b")));
    // A small model would fit, but waits behind the large one.
    let mut small = waiting(third.load(request("10")));
    assert_eq!(
        bench.engine.unload(request("none")).await.unwrap(),
        Unload::NotLoaded,
        "the mail has been read"
    );
    assert!(small.as_mut().now_or_never().is_none());
    drop(load);
    small.await.unwrap();
}

#[tokio::test]
async fn a_model_that_never_fits_hears_what_it_needs_and_what_there_is() {
    let bench = bench(100_000_000);
    bench.engine.load(request("70000000"), true).await.unwrap();
    bench.engine.load(request("60000000"), false).await.unwrap();
    bench.engine.unload(request("60000000")).await.unwrap();
    let error = bench.engine.load(request("60000000"), false).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutOfMemory);
    assert_eq!(error.message, "model `60000000` needs 60.0 MB, 30.0 MB can be had for it");
}

#[tokio::test]
async fn a_load_that_runs_out_of_memory_is_tried_alone_and_then_fails_with_the_numbers() {
    let rule = |asked: &Asked| match asked {
        Asked::Load(name, there) if name == "big" && !there.is_empty() => Err(no_memory()),
        Asked::Load(name, _) if name == "huge" => Err(no_memory()),
        _ => Ok(()),
    };
    let bench = Plan { rule: Box::new(rule), memory: Some(1000), ..Plan::default() }.open();
    let (seat, model) = bench.seat(0, 0, "a").await;
    bench.engine.load(request("b"), false).await.unwrap();
    let big = waiting(bench.engine.load(request("big"), false));
    drop((seat, model));
    big.await.unwrap();
    assert_eq!(bench.loaded(), ["big"]);
    let error = bench.engine.load(request("huge"), false).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutOfMemory);
    assert!(error.message.contains("`huge`") && error.message.contains("0.9 kB"), "{error}");
}

#[tokio::test]
async fn a_load_goes_on_as_long_as_anybody_waits_for_it_and_can_be_watched() {
    let (go, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let rule = move |asked: &Asked| match asked {
        Asked::Load(..) => gate.lock().unwrap().recv().map_err(|_| no_memory()),
        _ => Ok(()),
    };
    let bench = Plan { rule: Box::new(rule), ..Plan::default() }.open();
    let (first, second) = (bench.engine.seat(0, 0), bench.engine.seat(0, 1));
    for second_stays in [true, false] {
        let one = waiting(first.load(request("m")));
        while bench.engine.models().is_empty() {
            tokio::task::yield_now().await;
        }
        // The engine's thread is busy and reads this when the model is there.
        let two = waiting(second.load(request("m")));
        assert_eq!(bench.engine.models()[0].state, ModelState::Loading { done: 0, total: 0 });
        drop(one);
        if second_stays {
            go.send(()).unwrap();
            drop(two.await.unwrap());
            let loads = bench.notes().iter().filter(|asked| matches!(asked, Asked::Load(..))).count();
            assert_eq!(loads, 1, "what the first began served the second");
            assert_eq!(bench.engine.unload(request("m")).await.unwrap(), Unload::Done);
        } else {
            drop(two);
            go.send(()).unwrap();
            assert_eq!(bench.engine.unload(request("m")).await.unwrap(), Unload::NotLoaded);
        }
    }
}

#[tokio::test]
async fn models_that_nobody_uses_for_a_while_are_unloaded_but_not_pinned_ones() {
    let after = Some(Duration::from_millis(20));
    let settings = Settings { unload_after: after, ..Settings::default() };
    let bench = Plan { settings, ..Plan::default() }.open();
    bench.engine.load(request("pinned"), true).await.unwrap();
    let (seat, model) = bench.seat(0, 0, "used").await;
    bench.engine.load(request("idle"), false).await.unwrap();
    while bench.loaded().contains(&"idle".to_owned()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(bench.loaded(), ["pinned", "used"]);
    drop((seat, model));
    while bench.loaded().contains(&"used".to_owned()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(bench.loaded(), ["pinned"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_models_that_do_not_fit_together_are_both_served_under_load() {
    let rule = |asked: &Asked| {
        if let Asked::Load(_, there) = asked {
            assert!(there.len() <= 1, "both were learned to be too large");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    };
    let settings = Settings { memory_bytes: Some(100), ..Settings::default() };
    let bench = Plan { settings, rule: Box::new(rule), ..Plan::default() }.open();
    for name in ["60a", "60b"] {
        bench.engine.load(request(name), false).await.unwrap();
        bench.engine.unload(request(name)).await.unwrap();
    }
    bench.notes();
    let jobs = |engine: Engine, caller: u64, name: &'static str| async move {
        for order in 0..100 {
            let seat = engine.seat(caller, order);
            let model = seat.load(request(name)).await.unwrap();
            for _ in 0..3 {
                seat.denoise(&model, SHAPE, vec![row(1.0)]).await.unwrap();
            }
        }
    };
    // Two callers for each, so that there is always one who would keep its model.
    let callers = [(0, "60a"), (1, "60b"), (2, "60a"), (3, "60b")];
    let callers = callers.map(|(caller, name)| tokio::spawn(jobs(bench.engine.clone(), caller, name)));
    for caller in callers {
        caller.await.unwrap();
    }
    let notes = bench.notes();
    let changes = notes.iter().filter(|asked| matches!(asked, Asked::Load(..))).count();
    assert!((2..=400).contains(&changes), "{changes} changes for 400 pictures");
}

#[tokio::test]
async fn a_picture_goes_where_its_model_rests_or_nothing_is_and_else_to_the_least_busy_device() {
    let benches = [bench(100), bench(100), bench(100)];
    let [one, two, three] = [0, 1, 2].map(|index| benches[index].engine.clone());
    let engines = Engines::new(one.clone(), [two.clone(), three.clone()]);
    let is = |engine: &Engine, index: usize| Arc::ptr_eq(&engine.board, &benches[index].engine.board);
    let _sits = (one.seat(0, 0), one.seat(0, 1), two.seat(0, 0));
    assert!(is(engines.pick(&request("m").into(), &[]), 2), "nobody has the model, and nobody sits there");
    let (first, second) = join(benches[0].seat(0, 0, "m"), benches[1].seat(0, 0, "m")).await;
    let _third = benches[0].seat(0, 1, "m").await;
    assert!(is(engines.pick(&request("m").into(), &[]), 2), "there is nothing in the third's memory");
    assert!(is(engines.home(&request("m").into()), 1), "but the model is elsewhere already");
    let other = benches[2].seat(0, 0, "other").await;
    assert!(is(engines.pick(&request("m").into(), &[]), 1), "one user instead of two");
    drop((first, second));
    while two.models()[0].users > 0 {
        tokio::task::yield_now().await;
    }
    assert!(is(engines.pick(&request("m").into(), &[]), 1), "nobody uses it there");
    drop(other);
    assert!(is(engines.pick(&request("other").into(), &[]), 2));
    assert!(is(engines.home(&request("third").into()), 2), "nobody sits there");
}

#[tokio::test]
async fn of_devices_with_the_model_that_is_picked_which_has_the_networks_beside_it() {
    let benches = [bench(100), bench(100)];
    let [one, two] = [0, 1].map(|index| benches[index].engine.clone());
    let engines = Engines::new(one.clone(), [two.clone()]);
    let is = |engine: &Engine, index: usize| Arc::ptr_eq(&engine.board, &benches[index].engine.board);
    let pick = |others: &[&str]| {
        let others: Vec<_> = others.iter().map(|name| request(name).into()).collect();
        engines.pick(&request("m").into(), &others)
    };
    for engine in [&one, &two] {
        engine.load(request("m"), false).await.unwrap();
    }
    two.load(request("edges"), false).await.unwrap();
    one.load(request("depth"), false).await.unwrap();
    assert!(is(pick(&["edges"]), 1) && is(pick(&["depth"]), 0));
    assert!(is(pick(&["edges", "depth"]), 0) && is(pick(&["none"]), 0), "neither has more of them");
    two.load(request("lines"), false).await.unwrap();
    assert!(is(pick(&["edges", "depth", "lines"]), 1));
    let _busy = benches[1].seat(0, 0, "m").await;
    assert!(is(pick(&["edges"]), 0), "where the model rests goes before where its company is");
}
