// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! AMX: tiles of 16 rows by 16 columns that take 64 bytes of the depth at once.
//!
//! The intrinsics are not stable yet, so the inner loop is assembly. Four tiles of sums (32 rows by 32 columns) stay in
//! registers while a slab of the depth passes by.
//!
//! ```text
//! amx.rs            whether there are tiles, and the block of 32 by 32 sums
//! amx/planes.rs     the left side of a product as tiles can read it
//! amx/product.rs    the matrix product
//! amx/quantise.rs   int8
//! amx/attention.rs  attention
//! ```
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.
#![allow(unsafe_code)]

use std::{
    arch::{
        asm,
        x86_64::{
            __m512, __m512bh, __m512i, _mm512_cvtne2ps_pbh, _mm512_loadu_ps, _mm512_mask_storeu_epi16,
            _mm512_maskz_loadu_epi16,
        },
    },
    sync::{Arc, LazyLock},
};

use alice_plugin::Result;

use super::{
    attention::Heads,
    memory::{Arena, Buffer},
    pack::Layout,
    product::Out,
};
use crate::{
    format::{Bf16, Element},
    threads::Threads,
};
use attention::Attention;
use planes::{Places, Stage};
use product::Tiled;

pub(crate) mod attention;
pub(crate) mod planes;
pub(crate) mod product;
pub(crate) mod quantise;

/// Values of bf16 along the depth that a tile takes.
pub(crate) const DEPTH: usize = 32;
/// Rows, and also columns, that are computed together: two tiles.
pub(crate) const SIDE: usize = 32;
/// Bytes of a tile's row.
const CHUNK_BYTES: usize = 64;

/// Numbers that tiles multiply.
pub(crate) trait Tile: Element {
    /// Values along the depth that a tile takes.
    const CHUNK: usize = CHUNK_BYTES / size_of::<Self>();

    /// How the right side of a product is packed.
    const LAYOUT: Layout =
        Layout { lanes: 16, panel: 2, vectors: 2, unit: Self::CHUNK, slab_bytes: product::SLAB_BYTES };

    /// Adds the block's products.
    ///
    /// # Safety
    /// Everything that the sizes tell lies within live memory, and the tiles are configured.
    unsafe fn add(block: &Block);
}

/// The loops on tiles; there is one only where the processor has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amx(());

impl Amx {
    /// The loops, if the processor has tiles and the system lets this process use them.
    pub(crate) fn find() -> Option<Self> {
        is_available().then_some(Self(()))
    }

    /// Makes a copy in planes.
    pub(crate) fn stage(
        self,
        threads: &Threads,
        arena: &Arc<Arena>,
        stage: &Stage<'_>,
    ) -> Result<(Buffer, Places)> {
        let mut buffer = arena.take::<[u8; CHUNK_BYTES]>(stage.count())?;
        let out = Out::new(buffer.as_mut_slice());
        let (lines, together) = (stage.lines(), stage.lines_of_a_task());
        threads.each(lines.div_ceil(together), |task| {
            let lines = task * together..lines.min((task + 1) * together);
            // SAFETY: the processor has AVX-512, the buffer is long enough, and each task has lines of its own.
            unsafe { stage.fill(lines, out) }
        });
        Ok((buffer, stage.places()))
    }

    /// A whole product. A task is a block of rows, and where there are too few of these for all threads, a part of
    /// the panels.
    pub(crate) fn multiply<T: Tile>(self, threads: &Threads, product: &Tiled<'_, T>) {
        let (rows, panels) = (product.left.places.grid.rows(), product.joined.right.panels());
        let blocks = rows.div_ceil(product.block());
        // Blocks of about one length.
        let block = rows.div_ceil(blocks).next_multiple_of(SIDE);
        let blocks = rows.div_ceil(block);
        let parts = (4 * threads.count()).div_ceil(blocks).clamp(1, panels);
        threads.each(blocks * parts, |task| {
            let (place, part) = (task / parts, task % parts);
            let rows = place * block..rows.min((place + 1) * block);
            let panels = panels * part / parts..panels * (part + 1) / parts;
            // SAFETY: the processor has AMX, and each task has rows or panels of its own.
            unsafe { product::run(product, rows, panels) }
        });
    }

