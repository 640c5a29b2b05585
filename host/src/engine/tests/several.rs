// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Several models for one request: all of them at once or none, also when they turn out larger than expected.

use alice_plugin::{Error, ErrorKind};

use super::super::{Settings, Unload};
use super::fake::{Asked, Bench, Plan, SHAPE, no_memory, request, row, waiting};
use super::memory::bench;

/// The users of each model, by name.
fn users(bench: &Bench) -> Vec<(String, usize)> {
    bench.loaded().into_iter().zip(bench.engine.models().iter().map(|model| model.users)).collect()
}

/// Loads and unloads models, so that their sizes are known.
async fn learn(bench: &Bench, names: &[&str]) {
    for name in names {
        bench.engine.load(request(name), false).await.unwrap();
        bench.engine.unload(request(name)).await.unwrap();
    }
    bench.notes();
}

#[tokio::test]
async fn several_models_are_given_at_once_in_the_order_in_which_they_were_asked_for() {
    let bench = bench(100);
    let seat = bench.engine.seat(0, 0);
    let all = ["30", "20", "30"].map(|name| request(name).into()).to_vec();
    let models = seat.load_all(all).await.unwrap();
    let bytes: Vec<_> = models.iter().map(|model| model.info.memory_bytes).collect();
    assert_eq!(bytes, [30, 20, 30]);
    assert_eq!(users(&bench), [("30".to_owned(), 2), ("20".to_owned(), 1)]);
    let loads = bench.notes().iter().filter(|asked| matches!(asked, Asked::Load(..))).count();
    assert_eq!(loads, 2, "who is named twice is loaded once");
    drop(models);
    assert!(seat.load_all(Vec::new()).await.unwrap().is_empty());
    assert_eq!(users(&bench), [("30".to_owned(), 0), ("20".to_owned(), 0)]);
}

#[tokio::test]
async fn whoever_waits_for_several_models_holds_none_of_them() {
    let bench = bench(100);
    learn(&bench, &["60b", "20"]).await;
    let (seat, model) = bench.seat(0, 0, "60a").await;
    bench.engine.load(request("20"), false).await.unwrap();
    let other = bench.engine.seat(1, 0);
    let load = waiting(other.load_all(vec![request("20").into(), request("60b").into()]));
    assert!(seat.denoise(&model, SHAPE, vec![row(1.0)]).await.is_ok());
    assert_eq!(users(&bench), [("20".to_owned(), 0), ("60a".to_owned(), 1)]);
    // What is there of them may be used by others meanwhile.
    assert!(bench.engine.seat(2, 0).load(request("20")).await.is_ok());
    drop(model);
    let models = load.await.unwrap();
    assert_eq!(users(&bench), [("60b".to_owned(), 1), ("20".to_owned(), 1)]);
    drop(models);
    assert_eq!(bench.engine.unload(request("60b")).await.unwrap(), Unload::Done);
}

#[tokio::test]
async fn models_that_never_fit_together_hear_what_they_need_and_what_there_is() {
    let bench = bench(100);
    learn(&bench, &["60", "50"]).await;
    let seat = bench.engine.seat(0, 0);
    let error = seat.load_all(vec![request("60").into(), request("50").into()]).await.unwrap_err().error;
    assert_eq!(error.kind, ErrorKind::OutOfMemory);
    assert_eq!(error.message, "the models `60`, `50` need 0.1 kB together, 0.1 kB can be had for them");
    assert!(seat.load_all(vec![request("60").into(), request("40").into()]).await.is_ok());
}

