// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The loops that take the time, each written once and compiled for every instruction set.
//!
//! ```text
//! simd       vectors of each instruction set
//! product    the matrix product and what joins its results
//! pack       the right side of a product, in the kernel's order
//! window     where a convolution finds the rows of the left side
//! attention  scores, softmax and values block by block
//! winograd   convolutions of 3 x 3 in f32 with fewer multiplications
//! amx        products and attention on tiles
//! norm, pointwise, sums, exp
//! memory     memory for tensors, used again
//! region     addresses, and memory in large pages
//! ```
#![allow(unsafe_code)]

use std::ops::Range;

use alice_nets::Activation;

use crate::{
    format::{Bf16, Element},
    isa::Isa,
    threads::Threads,
};

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
pub(crate) mod attention;
mod exp;
pub(crate) mod memory;
pub(crate) mod norm;
pub(crate) mod pack;
mod pointwise;
pub(crate) mod product;
mod region;
mod simd;
mod sums;
pub(crate) mod window;
pub(crate) mod winograd;

use attention::{Attention, QUERIES};
use pack::Layout;
use product::{BLOCK, PANEL, Product};

/// Bytes of a panel's slab: it stays in the second cache.
const SLAB_BYTES: usize = 384 << 10;

/// The loops for one number format, compiled for one instruction set. Made only for those that the processor has.
pub(crate) struct Kernels<E: 'static> {
    /// How the right side of a product is packed.
    pub(crate) layout: Layout,
    product: unsafe fn(&Product<'_, E>, Range<usize>, Range<usize>),
    attention: unsafe fn(&Attention<'_, E>, usize, Range<usize>),
    moments: unsafe fn(&[E], &mut [f32], &mut [f32]),
    scale_and_shift: ScaleAndShift<E>,
    layer_norm: LayerNorm<E>,
    add: unsafe fn(&[E], &[E], f32, Activation, &mut [E]),
}

/// [`norm::scale_and_shift`], compiled.
type ScaleAndShift<E> = unsafe fn(&[E], &[f32], &[f32], Activation, &mut [E]);
/// [`norm::layer_norm`], compiled.
type LayerNorm<E> = unsafe fn(&[E], &[f32], &[f32], f32, &mut [E]);

impl<E: Element> Kernels<E> {
    /// All `rows` of a product. A task is a block of rows, and where there are too few of these for all threads, a part
    /// of the panels.
    pub(crate) fn multiply(&self, threads: &Threads, product: &Product<'_, E>, rows: usize) {
        let (blocks, panels) = (rows.div_ceil(BLOCK), product.joined.right.panels());
        let parts = (4 * threads.count()).div_ceil(blocks).clamp(1, panels);
        threads.each(blocks * parts, |task| {
            let (block, part) = (task / parts, task % parts);
            let rows = block * BLOCK..rows.min((block + 1) * BLOCK);
            let panels = panels * part / parts..panels * (part + 1) / parts;
            // SAFETY: the processor has the instruction set, and each task has rows or panels of its own.
            unsafe { (self.product)(product, rows, panels) }
        });
    }

    /// All queries of all `heads` (those of every row). A task is a block of one head's queries.
    pub(crate) fn attend(&self, threads: &Threads, task: &Attention<'_, E>, heads: usize) {
        let blocks = task.heads.queries.div_ceil(QUERIES);
        threads.each(heads * blocks, |number| {
            let (head, first) = (number / blocks, number % blocks * QUERIES);
            let queries = first..task.heads.queries.min(first + QUERIES);
            // SAFETY: the processor has the instruction set, and each task has queries of its own.
            unsafe { (self.attention)(task, head, queries) }
        });
    }

    /// [`norm::moments`].
    pub(crate) fn moments(&self, pixels: &[E], means: &mut [f32], squares: &mut [f32]) {
        // SAFETY: the processor has the instruction set.
        unsafe { (self.moments)(pixels, means, squares) }
    }

    /// [`norm::scale_and_shift`].
    pub(crate) fn scale_and_shift(
        &self,
        pixels: &[E],
        factors: &[f32],
        shifts: &[f32],
        activation: Activation,
        out: &mut [E],
    ) {
        // SAFETY: as above.
        unsafe { (self.scale_and_shift)(pixels, factors, shifts, activation, out) }
    }

    /// [`norm::layer_norm`].
    pub(crate) fn layer_norm(&self, token: &[E], weight: &[f32], bias: &[f32], epsilon: f32, out: &mut [E]) {
        // SAFETY: as above.
        unsafe { (self.layer_norm)(token, weight, bias, epsilon, out) }
    }

    /// [`pointwise::add`].
    pub(crate) fn add(&self, first: &[E], second: &[E], scale: f32, activation: Activation, out: &mut [E]) {
        // SAFETY: as above.
        unsafe { (self.add)(first, second, scale, activation, out) }
    }
}

/// Compiles all loops for an instruction set.
macro_rules! instance {
    ($name:ident, $simd:ty, $format:ty $(, $features:literal)?) => {
        static $name: Kernels<$format> = {
            $(#[target_feature(enable = $features)])?
            unsafe fn product(product: &Product<'_, $format>, rows: Range<usize>, panels: Range<usize>) {
                // SAFETY: the caller vouches for it.
                unsafe { product::run::<$simd, $format>(product, rows, panels) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn attention(task: &Attention<'_, $format>, head: usize, queries: Range<usize>) {
                // SAFETY: the caller vouches for it.
                unsafe { attention::run::<$simd, $format>(task, head, queries) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn moments(pixels: &[$format], means: &mut [f32], squares: &mut [f32]) {
                norm::moments(pixels, means, squares);
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn scale_and_shift(
                pixels: &[$format],
                factors: &[f32],
                shifts: &[f32],
                activation: Activation,
                out: &mut [$format],
            ) {
                norm::scale_and_shift(pixels, factors, shifts, activation, out);
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn layer_norm(
                token: &[$format],
                weight: &[f32],
                bias: &[f32],
                epsilon: f32,
                out: &mut [$format],
            ) {
                norm::layer_norm(token, weight, bias, epsilon, out);
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn add(
                first: &[$format],
                second: &[$format],
                scale: f32,
                activation: Activation,
                out: &mut [$format],
            ) {
                pointwise::add(first, second, scale, activation, out);
            }
            let layout = Layout {
                lanes: <$simd as simd::Simd>::LANES,
                panel: PANEL,
                vectors: 1,
                unit: <$format as Element>::DEPTH,
                slab_bytes: SLAB_BYTES,
            };
            Kernels {
                layout,
                product,
                attention,
                moments,
                scale_and_shift,
                layer_norm,
                add,
            }
        };
    };
}

instance!(PORTABLE, simd::Portable, f32);
#[cfg(target_arch = "aarch64")]
instance!(NEON, simd::Neon, f32);
#[cfg(target_arch = "x86_64")]
instance!(AVX2, simd::Avx2, f32, "avx2,fma");
#[cfg(target_arch = "x86_64")]
instance!(AVX512, simd::Avx512, f32, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");
#[cfg(target_arch = "x86_64")]
instance!(AVX512_BF16, simd::Avx512, Bf16, "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");

/// The loops in f32 for an instruction set that the processor has.
pub(crate) fn of_f32(isa: Isa) -> &'static Kernels<f32> {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => &AVX512,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => &AVX2,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => &NEON,
        _ => &PORTABLE,
    }
}

/// The loops in bf16, where the processor multiplies it.
pub(crate) fn of_bf16(isa: Isa) -> Option<&'static Kernels<Bf16>> {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 | Isa::Amx => Some(&AVX512_BF16),
        _ => None,
    }
}
