// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a picture file says of itself in its own markers, before anything in it is decoded: format, size, whether it
//! moves, and where it ends. What cannot become pixels is left out here, so that no decoder ever sees it.

use serde::{Deserialize, Serialize};

use super::reader::Limits;

/// What pictures are kept in by those who send them. Others are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Png,
    Jpeg,
    WebP,
}

/// Why a picture is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Refusal {
    /// No format that is read here.
    Unknown,
    /// More than one picture.
    Animated,
    /// More pixels than are read.
    Large(u32, u32),
    /// No pixels.
    Empty,
    /// It ends before the picture does.
    Truncated,
    /// It contradicts its own format.
    Broken,
    /// A rare kind of its format.
    Unsupported,
    /// Its bytes are too many.
    Heavy,
    /// Reading it takes more memory or time than any picture should.
    Demanding,
}

impl Refusal {
    /// What is said of it, to follow the name of the parameter.
    pub(super) fn told(self, limits: &Limits) -> String {
        let Limits { bytes, side, pixels } = limits;
        let sentence = match self {
            Self::Unknown => "is no picture that can be read here; send a PNG, JPEG or WebP file",
            Self::Animated => "is animated; send a still picture",
            Self::Large(width, height) => {
                return format!(
                    "has {width}x{height} pixels; a side may have {side} of them, and a picture {pixels}"
                );
            }
            Self::Empty => "has no pixels",
            Self::Truncated => "is cut short: the file ends before the picture does",
            Self::Broken => "is damaged and cannot be read",
            Self::Unsupported => "is of a rare kind that is not read here; save it as an ordinary PNG",
            Self::Heavy => return format!("has more than {bytes} bytes"),
            Self::Demanding => "takes more memory or time to be read than a picture may",
        };
        sentence.to_owned()
    }
}

/// A picture file that is worth decoding.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) format: Format,
    /// Pixels from left to right, before it is turned upright.
    pub(super) width: u32,
    pub(super) height: u32,
    /// The file without what stands before, beside and behind the picture.
    pub(super) bytes: Vec<u8>,
    /// EXIF's block, as TIFF.
    pub(super) exif: Option<Vec<u8>>,
}

/// Sniffs a file's format by its first bytes and follows its markers to its end.
pub(super) fn outline(file: &[u8]) -> Result<Outline, Refusal> {
    let outline = match format(file).ok_or(Refusal::Unknown)? {
        Format::Png => png(file),
        Format::Jpeg => jpeg(file),
        Format::WebP => webp(file),
    }?;
    if outline.width == 0 || outline.height == 0 {
        return Err(Refusal::Empty);
    }
    Ok(outline)
}

fn format(file: &[u8]) -> Option<Format> {
    if file.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(Format::Png)
    } else if file.starts_with(b"\xff\xd8\xff") {
        Some(Format::Jpeg)
    } else if file.starts_with(b"RIFF") && file.get(8..12) == Some(b"WEBP") {
        Some(Format::WebP)
    } else {
        None
    }
}

/// Walks the chunks of a PNG. Only those that make its pixels are kept: header, palette, transparency, data, end.
/// Source: PNG (third edition), 5.3 and 11.
fn png(file: &[u8]) -> Result<Outline, Refusal> {
    let (mut bytes, mut exif, mut size) = (file[..8].to_vec(), None, None);
    let mut rest = &file[8..];
    loop {
        let length = rest.get(..4).and_then(big_endian_32).ok_or(Refusal::Truncated)?;
        let whole = usize::try_from(length).ok().and_then(|length| length.checked_add(12));
        let chunk = whole.and_then(|whole| rest.get(..whole)).ok_or(Refusal::Truncated)?;
        let (kind, data) = (&chunk[4..8], &chunk[8..chunk.len() - 4]);
        if size.is_none() && kind != b"IHDR" {
            return Err(Refusal::Broken);
        }
        match kind {
            b"IHDR" => {
                if size.is_some() || data.len() != 13 {
                    return Err(Refusal::Broken);
                }
                size = big_endian_32(&data[..4]).zip(big_endian_32(&data[4..8]));
                bytes.extend_from_slice(chunk);
            }
            b"PLTE" | b"tRNS" | b"IDAT" | b"IEND" => bytes.extend_from_slice(chunk),
            b"eXIf" => exif = exif.or(Some(data.to_vec())),
            b"acTL" | b"fcTL" | b"fdAT" => return Err(Refusal::Animated),
            // Every reader must know what has a capital here, and no such chunk is left.
            _ if kind[0].is_ascii_uppercase() => return Err(Refusal::Broken),
            _ => {}
        }
        if kind == b"IEND" {
            break;
        }
        rest = &rest[chunk.len()..];
    }
    let (width, height) = size.ok_or(Refusal::Broken)?;
    Ok(Outline { format: Format::Png, width, height, bytes, exif })
}