    /// The largest magnitude of each run of `channels` values.
    pub(crate) fn magnitudes(self, threads: &Threads, values: &[Bf16], channels: usize) -> Vec<f32> {
        let mut magnitudes = vec![0.0; values.len() / channels];
        threads.chunks(&mut magnitudes, quantise::TOGETHER, |task, out| {
            let values = &values[task * quantise::TOGETHER * channels..][..out.len() * channels];
            // SAFETY: the processor has AVX-512.
            unsafe { quantise::magnitudes(values, out) }
        });
        magnitudes
    }

    /// All queries of all heads. A task is a block of one head's queries.
    pub(crate) fn attend(
        self,
        threads: &Threads,
        arena: &Arc<Arena>,
        heads: Heads<'_, Bf16>,
        [key, value]: [&[Bf16]; 2],
        rows: usize,
    ) -> Result<()> {
        let size = attention::packed(heads.head_width(), heads.keys);
        let all = rows * heads.heads;
        let [mut keys, mut values] = [arena.take::<Bf16>(all * size)?, arena.take::<Bf16>(all * size)?];
        let pack = |out: &mut Buffer, from: &[Bf16], pack: Pack| {
            threads.chunks(&mut out.as_mut_slice::<Bf16>()[..all * size], size, |head, out| {
                let from = &from[heads.key_place(head)..];
                // SAFETY: the processor has AVX-512 BF16.
                unsafe { pack(from, heads.width, heads.head_width(), heads.keys, out) }
            });
        };
        pack(&mut keys, key, attention::pack_keys);
        pack(&mut values, value, attention::pack_values);
        let blocks = heads.queries.div_ceil(attention::QUERIES);
        let task = Attention { heads, keys: keys.as_slice(), values: values.as_slice() };
        threads.each(all * blocks, |number| {
            let (head, first) = (number / blocks, number % blocks * attention::QUERIES);
            let queries = first..task.heads.queries.min(first + attention::QUERIES);
            // SAFETY: the processor has AMX, and each task has queries of its own.
            unsafe { attention::run(&task, head, queries) }
        });
        Ok(())
    }
}

/// Packs one head's keys or values.
type Pack = unsafe fn(&[Bf16], usize, usize, usize, &mut [Bf16]);

/// Whether the processor has AMX and the system lets this process use it.
pub(crate) fn is_available() -> bool {
    static AVAILABLE: LazyLock<bool> = LazyLock::new(|| has_tiles() && is_permitted());
    *AVAILABLE
}

