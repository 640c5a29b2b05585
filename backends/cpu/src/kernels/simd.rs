// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Vectors of f32, one implementation for each instruction set.
//!
//! The methods are inlined into a kernel that is compiled for the instruction set as a whole (see `instance`);
//! nowhere else do they become instructions.
#![allow(unsafe_code)]

/// Vectors of one instruction set.
///
/// # Safety
/// Every method must be called only where the processor has the instruction set. Pointers are to
/// [`LANES`](Self::LANES) values (pairs of bf16 count as one) and need no alignment.
pub(crate) unsafe trait Simd: Copy + 'static {
    /// A vector of f32.
    type Vector: Copy;
    /// Values in a vector.
    const LANES: usize;
    /// Whether there are 32 registers for vectors, and not 16.
    const MANY: bool;
    /// Whether a product and a sum are one instruction.
    const FUSED: bool;

    unsafe fn splat(value: f32) -> Self::Vector;
    unsafe fn load(from: *const f32) -> Self::Vector;
    unsafe fn store(to: *mut f32, vector: Self::Vector);
    /// `a * b + c`, rounded once.
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
}

/// Vectors with products of pairs of bf16.
///
/// # Safety
/// As [`Simd`].
pub(crate) unsafe trait Bf16Dot: Simd {
    /// The pair at `from` in every lane.
    unsafe fn splat_pair(from: *const u16) -> Self::Vector;
    /// In each lane `c` plus the two products of the pairs in `a` and `b`.
    unsafe fn dot_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
}

/// Plain Rust, for every processor.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

// SAFETY: plain Rust is everywhere.
unsafe impl Simd for Portable {
    type Vector = [f32; 4];
    const LANES: usize = 4;
    // As every processor has that is not named below.
    const MANY: bool = false;
    const FUSED: bool = false;

    #[inline(always)]
    unsafe fn splat(value: f32) -> [f32; 4] {
        [value; 4]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 4] {
        // SAFETY: the caller vouches for four values.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, vector: [f32; 4]) {
        // SAFETY: the caller vouches for room for four values.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(vector) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        // Rounded twice: one rounding would be a call of the library for every value.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::{float32x4_t, vdupq_n_f32, vfmaq_f32, vld1q_f32, vst1q_f32};

    use super::Simd;

    /// ARM's Advanced SIMD.
    #[derive(Clone, Copy)]
    pub(crate) struct Neon;

    // SAFETY: part of the architecture's baseline.
    unsafe impl Simd for Neon {
        type Vector = float32x4_t;
        const LANES: usize = 4;
        const MANY: bool = true;
        const FUSED: bool = true;

        #[inline(always)]
        unsafe fn splat(value: f32) -> float32x4_t {
            // SAFETY: see the trait.
            unsafe { vdupq_n_f32(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> float32x4_t {
            // SAFETY: see the trait.
            unsafe { vld1q_f32(from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, vector: float32x4_t) {
            // SAFETY: see the trait.
            unsafe { vst1q_f32(to, vector) }
        }

        #[inline(always)]
        unsafe fn mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
            // SAFETY: see the trait.
            unsafe { vfmaq_f32(c, a, b) }
        }
    }
}
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, __m512bh, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_storeu_ps,
        _mm512_castsi512_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_epi32,
        _mm512_set1_ps, _mm512_storeu_ps,
    };

    use super::{Bf16Dot, Simd};

    /// AVX2 with fused multiply-add.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2;

    // SAFETY: the caller vouches for the instruction set.
    unsafe impl Simd for Avx2 {
        type Vector = __m256;
        const LANES: usize = 8;
        const MANY: bool = false;
        const FUSED: bool = true;

        #[inline(always)]
        unsafe fn splat(value: f32) -> __m256 {
            // SAFETY: see the trait.
            unsafe { _mm256_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m256 {
            // SAFETY: see the trait.
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, vector: __m256) {
            // SAFETY: see the trait.
            unsafe { _mm256_storeu_ps(to, vector) }
        }

        #[inline(always)]
        unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: see the trait.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
    }

    /// AVX-512, with products of bf16 where the processor has them.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512;

    // SAFETY: the caller vouches for the instruction set.
    unsafe impl Simd for Avx512 {
        type Vector = __m512;
        const LANES: usize = 16;
        const MANY: bool = true;
        const FUSED: bool = true;

        #[inline(always)]
        unsafe fn splat(value: f32) -> __m512 {
            // SAFETY: see the trait.
            unsafe { _mm512_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            // SAFETY: see the trait.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, vector: __m512) {
            // SAFETY: see the trait.
            unsafe { _mm512_storeu_ps(to, vector) }
        }

        #[inline(always)]
        unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: see the trait.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
    }

    // SAFETY: the caller vouches for AVX-512 BF16.
    unsafe impl Bf16Dot for Avx512 {
        #[inline(always)]
        unsafe fn splat_pair(from: *const u16) -> __m512 {
            // SAFETY: the caller vouches for two values.
            let pair = unsafe { from.cast::<i32>().read_unaligned() };
            // SAFETY: see the trait.
            let pairs = unsafe { _mm512_set1_epi32(pair) };
            // SAFETY: see the trait.
            unsafe { _mm512_castsi512_ps(pairs) }
        }

        #[inline(always)]
        unsafe fn dot_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: both types are 64 bytes without invalid values.
            let a = unsafe { std::mem::transmute::<__m512, __m512bh>(a) };
            // SAFETY: as above.
            let b = unsafe { std::mem::transmute::<__m512, __m512bh>(b) };
            // SAFETY: see the trait.
            unsafe { _mm512_dpbf16_ps(c, a, b) }
        }
    }
}
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};
