// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The pictures that came with a job, in the pixels that its runs need.

use crate::error::{Error, Result};
use crate::inputs::{Input, Mask, ResizeMode, Start, Store, Want, shape};

use super::overlay::{Overlay, region};

/// The picture to begin with.
#[derive(Debug)]
pub(super) struct Gathered {
    /// In the size that is rendered, `[height, width, 3]`.
    pub(super) rgb: Vec<u8>,
    /// What of it is painted anew, `[height, width]`.
    pub(super) mask: Option<Vec<u8>>,
    /// Where what was painted goes.
    pub(super) overlay: Option<Overlay>,
}

/// Reads the picture to begin with, for runs that render `rendered` (width and height) pixels.
///
/// # Errors
/// [`Error::InputGone`]; [`Error::Invalid`] about `mask` when nothing of what it covers is left.
pub(super) async fn gather(inputs: &Store, start: &Start, rendered: (u32, u32)) -> Result<Gathered> {
    match &start.mask {
        None => {
            let rgb = rgb(inputs, &start.input, rendered, start.resize_mode).await?;
            Ok(Gathered { rgb, mask: None, overlay: None })
        }
        Some(mask) => match mask.only_masked {
            None => whole(inputs, start, mask, rendered).await,
            Some(padding) => masked_region(inputs, start, mask, padding, rendered).await,
        },
    }
}

/// The whole picture, and the mask over it.
async fn whole(inputs: &Store, start: &Start, mask: &Mask, rendered: (u32, u32)) -> Result<Gathered> {
    let rgb = rgb(inputs, &start.input, rendered, start.resize_mode).await?;
    let mask = covered(inputs, mask, rendered, start.resize_mode).await?;
    if mask.iter().all(|&pixel| pixel == 0) {
        return Err(nothing());
    }
    let region = [0, 0, rendered.0, rendered.1];
    let overlay = Overlay { size: rendered, rgb: rgb.clone(), region, mask: mask.clone() };
    Ok(Gathered { rgb, mask: Some(mask), overlay: Some(overlay) })
}

/// The part of the picture around what is masked, brought to the size that is rendered.
async fn masked_region(
    inputs: &Store,
    start: &Start,
    mask: &Mask,
    padding: u32,
    rendered: (u32, u32),
) -> Result<Gathered> {
    let size = (start.input.width, start.input.height);
    let picture = rgb(inputs, &start.input, size, ResizeMode::Stretch).await?;
    let mask = covered(inputs, mask, size, ResizeMode::Stretch).await?;
    let cut = move || {
        let region = region(&mask, size, padding, rendered)?;
        let part = (region[2], region[3]);
        let part_mask = part_of_mask(&mask, size.0, region);
        let rgb = shape::resized_rgb(&shape::part_of_rgb(&picture, size, region), part, rendered);
        let mask = shape::resized_mask(&part_mask, part, rendered);
        let overlay = Overlay { size, rgb: picture, region, mask: part_mask };
        Some(Gathered { rgb, mask: Some(mask), overlay: Some(overlay) })
    };
    let gathered = tokio::task::spawn_blocking(cut).await.map_err(anyhow::Error::from)?;
    gathered.ok_or_else(nothing)
}

/// What was cut off, or blurred until nothing was left of it.
fn nothing() -> Error {
    Error::invalid("mask", "covers nothing of the picture in the size in which it is painted")
}

async fn rgb(
    inputs: &Store,
    input: &Input,
    (width, height): (u32, u32),
    mode: ResizeMode,
) -> Result<Vec<u8>> {
    inputs.pixels(input, &Want::Rgb { width, height, mode, part: None }).await
}

async fn covered(
    inputs: &Store,
    mask: &Mask,
    (width, height): (u32, u32),
    mode: ResizeMode,
) -> Result<Vec<u8>> {
    let (polarity, blur) = (mask.polarity, mask.blur);
    inputs.pixels(&mask.input, &Want::Mask { width, height, mode, polarity, blur }).await
}

/// A part of a mask that is `width` pixels across.
fn part_of_mask(mask: &[u8], width: u32, [left, top, across, down]: [u32; 4]) -> Vec<u8> {
    let rows = mask.chunks_exact(width as usize).skip(top as usize).take(down as usize);
    rows.flat_map(|row| &row[left as usize..(left + across) as usize]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_mask_has_its_rows_and_columns() {
        let mask: Vec<u8> = (0..12).collect();
        assert_eq!(part_of_mask(&mask, 4, [1, 1, 2, 2]), [5, 6, 9, 10]);
    }
}
