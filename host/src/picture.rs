// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! From the backend's pixels to a file: enlarging, and PNG with its `parameters` text.

use anyhow::Context;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

/// A picture from row-major RGB bytes.
///
/// # Errors
/// When the bytes are not `width * height * 3`.
pub fn from_rgb(width: u32, height: u32, bytes: Vec<u8>) -> anyhow::Result<RgbImage> {
    RgbImage::from_raw(width, height, bytes).context("the backend's picture has another size than asked for")
}

/// The picture at `width` x `height`. It is scaled to fit inside (Lanczos) and never distorted; what stays
/// free beside it takes the colour of its border.
pub fn enlarge(picture: RgbImage, width: u32, height: u32) -> RgbImage {
    if picture.dimensions() == (width, height) {
        return picture;
    }
    let (old_width, old_height) = picture.dimensions();
    let scale = f64::min(f64::from(width) / f64::from(old_width), f64::from(height) / f64::from(old_height));
    let side = |old: u32| (f64::from(old) * scale).round().max(1.0) as u32;
    let scaled = imageops::resize(&picture, side(old_width), side(old_height), FilterType::Lanczos3);
    let mut canvas = RgbImage::from_pixel(width, height, border_colour(&picture));
    let (left, top) = ((width - scaled.width()) / 2, (height - scaled.height()) / 2);
    imageops::replace(&mut canvas, &scaled, i64::from(left), i64::from(top));
    canvas
}

/// The median colour of the outermost pixels.
fn border_colour(picture: &RgbImage) -> Rgb<u8> {
    let (width, height) = picture.dimensions();
    let on_border = |x: u32, y: u32| x == 0 || y == 0 || x + 1 == width || y + 1 == height;
    let border: Vec<_> = picture.enumerate_pixels().filter(|(x, y, _)| on_border(*x, *y)).collect();
    Rgb([0, 1, 2].map(|channel| {
        let mut values: Vec<u8> = border.iter().map(|(_, _, pixel)| pixel.0[channel]).collect();
        values.sort_unstable();
        values[values.len() / 2]
    }))
}

/// A PNG file that carries `parameters` as its text of that name.
///
/// # Errors
/// Only if the encoder fails.
pub fn png(picture: &RgbImage, parameters: &str) -> anyhow::Result<Vec<u8>> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, picture.width(), picture.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    // The usual compression takes ten times as long for files that are hardly smaller: a photograph of 1024 x 1024
    // pixels a third of a second, as much as a step or two of a fast device.
    encoder.set_compression(png::Compression::Fast);
    // tEXt is what image tools read first, but it is Latin-1; other text goes into the international chunk.
    if parameters.chars().all(|letter| (letter as u32) < 256) {
        encoder.add_text_chunk("parameters".into(), parameters.into())?;
    } else {
        encoder.add_itxt_chunk("parameters".into(), parameters.into())?;
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(picture.as_raw())?;
    writer.finish()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(file: &[u8]) -> (usize, usize, String) {
        let reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let info = reader.info();
        let latin = info.uncompressed_latin1_text.first().map(|chunk| chunk.text.clone());
        let text = latin.unwrap_or_else(|| info.utf8_text[0].get_text().unwrap());
        (info.uncompressed_latin1_text.len(), info.utf8_text.len(), text)
    }

    #[test]
    fn the_parameters_text_survives_in_every_script() {
        let picture = RgbImage::from_pixel(8, 8, Rgb([1, 2, 3]));
        assert_eq!(text_of(&png(&picture, "café\nSteps: 1").unwrap()), (1, 0, "café\nSteps: 1".into()));
        assert_eq!(text_of(&png(&picture, "りんご").unwrap()), (0, 1, "りんご".into()));
    }

    #[test]
    fn enlarging_keeps_the_shape_and_fills_the_rest_with_the_border() {
        let mut picture = RgbImage::from_pixel(16, 16, Rgb([250, 250, 250]));
        for (x, y) in (4..12).flat_map(|x| (4..12).map(move |y| (x, y))) {
            picture.put_pixel(x, y, Rgb([200, 0, 0]));
        }
        let wide = enlarge(picture.clone(), 128, 64);
        assert_eq!(wide.dimensions(), (128, 64));
        let near = |x, y, colour: [u8; 3]| {
            let pixel = wide.get_pixel(x, y).0;
            assert!(pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 8), "({x}, {y}) is {pixel:?}");
        };
        near(0, 0, [250, 250, 250]);
        near(64, 32, [200, 0, 0]);
        near(127, 63, [250, 250, 250]);
        // The square is 32 pixels wide and high in the middle: not stretched.
        near(64, 10, [250, 250, 250]);
        near(42, 32, [250, 250, 250]);
        near(54, 32, [200, 0, 0]);
        assert_eq!(enlarge(picture.clone(), 16, 16), picture);
    }
}
