// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The families of models, and how a model's own files tell its family.

use std::{fmt, str::FromStr};

/// Models that the same networks and the same text encoding serve. All sizes come from the model's
/// configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Stable Diffusion 1.x and everything of its build: one CLIP text encoder, a UNet that hears nothing
    /// but the timestep and the text, an autoencoder.
    Sd1,
    /// Stable Diffusion 2.x: the same build with another text encoder.
    Sd2,
    /// SDXL: two text encoders, and a UNet that also hears a pooled vector and sizes. The text is encoded by
    /// the layer before the last.
    Sdxl,
    /// SDXL's refiner: the same with the second text encoder alone, and an aesthetic score among the sizes.
    SdxlRefiner,
}

/// Width of a token that Stable Diffusion 1's text encoder makes.
const SD1_CONTEXT: usize = 768;
/// Width of a token that Stable Diffusion 2's text encoder makes.
const SD2_CONTEXT: usize = 1024;

impl Family {
    /// Every family.
    pub const ALL: [Self; 4] = [Self::Sd1, Self::Sd2, Self::Sdxl, Self::SdxlRefiner];

    /// Stable Diffusion 1 or 2, which differ in their text encoder: by the width of the tokens that the UNet takes
    /// from it. Where that is neither's, as in small models, the transformers tell: they are entered through
    /// matrices since the second.
    pub(crate) fn by_prompt(context: Option<usize>, linear_projections: bool) -> Self {
        match (context, linear_projections) {
            (Some(SD1_CONTEXT), _) => Self::Sd1,
            (Some(SD2_CONTEXT), _) | (_, true) => Self::Sd2,
            _ => Self::Sd1,
        }
    }

    /// The word for it in the plugin contract and in the daemon's answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sd1 => "sd1",
            Self::Sd2 => "sd2",
            Self::Sdxl => "sdxl",
            Self::SdxlRefiner => "sdxl_refiner",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Family {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let unknown = || {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("there is no model family {word:?}; known: {known}")
        };
        Self::ALL.into_iter().find(|family| family.as_str() == word).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_found_again_by_its_word() {
        for family in Family::ALL {
            assert_eq!(family.as_str().parse(), Ok(family));
        }
        assert!("sd9".parse::<Family>().is_err());
    }
}
