// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Small pictures for lists: lossless WebP beside the finished pictures, made when one is kept and again whenever one is
//! missing. Their directory may be deleted at any time.
//!
//! A picture is read row by row and averaged as it comes, so the largest one takes no more memory than its widest row.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, RgbImage};
use tokio::sync::Mutex;

use super::{Gallery, Kept, gone};

/// Most pixels of a side.
const SIDE: u32 = 384;
/// Thumbnails that are made at once, at most. One picture is always in the same lane, so it is made once.
const LANES: usize = 4;
/// Bytes that the decoder of a picture may take beside its rows.
const DECODER_BYTES: usize = 64 << 20;

/// The directory of small pictures. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Thumbnails {
    directory: PathBuf,
    lanes: [Arc<Mutex<()>>; LANES],
}

impl Thumbnails {
    /// The small pictures in `directory`, which is made if it is not there. What an earlier life of the daemon has not
    /// finished is removed.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot use the directory of small pictures {}", directory.display());
        DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(cannot)?;
        for entry in fs::read_dir(directory).with_context(cannot)? {
            let path = entry.with_context(cannot)?.path();
            if path.extension().is_some_and(|ending| ending == "part") {
                gone(&path)?;
            }
        }
        Ok(Self { directory: directory.to_owned(), lanes: std::array::from_fn(|_| Arc::default()) })
    }

    /// The small picture of `kept`, which is made if it is not there, and how many bytes it has; `None` if the picture
    /// itself is not there.
    ///
    /// # Errors
    /// What the disk says; a file that is no picture.
    pub async fn get(&self, gallery: &Gallery, kept: &Kept) -> anyhow::Result<Option<(File, u64)>> {
        let (shared, name) = (self.clone(), kept.clone());
        let there = move || shared.find(&name);
        if let Some(found) = tokio::task::spawn_blocking(there).await?? {
            return Ok(Some(found));
        }
        let lane = BuildHasherDefault::<DefaultHasher>::default().hash_one(kept.id()) % LANES as u64;
        let lane = Arc::clone(&self.lanes[usize::try_from(lane).unwrap_or(0)]).lock_owned().await;
        let (shared, gallery, kept) = (self.clone(), gallery.clone(), kept.clone());
        let make = move || {
            // Held by the work itself, which goes on when its client has gone.
            let _lane = lane;
            // Somebody may have made it while this waited.
            match shared.find(&kept)? {
                Some(found) => Ok(Some(found)),
                None if shared.make(&gallery, &kept)? => shared.find(&kept),
                None => Ok(None),
            }
        };
        tokio::task::spawn_blocking(make).await?
    }

    /// Removes the small picture of `kept`; one that is not there is as good as removed.
    ///
    /// # Errors
    /// What the disk says.
    pub fn remove(&self, kept: &Kept) -> anyhow::Result<()> {
        gone(&self.path(kept))
    }

    fn path(&self, kept: &Kept) -> PathBuf {
        self.directory.join(format!("{}.webp", kept.id()))
    }

    fn find(&self, kept: &Kept) -> anyhow::Result<Option<(File, u64)>> {
        let found = super::opened(&self.path(kept)).context("cannot read a small picture")?;
        Ok(found.filter(|(_, length)| *length > 0))
    }

    /// Makes the small picture; `false` if there is no picture to make it of.
    fn make(&self, gallery: &Gallery, kept: &Kept) -> anyhow::Result<bool> {
        let Some((file, _)) = gallery.find(kept)? else { return Ok(false) };
        let small = shrunk(file, SIDE).with_context(|| format!("cannot make `{}` small", kept.file))?;
        let finished = self.path(kept);
        let partial = finished.with_extension("part");
        // Not synced: what a power cut takes is made again, and an empty file is found to be none.
        let written = write(&partial, &small).and_then(|()| Ok(fs::rename(&partial, &finished)?));
        if written.is_err() {
            // The write has failed already; that its remains cannot be removed is no news.
            let _remains = fs::remove_file(&partial);
        }
        written.context("cannot keep a small picture")?;
        // One that was deleted meanwhile is gone before its small picture was looked for.
        if !gallery.has(kept) {
            gone(&finished)?;
            return Ok(false);
        }
        Ok(true)
    }
}

fn write(path: &Path, picture: &RgbImage) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut file = BufWriter::new(file);
    let (width, height) = picture.dimensions();
    WebPEncoder::new_lossless(&mut file).encode(picture, width, height, ExtendedColorType::Rgb8)?;
    Ok(file.flush()?)
}

