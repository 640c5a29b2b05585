// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Pictures made larger tile by tile: near what the whole gives, in turns with others, and no longer than somebody
//! wants them.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use alice::engine::{Engine, Instance, LoadedModel, Seat, Settings};
use alice::generate::enlarge::{Larger, enlarged, tiles};
use alice::generate::room::Rooms;
use alice::metrics::{Metrics, Stage};
use alice_plugin::load::Plugin;
use alice_plugin::{LoadRequest, ModelFiles};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::harness::{plugin, source};

/// Seconds that a tile may take: more than any does.
const LIMIT_S: u32 = 120;
/// A picture of three tiles that become twice as large.
const SIZE: (u32, u32) = (1200, 240);

/// An engine over a plugin that was built for these tests, and what it counts.
fn engine(name: &str, options: Value) -> (Engine, Arc<Metrics>) {
    let plugin = Plugin::open(&plugin(name)).unwrap();
    let start = move || Ok(Box::new(plugin.start(&options)?) as Box<dyn Instance>);
    let metrics = Arc::new(Metrics::default());
    (Engine::start(Box::new(start), Settings::default(), Arc::clone(&metrics)).unwrap(), metrics)
}

/// How many calls have made something larger.
fn calls(metrics: &Metrics) -> u64 {
    metrics.read().stage(Stage::Upscale).count()
}

async fn upscaler(seat: &Seat, name: &str) -> Arc<LoadedModel> {
    let path = source("tests/fixtures/upscalers").join(format!("{name}.safetensors"));
    let files = ModelFiles::SingleFile { path };
    let family = "upscaler".to_owned();
    seat.load(LoadRequest { files, family, vae: None, dtype: "auto".into(), device: 0 }).await.unwrap()
}

/// Slow waves of colour.
fn smooth((width, height): (u32, u32)) -> Vec<u8> {
    let value = |y: u32, x: u32, channel: u32| {
        let (y, x) = (y as f32 / 37.0, x as f32 / 29.0);
        (127.5 + 60.0 * (y + channel as f32).sin() + 60.0 * (x - channel as f32 + y / 2.0).cos()) as u8
    };
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
    places.flat_map(|(y, x)| (0..3).map(move |channel| value(y, x, channel))).collect()
}

/// The largest step between two neighbours from left to right.
fn steepest(rgb: &[u8], width: u32) -> u8 {
    let line = |line: &[u8]| line.iter().zip(&line[3..]).map(|(a, b)| a.abs_diff(*b)).max();
    rgb.chunks_exact(width as usize * 3).filter_map(line).max().unwrap()
}

#[tokio::test]
async fn tiles_make_nearly_what_the_whole_makes_and_no_seam_shows() {
    let rooms = Rooms::default();
    let (engine, _) = engine("cpu", json!({"threads": 2}));
    let seat = engine.seat(0, 0);
    for (name, size) in
        [("real-x4", (301, 130)), ("real-x2", (601, 90)), ("real-x1", (130, 1103)), ("old-x8", (80, 163))]
    {
        let model = upscaler(&seat, name).await;
        let rgb = smooth(size);
        let whole = seat.upscale(&model, size.0, size.1, rgb.clone()).await.unwrap();
        let done = AtomicU32::new(0);
        let count = || {
            done.fetch_add(1, Ordering::Relaxed);
        };
        let Larger { rgb: tiled, size: larger, .. } =
            enlarged(&rooms, &seat, &model, LIMIT_S, rgb, size, &count).await.unwrap();
        let factor = model.info.latent_scale;
        assert_eq!((larger, tiled.len()), ((size.0 * factor, size.1 * factor), whole.len()), "{name}");
        assert_eq!(done.into_inner(), tiles(size, factor), "{name}");
        assert!(tiles(size, factor) > 1, "{name}");
        let apart: Vec<u8> = whole.iter().zip(&tiled).map(|(a, b)| a.abs_diff(*b)).collect();
        let mean = apart.iter().map(|apart| f64::from(*apart)).sum::<f64>() / apart.len() as f64;
        assert!(mean < 0.1, "{name}: {mean} levels apart on average, {:?} at most", apart.iter().max());
        let steps = [&whole, &tiled].map(|rgb| steepest(rgb, larger.0));
        assert!(steps[1] <= steps[0] + 2, "{name}: the steepest steps are {steps:?}");
    }
}

#[tokio::test]
async fn a_small_picture_is_one_call_and_what_that_says() {
    let rooms = Rooms::default();
    let (engine, metrics) = engine("cpu", json!({"threads": 2}));
    let seat = engine.seat(0, 0);
    let model = upscaler(&seat, "real-x4").await;
    for size in [(1, 1), (9, 14), (256, 40)] {
        let (rgb, before) = (smooth(size), calls(&metrics));
        let whole = seat.upscale(&model, size.0, size.1, rgb.clone()).await.unwrap();
        let Larger { rgb: tiled, .. } =
            enlarged(&rooms, &seat, &model, LIMIT_S, rgb, size, &|| ()).await.unwrap();
        assert!(tiled == whole, "{size:?}");
        assert_eq!(calls(&metrics) - before, 2);
    }
}

#[tokio::test]
async fn others_have_their_turn_between_two_tiles() {
    let rooms = Rooms::default();
    let (engine, _) = engine("paint", json!({"step_ms": 20}));
    let (large, small) = (engine.seat(1, 0), engine.seat(2, 0));
    let model = upscaler(&large, "real-x2").await;
    let (begun, has_begun) = oneshot::channel();
    let (begun, done) = (Mutex::new(Some(begun)), AtomicU32::new(0));
    let count = || {
        done.fetch_add(1, Ordering::Relaxed);
        if let Some(begun) = begun.lock().unwrap().take() {
            begun.send(()).unwrap();
        }
    };
    let size = (3000, 600);
    let other = async {
        has_begun.await.unwrap();
        small.upscale(&model, 1, 1, vec![9; 3]).await.unwrap();
        done.load(Ordering::Relaxed)
    };
    let (all, meanwhile) =
        tokio::join!(enlarged(&rooms, &large, &model, LIMIT_S, smooth(size), size, &count), other);
    all.unwrap();
    assert_eq!(tiles(size, 2), 14);
    assert!(meanwhile < 5, "{meanwhile} tiles came before the other picture");
}

#[tokio::test]
async fn nobody_wants_it_any_more_so_no_tile_is_begun_after_the_one_in_hand() {
    let rooms = Rooms::default();
    let (engine, metrics) = engine("paint", json!({"step_ms": 20}));
    let seat = engine.seat(0, 0);
    let model = upscaler(&seat, "real-x2").await;
    let (begun, has_begun) = oneshot::channel();
    let begun = Mutex::new(Some(begun));
    let count = || {
        if let Some(begun) = begun.lock().unwrap().take() {
            begun.send(()).unwrap();
        }
    };
    assert_eq!(tiles(SIZE, 2), 3);
    tokio::select! {
        biased;
        _ = has_begun => {}
        _ = enlarged(&rooms, &seat, &model, LIMIT_S, smooth(SIZE), SIZE, &count) => panic!("nobody stopped it"),
    }
    // What comes behind it shows that the device is at nothing else any more.
    let fence = engine.seat(0, 1);
    fence.upscale(&model, 1, 1, vec![9; 3]).await.unwrap();
    assert!(calls(&metrics) <= 3, "the first tile, perhaps the one in hand, and the fence");
}
