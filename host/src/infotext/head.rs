// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What stands in front of the pixels of a PNG file of ours: its size and its `parameters` text, without a look at its
//! pixels. Files of strangers are [`carried`](super::carried)'s business.

use std::io::{BufRead, Seek};

/// Bytes that a text may have, also after it was unpacked.
const LONGEST: usize = 1 << 20;
/// The name of the text.
const NAME: &str = "parameters";

/// What stands in front of the pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
    /// The `parameters` text.
    pub text: Option<String>,
}

/// What stands in front of the pixels of the PNG file in `file`; `None` if it is none.
pub fn head(file: impl BufRead + Seek) -> Option<Head> {
    let decoder = png::Decoder::new_with_limits(file, png::Limits { bytes: 4 * LONGEST });
    let mut reader = decoder.read_info().ok()?;
    let info = reader.info();
    let (width, height) = (info.width, info.height);
    let latin = info.uncompressed_latin1_text.iter().find(|chunk| chunk.keyword == NAME);
    let text = latin.map(|chunk| chunk.text.clone()).filter(|text| text.len() <= LONGEST);
    let text = text.or_else(|| packed(&mut reader));
    Some(Head { width, height, text })
}

/// The text in one of the chunks that may be packed.
fn packed<R: BufRead + Seek>(reader: &mut png::Reader<R>) -> Option<String> {
    let info = reader.info();
    let utf8 = info.utf8_text.iter().find(|chunk| chunk.keyword == NAME).cloned();
    let latin = info.compressed_latin1_text.iter().find(|chunk| chunk.keyword == NAME).cloned();
    let utf8 = utf8.and_then(|mut chunk| {
        chunk.decompress_text_with_limit(LONGEST).ok()?;
        chunk.get_text().ok()
    });
    utf8.or_else(|| {
        let mut chunk = latin?;
        chunk.decompress_text_with_limit(LONGEST).ok()?;
        chunk.get_text().ok()
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::RgbImage;

    use super::*;

    /// A file with what `add` adds in front of its pixels.
    fn file(add: impl FnOnce(&mut png::Encoder<'_, &mut Vec<u8>>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 3, 2);
        encoder.set_color(png::ColorType::Grayscale);
        add(&mut encoder);
        encoder.write_header().unwrap().write_image_data(&[0; 6]).unwrap();
        bytes
    }

    fn text(bytes: &[u8]) -> Option<String> {
        head(Cursor::new(bytes)).unwrap().text
    }

    #[test]
    fn the_text_is_found_in_every_kind_of_chunk() {
        let name = || "parameters".to_owned();
        assert_eq!(head(Cursor::new(file(|_| ()))), Some(Head { width: 3, height: 2, text: None }));
        let plain = file(|encoder| encoder.add_text_chunk(name(), "café".into()).unwrap());
        assert_eq!(text(&plain).unwrap(), "café");
        let packed = file(|encoder| encoder.add_ztxt_chunk(name(), "café".into()).unwrap());
        assert_eq!(text(&packed).unwrap(), "café");
        let wide = file(|encoder| encoder.add_itxt_chunk(name(), "りんご".into()).unwrap());
        assert_eq!(text(&wide).unwrap(), "りんご");
        let other = file(|encoder| encoder.add_text_chunk("Comment".into(), "no".into()).unwrap());
        assert_eq!(text(&other), None);
        let ours = crate::picture::png(RgbImage::new(8, 4), "Steps: 1").unwrap();
        let expected = Head { width: 8, height: 4, text: Some("Steps: 1".into()) };
        assert_eq!(head(Cursor::new(ours)), Some(expected));
    }

    #[test]
    fn a_text_that_unpacks_to_more_than_any_has_is_none() {
        let bomb = "x".repeat(64 << 20);
        let packed = file(|encoder| encoder.add_ztxt_chunk("parameters".into(), bomb.clone()).unwrap());
        assert!(packed.len() < 1 << 20);
        assert_eq!(text(&packed), None);
        let mut chunk = png::text_metadata::ITXtChunk::new("parameters", bomb);
        chunk.compress_text().unwrap();
        chunk.compressed = true;
        let mut bytes = file(|_| ());
        let mut encoded = Vec::new();
        png::text_metadata::EncodableTextChunk::encode(&chunk, &mut encoded).unwrap();
        bytes.splice(33..33, encoded);
        assert_eq!(text(&bytes), None);
    }

    #[test]
    fn files_that_are_cut_off_or_turned_anywhere_never_panic() {
        let whole = file(|encoder| {
            encoder.add_ztxt_chunk("parameters".into(), "a text".into()).unwrap();
            encoder.add_itxt_chunk("parameters".into(), "another".into()).unwrap();
        });
        for place in 0..whole.len() {
            let _some_or_none = head(Cursor::new(&whole[..place]));
            for bit in 0..8 {
                let mut turned = whole.clone();
                turned[place] ^= 1 << bit;
                let _some_or_none = head(Cursor::new(turned));
            }
        }
        assert_eq!(head(Cursor::new(b"no picture")), None);
    }
}
