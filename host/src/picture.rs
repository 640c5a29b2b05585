// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! From the backend's pixels to a file: PNG with its `parameters` text, written row by row.

use std::io::{self, Write};

use anyhow::{Context, bail};
use image::RgbImage;

mod rows;

pub use rows::Rows;

/// Bytes of compressed pixels that are written at once.
const CHUNK: usize = 1 << 17;

/// A picture from row-major RGB bytes.
///
/// # Errors
/// When the bytes are not `width * height * 3`.
pub fn from_rgb(width: u32, height: u32, bytes: Vec<u8>) -> anyhow::Result<RgbImage> {
    RgbImage::from_raw(width, height, bytes).context("the backend's picture has another size than asked for")
}

/// The picture at `width` x `height`, as [`Rows::framed`] makes it.
pub fn enlarge(picture: RgbImage, width: u32, height: u32) -> RgbImage {
    Rows::framed(picture, width, height).whole()
}

/// A PNG file in memory, for pictures that are not large.
///
/// # Errors
/// Only if the encoder fails.
pub fn png(picture: RgbImage, parameters: &str) -> anyhow::Result<Vec<u8>> {
    let (width, height) = picture.dimensions();
    let mut file = Vec::new();
    write_png(Rows::stretched(picture, width, height), parameters, &mut file, || false)?;
    Ok(file)
}

/// Writes a PNG file that carries `parameters` as its text of that name. Before each row `stopped` is asked whether
/// nobody wants the file any more.
///
/// # Errors
/// What writing says; when it is stopped; if the encoder fails.
pub fn write_png(
    mut rows: Rows,
    parameters: &str,
    file: impl Write,
    stopped: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let mut file = Latch { file, failure: None };
    let mut encoder = png::Encoder::new(&mut file, rows.width(), rows.height());
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
    let mut pixels = writer.stream_writer_with_size(CHUNK)?;
    let mut row = vec![0; rows.width() as usize * 3];
    for y in 0..rows.height() {
        if stopped() {
            bail!("nobody wants the picture any more");
        }
        rows.write(y, &mut row);
        pixels.write_all(&row)?;
    }
    pixels.finish()?;
    writer.finish()?;
    file.failure.map_or(Ok(()), |failure| Err(failure.into()))
}

/// Keeps the first failure of a file. The encoder passes over some, and panics at others.
struct Latch<W> {
    file: W,
    failure: Option<io::Error>,
}

impl<W: Write> Latch<W> {
    fn attempt(&mut self, attempt: impl FnOnce(&mut W) -> io::Result<()>) {
        if self.failure.is_none() {
            self.failure = attempt(&mut self.file).err();
        }
    }
}

impl<W: Write> Write for Latch<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(|file| file.write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt(Write::flush);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use image::Rgb;

    use super::*;

    fn rows(picture: &RgbImage) -> Rows {
        Rows::stretched(picture.clone(), picture.width(), picture.height())
    }

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
        for (text, latin, international) in [("café\nSteps: 1", 1, 0), ("りんご", 0, 1)] {
            let file = png(picture.clone(), text).unwrap();
            assert_eq!(text_of(&file), (latin, international, text.into()));
        }
    }

    #[test]
    fn the_pixels_survive_whatever_they_are() {
        let noise = |x: u32, y: u32| (x * 7919 + y * 104_729).wrapping_mul(2_654_435_761).to_le_bytes();
        for picture in [
            RgbImage::from_fn(300, 200, |x, y| Rgb([0, 1, 2].map(|byte| noise(x, y)[byte + 1]))),
            RgbImage::from_fn(1, 700, |_, y| Rgb([y as u8; 3])),
        ] {
            let file = png(picture.clone(), "").unwrap();
            assert!(image::load_from_memory(&file).unwrap().into_rgb8() == picture);
        }
    }

    #[test]
    fn it_is_stopped_between_two_rows() {
        let asked = Cell::new(0);
        let stopped = || {
            asked.set(asked.get() + 1);
            asked.get() == 3
        };
        write_png(rows(&RgbImage::new(4, 9)), "", Vec::new(), stopped).unwrap_err();
        assert_eq!(asked.get(), 3);
    }

    /// Has room for so many bytes.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_is_full_at_any_byte_is_an_error() {
        let picture = RgbImage::from_fn(20, 20, |x, y| Rgb([x as u8, y as u8, 7]));
        let file = png(picture.clone(), "text").unwrap();
        for room in 0..file.len() {
            let error = write_png(rows(&picture), "text", Full(room), || false).unwrap_err();
            let failure = error.downcast_ref::<io::Error>().unwrap();
            assert_eq!(failure.kind(), io::ErrorKind::StorageFull, "{room} of {}", file.len());
        }
        write_png(rows(&picture), "text", Full(file.len()), || false).unwrap();
    }
}
