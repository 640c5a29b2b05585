// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Which instructions this processor has: chosen once at the start, so that one binary runs everywhere.

use std::{env, fmt};

use alice_plugin::{Error, Result};

/// Names the instruction set to compute with, instead of the best one.
const VARIABLE: &str = "ALICE_CPU_ISA";

/// An instruction set that kernels are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What every processor has.
    Portable,
    /// ARM's Advanced SIMD.
    Neon,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// The same with products of bf16 pairs.
    Avx512Bf16,
    /// The same with tiles of bf16 and int8 (AMX).
    Amx,
}

impl Isa {
    /// All of them, the slowest first.
    pub const ALL: [Self; 6] =
        [Self::Portable, Self::Neon, Self::Avx2, Self::Avx512, Self::Avx512Bf16, Self::Amx];

    /// The name in `ALICE_CPU_ISA`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Amx => "amx",
        }
    }

    /// Those that this processor and its system offer, the slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// The one that `ALICE_CPU_ISA` names, else the best.
    ///
    /// # Errors
    /// `Unsupported` for a name that is unknown or that this processor does not have.
    pub fn chosen() -> Result<Self> {
        match env::var(VARIABLE) {
            Ok(name) if !name.is_empty() => Self::named(&name, VARIABLE),
            _ => Ok(Self::available().last().unwrap_or(Self::Portable)),
        }
    }

    /// The one called `name`; `setting` is what says so.
    ///
    /// # Errors
    /// As [`chosen`](Self::chosen).
    pub(crate) fn named(name: &str, setting: &str) -> Result<Self> {
        let known: Vec<_> = Self::available().map(Self::as_str).collect();
        let found = Self::available().find(|isa| isa.as_str() == name);
        let refused =
            || Error::unsupported(format!("{setting} is `{name}`; here there is {}", known.join(", ")));
        found.ok_or_else(refused)
    }

    /// Whether products of bf16 are done by the hardware.
    pub fn has_bf16(self) -> bool {
        self >= Self::Avx512Bf16
    }

    /// Whether products of int8 are done by the hardware, on tiles.
    pub fn has_int8(self) -> bool {
        self == Self::Amx
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        let bf16 = avx512 && is_x86_feature_detected!("avx512bf16");
        match self {
            Self::Portable => true,
            Self::Neon => false,
            Self::Avx2 => avx2,
            Self::Avx512 => avx512,
            Self::Avx512Bf16 => bf16,
            Self::Amx => bf16 && crate::kernels::amx::is_available(),
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn is_available(self) -> bool {
        // Part of the architecture's baseline.
        matches!(self, Self::Portable | Self::Neon)
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn is_available(self) -> bool {
        self == Self::Portable
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
