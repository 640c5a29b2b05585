// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Neural networks on candle, Hugging Face's tensor library in pure Rust.
//!
//! candle brings the tensors, the devices and the matrix product; the networks come from `alice-nets`. What
//! candle leaves slow on the CPU (convolutions, normalisations, attention) is done here by loops that candle
//! calls nothing for. A plugin is this crate with one constructor exported.
//!
//! On the CPU every row of a batch is computed by itself, with products of the same shape as if it were
//! alone: a picture made in company has the same bytes as one made alone.
#![forbid(unsafe_code)]

mod attention;
mod conv;
mod cpu;
mod image;
mod linear;
mod norm;
mod ops;
mod values;

pub use cpu::cpu_backend;
pub use ops::CandleOps;

#[cfg(test)]
mod tests;
