// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Picture files that are made to do harm, and others that only look so.

use std::io::Cursor;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, ImageEncoder, ImageFormat, Rgb, RgbImage};

use super::fixture;

/// What is wrong with a file, the file, and words of its refusal.
type Refused = (&'static str, Vec<u8>, &'static str);

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A PNG of `picture`.
pub(crate) fn encoded(picture: &DynamicImage) -> Vec<u8> {
    let mut file = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut file, CompressionType::Fast, FilterType::Sub);
    encoder
        .write_image(picture.as_bytes(), picture.width(), picture.height(), picture.color().into())
        .unwrap();
    file
}

/// The names of a PNG's chunks, in their order; those of a kind that follow each other once.
pub(crate) fn chunk_names(file: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = &file[8..];
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        names.push(String::from_utf8(rest[4..8].to_vec()).unwrap());
        rest = &rest[length + 12..];
    }
    names.dedup();
    names
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut check = crc32fast::Hasher::new();
    check.update(kind);
    check.update(data);
    let length = u32::try_from(data.len()).unwrap().to_be_bytes();
    [&length[..], kind, data, &check.finalize().to_be_bytes()].concat()
}

fn header(width: u32, height: u32, depth: u8, colours: u8) -> Vec<u8> {
    let data = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[depth, colours, 0, 0, 0]].concat();
    chunk(b"IHDR", &data)
}

fn png(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut file = SIGNATURE.to_vec();
    chunks.iter().for_each(|chunk| file.extend_from_slice(chunk));
    file.extend_from_slice(&chunk(b"IEND", b""));
    file
}

/// A zlib stream of 1 + 258 * `runs` zeros in 13 bits for each run. Source: RFC 1951, 3.2.6.
fn zeros(runs: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(0b011, 3);
    // The zero itself, and then its repetitions: 258 bytes from one byte ago.
    bits.put(0b0000_1100, 8);
    for _ in 0..runs {
        bits.put(0b1010_0011, 8);
        bits.put(0, 5);
    }
    bits.put(0, 7);
    let length = 1 + 258 * runs as u64;
    // Adler-32 of zeros: the first sum stays 1, the second counts.
    let check = (((length % 65_521) as u32) << 16) | 1;
    [&[0x78, 0x01][..], &bits.finish(), &check.to_be_bytes()].concat()
}

/// Bits, the lowest first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    rest: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: u32, bits: u32) {
        self.rest |= value << self.count;
        self.count += bits;
        while self.count >= 8 {
            self.bytes.push(self.rest as u8);
            self.rest >>= 8;
            self.count -= 8;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.push(self.rest as u8);
        self.bytes
    }
}

/// A PNG of that many black pixels in a few kilobytes.
fn bomb(width: u32, height: u32, depth: u8, colours: u8, bytes_per_row: u64) -> Vec<u8> {
    let bytes = (bytes_per_row + 1) * u64::from(height);
    let data = zeros(bytes.div_ceil(258) as usize);
    png(&[header(width, height, depth, colours), chunk(b"IDAT", &data)])
}

/// A small picture beside which stands a chunk that becomes half a gigabyte.
fn beside(kind: &[u8; 4], before: &[u8]) -> Vec<u8> {
    let small = encoded(&RgbImage::new(8, 8).into());
    let data = [before, &zeros(2_000_000)].concat();
    let after_header = SIGNATURE.len() + 25;
    [&small[..after_header], &chunk(kind, &data), &small[after_header..]].concat()
}

fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut file = Vec::new();
    let picture = DynamicImage::from(RgbImage::from_pixel(16, 16, Rgb([200, 20, 90])));
    picture.write_to(&mut Cursor::new(&mut file), ImageFormat::Jpeg).unwrap();
    let frame = file.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    file[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    file[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    file
}

fn riff(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    for (kind, data) in chunks {
        body.extend_from_slice(*kind);
        body.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
        body.extend_from_slice(data);
        body.resize(body.len().next_multiple_of(2), 0);
    }
    [b"RIFF", &u32::try_from(body.len()).unwrap().to_le_bytes()[..], &body].concat()
}

fn lossless(width: u32, height: u32) -> Vec<u8> {
    let sides = (width - 1) | (height - 1) << 14;
    [&[0x2f][..], &sides.to_le_bytes(), &[0x55; 64]].concat()
}

fn cut(file: &[u8], part: f64) -> Vec<u8> {
    file[..(file.len() as f64 * part) as usize].to_vec()
}

/// A JPEG whose coded data ends after a part of it, and which is whole otherwise.
fn jpeg_that_ends_early(file: &[u8], part: f64) -> Vec<u8> {
    let head = file.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
    let begin = head + 2 + usize::from(u16::from_be_bytes([file[head + 2], file[head + 3]]));
    let mut end = begin + ((file.len() - 2 - begin) as f64 * part) as usize;
    // Not within the two bytes that stand for one.
    while file[end - 1] == 0xff || (file[end - 1] == 0 && file[end - 2] == 0xff) {
        end -= 1;
    }
    [&file[..end], &[0xff, 0xd9]].concat()
}

/// The same of a PNG.
fn png_that_ends_early(file: &[u8], part: f64) -> Vec<u8> {
    let (mut rest, mut kept, mut data) = (&file[8..], Vec::new(), Vec::new());
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        let (whole, kind) = (&rest[..length + 12], &rest[4..8]);
        match kind {
            b"IDAT" => data.extend_from_slice(&whole[8..length + 8]),
            b"IHDR" | b"PLTE" | b"tRNS" => kept.push(whole.to_vec()),
            _ => {}
        }
        rest = &rest[length + 12..];
    }
    kept.push(chunk(b"IDAT", &cut(&data, part)));
    png(&kept)
}

/// The same of a WebP.
fn webp_that_ends_early(file: &[u8], part: f64) -> Vec<u8> {
    let mut rest = &file[12..];
    loop {
        let length = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
        let data = cut(&rest[8..8 + length], part);
        match &rest[..4] {
            b"VP8 " => return riff(&[(b"VP8 ", data)]),
            b"VP8L" => return riff(&[(b"VP8L", data)]),
            _ => rest = &rest[8 + length.next_multiple_of(2)..],
        }
    }
}

fn flipped(mut file: Vec<u8>, from_end: usize) -> Vec<u8> {
    let at = file.len() - from_end;
    file[at] ^= 0xff;
    file
}