/// Width and height with the longer side at most `side`.
fn fitting((width, height): (u32, u32), side: u32) -> (u32, u32) {
    let longer = width.max(height);
    if longer <= side {
        return (width, height);
    }
    let shrink = |pixels: u32| {
        let shrunk = (u64::from(pixels) * u64::from(side) + u64::from(longer) / 2) / u64::from(longer);
        u32::try_from(shrunk).unwrap_or(side).max(1)
    };
    (shrink(width), shrink(height))
}

/// The PNG picture in `file` with no side longer than `side`. What is transparent shows white behind it.
fn shrunk(file: File, side: u32) -> anyhow::Result<RgbImage> {
    let limits = png::Limits { bytes: DECODER_BYTES };
    let mut decoder = png::Decoder::new_with_limits(BufReader::new(file), limits);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info()?;
    let info = reader.info();
    // Its rows do not come in their order.
    ensure!(!info.interlaced, "it is interlaced");
    let (width, height) = (info.width, info.height);
    let channels = reader.output_color_type().0.samples();
    let mut average = Average::new((width, height), fitting((width, height), side));
    while let Some(row) = reader.next_row()? {
        average.take(row.data().chunks_exact(channels).map(opaque));
    }
    average.finish().context("it ends too early")
}

/// Red, green and blue of a pixel in front of white.
fn opaque(samples: &[u8]) -> [f32; 3] {
    let over = |value: u8, alpha: u8| {
        let alpha = f32::from(alpha) / 255.0;
        f32::from(value) * alpha + 255.0 * (1.0 - alpha)
    };
    match *samples {
        [grey] => [f32::from(grey); 3],
        [grey, alpha] => [over(grey, alpha); 3],
        [red, green, blue] => [red, green, blue].map(f32::from),
        [red, green, blue, alpha, ..] => [red, green, blue].map(|value| over(value, alpha)),
        [] => [0.0; 3],
    }
}

/// A picture on its way to a smaller size: each of the small pixels is the average of those that it covers, by the area of
/// each.
struct Average {
    from: (u32, u32),
    to: (u32, u32),
    /// The next row that comes.
    y: u32,
    /// The row that is being filled, and how much of its height has come.
    row: Vec<[f32; 3]>,
    filled: f64,
    small: Vec<u8>,
}

impl Average {
    fn new(from: (u32, u32), to: (u32, u32)) -> Self {
        let row = vec![[0.0; 3]; to.0 as usize];
        Self { from, to, y: 0, row, filled: 0.0, small: Vec::new() }
    }

    /// Takes the next row.
    fn take(&mut self, pixels: impl Iterator<Item = [f32; 3]>) {
        let narrow = narrowed(pixels, self.from.0, self.to.0);
        // Heights are in small pixels: each row of the picture is so high, and may belong to two small ones.
        let height = f64::from(self.to.1) / f64::from(self.from.1);
        self.y += 1;
        let first = height.min(1.0 - self.filled);
        self.add(&narrow, first);
        let is_last = self.y == self.from.1;
        if self.filled > 1.0 - 1e-6 || is_last {
            self.end_row();
        }
        if height - first > 1e-6 && !is_last {
            self.add(&narrow, height - first);
        }
    }

    fn add(&mut self, row: &[[f32; 3]], height: f64) {
        for (sum, pixel) in self.row.iter_mut().zip(row) {
            for (sum, value) in sum.iter_mut().zip(pixel) {
                *sum += value * height as f32;
            }
        }
        self.filled += height;
    }

    fn end_row(&mut self) {
        let whole = self.filled as f32;
        let bytes = self.row.iter().flatten().map(|sum| (sum / whole).round().clamp(0.0, 255.0) as u8);
        self.small.extend(bytes);
        self.row.fill([0.0; 3]);
        self.filled = 0.0;
    }

    /// The small picture, if all rows have come.
    fn finish(self) -> Option<RgbImage> {
        (self.y == self.from.1).then(|| RgbImage::from_raw(self.to.0, self.to.1, self.small)).flatten()
    }
}

/// A row of `from` pixels as one of `to`.
fn narrowed(pixels: impl Iterator<Item = [f32; 3]>, from: u32, to: u32) -> Vec<[f32; 3]> {
    let width = f64::from(to) / f64::from(from);
    let mut row = vec![[0.0; 3]; to as usize];
    for (x, pixel) in (0_u32..).zip(pixels) {
        let left = f64::from(x) * width;
        let place = left as usize;
        let first = width.min((place + 1) as f64 - left);
        for (place, part) in [(place, first), (place + 1, width - first)] {
            let Some(sum) = row.get_mut(place) else { continue };
            for (sum, value) in sum.iter_mut().zip(pixel) {
                *sum += value * part as f32;
            }
        }
    }
    row
}

#[cfg(test)]
mod tests;