/// Walks the segments of a JPEG up to the end of its first picture. Of the applications' own segments Adobe's is
/// kept, which says how colours are meant. Source: ITU-T T.81, annex B.
fn jpeg(file: &[u8]) -> Result<Outline, Refusal> {
    let (mut bytes, mut exif, mut size) = (file[..2].to_vec(), None, None);
    let mut at = 2;
    loop {
        let kind = marker(file, &mut at)?;
        match kind {
            0xd9 => {
                bytes.extend_from_slice(&[0xff, 0xd9]);
                break;
            }
            0x01 | 0xd0..=0xd7 => {}
            0x00 | 0xd8 => return Err(Refusal::Broken),
            _ => {
                let segment = segment(file, at)?;
                let data = &segment[2..];
                at += segment.len();
                match kind {
                    0xc0..=0xc2 => {
                        if size.is_some() || data.len() < 6 {
                            return Err(Refusal::Broken);
                        }
                        if data[0] != 8 {
                            return Err(Refusal::Unsupported);
                        }
                        let side = |at: usize| u32::from(u16::from_be_bytes([data[at], data[at + 1]]));
                        size = Some((side(3), side(1)));
                    }
                    // Without loss, hierarchical, or by arithmetic coding; and a height that comes later.
                    0xc3 | 0xc5..=0xc7 | 0xc9..=0xcf | 0xdc | 0xde | 0xdf => {
                        return Err(Refusal::Unsupported);
                    }
                    0xe1 if exif.is_none() => exif = data.strip_prefix(b"Exif\0\0").map(<[u8]>::to_vec),
                    _ => {}
                }
                if !matches!(kind, 0xe0..=0xed | 0xef | 0xfe) {
                    bytes.extend_from_slice(&[0xff, kind]);
                    bytes.extend_from_slice(segment);
                }
                if kind == 0xda {
                    let scan = scan(file, at)?;
                    bytes.extend_from_slice(scan);
                    at += scan.len();
                }
            }
        }
    }
    let (width, height) = size.ok_or(Refusal::Broken)?;
    Ok(Outline { format: Format::Jpeg, width, height, bytes, exif })
}

/// The marker at `at`, behind which it then stands.
fn marker(file: &[u8], at: &mut usize) -> Result<u8, Refusal> {
    if *file.get(*at).ok_or(Refusal::Truncated)? != 0xff {
        return Err(Refusal::Broken);
    }
    // Any number of these may stand before it.
    while *file.get(*at).ok_or(Refusal::Truncated)? == 0xff {
        *at += 1;
    }
    *at += 1;
    Ok(file[*at - 1])
}

/// A segment's length and data.
fn segment(file: &[u8], at: usize) -> Result<&[u8], Refusal> {
    let length = file.get(at..at + 2).ok_or(Refusal::Truncated)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length < 2 {
        return Err(Refusal::Broken);
    }
    file.get(at..at + length).ok_or(Refusal::Truncated)
}

/// Coded data up to the next marker that is none of its own.
fn scan(file: &[u8], from: usize) -> Result<&[u8], Refusal> {
    let mut at = from;
    loop {
        let ahead = file[at..].iter().position(|byte| *byte == 0xff).ok_or(Refusal::Truncated)?;
        at += ahead;
        match *file.get(at + 1).ok_or(Refusal::Truncated)? {
            0x00 | 0xd0..=0xd7 => at += 2,
            0xff => at += 1,
            _ => return Ok(&file[from..at]),
        }
    }
}

