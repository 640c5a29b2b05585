// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What is done to whole images value by value: halving them, and adding them up.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::values::values;

/// Halves both sides by the means of squares of two by two; of an odd side the last pixel stands alone.
pub(crate) fn average_pool(image: &Tensor) -> Result<Tensor> {
    let (rows, channels, height, width) = image.dims4()?;
    let (height_out, width_out) = (height.div_ceil(2), width.div_ceil(2));
    let source = values(image)?;
    let mut out = vec![0.0; rows * channels * height_out * width_out];
    let planes = out.par_chunks_mut(height_out * width_out).zip(source.par_chunks(height * width));
    planes.for_each(|(out, plane)| {
        for (out, lines) in out.chunks_mut(width_out).zip(plane.chunks(2 * width)) {
            for line in lines.chunks(width) {
                out.iter_mut().zip(line.chunks(2)).for_each(|(out, pair)| *out += pair.iter().sum::<f32>());
            }
            let down = lines.len() / width;
            out.iter_mut().enumerate().for_each(|(x, out)| {
                let right = (width - 2 * x).min(2);
                *out /= (down * right) as f32;
            });
        }
    });
    Tensor::from_vec(out, (rows, channels, height_out, width_out), image.device())
}

/// `first + scale * second` with a scale for each row; a row whose scale is 0 stays as it is.
pub(crate) fn add_scaled(first: &Tensor, second: &Tensor, scales: &[f32]) -> Result<Tensor> {
    let (source, further) = (values(first)?, values(second)?);
    let mut out = source.to_vec();
    let row = out.len() / scales.len().max(1);
    for ((out, further), scale) in out.chunks_mut(row).zip(further.chunks(row)).zip(scales) {
        if *scale != 0.0 {
            let parts = out.par_chunks_mut(PART).zip(further.par_chunks(PART));
            parts.for_each(|(out, further)| {
                out.iter_mut().zip(further).for_each(|(out, x)| *out += scale * x);
            });
        }
    }
    Tensor::from_vec(out, first.shape(), first.device())
}

/// Values that one thread adds at a time: enough for the start of a task not to count.
const PART: usize = 1 << 14;
