// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The texts that a PNG file carries, found by the file's own markers: nothing is decoded but texts, all of which together
//! may not be longer than [`LONGEST`].
//!
//! Source: PNG (third edition), 11.3.3.

use std::io::Read;

use flate2::read::ZlibDecoder;

/// Bytes of all texts of a file; more is cut off. A prompt has some hundred, a workflow some ten thousand.
pub const LONGEST: usize = 1 << 20;
/// Chunks that are looked at: no picture needs as many before its text.
const MOST_CHUNKS: usize = 4096;
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The texts of a picture by their names, in the order of the file; none for what is no PNG.
pub fn texts(file: &[u8]) -> Vec<(String, String)> {
    one_by_one(file).collect()
}

/// The `parameters` text of a picture.
pub fn parameters(file: &[u8]) -> Option<String> {
    one_by_one(file).find(|(name, _)| name == "parameters").map(|(_, text)| text)
}

/// The texts as they come, until they are too long together.
fn one_by_one(file: &[u8]) -> impl Iterator<Item = (String, String)> {
    let chunks = Chunks { rest: file.strip_prefix(PNG).unwrap_or_default() };
    let mut room = LONGEST;
    chunks.take(MOST_CHUNKS).filter_map(move |(kind, data)| {
        let (name, text) = text(kind, data, room)?;
        room = room.checked_sub(name.len() + text.len())?;
        Some((name, text))
    })
}

/// The chunks of a PNG up to the first that is not whole.
struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Chunks<'a> {
    type Item = ([u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        let (kind, rest) = rest.split_first_chunk::<4>()?;
        let (data, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        // Behind the data is a checksum, which a text that is shown to people does not need.
        let (_, rest) = rest.split_at_checked(4)?;
        self.rest = rest;
        Some((*kind, data))
    }
}

/// Name and text of a chunk that holds one, the text cut off behind `room` bytes of the chunk.
fn text(kind: [u8; 4], data: &[u8], room: usize) -> Option<(String, String)> {
    let (name, data) = split_at_zero(data)?;
    let text = match &kind {
        b"tEXt" => latin1(&data[..data.len().min(room)]),
        b"zTXt" => latin1(&inflated(data.strip_prefix(&[0])?, room)),
        b"iTXt" => {
            let (&[compressed, method], data) = data.split_first_chunk::<2>()?;
            let (_language, data) = split_at_zero(data)?;
            let (_translated, data) = split_at_zero(data)?;
            match (compressed, method) {
                (0, _) => String::from_utf8_lossy(&data[..data.len().min(room)]).into_owned(),
                (1, 0) => String::from_utf8_lossy(&inflated(data, room)).into_owned(),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some((latin1(name), text))
}

fn split_at_zero(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = data.iter().position(|byte| *byte == 0)?;
    Some((&data[..at], &data[at + 1..]))
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// What was compressed, as far as it is whole and not too long.
fn inflated(data: &[u8], room: usize) -> Vec<u8> {
    let mut text = Vec::new();
    // What came before the damage is in `text`, and is all that there is to show.
    let _damage = ZlibDecoder::new(data).take(room as u64).read_to_end(&mut text);
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use image::RgbImage;
    use proptest::prelude::*;

    use super::*;
    use crate::picture;

    fn file(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).unwrap().to_be_bytes();
        [PNG, &length, kind, data, &[0; 4]].concat()
    }

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn our_own_texts_are_found_in_every_script() {
        for text in ["café\nSteps: 1", "りんご\nSteps: 1"] {
            let file = picture::png(RgbImage::new(8, 8), text).unwrap();
            assert_eq!(parameters(&file).as_deref(), Some(text));
        }
        assert_eq!(parameters(b"\xff\xd8\xff"), None);
    }

    #[test]
    fn compressed_texts_are_read_and_end_where_they_grow_too_long() {
        let small = [b"parameters\0\0".as_slice(), &deflated(b"a fox")].concat();
        assert_eq!(parameters(&file(b"zTXt", &small)).as_deref(), Some("a fox"));
        let international = [b"parameters\0\x01\0en\0\0".as_slice(), &deflated("狐".as_bytes())].concat();
        assert_eq!(parameters(&file(b"iTXt", &international)).as_deref(), Some("狐"));
        let bomb = [b"parameters\0\0".as_slice(), &deflated(&vec![b'x'; 64 << 20])].concat();
        let bomb = file(b"zTXt", &bomb);
        // What is cut off at the limit leaves no room for its own name.
        assert_eq!(texts(&bomb), []);
        let many = [&bomb[..8], &bomb[8..].repeat(50)].concat();
        assert!(texts(&many).iter().map(|(_, text)| text.len()).sum::<usize>() <= LONGEST);
    }

    #[test]
    fn a_file_that_ends_early_keeps_what_came_before() {
        let whole = [file(b"tEXt", b"parameters\0a fox"), vec![0, 0, 255, 255, b'I', b'D']].concat();
        assert_eq!(parameters(&whole).as_deref(), Some("a fox"));
        assert_eq!(texts(&whole[..20]), []);
    }

    proptest! {
        #[test]
        fn no_file_makes_it_fail(bytes in any::<Vec<u8>>(), kind in prop::sample::select(vec![b"tEXt", b"zTXt", b"iTXt"])) {
            texts(&file(kind, &bytes));
            texts(&[PNG, &bytes].concat());
        }
    }
}
