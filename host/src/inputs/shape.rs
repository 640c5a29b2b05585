// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Pictures and masks in the size that a run needs. Pure; everything is row-major with eight bits a channel.

use std::borrow::Cow;

use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, RgbImage};

use super::{MaskPolarity, ResizeMode, Tones};

/// The picture without alpha: what is transparent shows white behind it.
pub(super) fn on_white(picture: DynamicImage) -> RgbImage {
    let DynamicImage::ImageRgba8(picture) = picture else { return picture.into_rgb8() };
    let (width, height) = picture.dimensions();
    let over = |[red, green, blue, alpha]: [u8; 4]| {
        [red, green, blue].map(|channel| scaled(channel, alpha) + (u8::MAX - alpha))
    };
    let pixels = picture.as_raw().as_chunks::<4>().0.iter().flat_map(|pixel| over(*pixel)).collect();
    RgbImage::from_raw(width, height, pixels).expect("three bytes were made of each pixel")
}

/// `value * alpha / 255`, rounded.
fn scaled(value: u8, alpha: u8) -> u8 {
    ((u32::from(value) * u32::from(alpha) + 127) / 255) as u8
}

/// How strongly each pixel is to be painted anew, 0 (stays) to 255. Without alpha nothing is transparent.
pub(super) fn mask(picture: &DynamicImage, polarity: MaskPolarity) -> GrayImage {
    let rgba = picture.to_rgba8();
    let (width, height) = rgba.dimensions();
    let value = |pixel: &[u8; 4]| {
        let [red, green, blue, alpha] = *pixel;
        match polarity {
            MaskPolarity::Transparent => u8::MAX - alpha,
            MaskPolarity::White => white(red, green, blue, alpha),
            MaskPolarity::Black => u8::MAX - white(red, green, blue, alpha),
        }
    };
    let values = rgba.as_raw().as_chunks::<4>().0.iter().map(value).collect();
    GrayImage::from_raw(width, height, values).expect("one byte was made of each pixel")
}

/// From this value on a pixel of a mask is painted anew as far as the network is concerned, which knows no halves.
pub const PAINTED: u8 = 128;

/// Which tones are in a picture of eight bits a channel.
pub(super) fn tones(picture: &DynamicImage) -> Tones {
    let mut tones = Tones::default();
    let mut add = |red, green, blue, alpha| {
        let white = white(red, green, blue, alpha) >= PAINTED;
        tones.transparent |= u8::MAX - alpha >= PAINTED;
        tones.white |= white;
        tones.black |= !white;
    };
    match picture {
        DynamicImage::ImageRgba8(picture) => {
            picture.pixels().for_each(|pixel| {
                let [red, green, blue, alpha] = pixel.0;
                add(red, green, blue, alpha);
            });
        }
        other => other.to_rgb8().pixels().for_each(|pixel| {
            let [red, green, blue] = pixel.0;
            add(red, green, blue, u8::MAX);
        }),
    }
    tones
}

/// How white a pixel of a mask is. What was not drawn on counts as black.
fn white(red: u8, green: u8, blue: u8, alpha: u8) -> u8 {
    scaled(luma(red, green, blue), alpha)
}

/// Brightness. Source: ITU-R BT.601, with the sixteen bits of Pillow's conversion to `L`.
fn luma(red: u8, green: u8, blue: u8) -> u8 {
    ((u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471 + 0x8000) >> 16) as u8
}

/// The picture in exactly `width` x `height` pixels. Masks are scaled without overshoot, pictures by Lanczos' filter.
pub(super) fn shaped(picture: DynamicImage, width: u32, height: u32, mode: ResizeMode) -> DynamicImage {
    if (picture.width(), picture.height()) == (width, height) {
        return picture;
    }
    match mode {
        ResizeMode::Stretch => resized(&picture, width, height),
        ResizeMode::Crop => {
            let (across, down) = covered((picture.width(), picture.height()), (width, height));
            let (left, top) = ((picture.width() - across) / 2, (picture.height() - down) / 2);
            resized(&picture.crop_imm(left, top, across, down), width, height)
        }
        ResizeMode::Fit => {
            let (across, down) = inside((picture.width(), picture.height()), (width, height));
            framed(&resized(&picture, across, down), width, height)
        }
    }
}

