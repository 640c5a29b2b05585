// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Input pictures: what is read and how, what is refused with which words, and that nothing of it can grow the daemon.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use alice::error::Error;
use alice::inputs::{Input, Limits, MaskPolarity, ResizeMode, Store, Want};
use axum::body::Bytes;
use image::{DynamicImage, GrayImage, RgbImage, RgbaImage};
use serde::Deserialize;
use tempfile::TempDir;

use crate::harness::source;

mod hostile;
mod http;
mod restart;
mod room;

const LIMITS: Limits = Limits { bytes: 50 << 20, side: 8192, pixels: 1 << 24 };

/// A store in a directory of its own.
struct Inputs {
    store: Store,
    directory: TempDir,
}

impl Inputs {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = PathBuf::from(env!("CARGO_BIN_EXE_alice"));
        let store = Store::new(directory.path(), LIMITS, program, 2).unwrap();
        Self { store, directory }
    }

    async fn take(&self, bytes: impl Into<Bytes>) -> Result<Input, Error> {
        self.store.take(bytes.into()).await
    }

    /// An input that is taken, and its pixels as they are kept.
    async fn kept(&self, bytes: impl Into<Bytes>) -> (Input, DynamicImage) {
        let input = self.take(bytes).await.unwrap();
        let file = fs::read(self.directory.path().join(&input.name)).unwrap();
        let picture = image::load_from_memory_with_format(&file, image::ImageFormat::Png).unwrap();
        assert_eq!((input.width, input.height), (picture.width(), picture.height()));
        assert_eq!(picture.color().has_alpha(), input.has_alpha);
        (input, picture)
    }

    /// Why a picture is refused.
    async fn refusal(&self, bytes: impl Into<Bytes>) -> String {
        match self.take(bytes).await {
            Err(Error::Invalid { param, problem }) => {
                assert_eq!(param, "image");
                problem
            }
            other => panic!("{other:?}"),
        }
    }

    /// The names in the directory.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    async fn pixels(&self, input: &Input, want: Want) -> Vec<u8> {
        self.store.pixels(input, &want).await.unwrap()
    }
}

/// A file that another program wrote.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    fs::read(source("tests/fixtures/pictures").join(name)).unwrap()
}

fn golden(name: &str) -> DynamicImage {
    image::load_from_memory(&fixture(name)).unwrap()
}

/// What Pillow reads in a file.
#[derive(Deserialize)]
struct Expected {
    width: u32,
    height: u32,
    has_alpha: bool,
    colours: Vec<[u8; 4]>,
}

#[derive(Deserialize)]
struct AllExpected {
    places: Vec<(f64, f64)>,
    files: BTreeMap<String, Expected>,
}

/// The largest difference of two pictures' bytes, and the mean.
fn differences(one: &[u8], other: &[u8]) -> (u8, f64) {
    assert_eq!(one.len(), other.len());
    let differences = one.iter().zip(other).map(|(a, b)| a.abs_diff(*b));
    let sum: f64 = differences.clone().map(f64::from).sum();
    (differences.max().unwrap(), sum / one.len() as f64)
}

#[tokio::test]
async fn pictures_of_other_programs_are_read_as_those_read_them() {
    let inputs = Inputs::new();
    let all: AllExpected = serde_json::from_slice(&fixture("expected.json")).unwrap();
    for (name, expected) in &all.files {
        let (input, picture) = inputs.kept(fixture(name)).await;
        let found = (input.width, input.height, input.has_alpha);
        assert_eq!(found, (expected.width, expected.height, expected.has_alpha), "{name}");
        let rgba = picture.to_rgba8();
        for ((across, down), colour) in all.places.iter().zip(&expected.colours) {
            let at = |part: f64, side: u32| (part * f64::from(side)) as u32;
            let pixel = rgba.get_pixel(at(*across, input.width), at(*down, input.height)).0;
            // Decoders of lossy pictures may round differently, the conversion from CMYK most of all.
            let most = if name.ends_with("png") { 1 } else { 4 };
            let near = pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(*b) <= most);
            assert!(near, "{name} at ({across}, {down}): {pixel:?}, expected {colour:?}");
        }
    }
}

#[tokio::test]
async fn a_kept_picture_is_private_plain_and_gone_with_its_request() {
    use std::os::unix::fs::PermissionsExt;
    let inputs = Inputs::new();
    let (input, _) = inputs.kept(fixture("turned-6.png")).await;
    assert_eq!(inputs.files(), std::slice::from_ref(&input.name));
    let path = inputs.directory.path().join(&input.name);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = fs::read(&path).unwrap();
    assert_eq!(hostile::chunk_names(&bytes), ["IHDR", "IDAT", "IEND"]);
    let again = input.clone();
    drop(input);
    assert!(path.exists(), "a clone still needs it");
    drop(again);
    assert_eq!(inputs.files(), [""; 0]);
}

