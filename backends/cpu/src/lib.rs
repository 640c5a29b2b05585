// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The plugin `cpu`: Stable Diffusion on this machine's processor, with kernels of its own.
//!
//! The networks come from `alice-nets`; this crate is the operations. Tensors lie in memory pixel by pixel, so that
//! a convolution is a matrix product whose left rows are read where they are. Weights are packed once, while a model
//! is loaded. Every loop that takes time is written once and compiled for each instruction set ([`Isa`]), of
//! which the best is chosen at the start.
//!
//! Every row of a batch is computed as if it were alone, and every value by one thread in one order of sums: a
//! picture has the same bytes alone and in company, with one thread and with many.
#![deny(unsafe_code)]

mod backend;
mod convolution;
mod format;
mod isa;
mod kernels;
mod machine;
mod ops;
mod tensor;
mod threads;
#[cfg(target_arch = "x86_64")]
mod tiled;

pub use backend::cpu_backend;
pub use isa::Isa;
pub use ops::{CpuOps, Format};
pub use threads::Threads;

alice_plugin::export_backend!(cpu_backend);

#[cfg(test)]
mod tests;
