// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The `f32` values inside candle's tensors, as slices that the loops of this crate can read and write.

use std::ops::{Deref, Range};

use alice_plugin::{Error, ErrorKind};
use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, Tensor, bail};

/// Read access to a tensor's values; the tensor cannot be written meanwhile.
pub(crate) struct Values<G> {
    storage: G,
    range: Range<usize>,
}

/// The values of a contiguous `f32` tensor on the CPU, row-major.
pub(crate) fn values(tensor: &Tensor) -> Result<Values<impl Deref<Target = Storage> + '_>> {
    let (storage, layout) = tensor.storage_and_layout();
    let range = contiguous(layout)?;
    match &*storage {
        Storage::Cpu(CpuStorage::F32(_)) => Ok(Values { storage, range }),
        _ => bail!("a tensor of {:?} where f32 on the CPU is expected", tensor.dtype()),
    }
}

impl<G: Deref<Target = Storage>> Deref for Values<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            _ => unreachable!("`values` has looked at the storage"),
        }
    }
}

/// Lets `write` change the values of a contiguous `f32` tensor on the CPU where they are. Only for tensors
/// that nobody else has seen: candle's tensors share their values.
pub(crate) fn write_in_place(tensor: &Tensor, write: impl Fn(&mut [f32])) -> Result<()> {
    tensor.inplace_op1(&InPlace(write))
}

struct InPlace<F>(F);

impl<F: Fn(&mut [f32])> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        "in place"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let range = contiguous(layout)?;
        match storage {
            CpuStorage::F32(values) => self.0(&mut values[range]),
            _ => bail!("a tensor of another format where f32 is expected"),
        }
        Ok(())
    }
}

fn contiguous(layout: &Layout) -> Result<Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => bail!("the layout {layout:?} where a contiguous one is expected"),
    }
}

/// What a failure of candle means for the daemon.
pub(crate) fn failed(error: candle_core::Error) -> Error {
    let text = error.to_string();
    // A backtrace may follow the first line.
    let message = text.lines().next().unwrap_or_default();
    // The drivers' own words; candle passes them on as text only.
    let kind = match message.to_ascii_lowercase().replace('_', " ").contains("out of memory") {
        true => ErrorKind::OutOfMemory,
        false => ErrorKind::Internal,
    };
    Error::new(kind, format!("candle failed: {message}"))
}