#[tokio::test]
async fn an_input_whose_file_is_gone_says_so() {
    let inputs = Inputs::new();
    let (input, _) = inputs.kept(fixture("pixel.png")).await;
    fs::remove_file(inputs.directory.path().join(&input.name)).unwrap();
    let want = Want::Rgb { width: 8, height: 8, mode: ResizeMode::Crop, part: None };
    assert!(matches!(inputs.store.pixels(&input, &want).await, Err(Error::InputGone)));
    let foreign = Input { name: "../../etc/passwd".into(), ..input };
    assert!(matches!(inputs.store.pixels(&foreign, &want).await, Err(Error::Internal(_))));
}

#[tokio::test]
async fn sizes_masks_and_edges_are_those_of_the_references() {
    let inputs = Inputs::new();
    let (noise, _) = inputs.kept(fixture("noise.png")).await;
    let mode = ResizeMode::Stretch;
    for (width, height) in [(40, 30), (131, 97)] {
        let scaled = inputs.pixels(&noise, Want::Rgb { width, height, mode, part: None }).await;
        let expected = golden(&format!("noise-{width}x{height}.png")).to_rgb8();
        assert_eq!(differences(&scaled, expected.as_raw()), (0, 0.0), "{width}x{height}");
    }
    for (low, high) in [(100, 200), (30, 80)] {
        let edges =
            inputs.pixels(&noise, Want::Canny { width: 96, height: 72, mode, part: None, low, high }).await;
        let expected = golden(&format!("edges-{low}-{high}.png")).to_rgb8();
        let white = expected.pixels().filter(|pixel| pixel.0[0] > 0).count();
        assert!(white > 100, "there are edges");
        assert_eq!(differences(&edges, expected.as_raw()), (0, 0.0), "OpenCV's edges for {low} and {high}");
    }
    let whole = |polarity, blur| Want::Mask { width: 96, height: 72, mode, polarity, blur };
    let grey = inputs.pixels(&noise, whole(MaskPolarity::White, 0.0)).await;
    assert_eq!(differences(&grey, golden("noise-grey.png").to_luma8().as_raw()), (0, 0.0));
    let black = inputs.pixels(&noise, whole(MaskPolarity::Black, 0.0)).await;
    assert!(grey.iter().zip(&black).all(|(white, black)| *white == 255 - black));
    let none = inputs.pixels(&noise, whole(MaskPolarity::Transparent, 0.0)).await;
    assert!(none.iter().all(|value| *value == 0), "nothing of it is transparent");

    let (mask, _) = inputs.kept(fixture("mask.png")).await;
    let want = Want::Mask { width: 64, height: 64, mode, polarity: MaskPolarity::White, blur: 3.0 };
    let blurred = inputs.pixels(&mask, want).await;
    let (most, _) = differences(&blurred, golden("mask-blurred-3.png").to_luma8().as_raw());
    assert!(most <= 2, "OpenCV's Gaussian differs by {most}");

    let (alpha, _) = inputs.kept(fixture("alpha.png")).await;
    let want = |polarity| Want::Mask { width: 48, height: 32, mode, polarity, blur: 0.0 };
    let edited = inputs.pixels(&alpha, want(MaskPolarity::Transparent)).await;
    assert_eq!((edited[0], edited[31 * 48 + 47]), (0, 255), "what is transparent is painted anew");
    let shown = inputs.pixels(&alpha, Want::Rgb { width: 48, height: 32, mode, part: None }).await;
    assert_eq!(shown[(31 * 48 + 47) * 3..], [255; 3], "and shows white behind it");
}

#[tokio::test]
async fn the_three_ways_to_another_shape() {
    let inputs = Inputs::new();
    // 48 x 32: red, green, blue, yellow.
    let (input, _) = inputs.kept(fixture("alpha.png")).await;
    let square = async |mode| {
        let pixels = inputs.pixels(&input, Want::Rgb { width: 64, height: 64, mode, part: None }).await;
        RgbImage::from_raw(64, 64, pixels).unwrap()
    };
    let near = |picture: &RgbImage, x, y, colour: [u8; 3]| {
        let pixel = picture.get_pixel(x, y).0;
        assert!(pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 12), "({x}, {y}): {pixel:?}");
    };
    let (red, blue) = ([230, 40, 40], [50, 60, 220]);
    for mode in [ResizeMode::Crop, ResizeMode::Stretch, ResizeMode::Fit] {
        near(&square(mode).await, 4, 4, red);
        near(&square(mode).await, 4, 60, blue);
    }
    // Fit has the picture between rows 11 and 53; its first row goes on above.
    let fit = square(ResizeMode::Fit).await;
    for x in [0, 20, 50] {
        near(&fit, x, 0, fit.get_pixel(x, 10).0);
    }
    // A line of pixels becomes a square without taking a gigabyte.
    let line = hostile::encoded(&RgbImage::from_fn(8192, 1, |x, _| image::Rgb([(x / 32) as u8; 3])).into());
    let (line, _) = inputs.kept(line).await;
    for mode in [ResizeMode::Crop, ResizeMode::Stretch, ResizeMode::Fit] {
        assert_eq!(
            inputs.pixels(&line, Want::Rgb { width: 512, height: 512, mode, part: None }).await.len(),
            512 * 512 * 3
        );
    }
}

