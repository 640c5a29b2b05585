// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The number formats that tensors are kept in. Sums are always f32.

use bytemuck::{Pod, Zeroable};

/// The upper half of an f32: the same range with 8 bits of precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub(crate) struct Bf16(u16);

/// A number format.
pub(crate) trait Element: Pod + Default + Send + Sync + std::fmt::Debug {
    /// Values along the depth of a product that the kernel multiplies at once.
    const DEPTH: usize;

    /// The value.
    fn widen(self) -> f32;

    /// The nearest of this format.
    fn narrow(value: f32) -> Self;
}

impl Element for f32 {
    const DEPTH: usize = 1;

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        value
    }
}

impl Element for i8 {
    const DEPTH: usize = 4;

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from(self)
    }

    /// Rounds to nearest, of two equally near ones to the even one.
    #[inline(always)]
    fn narrow(value: f32) -> Self {
        value.round_ties_even() as Self
    }
}

impl Element for Bf16 {
    const DEPTH: usize = 2;

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    /// Rounds to nearest, of two equally near ones to the even one; a NaN stays one.
    #[inline(always)]
    fn narrow(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        // The quiet bit keeps a NaN whose payload lies in the lower half.
        let kept = if value.is_nan() { bits | 0x0040_0000 } else { rounded };
        Self((kept >> 16) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_rounds_to_the_nearest_even() {
        let bits = |value: f32| Bf16::narrow(value).widen().to_bits();
        assert_eq!(bits(1.0), 1.0_f32.to_bits());
        assert_eq!(bits(f32::from_bits(0x3f80_8000)), 0x3f80_0000, "half way, down to even");
        assert_eq!(bits(f32::from_bits(0x3f81_8000)), 0x3f82_0000, "half way, up to even");
        assert_eq!(bits(f32::from_bits(0x3f80_8001)), 0x3f81_0000);
        assert_eq!(bits(f32::MAX), f32::INFINITY.to_bits());
        assert!(Bf16::narrow(f32::from_bits(0x7f80_0001)).widen().is_nan());
        assert!(Bf16::narrow(f32::NAN).widen().is_nan());
        assert_eq!(bits(-0.0), (-0.0_f32).to_bits());
    }
}
