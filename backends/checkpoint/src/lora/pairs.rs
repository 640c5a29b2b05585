// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The changes of a LoRA file, each checked for itself: matrices whose sizes fit each other, and a factor.

use std::collections::BTreeMap;

use safetensors::Dtype;

use super::{keys::Module, settings::Settings};
use crate::{Listing, Tensor, error::sentence};

/// The highest rank accepted. No weight of the known families has a higher one than its 1280 outputs, and what a
/// change costs to compute grows with it.
const MAX_RANK: usize = 4096;
/// Formats of real numbers, as [`Tensor::to_f32`] reads them.
pub(crate) const REAL: [Dtype; 6] =
    [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F64, Dtype::F8_E4M3, Dtype::F8_E5M2];

/// The change of one module: `factor * up · down`, through `mid` where it is there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pair {
    /// The tensor `[rank, input, height, width]`, or `[rank, input]` when there is a mid or no kernel.
    pub(super) down: String,
    /// The tensor `[output, rank]`, which may have two ones behind.
    pub(super) up: String,
    /// The tensor `[rank, rank, height, width]`.
    pub(super) mid: Option<String>,
    pub(super) rank: usize,
    pub(super) output: usize,
    pub(super) input: usize,
    /// Height and width; ones for a matrix.
    pub(super) kernel: [usize; 2],
    /// `alpha / rank`.
    pub(super) factor: f32,
}

impl Pair {
    /// Whether it changes a weight of this shape. A matrix and a convolution of one pixel are the same.
    pub(super) fn fits(&self, shape: &[usize]) -> bool {
        sides(shape) == Some([self.output, self.input, self.kernel[0], self.kernel[1]])
    }
}

/// Passes for the name of a tensor that is one number.
pub(super) fn check_alpha(file: &Listing, name: &str) -> Result<(), String> {
    let (dtype, shape) = described(file, name)?;
    let known = REAL.contains(&dtype) || [Dtype::I64, Dtype::I32].contains(&dtype);
    match known && shape.iter().all(|&side| side == 1) {
        true => Ok(()),
        false => {
            let what = format_args!("{name:?} holds {dtype} values of the shape {shape:?}, not one number");
            Err(sentence(what))
        }
    }
}

/// The number in a tensor that [`check_alpha`] has seen.
pub(super) fn alpha(tensor: &Tensor<'_>) -> Result<f32, String> {
    // Some trainers keep the alpha that they were given as the integer that it was.
    let number = match (tensor.dtype, tensor.bytes.first_chunk(), tensor.bytes.first_chunk()) {
        (Dtype::I64, Some(bytes), _) => i64::from_le_bytes(*bytes) as f32,
        (Dtype::I32, _, Some(bytes)) => i32::from_le_bytes(*bytes) as f32,
        _ => tensor.to_f32().ok().and_then(|values| values.first().copied()).unwrap_or(f32::NAN),
    };
    match number.is_finite() {
        true => Ok(number),
        false => Err(sentence(format_args!("{:?} is no finite number", tensor.name))),
    }
}

/// The changes of the modules. `alphas` has those of the modules that have one.
pub(super) fn pairs(
    file: &Listing,
    modules: BTreeMap<String, Module>,
    alphas: &BTreeMap<String, f32>,
    settings: &Settings,
) -> Result<BTreeMap<String, Pair>, String> {
    let pair = |(name, module): (String, Module)| {
        let pair = pair(file, module, |rank| match alphas.get(&name) {
            Some(alpha) => Ok(alpha / rank as f32),
            None => settings.factor(&name, rank),
        });
        let pair = pair.map_err(|reason| sentence(format_args!("the change of {name:?}: {reason}")))?;
        Ok((name, pair))
    };
    modules.into_iter().map(pair).collect()
}

fn pair(
    file: &Listing,
    module: Module,
    factor: impl FnOnce(usize) -> Result<f32, String>,
) -> Result<Pair, String> {
    let (Some(down), Some(up)) = (module.down, module.up) else {
        return Err("one of its two matrices is missing".to_owned());
    };
    let matrix = |name: &str| {
        let (dtype, shape) = described(file, name)?;
        if !REAL.contains(&dtype) {
            return Err(format!("{name:?} holds {dtype} values"));
        }
        let sides = sides(shape).filter(|sides| !sides.contains(&0));
        sides.ok_or_else(|| format!("{name:?} has the shape {shape:?}"))
    };
    let [rank, input, height, width] = matrix(&down)?;
    let [output, up_rank, up_height, up_width] = matrix(&up)?;
    if rank > MAX_RANK {
        return Err(format!("its rank is {rank}, more than the {MAX_RANK} allowed"));
    }
    let kernel = match &module.mid {
        None => [height, width],
        Some(mid) => {
            let [outer, inner, mid_height, mid_width] = matrix(mid)?;
            if [outer, inner, height, width] != [rank, rank, 1, 1] {
                return Err(format!("{mid:?} does not fit between its two matrices"));
            }
            [mid_height, mid_width]
        }
    };
    if [up_rank, up_height, up_width] != [rank, 1, 1] {
        return Err(format!("its first matrix has the rank {rank}, its last does not fit to that"));
    }
    Ok(Pair { down, up, mid: module.mid, rank, output, input, kernel, factor: factor(rank)? })
}

/// The four sizes of a matrix or a convolution.
pub(super) fn sides(shape: &[usize]) -> Option<[usize; 4]> {
    match *shape {
        [output, input] => Some([output, input, 1, 1]),
        [output, input, height, width] => Some([output, input, height, width]),
        _ => None,
    }
}

/// Number format and shape of a tensor.
fn described<'a>(file: &'a Listing, name: &str) -> Result<(Dtype, &'a [usize]), String> {
    file.dtype(name).zip(file.shape(name)).ok_or_else(|| format!("{name:?} is missing"))
}