#[tokio::test]
async fn what_stands_behind_a_picture_never_reaches_the_disk() {
    let inputs = Inputs::new();
    let secret = b"PK\x03\x04<script>alert(1)</script>";
    for name in ["alpha.png", "turned-3.jpg", "lossy.webp", "alpha.webp"] {
        let polyglot = [&fixture(name)[..], secret].concat();
        let (input, picture) = inputs.kept(polyglot).await;
        let (plain, expected) = inputs.kept(fixture(name)).await;
        assert_eq!(picture, expected, "{name}");
        let [with, without] =
            [&input, &plain].map(|input| fs::read(inputs.directory.path().join(&input.name)).unwrap());
        assert_eq!(with, without, "{name}");
    }
}

#[tokio::test]
async fn hostile_files_are_refused_in_words_and_nothing_of_them_stays() {
    let inputs = Inputs::new();
    for (what, bytes, words) in hostile::refused() {
        let problem = inputs.refusal(bytes).await;
        assert!(problem.contains(words), "{what}: {problem}");
        assert_eq!(inputs.files(), [""; 0], "{what}");
    }
    for (what, bytes) in hostile::harmless() {
        inputs.take(bytes).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

/// What the test below lets a process of its own do: the daemon's part for every hostile file, and nothing else.
#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn in_a_process_of_its_own() {
    let inputs = Inputs::new();
    let (warm, _) = inputs.kept(fixture("alpha.png")).await;
    inputs.pixels(&warm, Want::Rgb { width: 64, height: 64, mode: ResizeMode::Crop, part: None }).await;
    let directory = PathBuf::from(std::env::var_os("ALICE_HOSTILE").unwrap());
    let before = most_resident_kib();
    for entry in fs::read_dir(directory).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        drop(inputs.take(bytes).await);
    }
    fs::write(std::env::var_os("ALICE_GROWTH").unwrap(), (most_resident_kib() - before).to_string()).unwrap();
}

/// The most memory that this process has ever had.
fn most_resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[expect(clippy::print_stderr, reason = "the figure is what one wants to know")]
#[test]
fn the_daemon_grows_by_less_than_32_mib_over_all_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("files");
    fs::create_dir(&files).unwrap();
    let all = hostile::refused().into_iter().map(|(what, bytes, _)| (what, bytes)).chain(hostile::harmless());
    for (place, (_, bytes)) in all.enumerate() {
        fs::write(files.join(place.to_string()), bytes).unwrap();
    }
    let growth = directory.path().join("growth");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "inputs::in_a_process_of_its_own", "--ignored"])
        .env("ALICE_HOSTILE", &files)
        .env("ALICE_GROWTH", &growth)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let grown: u64 = fs::read_to_string(growth).unwrap().parse().unwrap();
    eprintln!("the daemon's part grew by {grown} KiB");
    assert!(grown < 32 << 10, "{grown} KiB");
}

/// A picture of this size, without loss.
pub(crate) fn plain(width: u32, height: u32) -> Vec<u8> {
    hostile::encoded(&RgbaImage::from_pixel(width, height, image::Rgba([9, 90, 200, 255])).into())
}

/// Whether there are files other than these in a directory that may not be there.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn the_largest_picture_is_read_within_the_limits() {
    let inputs = Inputs::new();
    let input = inputs.take(plain(4096, 4096)).await.unwrap();
    let want = Want::Mask {
        width: 2048,
        height: 2048,
        mode: ResizeMode::Crop,
        polarity: MaskPolarity::White,
        blur: 4.0,
    };
    let mask = GrayImage::from_raw(2048, 2048, inputs.pixels(&input, want).await).unwrap();
    // 9 * 0.299 + 90 * 0.587 + 200 * 0.114
    assert!(mask.pixels().all(|pixel| pixel.0[0].abs_diff(78) <= 1));
}
