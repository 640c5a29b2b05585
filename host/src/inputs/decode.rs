// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! From a picture file to upright pixels of eight bits, and back to a file that holds nothing else.

use std::io::{Cursor, ErrorKind, Write};

use image::codecs::{jpeg::JpegDecoder, png::PngDecoder, webp::WebPDecoder};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, Limits as CrateLimits};

use super::outline::{Format, Outline, Refusal, outline};
use super::reader::Limits;
use super::scans;

/// Bytes that a decoder may take for its picture, of the 1 GiB that the process has: a picture of the largest size with
/// four channels of 16 bits, and as much again.
const DECODER_BYTES: u64 = 512 << 20;

/// Decodes the one still picture in `file`: RGB, or RGBA where some pixel is not wholly opaque. It is turned as EXIF
/// says, its colours are taken as sRGB. What stands behind the picture's end does not count.
pub(super) fn decode(file: &[u8], limits: &Limits) -> Result<DynamicImage, Refusal> {
    if file.len() as u64 > limits.bytes {
        return Err(Refusal::Heavy);
    }
    let Outline { format, width, height, bytes, exif } = outline(file)?;
    if !limits.allow(width, height) {
        return Err(Refusal::Large(width, height));
    }
    let bytes = Cursor::new(bytes);
    let mut picture = match format {
        Format::Png => pixels(PngDecoder::new(bytes), (width, height)),
        Format::Jpeg => {
            scans::check(bytes.get_ref())?;
            pixels(JpegDecoder::new(bytes), (width, height))
        }
        Format::WebP => pixels(WebPDecoder::new(bytes), (width, height)),
    }?;
    let turned = exif.and_then(|exif| Orientation::from_exif_chunk(&exif));
    picture.apply_orientation(turned.unwrap_or(Orientation::NoTransforms));
    Ok(plain(picture))
}

fn pixels(decoder: Result<impl ImageDecoder, ImageError>, size: (u32, u32)) -> Result<DynamicImage, Refusal> {
    let mut decoder = decoder.map_err(refusal)?;
    if decoder.dimensions() != size {
        return Err(Refusal::Broken);
    }
    let mut limits = CrateLimits::no_limits();
    limits.max_alloc = Some(DECODER_BYTES);
    decoder.set_limits(limits).map_err(refusal)?;
    DynamicImage::from_decoder(decoder).map_err(refusal)
}

fn refusal(error: ImageError) -> Refusal {
    match error {
        ImageError::Unsupported(_) => Refusal::Unsupported,
        ImageError::Limits(_) => Refusal::Demanding,
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => Refusal::Truncated,
        _ => Refusal::Broken,
    }
}

/// The picture with eight bits a channel, and with alpha only if it has any.
fn plain(picture: DynamicImage) -> DynamicImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8().into();
    }
    let picture = picture.into_rgba8();
    match picture.pixels().all(|pixel| pixel.0[3] == u8::MAX) {
        true => DynamicImage::from(picture).into_rgb8().into(),
        false => picture.into(),
    }
}

/// Writes a PNG of nothing but the pixels.
pub(super) fn encode(picture: &DynamicImage, file: impl Write) -> Result<(), png::EncodingError> {
    let mut encoder = png::Encoder::new(file, picture.width(), picture.height());
    encoder.set_color(if picture.color().has_alpha() { png::ColorType::Rgba } else { png::ColorType::Rgb });
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(picture.as_bytes())?;
    writer.finish()
}