/// What is refused.
pub(crate) fn refused() -> Vec<Refused> {
    let alpha = fixture("alpha.png");
    let noise = fixture("noise.png");
    let many = "pixels; a side may have 8192 of them, and a picture 16777216";
    let unknown = "send a PNG, JPEG or WebP file";
    let (short, broken, moving) = ("is cut short", "is damaged", "is animated; send a still picture");
    let mut all: Vec<Refused> = vec![
        ("a bomb of 30000 x 30000", bomb(30_000, 30_000, 8, 0, 30_000), many),
        ("a bomb of 30000 x 30000 bits", bomb(30_000, 30_000, 1, 0, 3750), many),
        ("one pixel too many", bomb(4096, 4097, 8, 2, 3 * 4096), many),
        ("a line that is too long", bomb(8193, 1, 8, 2, 3 * 8193), many),
        ("a header of the largest numbers", png(&[header(u32::MAX, u32::MAX, 8, 6)]), many),
        ("a header of nothing", png(&[header(0, 8, 8, 6)]), "has no pixels"),
        ("a header and no data", png(&[header(8, 8, 8, 2)]), broken),
        ("two headers", png(&[header(8, 8, 8, 2), header(9, 9, 8, 2)]), broken),
        ("no header", png(&[chunk(b"IDAT", &zeros(9))]), broken),
        ("too little data", bomb(64, 64, 8, 2, 3), broken),
        ("an unknown chunk that matters", png(&[header(8, 8, 8, 2), chunk(b"EVIL", b"")]), broken),
        ("a chunk that reaches beyond the end", cut(&png(&[header(8, 8, 8, 2)]), 0.6), short),
        ("a JPEG of 30000 x 30000", jpeg(30_000, 30_000), many),
        ("a JPEG without height", jpeg(16, 0), "has no pixels"),
        ("a WebP of 16000 x 16000 without loss", riff(&[(b"VP8L", lossless(16_000, 16_000))]), many),
        (
            "a lossy WebP of 16000 x 16000",
            {
                let sides = [0x80, 0x3e, 0x80, 0x3e];
                riff(&[(b"VP8 ", [&[0x10, 0, 0, 0x9d, 0x01, 0x2a][..], &sides, &[0; 32]].concat())])
            },
            many,
        ),
        (
            "a WebP whose canvas is another size",
            {
                let canvas = vec![0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
                riff(&[(b"VP8X", canvas), (b"VP8L", lossless(8, 8))])
            },
            broken,
        ),
        ("a WebP without a picture", riff(&[(b"EXIF", vec![0; 8])]), broken),
        ("a WebP of nonsense", riff(&[(b"VP8L", lossless(64, 64))]), broken),
        ("an animated WebP", fixture("moving.webp"), moving),
        ("an animated PNG", fixture("moving.png"), moving),
        ("a GIF", fixture("one.gif"), unknown),
        ("nothing", Vec::new(), unknown),
        ("a line of text", b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(), unknown),
        ("a TIFF", b"II*\0\x08\0\0\0".to_vec(), unknown),
        ("a BMP", b"BM\x46\0\0\0\0\0\0\0".to_vec(), unknown),
        ("a page that ends as a PNG", [b"<!doctype html>", &alpha[..]].concat(), unknown),
        ("a signature and nothing", SIGNATURE.to_vec(), short),
        ("the beginning of a JPEG", b"\xff\xd8\xff".to_vec(), short),
        ("the beginning of a WebP", b"RIFF\x10\0\0\0WEBP".to_vec(), short),
        ("damaged data", flipped(noise, 400), broken),
    ];
    for (name, part) in
        [("noise.png", 0.5), ("noise.png", 0.999), ("turned-1.jpg", 0.5), ("turned-1.jpg", 0.99)]
    {
        all.push(("a file that is cut short", cut(&fixture(name), part), short));
    }
    for part in [0.5, 0.9] {
        all.push(("a WebP that is cut short", cut(&fixture("lossy.webp"), part), short));
    }
    for part in [0.1, 0.5, 0.9, 0.99] {
        for name in ["turned-1.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg"] {
            let file = jpeg_that_ends_early(&fixture(name), part);
            all.push(("a JPEG whose data ends early", file, short));
        }
    }
    // The last bytes of both are checksums and filling.
    for (name, part) in [("noise.png", 0.1), ("noise.png", 0.99), ("alpha.png", 0.8), ("palette.png", 0.8)] {
        all.push(("a PNG whose data ends early", png_that_ends_early(&fixture(name), part), broken));
    }
    for (name, part) in [("lossy.webp", 0.5), ("lossy.webp", 0.9), ("alpha.webp", 0.1), ("alpha.webp", 0.9)] {
        all.push(("a WebP whose data ends early", webp_that_ends_early(&fixture(name), part), broken));
    }
    let mut arithmetic = fixture("turned-1.jpg");
    let frame = arithmetic.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    arithmetic[frame + 1] = 0xc9;
    all.push(("a JPEG of a rare kind", arithmetic, "is of a rare kind"));
    all
}

/// What looks dangerous and is taken.
pub(crate) fn harmless() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a colour profile of half a gigabyte", beside(b"iCCP", b"x\0\0")),
        ("a text of half a gigabyte", beside(b"zTXt", b"Comment\0\0")),
        ("the largest picture of zeros", bomb(4096, 4096, 16, 6, 8 * 4096)),
        ("a long line", bomb(8192, 1, 8, 2, 3 * 8192)),
        ("more data than pixels", bomb(64, 64, 8, 2, 3 * 6400)),
        ("a PNG before a zip", [&fixture("alpha.png")[..], b"PK\x03\x04", &[0; 4096]].concat()),
        ("a JPEG before a page", [&fixture("turned-1.jpg")[..], b"<script>alert(1)</script>"].concat()),
        ("a WebP before a PNG", [&fixture("lossy.webp")[..], &fixture("alpha.png")[..]].concat()),
    ]
}