fn resized(picture: &DynamicImage, width: u32, height: u32) -> DynamicImage {
    let rgb = match picture {
        DynamicImage::ImageLuma8(_) => return picture.resize_exact(width, height, FilterType::Triangle),
        DynamicImage::ImageRgb8(rgb) => Cow::Borrowed(rgb),
        other => Cow::Owned(other.to_rgb8()),
    };
    let pixels = resized_rgb(&rgb, rgb.dimensions(), (width, height));
    RgbImage::from_raw(width, height, pixels).expect("three bytes for each pixel").into()
}

/// The largest part of a picture of size `old` that has the shape of `new`.
fn covered(old: (u32, u32), new: (u32, u32)) -> (u32, u32) {
    let by_width = u64::from(old.0) * u64::from(new.1);
    let by_height = u64::from(old.1) * u64::from(new.0);
    match by_width >= by_height {
        true => (rounded(by_height, new.1), old.1),
        false => (old.0, rounded(by_width, new.0)),
    }
}

/// The largest size of the shape of `old` that fits into `new`.
fn inside(old: (u32, u32), new: (u32, u32)) -> (u32, u32) {
    let by_width = u64::from(new.0) * u64::from(old.1);
    let by_height = u64::from(new.1) * u64::from(old.0);
    match by_width <= by_height {
        true => (new.0, rounded(by_width, old.0)),
        false => (rounded(by_height, old.1), new.1),
    }
}

/// `product / divisor`, rounded and at least 1.
fn rounded(product: u64, divisor: u32) -> u32 {
    let divisor = u64::from(divisor);
    u32::try_from((product + divisor / 2) / divisor).unwrap_or(u32::MAX).max(1)
}

/// The picture in the middle of `width` x `height` pixels; its outermost rows and columns fill the rest.
fn framed(picture: &DynamicImage, width: u32, height: u32) -> DynamicImage {
    let (left, top) = ((width - picture.width()) / 2, (height - picture.height()) / 2);
    let from = |at: u32, begin: u32, side: u32| at.saturating_sub(begin).min(side - 1);
    let source = |x: u32, y: u32| (from(x, left, picture.width()), from(y, top, picture.height()));
    match picture {
        DynamicImage::ImageLuma8(mask) => GrayImage::from_fn(width, height, |x, y| {
            let (x, y) = source(x, y);
            *mask.get_pixel(x, y)
        })
        .into(),
        other => {
            let rgb = other.to_rgb8();
            RgbImage::from_fn(width, height, |x, y| {
                let (x, y) = source(x, y);
                *rgb.get_pixel(x, y)
            })
            .into()
        }
    }
}

/// Deviation, in pixels, from which on a blur is computed on a smaller mask.
const WIDE_BLUR: f32 = 10.0;
/// Deviation that is left of a wide blur on the smaller mask, in its pixels, before rounding.
const LEFT_OF_WIDE: f32 = 5.0;

/// Deviations within which a Gaussian is not nothing.
const REACH: f32 = 3.5;

