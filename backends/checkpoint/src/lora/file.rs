// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A LoRA file with its values, for a backend that applies it.

use std::path::Path;

use super::{
    Change, Lora,
    pairs::{Pair, sides},
    product::{add_product, through_mid},
};
use crate::{Error, TensorFile, error::sentence};

/// A LoRA file that has been mapped, as a [`TensorFile`] and with its conditions.
#[derive(Debug)]
pub struct LoraFile {
    lora: Lora,
    file: TensorFile,
}

impl LoraFile {
    /// Reads and checks the file at `path` and maps it.
    ///
    /// # Errors
    /// As [`Lora::open`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let lora = Lora::open(path)?;
        Ok(Self { lora, file: TensorFile::open(path)? })
    }

    /// What the file changes.
    pub fn lora(&self) -> &Lora {
        &self.lora
    }

    /// Adds `scale` times the change to `weight`, the row-major values of the layer that [`Lora::fit`] has found for
    /// it. The sums have the same order whatever the machine.
    ///
    /// # Errors
    /// [`Error::Lora`] when the result is not finite, when the weight has another number of values, and when the file
    /// is another one than was read at first. The weight may have been changed then.
    pub fn add(&self, change: &Change, scale: f32, weight: &mut [f32]) -> Result<(), Error> {
        let wrong = |what: &str| {
            let reason = sentence(format_args!("the change of {:?} {what}", change.name));
            Error::Lora { path: self.lora.path.clone(), reason }
        };
        let pair = self.lora.pairs.get(&change.name).ok_or_else(|| wrong("is not there"))?;
        let Pair { rank, output, input, kernel: [height, width], .. } = *pair;
        if weight.len() != output * input * height * width {
            return Err(wrong("does not fit the layer"));
        }
        let matrix = |name: &str, expected: [usize; 4]| {
            let tensor = self.file.tensor(name)?;
            match sides(&tensor.shape) == Some(expected) {
                true => tensor.to_f32(),
                false => Err(wrong("is another one than when the file was read at first")),
            }
        };
        let up = matrix(&pair.up, [output, rank, 1, 1])?;
        let down = match &pair.mid {
            None => matrix(&pair.down, [rank, input, height, width])?,
            Some(mid) => {
                let mid = matrix(mid, [rank, rank, height, width])?;
                through_mid(&mid, &matrix(&pair.down, [rank, input, 1, 1])?, rank)
            }
        };
        // The product of two factors that are rounded already would be rounded twice.
        let factor = (f64::from(pair.factor) * f64::from(scale)) as f32;
        add_product(weight, &up, &down, rank, factor);
        match weight.iter().all(|value| value.is_finite()) {
            true => Ok(()),
            false => Err(wrong("makes values that are not finite")),
        }
    }
}