fn has_tiles() -> bool {
    const TILES: u32 = 1 << 24;
    const BF16: u32 = 1 << 22;
    const INT8: u32 = 1 << 25;
    let leaf = std::arch::x86_64::__cpuid_count(7, 0);
    leaf.edx & (TILES | BF16 | INT8) == TILES | BF16 | INT8
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
#[derive(Clone, Copy, Debug, Default)]
struct Chunk([Bf16; DEPTH]);

/// 32 rows by 32 columns of sums and what is added to them. Distances are in bytes.
pub(crate) struct Block {
    /// The first row's first chunk.
    left: *const u8,
    /// From a row to the next.
    left_row: usize,
    /// From a chunk of the depth to the next.
    left_step: usize,
    /// For each chunk of the depth 16 pairs (in int8 fours) of 32 columns.
    right: *const u8,
    /// Four lines of the cache from here on are fetched for each chunk, which later blocks will need. Any address will do.
    ahead: *const u8,
    chunks: usize,
    /// f32, or i32 of int8.
    sums: *mut u8,
    sums_row: usize,
    /// Whether the sums begin with these products, whatever they were before.
    begins: bool,
}

/// How a block is added with an instruction.
macro_rules! tile {
    ($format:ty, $instruction:literal) => {
        impl Tile for $format {
            #[inline(always)]
            unsafe fn add(block: &Block) {
                let lower = block.sums.wrapping_add(16 * block.sums_row);
                // SAFETY: the caller vouches for the memory and the registers.
                unsafe {
                    asm!(
                        "test {begins}, {begins}",
                        "jz 3f",
                        "tilezero tmm0",
                        "tilezero tmm1",
                        "tilezero tmm2",
                        "tilezero tmm3",
                        "jmp 2f",
                        "3:",
                        "tileloadd tmm0, [{sums} + {sums_row}*1]",
                        "tileloadd tmm1, [{sums} + {sums_row}*1 + 64]",
                        "tileloadd tmm2, [{lower} + {sums_row}*1]",
                        "tileloadd tmm3, [{lower} + {sums_row}*1 + 64]",
                        "2:",
                        "tileloadd tmm6, [{right} + {right_row}*1]",
                        "tileloadd tmm4, [{left} + {left_row}*1]",
                        "prefetcht1 [{ahead}]",
                        concat!($instruction, " tmm0, tmm4, tmm6"),
                        "prefetcht1 [{ahead} + 64]",
                        "tileloadd tmm7, [{right} + {right_row}*1 + 64]",
                        concat!($instruction, " tmm1, tmm4, tmm7"),
                        "tileloadd tmm5, [{below} + {left_row}*1]",
                        "prefetcht1 [{ahead} + 128]",
                        concat!($instruction, " tmm2, tmm5, tmm6"),
                        "prefetcht1 [{ahead} + 192]",
                        concat!($instruction, " tmm3, tmm5, tmm7"),
                        "add {left}, {left_step}",
                        "add {below}, {left_step}",
                        "add {right}, {right_step}",
                        "add {ahead}, 256",
                        "dec {chunks}",
                        "jnz 2b",
                        "tilestored [{sums} + {sums_row}*1], tmm0",
                        "tilestored [{sums} + {sums_row}*1 + 64], tmm1",
                        "tilestored [{lower} + {sums_row}*1], tmm2",
                        "tilestored [{lower} + {sums_row}*1 + 64], tmm3",
                        begins = in(reg) usize::from(block.begins),
                        sums = in(reg) block.sums,
                        lower = in(reg) lower,
                        sums_row = in(reg) block.sums_row,
                        left = inout(reg) block.left => _,
                        below = inout(reg) block.left.wrapping_add(16 * block.left_row) => _,
                        left_row = in(reg) block.left_row,
                        left_step = in(reg) block.left_step,
                        right = inout(reg) block.right => _,
                        ahead = inout(reg) block.ahead => _,
                        right_row = in(reg) RIGHT_ROW,
                        right_step = const 16 * RIGHT_ROW,
                        chunks = inout(reg) block.chunks => _,
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack),
                    );
                }
            }
        }
    };
}

tile!(Bf16, "tdpbf16ps");
tile!(i8, "tdpbssd");

/// Bytes from a pair (or four) of the depth of 32 columns to the next.
const RIGHT_ROW: usize = 2 * CHUNK_BYTES;

/// The nearest of bf16; numbers below the normal ones become zero.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f")]
fn narrow(values: &[f32; DEPTH]) -> [Bf16; DEPTH] {
    // SAFETY: there are 32 values.
    let low = unsafe { _mm512_loadu_ps(values.as_ptr()) };
    // SAFETY: as above.
    let high = unsafe { _mm512_loadu_ps(values.as_ptr().wrapping_add(16)) };
    narrow_vectors(low, high)
}

/// The same of two vectors.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f")]
fn narrow_vectors(low: __m512, high: __m512) -> [Bf16; DEPTH] {
    let both = _mm512_cvtne2ps_pbh(high, low);
    // SAFETY: both types are 64 bytes without invalid values.
    unsafe { std::mem::transmute::<__m512bh, [Bf16; DEPTH]>(both) }
}

/// Up to 32 values; what is missing is zero.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw")]
fn first_of(values: &[Bf16]) -> [Bf16; DEPTH] {
    // SAFETY: no more values are read than there are.
    let vector = unsafe { _mm512_maskz_loadu_epi16(mask(values.len()), values.as_ptr().cast()) };
    // SAFETY: both types are 64 bytes without invalid values.
    unsafe { std::mem::transmute::<__m512i, [Bf16; DEPTH]>(vector) }
}

/// Stores as many of the values as `out` has room for.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw")]
fn put(out: &mut [Bf16], values: [Bf16; DEPTH]) {
    // SAFETY: both types are 64 bytes without invalid values.
    let vector = unsafe { std::mem::transmute::<[Bf16; DEPTH], __m512i>(values) };
    // SAFETY: no more values are written than there is room for.
    unsafe { _mm512_mask_storeu_epi16(out.as_mut_ptr().cast(), mask(out.len()), vector) };
}

/// The first `count` of 32 values.
#[inline]
fn mask(count: usize) -> u32 {
    if count < DEPTH { (1 << count) - 1 } else { u32::MAX }
}