/// The mask with soft edges: a Gaussian of deviation `sigma`, in pixels of the mask. 0 changes nothing.
///
/// A wide one is computed on a smaller mask, because its work grows with `sigma` and a mask of the largest size would take
/// longer than the process may. What it leaves is so smooth that nothing is lost: it differs from the exact one by at most
/// 3 of 255, and that by the rounding of its steps.
pub(super) fn blurred(mask: DynamicImage, sigma: f32) -> DynamicImage {
    if sigma <= 0.0 {
        return mask;
    }
    if sigma < WIDE_BLUR {
        return mask.blur(sigma);
    }
    let (width, height) = (mask.width(), mask.height());
    // Beyond the border the mask goes on as its outermost pixels are, which no smaller mask has for itself.
    let margin = (REACH * sigma).ceil() as u32;
    let (wide, high) = (width + 2 * margin, height + 2 * margin);
    let times = (sigma / LEFT_OF_WIDE).floor();
    let small = |side: u32| (side as f32 / times).round() as u32;
    let smaller = framed(&mask, wide, high).resize_exact(small(wide), small(high), FilterType::Triangle);
    drop(mask);
    // Down and up again, the triangles themselves have the variance of times^2 / 6 each.
    let left = (sigma * sigma - times * times / 3.0).sqrt() / times;
    smaller.blur(left).resize_exact(wide, high, FilterType::Triangle).crop_imm(margin, margin, width, height)
}

/// RGB pixels, `old` (width and height) of them, scaled to `new` by Lanczos' filter as Pillow has it.
///
/// # Panics
/// When there are not three bytes for each pixel.
pub fn resized_rgb(pixels: &[u8], old: (u32, u32), new: (u32, u32)) -> Vec<u8> {
    alice_diffusion::lanczos(pixels, old, new)
}

/// A mask (one byte a pixel) of `old` (width and height) pixels, scaled to `new` without overshoot.
///
/// # Panics
/// When there is not one byte for each pixel.
pub fn resized_mask(mask: &[u8], old: (u32, u32), new: (u32, u32)) -> Vec<u8> {
    let mask = GrayImage::from_raw(old.0, old.1, mask.to_vec()).expect("one byte for each pixel");
    DynamicImage::from(mask).resize_exact(new.0, new.1, FilterType::Triangle).into_luma8().into_raw()
}

/// A part of RGB pixels that are `width` across: `[left, top, width, height]`.
///
/// # Panics
/// When the part does not lie inside, or there are not three bytes for each pixel.
pub fn part_of_rgb(pixels: &[u8], size: (u32, u32), [left, top, width, height]: [u32; 4]) -> Vec<u8> {
    let picture = RgbImage::from_raw(size.0, size.1, pixels.to_vec()).expect("three bytes for each pixel");
    assert!(left + width <= size.0 && top + height <= size.1, "the part lies inside");
    imageops::crop_imm(&picture, left, top, width, height).to_image().into_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mask of a bar, a block and single pixels, one of them at the border.
    fn drawn(width: u32, height: u32) -> DynamicImage {
        let value = |x: u32, y: u32| {
            let bar = (width / 3..width / 2).contains(&x);
            let block = x > width * 3 / 4 && y < height / 4;
            if bar || block || (x * 7 + y * 13).is_multiple_of(97) { 255 } else { 0 }
        };
        GrayImage::from_fn(width, height, |x, y| image::Luma([value(x, y)])).into()
    }

    #[test]
    fn a_wide_blur_is_that_of_the_exact_gaussian() {
        for (width, height) in [(512, 384), (301, 97), (64, 200)] {
            for sigma in [10.0, 14.9, 23.0, 31.0, 64.0] {
                let mask = drawn(width, height);
                let (fast, exact) =
                    (blurred(mask.clone(), sigma).into_luma8(), mask.blur(sigma).into_luma8());
                let differences = fast.as_raw().iter().zip(exact.as_raw()).map(|(a, b)| a.abs_diff(*b));
                let most = differences.max().unwrap();
                assert!(most <= 3, "{width} x {height}, {sigma}: {most}");
            }
        }
    }

    #[test]
    fn a_blur_keeps_what_is_all_the_same() {
        for value in [0, 255] {
            let mask: DynamicImage = GrayImage::from_pixel(1, 77, image::Luma([value])).into();
            assert!(blurred(mask, 64.0).into_luma8().pixels().all(|pixel| pixel.0[0] == value));
        }
    }
}
