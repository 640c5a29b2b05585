// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! AMX: tiles of 16 rows by 16 columns that take 32 values of the depth at once.
//!
//! The intrinsics are not stable yet, so the inner loop is assembly. Four tiles of sums (32 rows by 32 columns) stay in
//! registers while a slab of the depth passes by. The left side's rows are first copied side by side, since a tile
//! is read at one distance from row to row.
//!
//! ```text
//! amx.rs            whether there are tiles, and the block of 32 by 32 sums
//! amx/product.rs    the matrix product
//! amx/attention.rs  attention
//! ```
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.
#![allow(unsafe_code)]

use std::{arch::asm, sync::LazyLock};

use crate::format::Bf16;

pub(crate) mod attention;
pub(crate) mod product;

/// Values of the depth that a tile takes.
pub(crate) const DEPTH: usize = 32;
/// Rows, and also columns, that are computed together: two tiles.
pub(crate) const SIDE: usize = 32;
/// Bytes of 32 values of bf16.
const CHUNK_BYTES: usize = 64;

/// Whether the processor has AMX and the system lets this process use it.
pub(crate) fn is_available() -> bool {
    static AVAILABLE: LazyLock<bool> = LazyLock::new(|| has_tiles() && is_permitted());
    *AVAILABLE
}

fn has_tiles() -> bool {
    const TILES: u32 = 1 << 24;
    const BF16: u32 = 1 << 22;
    // Asked only where there is AVX-512, whose processors have this leaf.
    let leaf = std::arch::x86_64::__cpuid_count(7, 0);
    leaf.edx & (TILES | BF16) == TILES | BF16
}

/// Asks the system for the tiles' registers, which it does not save for processes that have not asked.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and changes nothing else.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// What `ldtilecfg` reads: 16 rows of 64 bytes for each of the eight tiles.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIGURATION: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// The tiles' registers, configured as long as it lives.
struct Tiles;

impl Tiles {
    fn configure() -> Self {
        // SAFETY: the configuration is 64 bytes and valid; only this module uses the registers.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly)) };
        Self
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: ends the use of the registers, which then need not be saved any more.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// A row's part of the depth that a tile takes.
#[repr(C, align(64))]
#[derive(Clone, Copy, Default)]
struct Chunk([Bf16; DEPTH]);

impl Chunk {
    /// Up to 32 values; what is missing is zero.
    #[inline(always)]
    fn of(values: &[Bf16]) -> Self {
        if let Ok(values) = values.try_into() {
            return Self(values);
        }
        let mut chunk = Self::default();
        chunk.0[..values.len()].copy_from_slice(values);
        chunk
    }
}

/// 32 rows by 32 columns of sums and what is added to them. Distances are in bytes.
struct Block {
    /// 32 rows of a chunk, one after the other.
    left: *const Chunk,
    /// From a chunk to the next.
    left_step: usize,
    /// The first 16 pairs of 32 columns.
    right: *const Bf16,
    /// From a pair to the next.
    right_row: usize,
    chunks: usize,
    sums: *mut f32,
    sums_row: usize,
}

impl Block {
    /// Adds the products.
    ///
    /// # Safety
    /// Everything that the sizes tell lies within live memory, and the tiles are configured.
    unsafe fn add(&self) {
        let lower = self.sums.cast::<u8>().wrapping_add(16 * self.sums_row);
        // SAFETY: the caller vouches for the memory and the registers.
        unsafe {
            asm!(
                "tileloadd tmm0, [{sums} + {sums_row}*1]",
                "tileloadd tmm1, [{sums} + {sums_row}*1 + 64]",
                "tileloadd tmm2, [{lower} + {sums_row}*1]",
                "tileloadd tmm3, [{lower} + {sums_row}*1 + 64]",
                "2:",
                "tileloadd tmm4, [{left} + {left_row}*1]",
                "tileloadd tmm6, [{right} + {right_row}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{right} + {right_row}*1 + 64]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{left} + {left_row}*1 + 1024]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {left}, {left_step}",
                "add {right}, {right_step}",
                "dec {chunks}",
                "jnz 2b",
                "tilestored [{sums} + {sums_row}*1], tmm0",
                "tilestored [{sums} + {sums_row}*1 + 64], tmm1",
                "tilestored [{lower} + {sums_row}*1], tmm2",
                "tilestored [{lower} + {sums_row}*1 + 64], tmm3",
                sums = in(reg) self.sums,
                lower = in(reg) lower,
                sums_row = in(reg) self.sums_row,
                left = inout(reg) self.left => _,
                left_row = in(reg) CHUNK_BYTES,
                left_step = in(reg) self.left_step,
                right = inout(reg) self.right => _,
                right_row = in(reg) self.right_row,
                right_step = in(reg) 16 * self.right_row,
                chunks = inout(reg) self.chunks => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}