/// Walks the chunks of a WebP. Source: RFC 9649, 2.
fn webp(file: &[u8]) -> Result<Outline, Refusal> {
    let length = file.get(4..8).and_then(little_endian_32).ok_or(Refusal::Truncated)?;
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(8));
    let whole = end.and_then(|end| file.get(..end)).ok_or(Refusal::Truncated)?;
    let (mut canvas, mut picture, mut exif) = (None, None, None);
    let mut rest = whole.get(12..).ok_or(Refusal::Broken)?;
    while !rest.is_empty() {
        let head = rest.get(..8).ok_or(Refusal::Broken)?;
        let length = little_endian_32(&head[4..]).and_then(|length| usize::try_from(length).ok());
        let length = length.ok_or(Refusal::Broken)?;
        let data = length.checked_add(8).and_then(|end| rest.get(8..end)).ok_or(Refusal::Truncated)?;
        match &head[..4] {
            b"VP8X" => {
                let [flags, _, _, _, sides @ ..] = data else { return Err(Refusal::Broken) };
                if flags & 0x02 != 0 {
                    return Err(Refusal::Animated);
                }
                let side = |at| {
                    Some(
                        u32::from_le_bytes([*sides.get(at)?, *sides.get(at + 1)?, *sides.get(at + 2)?, 0])
                            + 1,
                    )
                };
                canvas = Some(side(0).zip(side(3)).ok_or(Refusal::Broken)?);
            }
            b"ANIM" | b"ANMF" => return Err(Refusal::Animated),
            b"VP8 " if picture.is_none() => picture = Some(lossy(data)?),
            b"VP8L" if picture.is_none() => picture = Some(lossless(data)?),
            b"VP8 " | b"VP8L" => return Err(Refusal::Broken),
            b"EXIF" if exif.is_none() => {
                // Some writers put JPEG's mark before it.
                exif = Some(data.strip_prefix(b"Exif\0\0").unwrap_or(data).to_vec());
            }
            _ => {}
        }
        // Chunks begin at even places; the last one may lack its filling.
        rest = rest.get(8 + length + length % 2..).unwrap_or_default();
    }
    let picture = picture.ok_or(Refusal::Broken)?;
    if canvas.is_some_and(|canvas| canvas != picture) {
        return Err(Refusal::Broken);
    }
    let (width, height) = picture;
    Ok(Outline { format: Format::WebP, width, height, bytes: whole.to_vec(), exif })
}

/// The size in a frame's header. Source: RFC 6386, 9.1.
fn lossy(data: &[u8]) -> Result<(u32, u32), Refusal> {
    let [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] = *data else { return Err(Refusal::Broken) };
    let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    Ok((side(w0, w1), side(h0, h1)))
}

/// The size in the header of a picture without loss. Source: RFC 9649, 3.4.
fn lossless(data: &[u8]) -> Result<(u32, u32), Refusal> {
    let [0x2f, bits @ ..] = data else { return Err(Refusal::Broken) };
    let bits = bits.get(..4).and_then(little_endian_32).ok_or(Refusal::Broken)?;
    Ok(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
}

fn big_endian_32(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

fn little_endian_32(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Files by other programs, small enough to cut them at every byte.
    fn files() -> Vec<(String, Vec<u8>)> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pictures");
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let small = entries.filter(|path| path.metadata().unwrap().len() < 1000);
        let named = small.map(|path| (path.display().to_string(), fs::read(&path).unwrap()));
        named.filter(|(_, file)| outline(file).is_ok()).collect()
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_no_picture() {
        let files = files();
        assert!(files.len() > 20);
        for (name, file) in files {
            for length in 0..file.len() {
                assert!(outline(&file[..length]).is_err(), "{length} bytes of {name}");
            }
        }
    }

    #[test]
    fn whatever_stands_in_a_file_ends_in_an_outline_or_a_refusal() {
        let mut state = 1_u64;
        // Source: Marsaglia 2003, "Xorshift RNGs".
        let mut roll = |sides: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % sides as u64) as usize
        };
        for (name, file) in files() {
            for _ in 0..2000 {
                let mut file = file.clone();
                for _ in 0..=roll(4) {
                    let at = roll(file.len());
                    file[at] = [0, 0xff, 0x7f, 0x80, roll(256) as u8][roll(5)];
                }
                if let Ok(outline) = outline(&file) {
                    let most = file.len();
                    assert!(outline.bytes.len() <= most && outline.width > 0 && outline.height > 0, "{name}");
                }
            }
        }
    }

    #[test]
    fn decoders_see_nothing_but_the_picture() {
        let png =
            fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pictures/turned-6.png"));
        let found = outline(&png.unwrap()).unwrap();
        assert!(found.exif.is_some());
        assert!(!found.bytes.windows(4).any(|kind| kind == b"eXIf"));
        let jpeg =
            fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pictures/turned-6.jpg"));
        let found = outline(&[&jpeg.unwrap()[..], b"behind"].concat()).unwrap();
        assert!(found.exif.is_some() && found.bytes.ends_with(&[0xff, 0xd9]));
        assert!(!found.bytes.windows(4).any(|kind| kind == b"Exif" || kind == b"JFIF"));
    }
}