#[tokio::test]
async fn of_several_models_one_that_cannot_be_loaded_leaves_no_other_in_use() {
    let rule = |asked: &Asked| match asked {
        Asked::Load(name, _) if name == "bad" => Err(Error::new(ErrorKind::BadModel, "it is damaged")),
        Asked::Load(name, there) if name == "big" && there.len() > 1 => Err(no_memory()),
        Asked::Load(name, _) if name == "huge" => Err(no_memory()),
        _ => Ok(()),
    };
    let bench = Plan { rule: Box::new(rule), ..Plan::default() }.open();
    let seat = bench.engine.seat(0, 0);
    let with = |name| seat.load_all(vec![request("m").into(), request(name).into()]);
    let bad = with("bad").await.unwrap_err();
    assert_eq!((bad.place, bad.error.message.as_str()), (Some(1), "it is damaged"));
    assert_eq!(users(&bench), [("m".to_owned(), 0)]);
    // Only its own company may stay beside one that did not fit.
    bench.engine.load(request("idle"), false).await.unwrap();
    let models = with("big").await.unwrap();
    assert_eq!(users(&bench), [("m".to_owned(), 1), ("big".to_owned(), 1)]);
    drop(models);
    let error = with("huge").await.unwrap_err().error;
    assert_eq!(error.kind, ErrorKind::OutOfMemory);
    assert!(error.message.contains("`huge`"), "{error}");
    assert_eq!(users(&bench), [("m".to_owned(), 0)]);
}

#[tokio::test]
async fn a_model_that_is_larger_than_expected_makes_its_company_wait_for_room() {
    let bench = bench(100);
    learn(&bench, &["30", "50"]).await;
    let (seat, model) = bench.seat(0, 0, "30").await;
    let other = bench.engine.seat(1, 0);
    // Nothing is known of the first one before it has been loaded.
    let load = waiting(other.load_all(vec![request("40").into(), request("50").into()]));
    assert!(seat.denoise(&model, SHAPE, vec![row(1.0)]).await.is_ok());
    assert_eq!(users(&bench), [("30".to_owned(), 1), ("40".to_owned(), 0)]);
    drop(model);
    load.await.unwrap();
    let loads: Vec<_> = bench.notes().into_iter().filter(|asked| matches!(asked, Asked::Load(..))).collect();
    let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let expected = [
        Asked::Load("30".into(), vec![]),
        Asked::Load("40".into(), names(&["30"])),
        Asked::Load("50".into(), names(&["40"])),
    ];
    assert_eq!(loads, expected);
}

#[tokio::test]
async fn models_that_turn_out_too_large_on_their_way_come_whole_and_may_come_again() {
    let bench = bench(100);
    learn(&bench, &["50", "10"]).await;
    bench.engine.load(request("10"), false).await.unwrap();
    let seat = bench.engine.seat(0, 0);
    // Of `60` nothing is known before it has been loaded: with it they take more than there is.
    let pair = || vec![request("60").into(), request("50").into()];
    drop(seat.load_all(pair()).await.unwrap());
    assert_eq!(bench.loaded(), ["50", "60"], "and nobody else is left in the way");
    drop(seat.load_all(pair()).await.unwrap());
    bench.engine.load(request("10"), false).await.unwrap();
    assert_eq!(bench.loaded().len(), 2, "one of the two had to go for it");
    drop(seat.load_all(pair()).await.unwrap());
    assert_eq!(bench.loaded(), ["50", "60"]);
}

#[tokio::test]
async fn nothing_goes_for_models_of_which_the_device_has_said_that_they_do_not_fit() {
    let rule = |asked: &Asked| match asked {
        Asked::Load(name, there) if name == "50" && there.contains(&"60".into()) => Err(no_memory()),
        _ => Ok(()),
    };
    let settings = Settings { memory_bytes: Some(100), ..Settings::default() };
    let bench = Plan { rule: Box::new(rule), settings, ..Plan::default() }.open();
    learn(&bench, &["50"]).await;
    let seat = bench.engine.seat(0, 0);
    let pair = || vec![request("60").into(), request("50").into()];
    let error = seat.load_all(pair()).await.unwrap_err().error;
    assert!(error.message.contains("model `50`"), "{error}");
    assert_eq!(users(&bench), [("60".to_owned(), 0)]);
    bench.engine.load(request("10"), false).await.unwrap();
    let error = seat.load_all(pair()).await.unwrap_err().error;
    assert_eq!(error.kind, ErrorKind::OutOfMemory);
    assert!(error.message.contains("`60`, `50` need 0.1 kB together"), "{error}");
    assert_eq!(bench.loaded(), ["60", "10"], "all that was there still is");
}
