// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Small pictures: their size, their colours, and that they come back.

use image::{GrayAlphaImage, LumaA, Rgb};

use super::*;

fn png(picture: &RgbImage) -> Vec<u8> {
    crate::picture::png(picture.clone(), "").unwrap()
}

/// A gallery with its small pictures, in a directory that goes with the first value.
fn gallery() -> (tempfile::TempDir, Gallery, Thumbnails) {
    let directory = tempfile::tempdir().unwrap();
    let gallery = Gallery::open(&directory.path().join("images")).unwrap();
    let thumbnails = Thumbnails::open(&directory.path().join("thumbnails")).unwrap();
    (directory, gallery, thumbnails)
}

fn keep(gallery: &Gallery, bytes: &[u8]) -> Kept {
    let kept = Kept::random().unwrap();
    gallery.keep(&kept, |file| Ok(file.write_all(bytes)?)).unwrap();
    kept
}

async fn small(gallery: &Gallery, thumbnails: &Thumbnails, kept: &Kept) -> RgbImage {
    let (file, _) = thumbnails.get(gallery, kept).await.unwrap().unwrap();
    image::ImageReader::with_format(BufReader::new(file), image::ImageFormat::WebP)
        .decode()
        .unwrap()
        .into_rgb8()
}

#[test]
fn sides_fit_and_keep_their_shape() {
    for (size, fits) in [
        ((384, 384), (384, 384)),
        ((128, 64), (128, 64)),
        ((1024, 768), (384, 288)),
        ((768, 1024), (288, 384)),
        ((8192, 8), (384, 1)),
        ((1, 1), (1, 1)),
    ] {
        assert_eq!(fitting(size, 384), fits);
    }
}

#[tokio::test]
async fn a_small_picture_is_the_average_of_what_it_covers() {
    let (_directory, gallery, thumbnails) = gallery();
    let halves = |x: u32, _| if x.is_multiple_of(2) { Rgb([200, 0, 40]) } else { Rgb([100, 50, 0]) };
    let kept = keep(&gallery, &png(&RgbImage::from_fn(768, 1024, halves)));
    let small = small(&gallery, &thumbnails, &kept).await;
    assert_eq!(small.dimensions(), (288, 384));
    let middle = small.get_pixel(144, 192).0;
    // Between two and three pixels of each kind meet in a small one.
    assert!(middle[0].abs_diff(150) < 30 && middle[1].abs_diff(25) < 15 && middle[2].abs_diff(20) < 12);
    let sum: u64 = small.pixels().map(|pixel| u64::from(pixel.0[0])).sum();
    assert_eq!(sum / (288 * 384), 150);
}

#[tokio::test]
async fn a_picture_that_is_small_already_stays_as_it_is() {
    let (_directory, gallery, thumbnails) = gallery();
    let picture = RgbImage::from_fn(65, 33, |x, y| Rgb([x as u8, y as u8, 7]));
    let kept = keep(&gallery, &png(&picture));
    assert!(small(&gallery, &thumbnails, &kept).await == picture);
}

#[tokio::test]
async fn what_is_transparent_is_white() {
    let (_directory, gallery, thumbnails) = gallery();
    let mut bytes = Vec::new();
    let picture = GrayAlphaImage::from_pixel(4, 4, LumaA([0, 0]));
    picture.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
    let kept = keep(&gallery, &bytes);
    assert_eq!(small(&gallery, &thumbnails, &kept).await.get_pixel(1, 1), &Rgb([255; 3]));
}

#[tokio::test]
async fn it_is_made_again_when_it_is_gone_or_empty_and_goes_for_good_with_its_picture() {
    let (directory, gallery, thumbnails) = gallery();
    let kept = keep(&gallery, &png(&RgbImage::new(8, 8)));
    let file = directory.path().join(format!("thumbnails/{}.webp", kept.id()));
    for spoil in [|path: &Path| fs::remove_file(path), |path: &Path| fs::write(path, "")] {
        assert_eq!(small(&gallery, &thumbnails, &kept).await.dimensions(), (8, 8));
        spoil(&file).unwrap();
    }
    small(&gallery, &thumbnails, &kept).await;
    thumbnails.remove(&kept).unwrap();
    gallery.remove(&kept).unwrap();
    assert!(thumbnails.get(&gallery, &kept).await.unwrap().is_none() && !file.exists());
}

#[tokio::test]
async fn what_is_no_picture_has_none_and_leaves_nothing_behind() {
    let (directory, gallery, thumbnails) = gallery();
    let whole = png(&RgbImage::from_fn(99, 99, |x, y| Rgb([x as u8, y as u8, (x * y) as u8])));
    for bytes in [&b"no picture"[..], &whole[..whole.len() / 2]] {
        let kept = keep(&gallery, bytes);
        thumbnails.get(&gallery, &kept).await.unwrap_err();
    }
    assert_eq!(fs::read_dir(directory.path().join("thumbnails")).unwrap().count(), 0);
    fs::write(directory.path().join("thumbnails/x.part"), "half").unwrap();
    Thumbnails::open(&directory.path().join("thumbnails")).unwrap();
    assert_eq!(fs::read_dir(directory.path().join("thumbnails")).unwrap().count(), 0);
}
